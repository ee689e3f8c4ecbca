//! `lineitem` in the pool: how it gets there, how queries go through it, and whether it is still what was set.

use super::{
    fingerprint::{Checksum, Fingerprint, row_hash},
    job::{Chunk, Job},
    lineitem::{LineItem, Row},
    source::Source,
};
use crate::{card::Phase, error::CliError};

/// The table as chunks, in the order of its parts.
pub(crate) struct Lines {
    pub(crate) chunks: Vec<Chunk<LineItem>>,
    /// Of each chunk's rows as they were generated.
    fingerprints: Vec<Fingerprint>,
    /// Of all rows as they were generated.
    pub(crate) checksum: Checksum,
}

impl Lines {
    /// Generates the table into the pool.
    pub(crate) fn generate(job: &Job<'_>, source: &Source) -> Result<(Self, Phase), CliError> {
        let running = job.start("generate", Source::rows_expected(job.options.scale));
        let made = job.on_parts(|queue| {
            // A thread holds one chunk as rows at a time.
            let _room = job.pool.reserve(job.plan.chunk_heap_bytes())?;
            let mut made = Made::default();
            while let Some(part) = queue.take() {
                let mut rows = source.part(part, job.plan.parts).peekable();
                while rows.peek().is_some() {
                    let rows = rows.by_ref().take(job.plan.chunk_rows);
                    let mut lines = Vec::with_capacity(job.plan.chunk_rows);
                    lines.extend(rows.inspect(|row| made.note(row)).map(LineItem::from));
                    let chunk = set_chunk(job, lines)?;
                    running.add(chunk.rows, chunk.bytes);
                    made.end_chunk(chunk);
                }
            }
            Ok(made)
        })?;
        let mut checksum = Checksum::default();
        made.iter().for_each(|made| checksum.merge(made.checksum));
        let (chunks, fingerprints) = made.into_iter().flat_map(|made| made.chunks).unzip();
        Ok((Self { chunks, fingerprints, checksum }, running.finish()))
    }

    /// Answers a query from the pool: each thread counts for itself, and the counts are merged.
    pub(crate) fn query<A: Default + Send>(
        &self,
        job: &Job<'_>,
        name: &'static str,
        add: impl Fn(&mut A, &Row<'_>) + Sync,
        merge: impl Fn(&mut A, &A),
    ) -> Result<(A, Phase), CliError> {
        let (parts, phase) = job.scan(
            name,
            &self.chunks,
            || Ok(A::default()),
            |answer, _, lines| {
                lines.iter().for_each(|line| add(answer, &Row::from(line)));
                Ok(())
            },
        )?;
        Ok((merged(&parts, merge), phase))
    }

    /// Reads all columns of all rows and counts the chunks that are not as they were set.
    pub(crate) fn read_back(&self, job: &Job<'_>) -> Result<(u64, Phase), CliError> {
        let (changed, phase) = job.scan(
            "read back",
            &self.chunks,
            || Ok(0),
            |changed, index, lines| {
                let mut fingerprint = Fingerprint::default();
                lines.iter().for_each(|line| fingerprint.add(row_hash(&Row::from(line))));
                let expected = (self.fingerprints.get(index), self.chunks.get(index));
                let found = (fingerprint, lines.len() as u64);
                let same =
                    matches!(expected, (Some(print), Some(chunk)) if (*print, chunk.rows) == found);
                *changed += u64::from(!same);
                Ok(())
            },
        )?;
        Ok((changed.iter().sum(), phase))
    }

    /// Rows of the table.
    pub(crate) fn rows(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.rows).sum()
    }

    /// Bytes of the table in the pool.
    pub(crate) fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.bytes).sum()
    }
}

/// What one thread has generated.
#[derive(Default)]
struct Made {
    chunks: Vec<(Chunk<LineItem>, Fingerprint)>,
    /// Of the rows of the chunk under way.
    fingerprint: Fingerprint,
    checksum: Checksum,
}

impl Made {
    /// Takes note of a row, before the pool has it.
    fn note(&mut self, row: &Row<'_>) {
        let hash = row_hash(row);
        self.fingerprint.add(hash);
        self.checksum.add(hash);
    }

    fn end_chunk(&mut self, chunk: Chunk<LineItem>) {
        self.chunks.push((chunk, std::mem::take(&mut self.fingerprint)));
    }
}

/// Sets rows as one value; the caller has reserved what they take before they are archived.
pub(crate) fn set_chunk(job: &Job<'_>, lines: Vec<LineItem>) -> Result<Chunk<LineItem>, CliError> {
    let rows = lines.len() as u64;
    let bytes = lines.iter().map(LineItem::archived_bytes).sum::<u64>();
    let reference = job.pool.set(lines).map_err(|rejected| rejected.error)?;
    Ok(Chunk { reference, rows, bytes: bytes + LineItem::ARCHIVED_VEC_BYTES })
}

/// All parts as one.
pub(crate) fn merged<A: Default>(parts: &[A], merge: impl Fn(&mut A, &A)) -> A {
    let mut all = A::default();
    parts.iter().for_each(|part| merge(&mut all, part));
    all
}
