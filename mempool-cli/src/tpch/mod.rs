//! The main job: a table larger than the memory limit goes into a pool, is queried from there, and is proved to have come back right.
//!
//! ```text
//! generate    threads make parts of the table and set them as chunks      pool.set(Vec<LineItem>)
//! query 1, 6  threads scan all chunks as archives, where they lie          pool.get(&chunk)
//! read back   threads compare each chunk, all columns, with what was set   pool.get(&chunk)
//! direct      at scales without official answers: the queries again, over rows that never were in the pool
//! close       the pool goes, and nothing may be left on disk
//! ```

mod answers;
mod fingerprint;
mod lineitem;
pub(crate) mod plan;
mod q1;
mod q6;
mod source;
mod table;

use std::path::PathBuf;

use mempool_codec::Rkyv;
use mempool_core::{DRef, Pool, PoolOptions, Stats};
use rkyv::Archived;

use self::{
    answers::{Answers, Expected},
    fingerprint::Fingerprint,
    lineitem::{LineItem, Row},
    plan::Plan,
    q1::PricingSummary,
    q6::RevenueChange,
    source::Source,
};
use crate::{
    card::{AnswersPart, Card, MemoryPart, PROCESS_ALLOWANCE_BYTES, Phase, QueryPart, SpillPart},
    disk::SpillPlace,
    error::CliError,
    memory::{Peaks, Sampler},
    progress::Progress,
    stop::Stop,
    workers::{Queue, on_threads},
};

/// What was asked for on the command line.
pub(crate) struct Options {
    /// 1 is 6,001,215 rows.
    pub(crate) scale: f64,
    pub(crate) memory_limit_bytes: u64,
    /// An existing directory.
    pub(crate) disk: PathBuf,
    /// At least 1.
    pub(crate) threads: usize,
}

/// Rows as the pool keeps them, and what must be true of them later.
struct Chunk {
    reference: DRef<Vec<LineItem>>,
    rows: u64,
    /// Size of the archive.
    bytes: u64,
    /// Of the rows as they were generated.
    fingerprint: Fingerprint,
}

/// Runs the job and says what came of it. A card is returned whether or not it is a proof; see [`Card::failures`].
///
/// # Errors
/// The memory limit is too small, the disk refuses, or the pool fails.
pub(crate) fn run(options: &Options, progress: Progress, stop: Stop) -> Result<Card, CliError> {
    let plan = Plan::new(options.scale, options.memory_limit_bytes, options.threads)?;
    let (place, storage) = SpillPlace::open(&options.disk, plan.spilled_bytes_min())?;
    let sampler = Sampler::start()?;
    let pool = PoolOptions::new()
        .memory_limit(options.memory_limit_bytes)
        .store(storage)
        .open(Rkyv::new());
    let job = Job { options, plan, progress, stop, pool };
    let proof = job.prove()?;
    let peaks = sampler.finish();
    let files_left = place.left()?;
    Ok(proof.card(options, peaks, place, files_left))
}

/// The job under way.
struct Job<'a> {
    options: &'a Options,
    plan: Plan,
    progress: Progress,
    stop: Stop,
    pool: Pool<Rkyv>,
}

/// What the job came to.
struct Proof {
    answers: AnswersPart,
    rows: u64,
    values: u64,
    set_bytes: u64,
    values_changed: u64,
    stats: Stats,
    phases: Vec<Phase>,
}

impl Job<'_> {
    /// All phases, and the end of the pool.
    fn prove(&self) -> Result<Proof, CliError> {
        // The generator's own memory is reserved in the pool, so that the limit holds for it too.
        let text_room = self.pool.reserve(Source::HEAP_BYTES as u64)?;
        let source = Source::new(self.options.scale);
        let (chunks, generate) = self.generate(&source)?;
        let (pricing, query_1) =
            self.query("query 1", &chunks, PricingSummary::add, PricingSummary::merge)?;
        let (revenue, query_6) =
            self.query("query 6", &chunks, RevenueChange::add, RevenueChange::merge)?;
        let (values_changed, read_back) = self.read_back(&chunks)?;
        let mut phases = vec![generate, query_1, query_6, read_back];
        let expected = self.expected(&source, &mut phases)?;
        drop((source, text_room));
        let stats = self.pool.stats();
        self.pool.close()?;
        Ok(Proof {
            answers: AnswersPart {
                compared_with: expected.describe(),
                queries: vec![
                    QueryPart {
                        query: 1,
                        rows: pricing.exact().rows.len(),
                        differences: expected.pricing_differences(&pricing),
                    },
                    QueryPart {
                        query: 6,
                        rows: revenue.exact().rows.len(),
                        differences: expected.revenue_differences(&revenue),
                    },
                ],
            },
            rows: chunks.iter().map(|chunk| chunk.rows).sum(),
            values: chunks.len() as u64,
            set_bytes: chunks.iter().map(|chunk| chunk.bytes).sum(),
            values_changed,
            stats,
            phases,
        })
    }

    /// Generates the table into the pool.
    fn generate(&self, source: &Source) -> Result<(Vec<Chunk>, Phase), CliError> {
        let running = self.progress.start("generate", Source::rows_expected(self.options.scale));
        let chunks = self.on_parts(|queue| {
            // A thread holds one chunk as rows at a time.
            let _room = self.pool.reserve(self.plan.chunk_heap_bytes())?;
            let mut chunks = Vec::new();
            while let Some(part) = queue.take() {
                let mut rows = source.part(part, self.plan.parts).peekable();
                while rows.peek().is_some() {
                    let chunk = self.set_chunk(rows.by_ref().take(self.plan.chunk_rows))?;
                    running.add(chunk.rows, chunk.bytes);
                    chunks.push(chunk);
                }
            }
            Ok(chunks)
        })?;
        Ok((chunks.into_iter().flatten().collect(), running.finish()))
    }

    fn set_chunk<'r>(&self, rows: impl Iterator<Item = Row<'r>>) -> Result<Chunk, CliError> {
        let mut fingerprint = Fingerprint::default();
        let mut bytes = LineItem::ARCHIVED_VEC_BYTES;
        let mut lines = Vec::with_capacity(self.plan.chunk_rows);
        for row in rows {
            fingerprint.add(&row);
            bytes += row.archived_bytes();
            lines.push(LineItem::from(row));
        }
        let rows = lines.len() as u64;
        let reference = self.pool.set(lines).map_err(|rejected| rejected.error)?;
        Ok(Chunk { reference, rows, bytes, fingerprint })
    }

    /// Answers a query from the pool: each thread counts for itself, and the counts are merged.
    fn query<A: Default + Send>(
        &self,
        name: &'static str,
        chunks: &[Chunk],
        add: impl Fn(&mut A, &Row<'_>) + Sync,
        merge: impl Fn(&mut A, &A),
    ) -> Result<(A, Phase), CliError> {
        let scan = |answer: &mut A, _: &Chunk, lines: &Archived<Vec<LineItem>>| {
            lines.iter().for_each(|line| add(answer, &Row::from(line)));
        };
        let (parts, phase) = self.scan(name, chunks, scan)?;
        Ok((merged(&parts, merge), phase))
    }

    /// Reads all columns of all rows and counts the chunks that are not as they were set.
    fn read_back(&self, chunks: &[Chunk]) -> Result<(u64, Phase), CliError> {
        let compare = |changed: &mut u64, chunk: &Chunk, lines: &Archived<Vec<LineItem>>| {
            let mut fingerprint = Fingerprint::default();
            lines.iter().for_each(|line| fingerprint.add(&Row::from(line)));
            let same = fingerprint == chunk.fingerprint && lines.len() as u64 == chunk.rows;
            *changed += u64::from(!same);
        };
        let (changed, phase) = self.scan("read back", chunks, compare)?;
        Ok((changed.iter().sum(), phase))
    }

    /// Gets each chunk once, on all threads, and shows it to `look` with what the thread has found so far.
    fn scan<A: Default + Send>(
        &self,
        name: &'static str,
        chunks: &[Chunk],
        look: impl Fn(&mut A, &Chunk, &Archived<Vec<LineItem>>) + Sync,
    ) -> Result<(Vec<A>, Phase), CliError> {
        let running = self.progress.start(name, chunks.iter().map(|chunk| chunk.rows).sum());
        let found = self.on_threads(chunks.len(), |queue| {
            let mut found = A::default();
            while let Some(chunk) = queue.take().and_then(|index| chunks.get(index)) {
                let lines = self.pool.get(&chunk.reference)?;
                look(&mut found, chunk, &lines);
                running.add(chunk.rows, chunk.bytes);
            }
            Ok::<_, CliError>(found)
        })?;
        Ok((found, running.finish()))
    }

    /// What the answers must be: the official ones where there are any, else computed without the pool.
    fn expected(&self, source: &Source, phases: &mut Vec<Phase>) -> Result<Expected, CliError> {
        if Expected::has_official(self.options.scale) {
            return Ok(Expected::Official);
        }
        let running = self.progress.start("direct", Source::rows_expected(self.options.scale));
        let parts = self.on_parts(|queue| {
            let mut answers = Answers::default();
            while let Some(part) = queue.take() {
                let rows =
                    source.part(part, self.plan.parts).inspect(|row| answers.add(row)).count();
                running.add(rows as u64, 0);
            }
            Ok(answers)
        })?;
        phases.push(running.finish());
        Ok(Expected::Direct(merged(&parts, Answers::merge)))
    }

    /// Runs `work` on all threads, with a queue of the table's parts.
    fn on_parts<T: Send>(
        &self,
        work: impl Fn(&Queue) -> Result<T, CliError> + Sync,
    ) -> Result<Vec<T>, CliError> {
        self.on_threads(self.plan.parts, work)
    }

    /// Runs `work` on all threads, with a queue of `count` pieces; an error if it was stopped.
    fn on_threads<T: Send>(
        &self,
        count: usize,
        work: impl Fn(&Queue) -> Result<T, CliError> + Sync,
    ) -> Result<Vec<T>, CliError> {
        let done = on_threads(self.options.threads, &Queue::new(count, &self.stop), work)?;
        self.stop.check()?;
        Ok(done)
    }
}

fn merged<A: Default>(parts: &[A], merge: impl Fn(&mut A, &A)) -> A {
    let mut all = A::default();
    parts.iter().for_each(|part| merge(&mut all, part));
    all
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
            threads: options.threads,
            answers: self.answers,
            rows: self.rows,
            values: self.values,
            set_bytes: self.set_bytes,
            values_changed: self.values_changed,
            memory: MemoryPart {
                limit_bytes: options.memory_limit_bytes,
                peak_resident_bytes: stats.peak_bytes,
                process_peaks,
                process_limit_bytes: options
                    .memory_limit_bytes
                    .saturating_add(PROCESS_ALLOWANCE_BYTES),
            },
            spill: SpillPart {
                directory: place.directory,
                file_system: place.file_system,
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
