//! The main job: a table larger than the memory limit goes into a pool, is queried from there, and is proved to have come back right.
//!
//! ```text
//! generate    threads make parts of the table and set them as chunks      lines.rs, layout.rs
//! query 1, 6  threads scan all chunks, where they lie                      q1.rs, q6.rs
//! tables      if a query joins some: orders and customers                  tables.rs, prose.rs
//! query 3     joins all three tables                                       q3.rs
//! query 13    a group for each customer, by the comments of his orders      q13.rs
//! query 18    1.5 million groups at scale 1                                q18.rs
//! read back   threads compare each chunk, all columns, with what was set   lines.rs
//! sort        if it was asked for: out of core, by ship date and order key  sort.rs
//! direct      at scales without official answers: the queries again, over rows that never were in the pool
//! close       the pool goes, and nothing may be left on disk
//! ```

mod answers;
mod columns;
mod customer;
mod filling;
mod fingerprint;
mod groups;
mod job;
mod layout;
mod lineitem;
mod lines;
mod order;
mod partition;
pub(crate) mod plan;
mod prose;
mod q1;
mod q13;
mod q18;
mod q3;
mod q6;
mod reserved;
mod rows;
mod sort;
mod source;
mod table;
mod tables;

use std::{collections::BTreeSet, path::PathBuf};

use mempool_arrays::Raw;
use mempool_codec::Rkyv;
use mempool_core::{PoolOptions, Stats};
use mempool_spill::Placement;

pub(crate) use self::layout::Layout;
use self::{
    answers::Expected,
    job::Job,
    layout::{Columns, LineChunk, Rows, Tables},
    lines::Lines,
    plan::{GroupPlan, Plan, SortPlan},
    q1::PricingSummary,
    q6::RevenueChange,
    source::Source,
    tables::Joined,
};
use crate::{
    card::{
        AnswersPart, Card, MemoryPart, PROCESS_ALLOWANCE_BYTES, Phase, QueryPart, SortPart,
        SpillPart,
    },
    disk::{self, SpillDirectory, SpillPlace},
    error::CliError,
    filters::{self, FilterChoice},
    memory::{Peaks, Sampler},
    progress::{Progress, line},
    stop::Stop,
};

/// What was asked for on the command line.
pub(crate) struct Options {
    /// 1 is 6,001,215 rows.
    pub(crate) scale: f64,
    /// How the pool keeps the tables.
    pub(crate) layout: Layout,
    /// In the order of their numbers, each once.
    pub(crate) queries: Vec<Query>,
    /// Whether to sort the table, too.
    pub(crate) sorts: bool,
    pub(crate) memory_limit_bytes: u64,
    /// What may be mapped of spilled values, if that has a limit.
    pub(crate) mapped_limit_bytes: Option<u64>,
    /// Existing directories, at least one.
    pub(crate) disks: Vec<SpillDirectory>,
    pub(crate) placement: Placement,
    /// What is written goes through these, in this order.
    pub(crate) filters: Vec<FilterChoice>,
    /// The key of an encryption; a random one without.
    pub(crate) key_file: Option<PathBuf>,
    /// At least 1.
    pub(crate) threads: usize,
}

/// The queries that there are, named by what they ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Query {
    Pricing,
    Shipping,
    Revenue,
    Distribution,
    LargeOrders,
}

impl Query {
    /// All, in the order of their numbers.
    pub(crate) const ALL: [Self; 5] =
        [Self::Pricing, Self::Shipping, Self::Revenue, Self::Distribution, Self::LargeOrders];

    /// The benchmark's number for it.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Pricing => 1,
            Self::Shipping => 3,
            Self::Revenue => 6,
            Self::Distribution => 13,
            Self::LargeOrders => 18,
        }
    }

    /// Whether it has many groups, and joins other tables to the lines.
    fn has_groups(self) -> bool {
        !matches!(self, Self::Pricing | Self::Revenue)
    }
}

/// The queries of those asked for that a layout answers, in the order of their numbers; others are left out, and it says so.
///
/// # Errors
/// None is left.
pub(crate) fn queries(layout: Layout, asked: &[Query]) -> Result<Vec<Query>, NoQuery> {
    let (queries, left_out): (BTreeSet<_>, BTreeSet<_>) =
        asked.iter().copied().partition(|query| layout.answers(*query));
    for query in &left_out {
        let number = query.number();
        line(&format!("note: query {number} goes over columns alone, and is left out"));
    }
    match queries.is_empty() {
        true => Err(NoQuery),
        false => Ok(queries.into_iter().collect()),
    }
}

/// The layout answers none of the queries.
#[derive(Debug, thiserror::Error)]
#[error("there is no query left to run; give --query 1,6,18 or --layout columns")]
pub(crate) struct NoQuery;

/// Runs the job and says what came of it. A card is returned whether or not it is a proof; see [`Card::failures`].
///
/// # Errors
/// The memory limit is too small, the disk refuses, the pool fails, or the job is stopped.
pub(crate) fn run(options: &Options, progress: Progress, stop: Stop) -> Result<Card, CliError> {
    match options.layout {
        Layout::Columns => run_over::<Columns>(options, progress, stop),
        Layout::Rows => run_over::<Rows>(options, progress, stop),
    }
}

fn run_over<L: Tables>(
    options: &Options,
    progress: Progress,
    stop: Stop,
) -> Result<Card, CliError> {
    let plan = Plan::new::<L>(options.scale, options.memory_limit_bytes, options.threads)?;
    let has_groups = options.queries.iter().any(|query| query.has_groups());
    let group_plan = has_groups
        .then(|| GroupPlan::new(options.scale, options.memory_limit_bytes, options.threads))
        .transpose()?;
    let sort_plan = options.sorts.then(|| SortPlan::new(&plan, options.threads)).transpose()?;
    let needed_bytes = plan.spilled_bytes_min(options.sorts);
    let spill = disk::options(&options.disks, options.placement);
    let spill = filters::apply(spill, &options.filters, options.key_file.as_deref())?;
    let (place, storage) = SpillPlace::open_with(&options.disks, spill, needed_bytes)?;
    let sampler = Sampler::start()?;
    let mut settings = PoolOptions::new().memory_limit(options.memory_limit_bytes).store(storage);
    if let Some(bytes) = options.mapped_limit_bytes {
        settings = settings.mapped_limit(bytes);
    }
    let pool = settings.open(Rkyv::new());
    let columns = pool.with_codec(Raw);
    let job = Job { options, plan, group_plan, sort_plan, progress, stop, pool, columns };
    let proof = Proof::make::<L>(&job)?;
    let peaks = sampler.finish();
    let files_left = place.left()?;
    Ok(proof.card(options, peaks, place, files_left))
}

/// What the job came to.
struct Proof {
    answers: AnswersPart,
    rows: u64,
    values: u64,
    set_bytes: u64,
    values_changed: u64,
    sort: Option<SortPart>,
    stats: Stats,
    phases: Vec<Phase>,
}

impl Proof {
    /// All phases, and the end of the pool.
    fn make<L: Tables>(job: &Job<'_>) -> Result<Self, CliError> {
        // The generator's own memory is reserved in the pool, so that the limit holds for it too.
        let text_room = job.pool.reserve(Source::HEAP_BYTES as u64)?;
        let source = Source::new(job.options.scale);
        let (lines, generate) = Lines::<L::Lines>::generate(job, &source)?;
        let mut phases = vec![generate];
        let answered = Answered::all::<L>(job, &source, &lines, &mut phases)?;
        let (values_changed, read_back) = lines.read_back(job)?;
        phases.push(read_back);
        let expected = Expected::find(job, &source, &mut phases)?;
        let answers = answered.compare(&expected);
        drop((source, text_room, expected));
        let (rows, values, set_bytes) = (lines.rows(), lines.chunks.len() as u64, lines.bytes());
        let mut sorted = None;
        if let Some(plan) = job.sort_plan {
            let (part, more) = sort::sort(job, lines, plan)?;
            sorted = Some(part);
            phases.extend(more);
        }
        let stats = job.pool.stats();
        job.pool.close()?;
        Ok(Self { answers, rows, values, set_bytes, values_changed, sort: sorted, stats, phases })
    }
}

/// What the pool answered to the queries that were asked for.
#[derive(Default)]
struct Answered {
    pricing: Option<PricingSummary>,
    shipping: Option<q3::Found>,
    revenue: Option<RevenueChange>,
    distribution: Option<q13::Found>,
    large: Option<q18::Found>,
}

impl Answered {
    fn all<L: Tables>(
        job: &Job<'_>,
        source: &Source,
        lines: &Lines<L::Lines>,
        phases: &mut Vec<Phase>,
    ) -> Result<Self, CliError> {
        let mut all = Self::default();
        if job.asks(Query::Pricing) {
            let (add, merge) = (<L::Lines as LineChunk>::price, PricingSummary::merge);
            let (answer, phase) = lines.query(job, "query 1", add, merge)?;
            all.pricing = Some(answer);
            phases.push(phase);
        }
        if job.asks(Query::Revenue) {
            let (add, merge) = (<L::Lines as LineChunk>::discount, RevenueChange::merge);
            let (answer, phase) = lines.query(job, "query 6", add, merge)?;
            all.revenue = Some(answer);
            phases.push(phase);
        }
        let Some(plan) = job.group_plan else { return Ok(all) };
        let (tables, loaded) = Joined::<L>::generate(job, source)?;
        phases.extend(loaded);
        if job.asks(Query::Shipping) {
            all.shipping = L::shipping(job, lines, &tables, plan)?;
            phases.extend(all.shipping.iter().flat_map(|found| found.phases.iter().cloned()));
        }
        if job.asks(Query::Distribution) {
            all.distribution = L::distribution(job, &tables, plan)?;
            phases.extend(all.distribution.iter().flat_map(|found| found.phases.iter().cloned()));
        }
        if job.asks(Query::LargeOrders) {
            let found = q18::answer(job, lines, &tables, plan)?;
            phases.extend(found.phases.iter().cloned());
            all.large = Some(found);
        }
        Ok(all)
    }

    fn compare(&self, expected: &Expected) -> AnswersPart {
        let pricing = self.pricing.as_ref().map(|answer| QueryPart {
            query: Query::Pricing.number(),
            rows: answer.exact().rows.len(),
            groups: None,
            differences: expected.pricing_differences(answer),
        });
        let shipping = self.shipping.as_ref().map(|found| QueryPart {
            query: Query::Shipping.number(),
            rows: found.answer.len(),
            groups: Some(found.groups),
            differences: expected.shipping_differences(&found.answer),
        });
        let revenue = self.revenue.as_ref().map(|answer| QueryPart {
            query: Query::Revenue.number(),
            rows: answer.exact().rows.len(),
            groups: None,
            differences: expected.revenue_differences(answer),
        });
        let distribution = self.distribution.as_ref().map(|found| QueryPart {
            query: Query::Distribution.number(),
            rows: found.answer.table().rows.len(),
            groups: Some(found.groups),
            differences: expected.distribution_differences(&found.answer),
        });
        let large = self.large.as_ref().map(|found| QueryPart {
            query: Query::LargeOrders.number(),
            rows: found.answer.len(),
            groups: Some(found.groups),
            differences: expected.large_differences(&found.answer),
        });
        let queries = [pricing, shipping, revenue, distribution, large];
        let queries = queries.into_iter().flatten().collect();
        AnswersPart { compared_with: expected.describe(), queries }
    }
}

impl Proof {
    fn card(
        self,
        options: &Options,
        process_peaks: Peaks,
        place: SpillPlace,
        files_left: Vec<PathBuf>,
    ) -> Card {
        let stats = &self.stats;
        Card {
            data: "data derived from TPC-H",
            scale: options.scale,
            layout: options.layout.name(),
            threads: options.threads,
            answers: self.answers,
            rows: self.rows,
            values: self.values,
            set_bytes: self.set_bytes,
            values_changed: self.values_changed,
            sort: self.sort,
            memory: MemoryPart {
                limit_bytes: options.memory_limit_bytes,
                peak_resident_bytes: stats.peak_bytes,
                process_peaks,
                process_limit_bytes: options
                    .memory_limit_bytes
                    .saturating_add(PROCESS_ALLOWANCE_BYTES),
                mapped_limit_bytes: options.mapped_limit_bytes,
            },
            spill: SpillPart {
                places: place.places,
                filters: options.filters.iter().map(ToString::to_string).collect(),
                spills: stats.spills,
                spilled_bytes: stats.written_bytes,
                times_the_limit: stats.written_bytes as f64 / options.memory_limit_bytes as f64,
                clean_evictions: stats.clean_evictions,
                reloads: stats.loads,
                gets: stats.gets,
                hit_ratio: stats.hit_ratio(),
                peak_disk_bytes: stats.store.peak_disk_bytes,
                files_left,
            },
            phases: self.phases,
        }
    }
}
