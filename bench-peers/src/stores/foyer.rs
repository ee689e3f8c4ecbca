//! foyer: a hybrid cache. It may drop what it was given, so it is measured twice: as its README sets it up, and with its
//! disk queue waited for so often that nothing is dropped.

use std::path::Path;

use foyer::{
    BlockEngineConfig, DeviceBuilder as _, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    RecoverMode,
};
use tokio::runtime::Runtime;

use crate::plan::Plan;
use crate::store::{Outcome, Store};

pub(crate) const SETUP: &str = "as its README has it: block engine on a directory, written on eviction, no compression; memory at the budget less its write buffers; room on disk for three times the data; what its queue has no room for is lost";
pub(crate) const SETUP_WAITED_FOR: &str =
    "the same, and its disk queue waited for after every 8 MiB set or read";

/// Its default: buffers of so many bytes, and a queue that drops what comes beyond as many.
const BUFFER_BYTES: usize = 16 << 20;

struct Foyer {
    runtime: Runtime,
    cache: HybridCache<u64, Vec<u8>>,
    /// After how many bytes the queue is waited for.
    pace: Option<usize>,
    unwaited: usize,
}

pub(crate) fn open(directory: &Path, plan: &Plan) -> Outcome<Box<dyn Store>> {
    Ok(Box::new(make(directory, plan, None)?))
}

pub(crate) fn open_waited_for(directory: &Path, plan: &Plan) -> Outcome<Box<dyn Store>> {
    Ok(Box::new(make(directory, plan, Some(BUFFER_BYTES / 2))?))
}

fn make(directory: &Path, plan: &Plan, pace: Option<usize>) -> Outcome<Foyer> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // A block and the buffers must each hold a value with its header.
    let large = plan.value_bytes >= BUFFER_BYTES;
    let buffer = if large { plan.value_bytes + (4 << 20) } else { BUFFER_BYTES };
    let block = if large { plan.value_bytes + (8 << 20) } else { BUFFER_BYTES };
    let memory = usize::try_from(plan.budget_bytes)?.saturating_sub(buffer).max(plan.value_bytes);
    let capacity = usize::try_from(3 * plan.data_bytes())?.next_multiple_of(block);
    let cache = runtime.block_on(async {
        let device = FsDeviceBuilder::new(directory).with_capacity(capacity).build()?;
        let engine = BlockEngineConfig::new(device)
            .with_block_size(block)
            .with_buffer_pool_size(buffer)
            .with_submit_queue_size_threshold(buffer);
        HybridCacheBuilder::new()
            .memory(memory)
            // One thread sets and reads; more shards would only make the limit coarser.
            .with_shards(1)
            .with_weighter(|_key, value: &Vec<u8>| value.len())
            .storage()
            .with_engine_config(engine)
            .with_recover_mode(RecoverMode::None)
            .build()
            .await
    })?;
    Ok(Foyer { runtime, cache, pace, unwaited: 0 })
}

impl Foyer {
    fn passed(&mut self, bytes: usize) {
        self.unwaited += bytes;
        if self.pace.is_some_and(|pace| self.unwaited >= pace) {
            self.runtime.block_on(self.cache.storage().wait());
            self.unwaited = 0;
        }
    }
}

impl Store for Foyer {
    fn set(&mut self, id: u64, value: Vec<u8>) -> Outcome<()> {
        let bytes = value.len();
        drop(self.cache.insert(id, value));
        self.passed(bytes);
        Ok(())
    }

    fn read(&mut self, id: u64, look: &mut dyn FnMut(&[u8]) -> bool) -> Outcome<Option<bool>> {
        let found = self.runtime.block_on(self.cache.get(&id))?;
        let Some(entry) = found else { return Ok(None) };
        let right = look(entry.value());
        let bytes = entry.value().len();
        drop(entry);
        self.passed(bytes);
        Ok(Some(right))
    }
}
