//! The prose that the benchmark cuts comments from, all 300 MiB of it, kept in the pool: it is larger than many a memory limit, and query 13 looks for two words
//! in comments. Writes the same prose as the generator's `TextPool`, chunk by chunk.

use std::sync::{Mutex, PoisonError};

use mempool_core::{DRef, Reservation};
use tpchgen::{
    distribution::{Distribution, Distributions},
    random::RowRandomInt,
};

use super::job::Job;
use crate::{card::Phase, error::CliError};

/// Bytes of the benchmark's prose.
const BYTES: usize = 300 << 20;

/// Bytes from the start of one chunk to that of the next.
const CHUNK_BYTES: usize = 4 << 20;

/// Lengths of an order's comment.
const COMMENT_BYTES: std::ops::RangeInclusive<i32> = 19..=78;

/// The longest comment; a chunk goes on for so long behind the start of the next, so that no comment lies in two.
pub(crate) const COMMENT_BYTES_MAX: usize = 78;

/// A sentence that starts before the end of a chunk ends within so many bytes of it.
const SENTENCE_BYTES_MAX: usize = 256;

/// The prose as chunks.
pub(crate) struct Prose {
    chunks: Vec<DRef<Vec<u8>>>,
    bytes: usize,
    chunk_bytes: usize,
    /// Held by the thread that reads: several would map chunks faster than one of them lets go of others, beyond a limit of what is mapped.
    reader: Mutex<()>,
}

/// Where a comment lies in the prose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cut {
    start: usize,
    len: usize,
    /// Which of the comments asked for it is.
    index: usize,
}

impl Cut {
    /// The comment of the order `key` in prose of so many bytes: its place and its length are drawn from a stream in which each order has two numbers.
    fn of_order(key: i64, prose_bytes: usize, index: usize) -> Self {
        const SEED: i64 = 276_090_261;
        let mut random = RowRandomInt::new(SEED, 2);
        // Of 32 keys the first 8 are given to orders.
        let number = (key >> 5 << 3) + (key & 7);
        random.advance_rows(number - 1);
        let last = i32::try_from(prose_bytes).unwrap_or(i32::MAX) - COMMENT_BYTES.end();
        let start = random.next_int(0, last);
        let len = random.next_int(*COMMENT_BYTES.start(), *COMMENT_BYTES.end());
        let number = |drawn: i32| usize::try_from(drawn).unwrap_or(0);
        Self { start: number(start), len: number(len), index }
    }
}

/// Comments that were cut.
pub(crate) struct Comments {
    // Before `room`: memory is freed before its reservation is paid back.
    cuts: Vec<Cut>,
    texts: Vec<Comment>,
    _room: Reservation,
}

#[derive(Clone, Copy)]
struct Comment {
    len: usize,
    text: [u8; COMMENT_BYTES_MAX],
}

impl Comments {
    /// Room for so many at a time.
    ///
    /// # Errors
    /// The pool has none.
    pub(crate) fn with_room(job: &Job<'_>, comments: usize) -> Result<Self, CliError> {
        let bytes = comments * (size_of::<Cut>() + size_of::<Comment>());
        let room = job.pool.reserve(bytes as u64)?;
        let (cuts, texts) = (Vec::with_capacity(comments), Vec::with_capacity(comments));
        Ok(Self { cuts, texts, _room: room })
    }

    /// Those of the orders `keys`, in place of the ones before. They are cut in the order of the prose, so that each chunk of it is got once.
    ///
    /// # Errors
    /// The pool fails.
    pub(crate) fn cut(
        &mut self,
        job: &Job<'_>,
        prose: &Prose,
        keys: impl Iterator<Item = i64>,
    ) -> Result<(), CliError> {
        self.cuts.clear();
        let cuts = keys.enumerate().map(|(index, key)| Cut::of_order(key, prose.bytes, index));
        self.cuts.extend(cuts);
        self.cuts.sort_unstable();
        self.texts.clear();
        self.texts.resize(self.cuts.len(), Comment { len: 0, text: [0; COMMENT_BYTES_MAX] });
        let _reads = prose.reader.lock().unwrap_or_else(PoisonError::into_inner);
        for cuts in self.cuts.chunk_by(|a, b| prose.chunk_of(a) == prose.chunk_of(b)) {
            let Some(chunk) = cuts.first().and_then(|cut| prose.chunks.get(prose.chunk_of(cut)))
            else {
                continue;
            };
            let chunk = job.columns.get(chunk)?;
            for cut in cuts {
                let start = cut.start % prose.chunk_bytes;
                let comment = self.texts.get_mut(cut.index);
                if let (Some(comment), Some(text)) = (comment, chunk.get(start..start + cut.len)) {
                    comment.len = text.len();
                    comment.text[..text.len()].copy_from_slice(text);
                }
            }
        }
        Ok(())
    }

    /// All of them, in the order of their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(|comment| {
            // The prose is ASCII.
            std::str::from_utf8(&comment.text[..comment.len]).unwrap_or_default()
        })
    }
}

/// Writes sentences by the benchmark's grammar: each letter of a pattern stands for a word or a phrase that is drawn.
struct Writer {
    words: &'static Distributions,
    random: RowRandomInt,
}

impl Writer {
    fn new() -> Self {
        const SEED: i64 = 933_588_178;
        Self { words: Distributions::static_default(), random: RowRandomInt::new(SEED, i32::MAX) }
    }

    fn sentence(&mut self, out: &mut Vec<u8>) {
        let pattern = self.words.grammar().random_value(&mut self.random);
        for letter in pattern.bytes().step_by(2) {
            match letter {
                b'V' => self.phrase(self.words.verb_phrase(), out),
                b'N' => self.phrase(self.words.noun_phrase(), out),
                b'P' => {
                    self.word(self.words.prepositions(), out);
                    out.extend_from_slice(b"the ");
                    self.phrase(self.words.noun_phrase(), out);
                }
                // A terminator takes the place of the space before it.
                _ => {
                    out.pop();
                    self.word(self.words.terminators(), out);
                }
            }
        }
    }

    fn phrase(&mut self, patterns: &'static Distribution, out: &mut Vec<u8>) {
        let pattern = patterns.random_value(&mut self.random);
        for letter in pattern.bytes() {
            match letter {
                b'A' => self.word(self.words.articles(), out),
                b'D' => self.word(self.words.adverbs(), out),
                b'J' => self.word(self.words.adjectives(), out),
                b'N' => self.word(self.words.nouns(), out),
                b'V' => self.word(self.words.verbs(), out),
                b'X' => self.word(self.words.auxiliaries(), out),
                b',' => {
                    out.pop();
                    out.extend_from_slice(b", ");
                }
                // A space between two letters.
                _ => {}
            }
        }
    }

    /// A word and a space.
    fn word(&mut self, words: &'static Distribution, out: &mut Vec<u8>) {
        out.extend_from_slice(words.random_value(&mut self.random).as_bytes());
        out.push(b' ');
    }
}

impl Prose {
    /// Writes all of it into the pool. One word is drawn behind the other, so one thread does it.
    ///
    /// # Errors
    /// The pool fails, or the job is stopped.
    pub(crate) fn generate(job: &Job<'_>) -> Result<(Self, Phase), CliError> {
        let running = job.start("prose", 0);
        let prose = Self::of(job, BYTES, CHUNK_BYTES, || {
            running.add(0, CHUNK_BYTES as u64);
            Ok(job.stop.check()?)
        })?;
        Ok((prose, running.finish()))
    }

    /// The first `bytes`, in chunks of `chunk_bytes`.
    fn of(
        job: &Job<'_>,
        bytes: usize,
        chunk_bytes: usize,
        mut note: impl FnMut() -> Result<(), CliError>,
    ) -> Result<Self, CliError> {
        let room_bytes = chunk_bytes + COMMENT_BYTES_MAX + SENTENCE_BYTES_MAX;
        // The chunk under way, and its start, which was the end of the one before.
        let _room = job.pool.reserve(2 * room_bytes as u64)?;
        let mut writer = Writer::new();
        let mut chunks = Vec::new();
        let mut rest = Vec::new();
        for start in (0..bytes).step_by(chunk_bytes) {
            let wanted = (chunk_bytes + COMMENT_BYTES_MAX).min(bytes - start);
            let mut chunk = Vec::with_capacity(room_bytes);
            chunk.append(&mut rest);
            while chunk.len() < wanted {
                writer.sentence(&mut chunk);
            }
            rest.extend_from_slice(chunk.get(chunk_bytes..).unwrap_or_default());
            chunk.truncate(wanted);
            chunks.push(job.columns.set(chunk).map_err(|rejected| rejected.error)?);
            note()?;
        }
        Ok(Self { chunks, bytes, chunk_bytes, reader: Mutex::new(()) })
    }

    /// The number of the chunk that a comment lies in.
    fn chunk_of(&self, cut: &Cut) -> usize {
        cut.start / self.chunk_bytes
    }
}

#[cfg(test)]
mod tests {
    use tpchgen::{generators::OrderGenerator, text::TextPool};

    use super::*;
    use crate::tpch::job::tests::with_job;

    #[test]
    fn it_is_the_generators_prose() {
        with_job(|job| {
            let text = TextPool::new(100_000, Distributions::static_default());
            let prose = Prose::of(job, 100_000, 4096, || Ok(())).unwrap();
            let mut all = String::new();
            for chunk in &prose.chunks {
                let chunk = job.columns.get(chunk).unwrap();
                let (start, end) = (all.len(), all.len() + chunk.len());
                let expected =
                    text.text(i32::try_from(start).unwrap(), i32::try_from(end).unwrap());
                let chunk = std::str::from_utf8(&chunk).unwrap();
                assert_eq!(chunk, expected);
                all.push_str(&chunk[..chunk.len().min(4096)]);
            }
            assert_eq!(all.len(), 100_000);
        });
    }

    #[test]
    fn each_order_has_the_generators_comment() {
        with_job(|job| {
            let words = Distributions::static_default();
            let text = TextPool::new(100_000, words);
            let prose = Prose::of(job, 100_000, 4096, || Ok(())).unwrap();
            // The second of two parts: its first order is not the first of all.
            let orders =
                OrderGenerator::new_with_distributions_and_text_pool(0.001, 2, 2, words, &text);
            let orders: Vec<_> = orders.iter().collect();
            let mut comments = Comments::with_room(job, orders.len()).unwrap();
            let keys = orders.iter().map(|order| order.o_orderkey);
            comments.cut(job, &prose, keys).unwrap();
            assert!(comments.iter().eq(orders.iter().map(|order| order.o_comment)));
            assert_eq!(comments.iter().count(), 750);
            // They are in place of those before.
            comments.cut(job, &prose, orders.iter().take(3).map(|order| order.o_orderkey)).unwrap();
            assert!(comments.iter().eq(orders.iter().take(3).map(|order| order.o_comment)));
        });
    }
}
