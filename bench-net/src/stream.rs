//! One value of 256 MiB over one connection, without TLS and with it.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mempool_core::Ledger;
use mempool_net::bytes::{ByteRange, Checked, Peer, ServeLimits, ValueService};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use crate::frames::{Warm, frame_of, id, limits, peer, reserved, serve, served, shelf_of};
use crate::measure::{Figure, Side, compare};
use crate::tls::{Secured, Tls};
use crate::{Ends, Outcome, raw};

const CONTENT_BYTES: usize = 256 << 20;

pub(crate) fn plain(ends: &Ends) -> Outcome<()> {
    let frame = Arc::new(frame_of(CONTENT_BYTES));
    let peer = peer(serve(ends, shelf_of(served(&frame)?))?);
    let mut streams = raw::connections(ends, Arc::clone(&frame), 1)?;
    let stream = streams.pop().ok_or("one connection")?;
    let title = "256 MiB over one connection of plain TCP; first: raw tokio sockets";
    sides(ends, title, 0.65, &frame, stream, &peer)
}

pub(crate) fn tls(ends: &Ends) -> Outcome<()> {
    let frame = Arc::new(frame_of(CONTENT_BYTES));
    let tls = Tls::new()?;
    let addr = ends.server.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let (data, acceptor) = (Arc::clone(&frame), tls.acceptor.clone());
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            raw::answer(acceptor.accept(stream).await?, data).await
        });
        io::Result::Ok(addr)
    })?;
    let stream = ends.client.block_on(tls.connect(addr))?;
    let service = ValueService::new(shelf_of(served(&frame)?), ServeLimits::default());
    let addr = ends.server.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let acceptor = tls.acceptor.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (service, acceptor) = (service.clone(), acceptor.clone());
                tokio::spawn(async move {
                    stream.set_nodelay(true)?;
                    service.serve_connection(acceptor.accept(stream).await?).await
                });
            }
        });
        io::Result::Ok(addr)
    })?;
    let peer = Peer::new(Secured { tls, addr }, limits());
    let title = "256 MiB over one connection of TLS 1.3; first: a bare rustls stream";
    sides(ends, title, 0.85, &frame, stream, &peer)
}

/// The raw side and ours: into memory that is there, and into memory that is made for it.
fn sides<S>(ends: &Ends, title: &str, bar: f64, frame: &[u8], stream: S, peer: &Peer) -> Outcome<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let bytes = frame.len();
    let stream = RefCell::new(stream);
    // Each side has memory of its own, all of whose pages are there.
    let mut raw_memory = vec![1u8; bytes];
    let mut own = Some(vec![1u8; bytes]);
    let mut checked = Some(vec![1u8; bytes]);
    let run = |ends: &Ends, work: &mut dyn FnMut() -> Outcome<()>| -> Outcome<Duration> {
        let _client = ends.client.enter();
        let start = Instant::now();
        work()?;
        Ok(start.elapsed())
    };
    let into_warm = |memory: &mut Option<Vec<u8>>, check: bool| -> Outcome<()> {
        let warm = Warm { memory: memory.take().ok_or("its memory")?, at: 0 };
        let warm = if check {
            let (_, sink) =
                wait(ends, peer.fetch(id(0), ByteRange::WHOLE, |_, _| Ok(Checked::new(warm))))?;
            let (warm, sum) = sink.into_parts();
            std::hint::black_box(sum);
            warm
        } else {
            wait(ends, peer.fetch(id(0), ByteRange::WHOLE, |_, _| Ok(warm)))?.1
        };
        *memory = Some(warm.memory);
        Ok(())
    };
    compare(
        &format!("{title}; all into memory that is there"),
        Figure::Rate(bytes),
        &mut [
            Side::new("raw, into one buffer of the whole size", None, || {
                run(ends, &mut || {
                    Ok(wait(ends, raw::ask(&mut *stream.borrow_mut(), &mut raw_memory))?)
                })
            }),
            Side::new("mempool, not verified", Some(bar), || {
                run(ends, &mut || into_warm(&mut own, false))
            }),
            Side::new("mempool, each piece hashed as it comes", None, || {
                run(ends, &mut || into_warm(&mut checked, true))
            }),
        ],
    )?;
    for memory in [own, checked] {
        assert!(memory.as_deref() == Some(frame), "the bytes came as they were");
    }
    let ledger = Ledger::new(1 << 30, Duration::from_secs(1));
    let fetch = || peer.fetch(id(0), ByteRange::WHOLE, |head, _| reserved(&ledger, head.bytes()));
    let verify = || {
        peer.fetch(id(0), ByteRange::WHOLE, |head, _| {
            Ok(Checked::new(reserved(&ledger, head.bytes())?))
        })
    };
    compare(
        &format!("{title}; all into memory that is new"),
        Figure::Rate(bytes),
        &mut [
            Side::new("raw, into one new buffer of the whole size", None, || {
                run(ends, &mut || {
                    drop(wait(ends, raw::ask_fresh(&mut *stream.borrow_mut(), bytes))?);
                    Ok(())
                })
            }),
            Side::new("mempool, into a buffer that its budget pays", None, || {
                run(ends, &mut || {
                    drop(wait(ends, fetch())?.1.freeze());
                    Ok(())
                })
            }),
            Side::new("mempool, each piece hashed as it comes", None, || {
                run(ends, &mut || {
                    drop(wait(ends, verify())?.1.finish()?);
                    Ok(())
                })
            }),
            Side::new("mempool, hashed when all has come", None, || {
                run(ends, &mut || {
                    let whole = wait(ends, fetch())?.1.freeze();
                    mempool_core::Header::check_whole(&whole, twox_hash::XxHash3_64::oneshot)?;
                    Ok(())
                })
            }),
        ],
    )
}

fn wait<T, E>(ends: &Ends, future: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    ends.client.block_on(future)
}
