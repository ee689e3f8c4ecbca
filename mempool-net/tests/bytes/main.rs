//! Values as bodies of HTTP, over live connections on loopback.

mod curl;
mod errors;
mod hostile;
mod pools;
mod served;
mod support;
mod transfer;
