//! What one process measures: one store with values of one size, through all workloads.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cold;
use crate::memory::Sampler;
use crate::plan::Plan;
use crate::store::{Kind, Outcome, Store};
use crate::value::Values;

/// The workloads, in the order in which they are measured.
pub(crate) const WORKLOADS: [&str; 4] =
    ["set all", "read all in order", "Zipf reads", "cold reads"];

/// One workload.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Phase {
    /// Within the calls alone; values are made and orders drawn outside.
    pub(crate) seconds: f64,
    pub(crate) operations: u64,
    /// Values that the store did not have any more.
    pub(crate) missing: u64,
    /// Values that were not what was set.
    pub(crate) wrong: u64,
}

/// All that a process found.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) store: String,
    pub(crate) value_bytes: usize,
    pub(crate) values: usize,
    pub(crate) budget_bytes: u64,
    pub(crate) phases: Vec<Phase>,
    /// The most anonymous memory beyond the harness's own; with the one value that is being made.
    pub(crate) anonymous_bytes: u64,
    /// The most file bytes in the page table.
    pub(crate) mapped_bytes: u64,
    /// On disk with all values set and written.
    pub(crate) disk_bytes: u64,
    /// Of the pages that should be cold, the share in memory, in per cent.
    pub(crate) still_cached: f64,
}

/// Opens the store in `directory` and measures it.
pub(crate) fn run(kind: &Kind, plan: &Plan, directory: &Path) -> Outcome<Measured> {
    let values = Values::new(plan.value_bytes);
    let (in_order, zipf, cold) = (plan.in_order(), plan.zipf(), plan.cold());
    let sampler = Sampler::start();
    let mut store = (kind.open)(directory, plan)?;
    let store = store.as_mut();
    let mut phases = vec![set(store, &values, plan)?];
    phases.push(read(store, &values, &in_order)?);
    phases.push(read(store, &values, &zipf)?);
    let still_cached = cold::drop_pages(directory)?;
    let disk_bytes = cold::disk_bytes(directory)?;
    phases.push(read(store, &values, &cold)?);
    let (anonymous_bytes, mapped_bytes) = sampler.stop();
    Ok(Measured {
        store: kind.name.to_owned(),
        value_bytes: plan.value_bytes,
        values: plan.count,
        budget_bytes: plan.budget_bytes,
        phases,
        anonymous_bytes,
        mapped_bytes,
        disk_bytes,
        still_cached,
    })
}

fn set(store: &mut dyn Store, values: &Values, plan: &Plan) -> Outcome<Phase> {
    let mut spent = Duration::ZERO;
    for id in 0..plan.count as u64 {
        let value = values.make(id);
        let start = Instant::now();
        store.set(id, value)?;
        spent += start.elapsed();
    }
    let start = Instant::now();
    store.finish()?;
    spent += start.elapsed();
    let operations = plan.count as u64;
    Ok(Phase { seconds: spent.as_secs_f64(), operations, missing: 0, wrong: 0 })
}

fn read(store: &mut dyn Store, values: &Values, order: &[u64]) -> Outcome<Phase> {
    let (mut missing, mut wrong) = (0, 0);
    let start = Instant::now();
    for &id in order {
        match store.read(id, &mut |bytes| values.is(id, bytes))? {
            Some(true) => {}
            Some(false) => wrong += 1,
            None => missing += 1,
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(Phase { seconds, operations: order.len() as u64, missing, wrong })
}
