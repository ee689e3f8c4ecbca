//! `lineitem` in the pool: how it gets there, how queries go through it, and whether it is still what was set.

use super::{
    filling::Filling,
    fingerprint::{Checksum, Fingerprint, row_hash},
    job::{Chunk, Job},
    layout::{LineChunk, View},
    lineitem::Row,
    source::Source,
};
use crate::{card::Phase, error::CliError};

/// The table as chunks.
pub(crate) struct Lines<T> {
    pub(crate) chunks: Vec<Chunk<T>>,
    /// Of each chunk's rows as they were generated.
    fingerprints: Vec<Fingerprint>,
    /// Of all rows as they were generated.
    pub(crate) checksum: Checksum,
}

impl<T: LineChunk> Lines<T> {
    /// Generates the table into the pool.
    pub(crate) fn generate(job: &Job<'_>, source: &Source) -> Result<(Self, Phase), CliError> {
        let running = job.start("generate", Source::rows_expected(job.options.scale));
        let made = job.on_parts(|queue| {
            let mut prints = Prints::default();
            let mut filling = Filling::new(job, job.plan.chunk_rows);
            let note = |prints: &mut Prints, full: Option<&Chunk<T>>| {
                let Some(chunk) = full else { return };
                running.add(chunk.rows, chunk.bytes);
                prints.end_chunk();
            };
            while let Some(part) = queue.take() {
                for row in source.part(part, job.plan.parts) {
                    prints.add(&row);
                    note(&mut prints, filling.push(row)?);
                }
            }
            note(&mut prints, filling.end()?);
            Ok((filling.chunks(), prints))
        })?;
        let mut lines =
            Self { chunks: Vec::new(), fingerprints: Vec::new(), checksum: Checksum::default() };
        for (chunks, prints) in made {
            lines.chunks.extend(chunks);
            lines.fingerprints.extend(prints.ended);
            lines.checksum.merge(prints.checksum);
        }
        Ok((lines, running.finish()))
    }

    /// Answers a query from the pool: each thread counts for itself, and the counts are merged.
    pub(crate) fn query<A: Default + Send>(
        &self,
        job: &Job<'_>,
        name: &'static str,
        add: impl Fn(&View<T>, &mut A) + Sync,
        merge: impl Fn(&mut A, &A),
    ) -> Result<(A, Phase), CliError> {
        let (parts, phase) = job.scan(
            name,
            &self.chunks,
            || Ok(A::default()),
            |answer, _, lines| {
                add(lines, answer);
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
                rows::<T>(lines).for_each(|row| fingerprint.add(row_hash(&row)));
                let expected = (self.fingerprints.get(index), self.chunks.get(index));
                let found = (fingerprint, T::rows(lines) as u64);
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

/// All rows of a chunk.
pub(crate) fn rows<T: LineChunk>(lines: &View<T>) -> impl Iterator<Item = Row<'_>> {
    (0..T::rows(lines)).filter_map(|index| T::row(lines, index))
}

/// What one thread knows of the rows that it has generated.
#[derive(Default)]
struct Prints {
    ended: Vec<Fingerprint>,
    /// Of the rows of the chunk under way.
    fingerprint: Fingerprint,
    checksum: Checksum,
}

impl Prints {
    /// Takes note of a row, before the pool has it.
    fn add(&mut self, row: &Row<'_>) {
        let hash = row_hash(row);
        self.fingerprint.add(hash);
        self.checksum.add(hash);
    }

    fn end_chunk(&mut self) {
        self.ended.push(std::mem::take(&mut self.fingerprint));
    }
}

/// All parts as one.
pub(crate) fn merged<A: Default>(parts: &[A], merge: impl Fn(&mut A, &A)) -> A {
    let mut all = A::default();
    parts.iter().for_each(|part| merge(&mut all, part));
    all
}
