//! `SpillStorage`: the store of a pool, in one directory or in several. Chooses the volume of each frame, and leaves the
//! rest to that.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Weak};

use mempool_core::{
    Buffer, Fingerprint, Frame, Handle, Id, Room, SpillStore, StoreError, StoreErrorKind,
    StoreUsage, Summing,
};

use crate::directory::{Directory, DirectoryUsage};
use crate::error::SpillError;
use crate::options::SpillOptions;
use crate::placement::{Load, Placement};
use crate::quota::Total;
use crate::session::{Session, Swept};
use crate::standing::Standing;
use crate::volume::{Volume, filtered};
use crate::warning::Warning;

/// The store of a pool: a session in each of its directories.
///
/// Closing it, or dropping it, removes the sessions' directories; views that are held stay good.
#[derive(Debug)]
pub struct SpillStorage(Arc<Volumes>);

/// The directories of a store, for a look at them while a pool has it. Does not keep the store open.
#[derive(Clone, Debug)]
pub struct Directories(Weak<Volumes>);

#[derive(Debug)]
struct Volumes {
    members: Vec<Member>,
    placement: Placement,
    /// What is counted for several volumes together.
    total: Option<Arc<Total>>,
    warnings: Vec<Warning>,
}

/// A volume among others.
#[derive(Debug)]
struct Member {
    volume: Volume,
    standing: Standing,
    /// What it may take, by its limit and by what its file system had free at opening.
    room_bytes: u64,
    device: u64,
}

impl SpillStorage {
    pub(crate) fn open(options: SpillOptions) -> Result<Self, SpillError> {
        let devices = devices(&options.directories)?;
        let several = devices.len() > 1;
        let total = several.then(|| Total::new(options.disk_limit));
        let (placement, options) = (options.placement, Arc::new(filtered::options(options)));
        // What was opened before one that cannot be opened is removed by its drop.
        let members = devices.iter().enumerate().map(|(index, &device)| {
            let volume = Volume::open(&options, index, total.as_ref())?;
            let measured = several && placement == Placement::Spread;
            let room_bytes = if measured { volume.files().room_bytes()? } else { 0 };
            Ok(Member { volume, standing: Standing::new(), room_bytes, device })
        });
        let members = members.collect::<Result<Vec<_>, SpillError>>()?;
        let dirs = members.iter().map(|member| member.volume.files().session().dir());
        let warnings = options.directories.iter().zip(dirs);
        let warnings = warnings.filter_map(|(named, dir)| Warning::of(named.path(), dir)).collect();
        Ok(Self(Arc::new(Volumes { members, placement, total, warnings })))
    }

    /// What is retained in the one directory of `options`.
    pub(crate) fn restore(options: SpillOptions) -> Result<Self, SpillError> {
        let [directory] = &options.directories[..] else {
            return Err(SpillError::SeveralDirectories);
        };
        let device = devices(&options.directories)?[0];
        let (session, swept, kept, file) =
            Session::restore(directory.path(), &options.label, options.session.as_deref())?;
        let warnings = Warning::of(directory.path(), session.dir()).into_iter().collect();
        let (placement, options) = (options.placement, Arc::new(filtered::options(options)));
        let volume = Volume::restored(&options, session, swept, &kept, &file)?;
        let members = vec![Member { volume, standing: Standing::new(), room_bytes: 0, device }];
        Ok(Self(Arc::new(Volumes { members, placement, total: None, warnings })))
    }

    /// The one volume that can retain.
    fn only(&self) -> Result<&Volume, StoreError> {
        match &self.0.members[..] {
            [only] => Ok(&only.volume),
            _ => Err(SpillError::SeveralDirectories.into()),
        }
    }

    /// The session's directory; of several directories the one in the first.
    #[must_use]
    pub fn session_path(&self) -> &Path {
        self.0.members[0].volume.session_path()
    }

    /// What the sweeps at opening found, in all directories.
    #[must_use]
    pub fn swept(&self) -> Swept {
        let sum = |a: Swept, b: Swept| Swept {
            sessions: a.sessions + b.sessions,
            files: a.files + b.files,
            living: a.living + b.living,
            saves: a.saves + b.saves,
            retained: a.retained + b.retained,
        };
        self.0.members.iter().map(|member| member.volume.swept()).fold(Swept::default(), sum)
    }

    /// What the user should know of the directories. A library prints nothing: the program does, if it wants to.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.0.warnings
    }

    /// The directories, to be looked at when a pool has the store.
    #[must_use]
    pub fn directories(&self) -> Directories {
        Directories(Arc::downgrade(&self.0))
    }
}

impl Directories {
    /// What is held in each directory and how it stands, in the order in which they were given. None when the store is
    /// gone.
    #[must_use]
    pub fn usage(&self) -> Vec<DirectoryUsage> {
        let Some(volumes) = self.0.upgrade() else { return Vec::new() };
        let usage = |member: &Member| DirectoryUsage {
            path: member.volume.session_path().to_path_buf(),
            usage: member.volume.usage(),
            state: member.standing.state(),
            refusals: member.standing.refusals(),
        };
        volumes.members.iter().map(usage).collect()
    }
}

/// The device of each directory, none of which is given twice.
fn devices(directories: &[Directory]) -> Result<Vec<u64>, SpillError> {
    let mut found: Vec<(u64, u64)> = Vec::with_capacity(directories.len());
    for directory in directories {
        let path = directory.path();
        let stat = rustix::fs::stat(path).map_err(|e| SpillError::io("open", path, e))?;
        let inode = (stat.st_dev, stat.st_ino);
        if let Some(at) = found.iter().position(|one| *one == inode) {
            let (path, first) = (path.to_path_buf(), directories[at].path().to_path_buf());
            return Err(SpillError::SameDirectory { path, first });
        }
        found.push(inode);
    }
    Ok(found.into_iter().map(|(device, _)| device).collect())
}

impl Member {
    /// Takes `error` for a refusal of this volume, or answers it: then no other volume would do better.
    fn refusal(&self, error: StoreError) -> Result<SpillError, StoreError> {
        let StoreError { kind, source } = error;
        let source = source.downcast::<SpillError>();
        let source = source.map_err(|source| StoreError { kind, source })?;
        if !source.is_refusal_of(self.volume.session_path()) {
            return Err(StoreError { kind, source });
        }
        self.standing.refused(kind == StoreErrorKind::Full);
        Ok(*source)
    }

    fn load(&self) -> Load {
        Load {
            state: self.standing.state(),
            writing_bytes: self.standing.writing_bytes(),
            live_bytes: self.volume.files().live_bytes(),
            room_bytes: self.room_bytes,
        }
    }
}

impl Volumes {
    /// The volume of a frame: the numbers of its segments leave its index.
    fn member(&self, handle: &Handle) -> &Member {
        let count = self.members.len() as u64;
        let index = if count == 1 || mutant!("volume_lost") { 0 } else { handle.segment % count };
        // Less than their number, which is one of theirs.
        &self.members[usize::try_from(index).unwrap_or_default()]
    }

    /// Has the disk of a volume do what nobody waits for. One that hangs is left alone: a later call does it.
    fn tidy(&self, member: &Member, work: impl FnOnce(&Volume)) {
        if self.members.len() == 1 {
            return work(&member.volume);
        }
        if !member.standing.is_stalled() {
            // So that it is noticed if it hangs here.
            let _working = member.standing.begin(0);
            work(&member.volume);
        }
    }

    /// The volumes in the order in which they are asked to take a frame.
    fn in_turn(&self) -> Vec<&Member> {
        let loads: Vec<Load> = self.members.iter().map(Member::load).collect();
        let order = self.placement.order(&loads);
        self.members.iter().for_each(|member| member.standing.pass());
        order.into_iter().filter_map(|index| self.members.get(index)).collect()
    }

    /// In a forked child no lock of its parent's may be taken.
    fn is_ours(&self) -> bool {
        self.members.iter().all(|member| member.volume.files().session().is_ours())
    }

    /// The limit of all together: their own limits' sum where each has one, or less.
    fn limit_bytes(&self, usages: &[StoreUsage]) -> Option<u64> {
        let sum = usages.iter().map(|usage| usage.limit_bytes).sum::<Option<u64>>();
        let total = self.total.as_ref().and_then(|total| total.limit_bytes());
        sum.into_iter().chain(total).min()
    }

    /// Asks the members one by one until one takes what is to be written. What one keeps for later may stand in the way of
    /// another by the limit of all; then it goes, and they are asked once more.
    fn place<T>(
        &self,
        members: &[&Member],
        bytes: u64,
        mut write: impl FnMut(&Volume) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut asked = Self::ask(members, bytes, &mut write)?;
        if let Asked::Refused(refusals) = &asked
            && refusals.iter().any(is_total_limit)
            && self.remove_idle()
        {
            asked = Self::ask(members, bytes, &mut write)?;
        }
        match asked {
            Asked::Taken(written) => Ok(written),
            Asked::Refused(refusals) => Err(no_directory(refusals).into()),
        }
    }

    fn ask<T>(
        members: &[&Member],
        bytes: u64,
        write: &mut impl FnMut(&Volume) -> Result<T, StoreError>,
    ) -> Result<Asked<T>, StoreError> {
        let mut refusals = Vec::new();
        for member in members {
            let writing = member.standing.begin(bytes);
            let written = write(&member.volume);
            drop(writing);
            match written {
                Ok(written) => {
                    member.standing.took();
                    return Ok(Asked::Taken(written));
                }
                Err(error) if mutant!("refusal_is_final") => return Err(error),
                Err(error) => refusals.push(member.refusal(error)?),
            }
        }
        Ok(Asked::Refused(refusals))
    }

    /// Removes what all volumes keep for later; whether there was anything.
    fn remove_idle(&self) -> bool {
        let mut removed = false;
        for member in &self.members {
            self.tidy(member, |volume| removed |= volume.files().remove_idle());
        }
        removed
    }
}

/// What came of asking all volumes.
enum Asked<T> {
    Taken(T),
    Refused(Vec<SpillError>),
}

fn is_total_limit(error: &SpillError) -> bool {
    matches!(error, SpillError::TotalLimit { .. })
}

/// Why no volume takes a frame.
fn no_directory(mut refusals: Vec<SpillError>) -> SpillError {
    let others = refusals.split_off(1);
    let first = refusals.remove(0);
    if is_total_limit(&first) && others.iter().all(is_total_limit) {
        return first;
    }
    SpillError::NoDirectory { first: Box::new(first), others }
}

impl SpillStore for SpillStorage {
    fn write(&self, frame: &Frame<'_>) -> Result<Handle, StoreError> {
        if let [only] = &self.0.members[..] {
            return only.volume.write(frame);
        }
        let bytes = frame.frame_bytes();
        self.0.place(&self.0.in_turn(), bytes, |volume| volume.write(frame))
    }

    fn write_batch(&self, frames: &[Frame<'_>]) -> (Vec<Handle>, Option<StoreError>) {
        if let [only] = &self.0.members[..] {
            return only.volume.write_batch(frames);
        }
        let bytes = frames.iter().map(Frame::frame_bytes).sum();
        let mut handles = Vec::with_capacity(frames.len());
        let written = self.0.place(&self.0.in_turn(), bytes, |volume| {
            let left = frames.get(handles.len()..).unwrap_or_default();
            let (written, error) = volume.write_batch(left);
            handles.extend(written);
            error.map_or(Ok(()), Err)
        });
        (handles, written.err())
    }

    fn batch_bytes(&self) -> u64 {
        Volume::BATCH_BYTES
    }

    fn open(&self, handle: &Handle, room: &mut Room) -> Result<Buffer, StoreError> {
        self.0.member(handle).volume.open(handle, room)
    }

    fn advise(&self, handles: &[Handle]) {
        let count = self.0.members.len() as u64;
        if count == 1 {
            return self.0.members[0].volume.advise(handles);
        }
        for member in self.0.members.iter().filter(|member| !member.standing.is_stalled()) {
            let here = |handle: &&Handle| std::ptr::eq(self.0.member(handle), member);
            let here: Vec<Handle> = handles.iter().filter(here).copied().collect();
            member.volume.advise(&here);
        }
    }

    fn open_whole(&self, handle: &Handle, room: &mut Room) -> Result<Buffer, StoreError> {
        self.0.member(handle).volume.open_whole(handle, room)
    }

    fn retain(&self, manifest: &[u8], frames: &[Handle]) -> Result<(), StoreError> {
        self.only()?.retain(manifest, frames)
    }

    fn wants_anew(&self, handle: &Handle) -> bool {
        self.0.member(handle).volume.wants_anew(handle)
    }

    fn retained(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.members[0].volume.retained()
    }

    fn adopt(&self, frames: &[Handle]) -> Result<(), StoreError> {
        self.only()?.adopt(frames)
    }

    fn forget(&self) -> Result<(), StoreError> {
        self.0.members[0].volume.forget()
    }

    fn free(&self, handle: &Handle) {
        let member = self.0.member(handle);
        if member.volume.release(handle) {
            member.standing.freed();
            self.0.tidy(member, |volume| volume.files().sweep());
        }
    }

    fn reclaim(&self, rehome: &mut dyn FnMut(Id, &Handle, &Handle) -> bool) {
        for member in &self.0.members {
            self.0.tidy(member, |volume| volume.reclaim(rehome));
        }
    }

    fn save(&self, frame: &Frame<'_>, path: &Path) -> Result<Fingerprint, StoreError> {
        for other in &self.0.members[1..] {
            // It may stand among no sessions; the first looks at its own.
            other.volume.files().parent_of(path)?;
        }
        self.0.members[0].volume.save(frame, path)
    }

    fn load(&self, path: &Path, room: &mut Room) -> Result<Buffer, StoreError> {
        if let [only] = &self.0.members[..] {
            return only.volume.load(path, room);
        }
        let mut members = self.0.in_turn();
        let device = rustix::fs::stat(path).map(|stat| stat.st_dev).ok();
        // Within one file system the blocks of a file can be shared.
        members.sort_by_key(|member| (member.standing.state(), Some(member.device) != device));
        self.0.place(&members, 0, |volume| volume.load(path, room))
    }

    fn checksum(&self, bytes: &[u8]) -> u64 {
        self.0.members[0].volume.checksum(bytes)
    }

    fn summing(&self) -> Box<dyn Summing> {
        self.0.members[0].volume.summing()
    }

    fn share(&self, handle: &Handle) -> Option<(File, u64, u64)> {
        self.0.member(handle).volume.share(handle)
    }

    fn mapped_bytes(&self) -> u64 {
        self.0.members.iter().map(|member| member.volume.mapped_bytes()).sum()
    }

    fn trim(&self) {
        for member in &self.0.members {
            if member.volume.trim_views() {
                self.0.tidy(member, |volume| volume.files().sweep());
            }
        }
    }

    fn usage(&self) -> StoreUsage {
        if !self.0.is_ours() {
            return StoreUsage::default();
        }
        let usages: Vec<_> = self.0.members.iter().map(|member| member.volume.usage()).collect();
        let sum = |of: fn(&StoreUsage) -> u64| usages.iter().map(of).sum();
        let total = self.0.total.as_ref().map(|total| total.used());
        StoreUsage {
            live_bytes: sum(|usage| usage.live_bytes),
            disk_bytes: sum(|usage| usage.disk_bytes),
            peak_disk_bytes: total.map_or_else(|| sum(|u| u.peak_disk_bytes), |t| t.peak_bytes),
            limit_bytes: self.0.limit_bytes(&usages),
            mapped_bytes: sum(|usage| usage.mapped_bytes),
            descriptors: sum(|usage| usage.descriptors),
        }
    }

    fn close(&self) -> Result<(), StoreError> {
        // All of them, whatever one says.
        let closed: Vec<_> = self.0.members.iter().map(|member| member.volume.close()).collect();
        closed.into_iter().collect()
    }
}

impl Drop for SpillStorage {
    fn drop(&mut self) {
        // Now, whoever looks at the directories. Who wants to know closes it himself.
        for member in &self.0.members {
            let _ = member.volume.leave();
        }
    }
}
