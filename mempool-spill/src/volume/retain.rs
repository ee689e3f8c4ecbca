//! Retained frames: made durable with a manifest, and taken over by a later store. Owns which segments stand in the manifest;
//! its bytes are `retained.rs`, its directory `session.rs`.
//!
//! ```text
//!             retain: frames of it are in the manifest           a later one has none of them
//!   Ours ──────────────────────────────────────────▶ Listed ──────────────────────────────▶ Unlisted
//!    ▲                                                │  ▲                                     │
//!    └──────────── the manifest was not written ──────┘  └──── a store is restored: all of it  └─▶ gone with its last frame
//! ```
//!
//! Only what is `Ours` is written to, given back in part or moved. What is `Listed` stays, whatever lives in it; what was
//! listed once is only removed, because views of a process that is gone from here may still look at it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::sync::{Arc, MutexGuard, PoisonError};

use mempool_core::fork::Maker;
use mempool_core::{FrameDamage, Handle};
use rustix::fs::{Mode, OFlags};

use super::{Slot, State, Volume};
use crate::disk::write_all_at;
use crate::error::SpillError;
use crate::options::SpillOptions;
use crate::places::Places;
use crate::quota::FileBytes;
use crate::retained::{Kept, MANIFEST, MANIFEST_NEW, ManifestFile, RetainedSegment, check_places};
use crate::segment::{NOT_SHARED, Segment, SegmentFile};
use crate::session::{Session, Swept};

/// Frames that take less than this part of a segment that may not be given back in part are written anew before they are
/// retained once more.
const LIVE_SHARE_MIN: u64 = 4;

/// What the manifests say of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// None ever named it.
    #[default]
    Ours,
    /// The one that is there names it.
    Listed,
    /// An earlier one has named it.
    Unlisted,
}

/// What is known of a segment's way to the disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Keeping {
    pub(super) standing: Standing,
    /// How much of its file the manifest that it was restored from says may be used: another process has made it durable, and
    /// nobody writes to it.
    restored: Option<u64>,
    /// Its one large frame was freed while it was listed.
    pub(super) freed: bool,
    /// It could not be made durable; a second attempt may say that it was, and be wrong.
    doubtful: bool,
}

impl Keeping {
    /// Whether an earlier store has written it.
    pub(super) fn is_restored(&self) -> bool {
        self.restored.is_some()
    }

    /// Whether it may be written to, given back in part, and have its frames moved.
    pub(super) fn is_ours(self) -> bool {
        self.standing == Standing::Ours
    }
}

/// What this store has in its session's manifest.
#[derive(Debug, Default)]
pub(super) struct Manifests {
    /// The pool's part of the manifest that the store was opened with, and the files, until they are taken over.
    restored: Option<(Vec<u8>, Kept)>,
    /// What is retained; `None` when nothing is.
    published: Option<Published>,
}

#[derive(Debug)]
struct Published {
    kept: Kept,
    frames: Vec<Handle>,
    /// What the manifest takes from the disk limit.
    _bytes: FileBytes,
}

/// The segments of a manifest that is to be.
#[derive(Default)]
struct Listed {
    kept: Kept,
    /// Those that this store has written.
    to_sync: Vec<(u64, Arc<Segment>)>,
    /// How each stood before, for when it comes to nothing.
    before: Vec<(u64, Standing)>,
}

/// How far a manifest came.
enum Failed {
    /// The one before stands.
    Before(SpillError),
    /// It stands in the place of the one before, and a power cut may bring that one back.
    After(SpillError, Box<Published>),
}

impl Volume {
    /// A store of what is retained in `session`, whose lock it has.
    pub(crate) fn restored(
        options: &Arc<SpillOptions>,
        session: Session,
        swept: Swept,
        kept: &Kept,
        file: &ManifestFile,
    ) -> Result<Self, SpillError> {
        let manifest = file.pool_part()?;
        let store = Self::in_session(options, 0, None, session, swept);
        // From here on an error leaves the session as it is.
        store.files.number_from(kept.segments.iter().map(|segment| segment.file).max());
        let bytes = store.files.quota().take(file.bytes.next_multiple_of(4096))?;
        let frames = Vec::new();
        store.manifests().published = Some(Published { kept: kept.clone(), frames, _bytes: bytes });
        for segment in &kept.segments {
            store.open_segment(segment)?;
        }
        store.manifests().restored = Some((manifest, kept.clone()));
        Ok(store)
    }

    fn manifests(&self) -> MutexGuard<'_, Manifests> {
        self.manifests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a file of the manifest; one that is not there is told of to whoever reads a frame of it.
    fn open_segment(&self, kept: &RetainedSegment) -> Result<(), SpillError> {
        let session = self.files.session();
        let name = kept.file_name();
        let path = session.path().join(&name);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = rustix::fs::openat(session.dir(), &name, flags, Mode::empty());
        let file = match opened.map(|file| (rustix::fs::fstat(&file), file)) {
            Ok((Ok(stat), file)) => {
                if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
                    return Err(SpillError::NotRegular { path });
                }
                let bytes = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
                let bytes = self.files.quota().take(bytes)?;
                // Of a file that was cut short what is left can be read; the rest answers that it was cut.
                let found = u64::try_from(stat.st_size).unwrap_or(0);
                let (len, maker) = (kept.bytes.min(found), Maker::here());
                SegmentFile { name, path, file: File::from(file), bytes, len, maker }
            }
            Ok((Err(error), _)) => return Err(SpillError::io("stat", &path, error)),
            Err(error) => {
                self.lock().lost.insert(kept.segment, (path, error));
                return Ok(());
            }
        };
        let shared = if kept.shared { file.len } else { NOT_SHARED };
        let segment = Arc::new(Segment::new(file, &self.files, shared));
        let places = kept.shared.then(|| {
            let mut places = Places::new(shared);
            places.retire();
            places
        });
        let (standing, restored) = (Standing::Listed, Some(kept.bytes));
        let keeping = Keeping { standing, restored, ..Keeping::default() };
        let mut state = self.lock();
        state.last_segment = state.last_segment.max(kept.segment);
        state.segments.insert(kept.segment, Slot { segment, places, keeping });
        Ok(())
    }

    /// The pool's part of the manifest that this store was opened with.
    pub(super) fn restored_manifest(&self) -> Option<Vec<u8>> {
        self.manifests().restored.as_ref().map(|(manifest, _)| manifest.clone())
    }

    /// Takes over the frames of that manifest.
    pub(super) fn adopt_frames(&self, frames: &[Handle]) -> Result<(), SpillError> {
        let mut manifests = self.manifests();
        let Some((_, kept)) = &manifests.restored else { return Ok(()) };
        check_places(kept, frames).map_err(|damage| self.manifest_damaged(damage))?;
        let mut state = self.lock();
        for handle in frames {
            let slot = state.segments.get_mut(&handle.segment);
            if let Some(places) = slot.and_then(|slot| slot.places.as_mut()) {
                places.adopt(handle.offset, handle.bytes);
            }
        }
        drop(state);
        self.files.note_live(frames.iter().map(|handle| handle.bytes).sum());
        manifests.restored = None;
        Ok(())
    }

    fn manifest_damaged(&self, damage: FrameDamage) -> SpillError {
        let path = self.session_path().join(MANIFEST);
        SpillError::Damaged { path, offset: 0, damage }
    }

    /// Whether a frame should be written anew rather than kept where it is.
    pub(super) fn is_better_moved(&self, handle: &Handle) -> bool {
        let state = self.lock();
        let Some(slot) = state.segments.get(&handle.segment) else { return false };
        let sparse = |places: &Places| {
            places.live_bytes() < slot.segment.file().bytes.bytes() / LIVE_SHARE_MIN
        };
        let old = !slot.keeping.is_ours();
        slot.keeping.doubtful || old && slot.places.as_ref().is_some_and(sparse)
    }

    /// Makes `frames` durable, then puts a manifest of them in the place of the one before.
    pub(super) fn retain_frames(
        &self,
        manifest: &[u8],
        frames: &[Handle],
    ) -> Result<(), SpillError> {
        let mut manifests = self.manifests();
        if manifests.restored.is_some() {
            return Err(SpillError::NotRestored { path: self.session_path().to_path_buf() });
        }
        let listed = self.list(frames)?;
        match self.publish(manifest, frames, &listed) {
            Ok(published) => {
                manifests.published = Some(published);
                let numbers: BTreeSet<u64> =
                    listed.before.iter().map(|(number, _)| *number).collect();
                self.unlist(|number| !numbers.contains(&number));
                Ok(())
            }
            Err(Failed::Before(error)) => {
                self.lock().take_back(&listed.before);
                Err(error)
            }
            Err(Failed::After(error, published)) => {
                // Both may be found after a power cut, so the files of both stay.
                if let Some(earlier) = &mut manifests.published {
                    earlier.kept.segments.extend(published.kept.segments);
                    earlier.frames.extend(published.frames);
                }
                Err(error)
            }
        }
    }

    /// Lists the segments of `frames`; they change no more.
    fn list(&self, frames: &[Handle]) -> Result<Listed, SpillError> {
        let numbers: BTreeSet<u64> = frames.iter().map(|handle| handle.segment).collect();
        let mut state = self.lock();
        if state.closed {
            return Err(self.files.closed());
        }
        let mut listed = Listed::default();
        listed.kept.label.clone_from(&self.options.label);
        for &number in &numbers {
            let slot = state.segments.get(&number);
            let slot = slot.ok_or_else(|| self.no_segment(&state, number))?;
            let file = slot.segment.file();
            let of_name = file.name.strip_prefix("seg-").and_then(|name| name.parse().ok());
            listed.kept.segments.push(RetainedSegment {
                segment: number,
                file: of_name.unwrap_or_default(),
                bytes: slot.keeping.restored.unwrap_or(file.len),
                shared: slot.places.is_some(),
            });
            if slot.keeping.restored.is_none() {
                listed.to_sync.push((number, Arc::clone(&slot.segment)));
            }
        }
        let stand = |&number: &u64| (number, state.stand(number, Standing::Listed));
        listed.before = numbers.iter().map(stand).collect();
        Ok(listed)
    }

    /// Takes the segments that `goes` says yes to from the list; they go with their last frame.
    fn unlist(&self, goes: impl Fn(u64) -> bool) {
        let mut state = self.lock();
        let gone: Vec<u64> = state
            .segments
            .iter()
            .filter(|(number, slot)| slot.keeping.standing == Standing::Listed && goes(**number))
            .map(|(number, _)| *number)
            .collect();
        let empty: Vec<_> = gone
            .into_iter()
            .filter_map(|number| {
                state.stand(number, Standing::Unlisted);
                let slot = state.segments.get(&number)?;
                // A large frame lives until it is freed.
                let may_be_empty = slot.places.is_some() || slot.keeping.freed;
                may_be_empty.then(|| state.remove_if_empty(number))?
            })
            .collect();
        drop(state);
        drop(empty);
        self.files.sweep();
    }

    fn publish(
        &self,
        manifest: &[u8],
        frames: &[Handle],
        listed: &Listed,
    ) -> Result<Published, Failed> {
        let written = || {
            for (number, segment) in &listed.to_sync {
                self.make_durable(*number, segment)?;
            }
            let bytes = self.write_manifest(&listed.kept.encode(manifest))?;
            Ok(Published { kept: listed.kept.clone(), frames: frames.to_vec(), _bytes: bytes })
        };
        let published = written().inspect_err(|_| self.remove_new()).map_err(Failed::Before)?;
        let session = self.files.session();
        let path = session.path().join(MANIFEST);
        let renamed = self.disk().rename(session.dir(), MANIFEST_NEW, MANIFEST.as_ref());
        renamed.map_err(|e| {
            self.remove_new();
            Failed::Before(SpillError::io("rename", &path, e))
        })?;
        let synced = session.directories().and_then(|[.., dir]| self.disk().sync(&dir));
        match synced {
            Ok(()) => Ok(published),
            Err(e) => {
                let error = SpillError::io("sync", session.path(), e);
                Err(Failed::After(error, Box::new(published)))
            }
        }
    }

    fn make_durable(&self, number: u64, segment: &Segment) -> Result<(), SpillError> {
        let file = segment.file();
        self.disk().sync(&file.file).map_err(|e| {
            // Nothing more is written to it either.
            segment.condemn();
            if let Some(slot) = self.lock().segments.get_mut(&number) {
                slot.keeping.doubtful = true;
            }
            SpillError::io("sync", &file.path, e)
        })
    }

    /// Writes the manifest under its other name, and makes that and every name on the way to it durable.
    fn write_manifest(&self, bytes: &[u8]) -> Result<FileBytes, SpillError> {
        let session = self.files.session();
        let _open = self.files.pass_gate()?;
        // Left by an attempt that could not even remove it.
        self.remove_new();
        let path = session.path().join(MANIFEST_NEW);
        let len = (bytes.len() as u64).next_multiple_of(4096);
        let taken = self.files.with_room(|| self.files.quota().take(len))?;
        let file = self.disk().create(session.dir(), MANIFEST_NEW);
        let file = file.map_err(|e| SpillError::io("create", &path, e))?;
        let room = || self.files.allocate(&file, &path, &(0..bytes.len() as u64), len);
        self.files.with_room(room)?;
        write_all_at(self.disk(), &file, bytes, 0)
            .map_err(|e| SpillError::io_at("write", &path, 0, e))?;
        self.disk().sync(&file).map_err(|e| SpillError::io("sync", &path, e))?;
        let directories = session.directories();
        let directories = directories.map_err(|e| SpillError::io("open", session.path(), e))?;
        for directory in &directories {
            let synced = self.disk().sync(directory);
            synced.map_err(|e| SpillError::io("sync", session.path(), e))?;
        }
        Ok(taken)
    }

    fn remove_new(&self) {
        let _ = self.disk().unlink(self.files.session().dir(), MANIFEST_NEW);
    }

    /// Gives up what is retained.
    pub(super) fn forget_retained(&self) -> Result<(), SpillError> {
        let mut manifests = self.manifests();
        let session = self.files.session();
        if manifests.published.is_some() {
            let path = session.path().join(MANIFEST);
            let unlinked = self.disk().unlink(session.dir(), MANIFEST);
            unlinked.map_err(|e| SpillError::io("unlink", &path, e))?;
            *manifests = Manifests::default();
            self.unlist(|_| true);
        }
        Ok(())
    }

    /// Ends the session: it is left to whoever restores it, or nothing is left.
    pub(super) fn end(&self, segments: &BTreeMap<u64, Slot>) -> Result<(), SpillError> {
        let session = self.files.session();
        match &self.manifests().published {
            Some(published) => {
                self.trim_kept(published, segments);
                session.keep(&published.kept.file_names());
                Ok(())
            }
            None => session.remove(),
        }
    }

    /// Gives back what lies between retained frames in segments that this store has written.
    fn trim_kept(&self, published: &Published, segments: &BTreeMap<u64, Slot>) {
        for (number, Slot { segment, places, keeping }) in segments {
            let listed = keeping.standing == Standing::Listed && keeping.restored.is_none();
            if !listed || places.is_none() || segment.is_seen_elsewhere() {
                continue;
            }
            let mut places = Places::new(segment.file().len);
            places.retire();
            let here = published.frames.iter().filter(|handle| handle.segment == *number);
            here.for_each(|handle| places.adopt(handle.offset, handle.bytes));
            for hole in places.punch(segment.views()) {
                self.files.punch(segment.file(), &hole);
            }
        }
    }
}

impl State {
    /// Says how a segment stands; how it stood before.
    fn stand(&mut self, number: u64, standing: Standing) -> Standing {
        let Some(slot) = self.segments.get_mut(&number) else { return standing };
        let before = std::mem::replace(&mut slot.keeping.standing, standing);
        if let (Some(places), true) =
            (&mut slot.places, (before == Standing::Ours) != (standing == Standing::Ours))
        {
            // What may not be given back is no dead space.
            let (taken, live) = (places.disk_bytes(), places.live_bytes());
            if standing == Standing::Ours {
                self.shared_bytes += taken;
                self.shared_live_bytes += live;
            } else {
                self.shared_bytes -= taken;
                self.shared_live_bytes -= live;
                places.retire();
            }
        }
        if self.filling == Some(number) && standing != Standing::Ours {
            self.filling = None;
        }
        before
    }

    /// A manifest came to nothing.
    fn take_back(&mut self, before: &[(u64, Standing)]) {
        for (number, standing) in before {
            self.stand(*number, *standing);
        }
    }
}
