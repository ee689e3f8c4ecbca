//! Values as bodies of HTTP, over live connections on loopback.

mod errors;
mod hostile;
mod served;
mod support;
mod transfer;
