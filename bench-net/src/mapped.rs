//! A frame of 256 MiB in a mapped file: what it costs to touch its pages on a thread that may wait, and how long a worker of
//! the runtime waits where they are not touched there.

#![expect(unsafe_code, reason = "maps a file that this run alone knows of")]

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mempool_core::Buffer;
use mempool_net::bytes::{BufferFrame, ByteRange, Peer};
use rustix::fs::{Advice, fadvise};

use crate::frames::{Warm, frame_of, head_of, id, peer, serve, shelf_of};
use crate::measure::{Figure, Side, compare};
use crate::{Ends, Outcome, runtime};

const CONTENT_BYTES: usize = 256 << 20;

pub(crate) fn measure(ends: &Ends) -> Outcome<()> {
    let path = std::env::temp_dir().join(format!("bench-net-{}", std::process::id()));
    let frame = frame_of(CONTENT_BYTES);
    std::fs::write(&path, &frame)?;
    let measured = with_file(ends, &path, frame);
    std::fs::remove_file(&path)?;
    measured
}

/// A new map of the file, none of whose pages are in the page tables.
fn map(path: &Path) -> Outcome<Buffer> {
    // SAFETY: the file has a name that this process alone knows, and is removed, not written, while it is mapped.
    Ok(unsafe { mempool_spill::map_file(path) }?)
}

fn with_file(ends: &Ends, path: &Path, frame: Vec<u8>) -> Outcome<()> {
    let head = head_of(&frame)?;
    let bytes = frame.len();
    let mut memory = Some(frame);
    let one = runtime_of_one_worker()?;
    let server = Ends { server: one, client: runtime()? };
    let mut get = |peer: &Peer| -> Outcome<Duration> {
        let warm = Warm { memory: memory.take().ok_or("its memory")?, at: 0 };
        let start = Instant::now();
        let got = ends.client.block_on(peer.fetch(id(0), ByteRange::WHOLE, |_, _| Ok(warm)))?;
        memory = Some(got.1.memory);
        Ok(start.elapsed())
    };
    let get = std::cell::RefCell::new(&mut get);
    // A map a run, so that each run finds the page tables empty, as a first reader does.
    let warm = |touched: bool| -> Outcome<Duration> {
        let buffer = map(path)?;
        let frame = match touched {
            true => BufferFrame::mapped(head.clone(), buffer)?,
            false => BufferFrame::new(head.clone(), buffer)?,
        };
        let peer = peer(serve(&server, shelf_of(frame))?);
        (get.borrow_mut())(&peer)
    };
    compare(
        "256 MiB in a new map of a file that is in the page cache; server with one worker; first: sent as it lies",
        Figure::Rate(bytes),
        &mut [
            Side::new("pages met by the socket's write", None, || warm(false)),
            Side::new("pages touched a few pieces ahead, on threads that may wait", None, || {
                warm(true)
            }),
        ],
    )?;
    println!(
        "\nthe same file, not in the page cache: the longest that the server's only worker did nothing else"
    );
    for (touched, name) in [(false, "met by the socket's write"), (true, "touched ahead")] {
        let mut gaps = Vec::new();
        let mut times = Vec::new();
        for _ in 0..3 {
            let file = File::open(path)?;
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
            let (stop, gap) = heartbeat(&server);
            times.push(warm(touched)?);
            stop.store(true, Ordering::SeqCst);
            gaps.push(server.server.block_on(gap)?);
        }
        gaps.sort();
        times.sort();
        println!("  {name:<58} {:7.1} ms at worst, of {:.0} ms", ms(gaps[1]), ms(times[1]));
    }
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn runtime_of_one_worker() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

/// A task that wants to run each millisecond, until it is stopped; it answers how late it was at worst.
fn heartbeat(ends: &Ends) -> (Arc<AtomicBool>, tokio::task::JoinHandle<Duration>) {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let beating = ends.server.spawn(async move {
        let mut worst = Duration::ZERO;
        while !stopped.load(Ordering::SeqCst) {
            let start = Instant::now();
            tokio::time::sleep(Duration::from_millis(1)).await;
            worst = worst.max(start.elapsed());
        }
        worst
    });
    (stop, beating)
}
