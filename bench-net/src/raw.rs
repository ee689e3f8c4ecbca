//! The plainest way to move bytes over a stream: a length, and so many bytes into one buffer of the whole size.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{Ends, Outcome};

/// Answers each length with as many bytes of `data`.
pub(crate) async fn answer<S>(mut stream: S, data: Arc<Vec<u8>>) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let len = usize::try_from(stream.read_u64_le().await?).map_err(std::io::Error::other)?;
        stream.write_all(data.get(..len).unwrap_or_default()).await?;
        stream.flush().await?;
    }
}

/// Fills `memory`.
pub(crate) async fn ask<S>(stream: &mut S, memory: &mut [u8]) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_u64_le(memory.len() as u64).await?;
    stream.flush().await?;
    stream.read_exact(memory).await.map(|_| ())
}

/// Fills new memory.
pub(crate) async fn ask_fresh<S>(stream: &mut S, bytes: usize) -> std::io::Result<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_u64_le(bytes as u64).await?;
    stream.flush().await?;
    let mut memory = Vec::with_capacity(bytes);
    while memory.len() < bytes {
        if stream.read_buf(&mut memory).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(memory)
}

/// Serves `data` over plain TCP; so many connections to it.
pub(crate) fn connections(
    ends: &Ends,
    data: Arc<Vec<u8>>,
    count: usize,
) -> Outcome<Vec<TcpStream>> {
    let listener = ends.server.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let addr = listener.local_addr()?;
    ends.server.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if stream.set_nodelay(true).is_ok() {
                tokio::spawn(answer(stream, Arc::clone(&data)));
            }
        }
    });
    let mut streams = Vec::new();
    for _ in 0..count {
        let stream = ends.client.block_on(TcpStream::connect(addr))?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    Ok(streams)
}
