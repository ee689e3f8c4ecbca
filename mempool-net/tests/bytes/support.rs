//! A shelf of frames behind a live server, and sinks that count.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Extensions;
use mempool_core::{
    Buffer, BufferMut, Cause, CodecName, Format, Header, Id, Ledger, Section, Wait,
};
use mempool_net::bytes::{
    BufferFrame, FrameHead, FrameSink, FrameSource, NewFrame, Peer, PeerLimits, Refusal,
    RefusalKind, ServeLimits, ServedFrame, Tcp, ValueService,
};
use mempool_net::{GlobalId, Incarnation};
use tokio::net::TcpListener;
use twox_hash::XxHash3_64;

/// Longer than anything takes that is not stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test's future on two workers; one that hangs fails.
pub(crate) fn run<F: Future>(test: F) -> F::Output {
    run_for(PATIENCE, test)
}

/// The same, with as much patience as the test needs.
pub(crate) fn run_for<F: Future>(patience: Duration, test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(patience, test).await.expect("no hang") })
}

/// Waits until `true`.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A sealed frame whose content has so many bytes, no two neighbours alike.
pub(crate) fn frame_of(content_bytes: usize) -> Vec<u8> {
    let content: Vec<u8> =
        (0..content_bytes).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 7).to_le_bytes()[0]).collect();
    let header = Header {
        format: Format { codec: CodecName::new("raw"), type_tag: 7, pointer_width: 0 },
        align: 64,
        frame_bytes: 192 + content_bytes as u64,
        content_offset: 192,
        resident_bytes: content_bytes as u64,
        id: Id { slot: 1, generation: 1 },
        pool: 1,
        references: 2,
        content_checksum: 0,
        sections: vec![Section { offset: 192, bytes: content_bytes as u64 }],
    };
    let mut behind = vec![0; 192 - 144];
    behind.extend_from_slice(&content);
    let mut frame = Vec::new();
    header.seal_into(XxHash3_64::oneshot(&behind), XxHash3_64::oneshot, &mut frame);
    frame.extend_from_slice(&behind);
    Header::check_whole(&frame, XxHash3_64::oneshot).expect("a good frame");
    frame
}

pub(crate) fn head_of(frame: &[u8]) -> FrameHead {
    let header = Header::decode(frame, XxHash3_64::oneshot).expect("a header");
    FrameHead::new(frame, &header, "Vec<u8>")
}

pub(crate) fn served(frame: &[u8]) -> BufferFrame {
    let buffer = Buffer::uncounted(frame).expect("memory");
    BufferFrame::new(head_of(frame), buffer).expect("a head of this frame")
}

pub(crate) fn id(slot: u32) -> GlobalId {
    GlobalId { birth: Incarnation(0xb), id: Id { slot, generation: 1 } }
}

/// Frames by name, and room for new ones in a ledger.
pub(crate) struct Shelf {
    frames: Mutex<HashMap<GlobalId, Arc<dyn ServedFrame>>>,
    pub(crate) ledger: Arc<Ledger>,
    next_slot: AtomicU32,
    pub(crate) open: Arc<AtomicUsize>,
    pub(crate) most_open: AtomicUsize,
    pub(crate) connections: AtomicUsize,
}

impl Shelf {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            frames: Mutex::default(),
            ledger: Ledger::new(1 << 24, Duration::from_millis(1)),
            next_slot: AtomicU32::new(1000),
            open: Arc::default(),
            most_open: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
        })
    }

    pub(crate) fn put(&self, id: GlobalId, frame: impl ServedFrame) {
        self.frames().insert(id, Arc::new(frame));
    }

    /// It, as a server sees it.
    pub(crate) fn source(self: &Arc<Self>) -> Arc<dyn FrameSource> {
        Arc::new(Handle(Arc::clone(self)))
    }

    pub(crate) fn take(&self, id: GlobalId) {
        self.frames().remove(&id);
    }

    /// Lets go of all frames.
    pub(crate) fn clear(&self) {
        self.frames().clear();
    }

    fn frames(&self) -> MutexGuard<'_, HashMap<GlobalId, Arc<dyn ServedFrame>>> {
        self.frames.lock().expect("no panic under it")
    }

    /// Serves it on a port of loopback, as long as the runtime lives.
    pub(crate) async fn serve(self: &Arc<Self>, limits: ServeLimits) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("its address");
        let shelf = Arc::clone(self);
        tokio::spawn(async move {
            let service = ValueService::new(shelf.source(), limits);
            while let Ok((stream, _)) = listener.accept().await {
                let (service, shelf) = (service.clone(), Arc::clone(&shelf));
                shelf.connections.fetch_add(1, Ordering::SeqCst);
                let open = shelf.open.fetch_add(1, Ordering::SeqCst) + 1;
                shelf.most_open.fetch_max(open, Ordering::SeqCst);
                tokio::spawn(async move {
                    let ended = service.serve_connection(stream).await;
                    shelf.open.fetch_sub(1, Ordering::SeqCst);
                    ended
                });
            }
        });
        addr
    }
}

/// A shelf and a peer that leads to it.
pub(crate) async fn pair() -> (Arc<Shelf>, Peer) {
    let shelf = Shelf::new();
    let addr = shelf.serve(ServeLimits::default()).await;
    (shelf, Peer::new(Tcp(addr), PeerLimits::default()))
}

struct Handle(Arc<Shelf>);

impl FrameSource for Handle {
    fn find(&self, id: GlobalId, _: &Extensions) -> Result<Arc<dyn ServedFrame>, Refusal> {
        let found = self.0.frames().get(&id).cloned();
        found.ok_or_else(|| Refusal::new(RefusalKind::Gone, format!("no {id}")))
    }

    fn receive(&self, bytes: u64, _: &Extensions) -> Result<Box<dyn NewFrame>, Refusal> {
        let no_room =
            |error: mempool_core::Error| Refusal::new(RefusalKind::NoRoom, error.to_string());
        let buffer = reserved(&self.0.ledger, bytes).map_err(no_room)?;
        Ok(Box::new(Arriving { buffer, shelf: Arc::clone(&self.0) }))
    }
}

/// A buffer for so many bytes that `ledger` counts.
pub(crate) fn reserved(ledger: &Arc<Ledger>, bytes: u64) -> mempool_core::Result<BufferMut> {
    let len = usize::try_from(bytes).expect("64 bits");
    let room = ledger.reserve(Buffer::allocation_bytes(len, 64)?, Wait::Free)?;
    BufferMut::with_capacity(len, 64, room)
}

struct Arriving {
    buffer: BufferMut,
    shelf: Arc<Shelf>,
}

impl FrameSink for Arriving {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        FrameSink::write(&mut self.buffer, bytes)
    }
}

impl NewFrame for Arriving {
    fn finish(self: Box<Self>) -> Result<GlobalId, Refusal> {
        let frame = self.buffer.freeze();
        let header = Header::check_whole(&frame, XxHash3_64::oneshot)
            .map_err(|damage| Refusal::new(RefusalKind::Damaged, damage.to_string()))?;
        let id = id(self.shelf.next_slot.fetch_add(1, Ordering::SeqCst));
        let head = FrameHead::new(&frame, &header, "");
        self.shelf.put(id, BufferFrame::new(head, frame)?);
        Ok(id)
    }
}

/// A sink that keeps what it gets, and counts.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) bytes: Vec<u8>,
    pub(crate) writes: usize,
    pub(crate) slow: bool,
}

impl FrameSink for Kept {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        self.bytes.extend_from_slice(bytes);
        self.writes += 1;
        Ok(())
    }

    fn may_block(&self) -> bool {
        self.slow
    }
}

/// A frame that gives its bytes as long as the test lets it.
pub(crate) struct Watched {
    pub(crate) frame: BufferFrame,
    pub(crate) pieces: Arc<AtomicUsize>,
    pub(crate) piece_bytes: u64,
    pub(crate) may_block: bool,
    pub(crate) streams: bool,
    /// Called before each piece with its range.
    pub(crate) before: Before,
}

type Before = Box<dyn Fn(&Range<u64>) -> Result<(), Refusal> + Send + Sync>;

impl Watched {
    pub(crate) fn new(frame: &[u8]) -> Self {
        Self {
            frame: served(frame),
            pieces: Arc::default(),
            piece_bytes: u64::MAX,
            may_block: false,
            streams: false,
            before: Box::new(|_| Ok(())),
        }
    }
}

impl ServedFrame for Watched {
    fn head(&self) -> &FrameHead {
        self.frame.head()
    }

    fn piece(&self, range: Range<u64>) -> Result<Bytes, Refusal> {
        (self.before)(&range)?;
        self.pieces.fetch_add(1, Ordering::SeqCst);
        let end = range.end.min(range.start.saturating_add(self.piece_bytes));
        self.frame.piece(range.start..end)
    }

    fn may_block(&self) -> bool {
        self.may_block
    }
    fn streams(&self) -> bool {
        self.streams
    }
}
