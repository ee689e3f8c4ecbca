//! 16 gets of 1 MiB at a time, each over a connection of its own.

use std::sync::Arc;
use std::time::Instant;

use mempool_net::bytes::{ByteRange, Checked, Peer};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::frames::{Warm, frame_of, id, peer, serve, served, shelf_of};
use crate::measure::{Figure, Side, compare};
use crate::{Ends, Outcome, raw};

const CONTENT_BYTES: usize = 1 << 20;
const IN_FLIGHT: usize = 16;
/// How many gets each of them makes a run.
const GETS: usize = 32;

pub(crate) fn measure(ends: &Ends) -> Outcome<()> {
    let frame = Arc::new(frame_of(CONTENT_BYTES));
    let peer = peer(serve(ends, shelf_of(served(&frame)?))?);
    let bytes = frame.len();
    let memory = || vec![vec![1u8; bytes]; IN_FLIGHT];
    let (mut raw_memory, mut own, mut checked) = (memory(), memory(), memory());
    let mut streams = raw::connections(ends, frame, IN_FLIGHT)?;
    compare(
        "16 gets of 1 MiB in flight over plain TCP; first: raw tokio sockets",
        Figure::Rate(bytes * IN_FLIGHT * GETS),
        &mut [
            Side::new("raw, 16 connections", None, || {
                let start = Instant::now();
                let (back, memory) = ends.client.block_on(raw_gets(
                    std::mem::take(&mut streams),
                    std::mem::take(&mut raw_memory),
                ))?;
                (streams, raw_memory) = (back, memory);
                Ok(start.elapsed())
            }),
            Side::new("mempool, not verified", Some(0.6), || {
                let start = Instant::now();
                own = ends.client.block_on(gets(&peer, std::mem::take(&mut own), false))?;
                Ok(start.elapsed())
            }),
            Side::new("mempool, each piece hashed as it comes", None, || {
                let start = Instant::now();
                checked = ends.client.block_on(gets(&peer, std::mem::take(&mut checked), true))?;
                Ok(start.elapsed())
            }),
        ],
    )
}

async fn raw_gets(
    streams: Vec<TcpStream>,
    memory: Vec<Vec<u8>>,
) -> Outcome<(Vec<TcpStream>, Vec<Vec<u8>>)> {
    let mut tasks = JoinSet::new();
    for (mut stream, mut memory) in streams.into_iter().zip(memory) {
        tasks.spawn(async move {
            for _ in 0..GETS {
                raw::ask(&mut stream, &mut memory).await?;
            }
            std::io::Result::Ok((stream, memory))
        });
    }
    let ended: Result<Vec<_>, _> = tasks.join_all().await.into_iter().collect();
    Ok(ended?.into_iter().unzip())
}

async fn gets(peer: &Peer, memory: Vec<Vec<u8>>, check: bool) -> Outcome<Vec<Vec<u8>>> {
    let mut tasks = JoinSet::new();
    for mut memory in memory {
        let peer = peer.clone();
        tasks.spawn(async move {
            for _ in 0..GETS {
                let warm = Warm { memory, at: 0 };
                memory = if check {
                    let begin = |_: &_, _| Ok(Checked::new(warm));
                    let (_, sink) = peer.fetch(id(0), ByteRange::WHOLE, begin).await?;
                    let (warm, sum) = sink.into_parts();
                    std::hint::black_box(sum);
                    warm.memory
                } else {
                    peer.fetch(id(0), ByteRange::WHOLE, |_, _| Ok(warm)).await?.1.memory
                };
            }
            Outcome::Ok(memory)
        });
    }
    tasks.join_all().await.into_iter().collect()
}
