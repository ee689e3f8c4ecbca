//! A server of frames, and where a client of them puts the bytes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

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

use crate::{Ends, Outcome};

/// Header and padding in front of the content of a frame with one section.
const CONTENT_OFFSET: usize = 192;

/// A sealed frame with so many bytes of content.
pub(crate) fn frame_of(content_bytes: usize) -> Vec<u8> {
    let bytes = content_bytes as u64;
    let offset = CONTENT_OFFSET as u64;
    let header = Header {
        format: Format { codec: CodecName::new("raw"), type_tag: 7, pointer_width: 0 },
        align: 64,
        frame_bytes: offset + bytes,
        content_offset: offset,
        resident_bytes: bytes,
        id: Id { slot: 1, generation: 1 },
        pool: 1,
        references: 0,
        content_checksum: 0,
        sections: vec![Section { offset, bytes }],
    };
    let mut behind = vec![0; CONTENT_OFFSET - 144];
    behind.extend((0..content_bytes).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 11).to_le_bytes()[0]));
    let mut frame = Vec::with_capacity(CONTENT_OFFSET + content_bytes);
    header.seal_into(XxHash3_64::oneshot(&behind), XxHash3_64::oneshot, &mut frame);
    frame.extend_from_slice(&behind);
    frame
}

pub(crate) fn head_of(frame: &[u8]) -> Outcome<FrameHead> {
    let header = Header::decode(frame, XxHash3_64::oneshot)?;
    Ok(FrameHead::new(frame, &header, "alloc::vec::Vec<u8>"))
}

pub(crate) fn served(frame: &[u8]) -> Outcome<BufferFrame> {
    Ok(BufferFrame::new(head_of(frame)?, Buffer::uncounted(frame)?)?)
}

pub(crate) fn id(slot: u32) -> GlobalId {
    GlobalId { birth: Incarnation(0xb), id: Id { slot, generation: 1 } }
}

/// Frames by slot, all known at once.
pub(crate) struct Shelf(pub(crate) HashMap<u32, Arc<dyn ServedFrame>>);

impl FrameSource for Shelf {
    fn find_now(
        &self,
        id: GlobalId,
        _: &Extensions,
    ) -> Option<Result<Arc<dyn ServedFrame>, Refusal>> {
        let found = self.0.get(&id.id.slot).cloned();
        Some(found.ok_or_else(|| Refusal::new(RefusalKind::NotFound, "no such frame")))
    }

    fn find(&self, id: GlobalId, asker: &Extensions) -> Result<Arc<dyn ServedFrame>, Refusal> {
        self.find_now(id, asker).unwrap_or_else(|| Err(Refusal::new(RefusalKind::NotFound, "")))
    }

    fn receive(&self, _: u64, _: &Extensions) -> Result<Box<dyn NewFrame>, Refusal> {
        Err(Refusal::new(RefusalKind::Forbidden, "it takes nothing"))
    }
}

/// One frame in slot 0.
pub(crate) fn shelf_of(frame: impl ServedFrame) -> Arc<Shelf> {
    let frame: Arc<dyn ServedFrame> = Arc::new(frame);
    Arc::new(Shelf(HashMap::from([(0, frame)])))
}

/// Serves over plain TCP.
pub(crate) fn serve(ends: &Ends, shelf: Arc<Shelf>) -> Outcome<SocketAddr> {
    let listener = ends.server.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let addr = listener.local_addr()?;
    let service = ValueService::new(shelf, ServeLimits::default());
    ends.server.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if stream.set_nodelay(true).is_ok() {
                let service = service.clone();
                tokio::spawn(async move { service.serve_connection(stream).await });
            }
        }
    });
    Ok(addr)
}

/// The limits, with the read buffer that `READ_BUFFER_KIB` says, for trials.
pub(crate) fn limits() -> PeerLimits {
    let mut limits = PeerLimits::default();
    let asked = std::env::var("READ_BUFFER_KIB").ok().and_then(|kib| kib.parse::<usize>().ok());
    if let Some(kib) = asked {
        limits.read_buffer_bytes = kib << 10;
    }
    limits
}

pub(crate) fn peer(addr: SocketAddr) -> Peer {
    Peer::new(Tcp(addr), limits())
}

/// Memory that is there already and is written over.
pub(crate) struct Warm {
    pub(crate) memory: Vec<u8>,
    pub(crate) at: usize,
}

impl FrameSink for Warm {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        let end = self.at + bytes.len();
        self.memory.get_mut(self.at..end).ok_or("too much")?.copy_from_slice(bytes);
        self.at = end;
        Ok(())
    }
}

/// A buffer for so many bytes, paid by `ledger`, as a pool makes one.
pub(crate) fn reserved(ledger: &Arc<Ledger>, bytes: u64) -> Result<BufferMut, Cause> {
    let len = usize::try_from(bytes)?;
    let room = ledger.reserve(Buffer::allocation_bytes(len, 64)?, Wait::Free)?;
    Ok(BufferMut::with_capacity(len, 64, room)?)
}
