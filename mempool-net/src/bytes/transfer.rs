//! What both sides do with a body that comes in: take it piece by piece, and write each piece where it goes.

use std::future::poll_fn;
use std::pin::Pin;

use bytes::Bytes;
use http_body::Body;
use mempool_core::Cause;
use tokio::task::spawn_blocking;

use super::frame::FrameSink;

/// The next piece of a body, which is not empty; `None` at its end.
pub(crate) async fn next_piece<B>(body: &mut B) -> Result<Option<Bytes>, Cause>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Cause>,
{
    loop {
        match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
            None => return Ok(None),
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(piece) if !piece.is_empty() => return Ok(Some(piece)),
                // Trailers, and pieces of nothing.
                _ => {}
            },
        }
    }
}

/// Writes a piece into `sink`, which comes back unless it failed. The piece is given up before the next one is read, so that
/// the connection can read that into the same memory.
pub(crate) async fn write_piece<S: FrameSink>(mut sink: S, piece: Bytes) -> Result<S, Cause> {
    if !sink.may_block() {
        sink.write(&piece)?;
        return Ok(sink);
    }
    let write = move || sink.write(&piece).map(|()| sink);
    spawn_blocking(write).await.unwrap_or_else(|panic| Err(panic.into()))
}
