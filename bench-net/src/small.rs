//! A value of 100 bytes, one get after the other, beside a bare request of hyper's with a body of the same size.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mempool_core::Ledger;
use mempool_net::bytes::{ByteRange, Checked};
use tokio::net::{TcpListener, TcpStream};

use crate::frames::{frame_of, id, peer, reserved, serve, served, shelf_of};
use crate::measure::{Figure, Side, compare};
use crate::{Ends, Outcome, raw};

/// How many gets a run makes.
const GETS: u32 = 1000;

pub(crate) fn measure(ends: &Ends) -> Outcome<()> {
    let frame = Arc::new(frame_of(100));
    let peer = peer(serve(ends, shelf_of(served(&frame)?))?);
    let addr = serve_bare(ends, Bytes::from(frame.to_vec()))?;
    let mut bare = ends.client.block_on(bare_connection(addr))?;
    let mut streams = raw::connections(ends, Arc::clone(&frame), 1)?;
    let mut stream = streams.pop().ok_or("one connection")?;
    let mut memory = vec![0; frame.len()];
    let ledger = Ledger::new(1 << 20, Duration::from_secs(1));
    let each = |start: Instant| start.elapsed() / GETS;
    compare(
        &format!(
            "a value of 100 bytes, in a frame of {}; first: bare hyper, keep-alive",
            frame.len()
        ),
        Figure::Time,
        &mut [
            Side::new("hyper, a body of the same size", None, || {
                let start = Instant::now();
                for _ in 0..GETS {
                    let got = ends.client.block_on(bare_get(&mut bare))?;
                    assert_eq!(got.len(), frame.len());
                }
                Ok(each(start))
            }),
            Side::new("mempool, verified, into a buffer that its budget pays", Some(1.3), || {
                let start = Instant::now();
                for _ in 0..GETS {
                    let fetched = peer.fetch(id(0), ByteRange::WHOLE, |head, _| {
                        Ok(Checked::new(reserved(&ledger, head.bytes())?))
                    });
                    let (_, sink) = ends.client.block_on(fetched)?;
                    assert_eq!(sink.finish()?.1.len(), frame.len());
                }
                Ok(each(start))
            }),
            Side::new("raw tokio sockets", None, || {
                let start = Instant::now();
                for _ in 0..GETS {
                    ends.client.block_on(raw::ask(&mut stream, &mut memory))?;
                }
                Ok(each(start))
            }),
        ],
    )
}

fn serve_bare(ends: &Ends, body: Bytes) -> Outcome<SocketAddr> {
    let listener = ends.server.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let addr = listener.local_addr()?;
    ends.server.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let body = body.clone();
            let service = service_fn(move |_| {
                let answer = Response::new(Full::new(body.clone()));
                async { Ok::<_, Infallible>(answer) }
            });
            if stream.set_nodelay(true).is_ok() {
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        }
    });
    Ok(addr)
}

async fn bare_connection(addr: SocketAddr) -> Outcome<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let (send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // As hyper's own examples do it: the connection is a task of its own.
    tokio::spawn(connection);
    Ok(send)
}

async fn bare_get(send: &mut SendRequest<Empty<Bytes>>) -> Outcome<Bytes> {
    send.ready().await?;
    let request = Request::get("/").header("host", "localhost").body(Empty::new())?;
    let answer = send.send_request(request).await?;
    Ok(answer.into_body().collect().await?.to_bytes())
}
