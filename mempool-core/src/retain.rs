//! Retaining: the named values of a pool, and all that they refer to, outlive it.
//!
//! Every value is written that has no good copy on disk, and claimed, so that its frame stays where it is; then the store
//! makes the frames durable and puts the manifest in the place of the one before, with one step.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::claim::{FrameClaim, Kept};
use crate::dref::AnyRef;
use crate::entry::Entry;
use crate::error::{Error, Result};
use crate::evict::first_batch;
use crate::manifest::{KeptFormat, KeptValue, Manifest};
use crate::names::type_name_of;
use crate::shared::{Shared, Writing};
use crate::sink::{Sink, Trust};
use crate::store::Handle;
use crate::sync;

/// A value that is retained, held until that is done.
struct Held {
    value: AnyRef,
    /// `None` for one that was deleted or discarded while others refer to it.
    claim: Option<Arc<FrameClaim>>,
}

impl Held {
    fn references(&self) -> &[AnyRef] {
        let references = self.claim.as_ref().and_then(|claim| claim.references.as_deref());
        references.map_or(&[], Vec::as_slice)
    }
}

/// Names an entry while somebody holds it.
fn key(value: &AnyRef) -> *const Entry {
    value.as_ptr()
}

impl Shared {
    /// Retains what is named now.
    pub(crate) fn retain(&self) -> Result<()> {
        self.check_open()?;
        let _turn = sync::lock(&self.retaining);
        let names = self.names.list();
        self.refuse_remote(names.iter().map(|(_, value)| value.clone()).collect())?;
        let held = self.hold_all(names.iter().map(|(_, value)| value.clone()).collect())?;
        let (manifest, frames) = self.manifest_of(&names, &held);
        let bytes = manifest.encode(|bytes| self.back.store.checksum(bytes));
        Ok(self.back.store.retain(&bytes, &frames)?)
    }

    /// Refuses values whose bytes lie with another pool, among these and all that they are known to refer to. What a value
    /// refers to that was never written may come to light later ([`claim_written`](Self::claim_written)).
    fn refuse_remote(&self, mut values: Vec<AnyRef>) -> Result<()> {
        let mut seen = HashSet::new();
        while let Some(value) = values.pop() {
            if !seen.insert(key(&value)) || self.refusal(&value).is_some() {
                continue;
            }
            value.remote_claim().map_or(Ok(()), |claim| refuse(&claim))?;
            let held = sync::lock(&value.cold).references();
            values.extend(held.iter().flat_map(|held| held.iter().cloned()));
        }
        Ok(())
    }

    /// Writes and claims `level` and all that it refers to, level by level.
    fn hold_all(&self, mut level: Vec<AnyRef>) -> Result<HashMap<*const Entry, Held>> {
        let mut all = HashMap::new();
        let mut seen = HashSet::new();
        while !level.is_empty() {
            level.retain(|value| seen.insert(key(value)));
            let mut next = Vec::new();
            let mut rest = &level[..];
            while !rest.is_empty() {
                let (batch, behind) = rest.split_at(first_batch(rest, self.batch_bytes()));
                self.write_dirty(batch)?;
                for value in batch {
                    let claim = self.claim_written(value)?;
                    let held = Held { value: value.clone(), claim };
                    next.extend_from_slice(held.references());
                    all.insert(key(value), held);
                }
                rest = behind;
            }
            level = next;
        }
        Ok(all)
    }

    /// Writes those that are in memory and have no copy on disk together; what others work on is left to
    /// [`claim_written`](Self::claim_written).
    fn write_dirty(&self, values: &[AnyRef]) -> Result<()> {
        let dirty: Vec<&Entry> =
            values.iter().map(|value| &**value).filter(|entry| entry.word.begin_write()).collect();
        let (written, failed) = self.write_entries(&dirty);
        for (at, entry) in dirty.iter().enumerate() {
            entry.word.end_write(at < written);
            self.settle(entry);
        }
        if !dirty.is_empty() {
            self.ledger.nudge();
        }
        failed.map_or(Ok(()), Err)
    }

    /// Writes a value if no good copy is on disk, and claims its frame; `None` when it is gone.
    fn claim_written(&self, value: &AnyRef) -> Result<Option<Arc<FrameClaim>>> {
        let claim = match self.write_out(value) {
            Err(Error::Deleted { .. } | Error::Discarded { .. }) => return Ok(None),
            other => other?,
        };
        refuse(&claim)?;
        match claim.handle {
            Some(handle) if self.back.store.wants_anew(&handle) => self.write_anew(value, claim),
            _ => Ok(Some(claim)),
        }
    }

    /// Writes a value if no good copy is on disk, keeps it in memory if it is there, and claims the frame.
    pub(crate) fn write_out(&self, entry: &Entry) -> Result<Arc<FrameClaim>> {
        loop {
            if let Some(error) = self.refusal(entry) {
                return Err(error);
            }
            if entry.word.load().on_disk()
                && let Some(claim) = FrameClaim::on(entry)
            {
                return Ok(claim);
            }
            if entry.word.begin_write() {
                let written = self.write_entry(entry);
                let claim = FrameClaim::on(entry);
                entry.word.end_write(written.is_ok());
                self.settle(entry);
                self.ledger.nudge();
                written?;
                if let Some(claim) = claim {
                    return Ok(claim);
                }
            } else {
                self.wait_while_busy(entry);
            }
        }
    }

    /// Copies the frame of a value to a new place, every byte checked, and has the value keep that one.
    fn write_anew(
        &self,
        value: &AnyRef,
        claim: Arc<FrameClaim>,
    ) -> Result<Option<Arc<FrameClaim>>> {
        let sections = self.sections_of(claim.frame(), Trust::Saved);
        let sections = sections.map_err(|error| match &claim.origin {
            Some(origin) => origin.explain(value.id(), error),
            None => error,
        })?;
        let body = |sink: &mut Sink<'_>| {
            sections.iter().try_for_each(|(align, bytes)| {
                sink.section(*align)?;
                sink.write(bytes)
            })
        };
        let writing = Writing {
            registration: &claim.registration,
            id: value.id(),
            charged_bytes: claim.charged_bytes,
            references: claim.references.clone(),
            body: &body,
        };
        let handle = self.write_frame(writing)?.handle;
        let mut other = self.kept_anew(&claim, handle);
        {
            let kept = &mut sync::lock(&value.cold).kept;
            if matches!(kept, Kept::Claimed(there) if Arc::ptr_eq(there, &claim)) {
                std::mem::swap(kept, &mut other);
            }
        }
        // The old frame goes with its last claim; the new one of a value that ended meanwhile goes now.
        other.give_up(&self.back);
        self.leave_old_place(value);
        Ok(FrameClaim::on(value))
    }

    /// What is said of the values, each behind those that it refers to, and where their frames are.
    fn manifest_of(
        &self,
        names: &[(Arc<str>, AnyRef)],
        held: &HashMap<*const Entry, Held>,
    ) -> (Manifest, Vec<Handle>) {
        let mut manifest = Manifest::default();
        let mut formats = HashMap::new();
        let mut index = HashMap::new();
        let mut frames = Vec::new();
        for (_, root) in names {
            // A value that is looked at a second time comes behind what it refers to.
            let mut stack = vec![(key(root), false)];
            while let Some((key_of, again)) = stack.pop() {
                let Some(one) = held.get(&key_of).filter(|_| !index.contains_key(&key_of)) else {
                    continue;
                };
                if !again {
                    stack.push((key_of, true));
                    stack.extend(one.references().iter().map(|other| (key(other), false)));
                    continue;
                }
                let references = one.references().iter().map(|other| index[&key(other)]).collect();
                index.insert(key_of, small(manifest.values.len()));
                let value = self.kept_value(one, &mut formats, &mut manifest.formats, references);
                frames.extend(value.frame);
                manifest.values.push(value);
            }
        }
        // A name whose value is gone is not kept.
        let there = |(name, value): &(Arc<str>, AnyRef)| {
            let at = index[&key(value)];
            let gone = manifest.values[at as usize].frame.is_none();
            (!gone).then(|| (name.to_string(), at))
        };
        manifest.names = names.iter().filter_map(there).collect();
        (manifest, frames)
    }

    fn kept_value(
        &self,
        Held { value, claim }: &Held,
        formats: &mut HashMap<(crate::codec::CodecName, u64, u8, String), u32>,
        list: &mut Vec<KeptFormat>,
        references: Vec<u32>,
    ) -> KeptValue {
        let format = value.registration().format();
        let type_name = type_name_of(&**value.registration()).to_owned();
        let entry = (format.codec, format.type_tag, format.pointer_width, type_name.clone());
        let format = *formats.entry(entry).or_insert_with(|| {
            list.push(KeptFormat { format, type_name });
            small(list.len() - 1)
        });
        let origin = claim.as_ref().and_then(|claim| claim.origin.as_ref());
        let (id, pool) = self.back.writer(value.id(), origin);
        KeptValue {
            format,
            frame: claim.as_ref().and_then(|claim| claim.handle),
            id,
            pool,
            charged_bytes: claim.as_ref().map_or(0, |claim| claim.charged_bytes),
            references,
        }
    }
}

/// Refuses a claim on a frame that lies with another pool.
fn refuse(claim: &FrameClaim) -> Result<()> {
    match claim.remote() {
        Some(remote) => Err(Error::Elsewhere { id: claim.id, at: remote.describe() }),
        None => Ok(()),
    }
}

fn small(index: usize) -> u32 {
    u32::try_from(index).expect("a pool has fewer than 2^32 values")
}
