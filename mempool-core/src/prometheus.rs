//! `Prometheus`: figures of pools as text that Prometheus and its kin read. Writes; keeps and serves nothing.

use std::fmt::{self, Display, Formatter, Write};

use crate::stats::Stats;
use crate::store::StoreUsage;

/// The figures of one pool or more in Prometheus's text format, version 0.0.4; its `Display` is the whole answer of a
/// `/metrics` endpoint, or a part of it.
///
/// Each family has its `HELP` and `TYPE`, counters end in `_total`, sizes are bytes, and each sample has the label `pool`.
/// The format wants all samples of a family together, so several pools go into one value and not one text after another.
/// A pool that is given twice under one name gives samples that a scraper refuses.
///
/// There is no counter of hits: a hit is a get without a load, and the difference of two counters that are read one
/// after the other may fall, which a scraper takes for a restart. The share of gets that were hits is
/// `1 - rate(mempool_loads_total[5m]) / rate(mempool_gets_total[5m])`.
///
/// ```
/// use mempool_core::{Blob, PoolOptions, Prometheus};
///
/// let orders = PoolOptions::new().name("orders").open(Blob);
/// let parts = PoolOptions::new().name("parts").open(Blob);
/// let reference = orders.set(vec![1; 1000])?;
///
/// let text = Prometheus::new()
///     .pool(orders.name(), &orders.stats())
///     .pool(parts.name(), &parts.stats())
///     .to_string();
/// assert!(text.contains("# TYPE mempool_sets_total counter\n"));
/// assert!(text.contains("mempool_sets_total{pool=\"orders\"} 1\n"));
/// assert!(text.contains("mempool_sets_total{pool=\"parts\"} 0\n"));
/// # drop(reference);
/// # Ok::<(), mempool_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Prometheus {
    pools: Vec<(String, Stats)>,
}

impl Prometheus {
    /// What an HTTP answer with this text says its `Content-Type` is.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Of no pool: an empty text.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a pool, under a name that no other has.
    #[must_use]
    pub fn pool(mut self, name: impl Into<String>, stats: &Stats) -> Self {
        self.pools.push((name.into(), *stats));
        self
    }
}

impl Stats {
    /// As a text that Prometheus reads, of this pool alone; [`Prometheus`] takes several.
    ///
    /// ```
    /// # use mempool_core::{Blob, PoolOptions};
    /// let pool = PoolOptions::new().memory_limit(1 << 20).open(Blob);
    /// let text = pool.stats().prometheus("orders").to_string();
    /// assert!(text.contains("mempool_memory_limit_bytes{pool=\"orders\"} 1048576\n"));
    /// ```
    #[must_use]
    pub fn prometheus(&self, pool: impl Into<String>) -> Prometheus {
        Prometheus::new().pool(pool, self)
    }
}

impl Display for Prometheus {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let pools: Vec<(&str, Vec<Family>)> =
            self.pools.iter().map(|(name, stats)| (name.as_str(), families(stats))).collect();
        // Every pool has the same families in the same order.
        let Some((_, first)) = pools.first() else { return Ok(()) };
        for (at, family) in first.iter().enumerate() {
            let values = pools.iter().map(|(name, families)| (*name, families[at].value));
            family.write(f, values)?;
        }
        Ok(())
    }
}

/// One figure: its name, what it means, and its value in one pool; without a value there is no sample.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: Option<u64>,
}

impl Family {
    fn write<'a>(
        &self,
        f: &mut Formatter<'_>,
        values: impl Iterator<Item = (&'a str, Option<u64>)>,
    ) -> fmt::Result {
        let Self { name, kind, help, .. } = self;
        let mut values = values.filter_map(|(pool, value)| Some((pool, value?))).peekable();
        if values.peek().is_none() {
            return Ok(());
        }
        writeln!(f, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
        for (pool, value) in values {
            writeln!(f, "{name}{{pool=\"{}\"}} {value}", Escaped(pool))?;
        }
        Ok(())
    }
}

/// A label's value, with what ends it or its line escaped.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            letter => f.write_char(letter),
        })
    }
}

fn gauge(name: &'static str, value: impl Into<Option<u64>>, help: &'static str) -> Family {
    Family { name, kind: "gauge", help, value: value.into() }
}

fn counter(name: &'static str, value: u64, help: &'static str) -> Family {
    Family { name, kind: "counter", help, value: Some(value) }
}

/// Every figure. The patterns name each field, so that one which is new does not compile before it stands here.
fn families(stats: &Stats) -> Vec<Family> {
    let Stats {
        limit_bytes,
        used_bytes,
        peak_bytes,
        values,
        sets,
        straight_to_disk,
        gets,
        hits: _, // It may fall; see above.
        loads,
        remote_loads,
        remote_bytes,
        spills,
        written_ahead,
        background_writes,
        background_bytes,
        written_bytes,
        clean_evictions,
        discards,
        failed_writes,
        panics,
        live_disk_bytes,
        mapped_limit_bytes,
        mapped_trims,
        mapped_overruns,
        foreign_mapped_bytes,
        store,
    } = *stats;
    let mut all = vec![
        gauge("mempool_memory_limit_bytes", limit_bytes, "The memory limit."),
        gauge("mempool_memory_used_bytes", used_bytes, "Resident bytes and reservations."),
        gauge("mempool_memory_peak_bytes", peak_bytes, "The most that was ever used."),
        gauge("mempool_values", values, "Values that are there."),
        gauge("mempool_frames_live_bytes", live_disk_bytes, "Frames that a reference claims."),
        counter("mempool_sets_total", sets, "Values that were set."),
        counter(
            "mempool_sets_straight_to_disk_total",
            straight_to_disk,
            "Values larger than the memory limit that were set.",
        ),
        counter("mempool_gets_total", gets, "Gets that answered."),
        counter("mempool_loads_total", loads, "Values that were brought back from disk."),
        counter("mempool_remote_loads_total", remote_loads, "Frames that came from other pools."),
        counter("mempool_remote_bytes_total", remote_bytes, "Bytes of those frames."),
        counter("mempool_spills_total", spills, "Evictions that wrote a frame first."),
        counter("mempool_clean_evictions_total", clean_evictions, "Evictions that wrote nothing."),
        counter("mempool_discards_total", discards, "Discardable values that made room."),
        counter("mempool_written_ahead_total", written_ahead, "Values written before their turn."),
        counter(
            "mempool_background_writes_total",
            background_writes,
            "Values that the pool's own threads wrote ahead of need.",
        ),
        counter(
            "mempool_background_written_bytes_total",
            background_bytes,
            "Resident bytes of values that the pool's own threads wrote.",
        ),
        counter("mempool_written_bytes_total", written_bytes, "Bytes of frames that were written."),
        counter("mempool_failed_writes_total", failed_writes, "Frames that could not be written."),
        counter("mempool_panics_total", panics, "Panics of callbacks and drops of the user's."),
        counter(
            "mempool_mapped_trims_total",
            mapped_trims,
            "Views let go of for the mapped limit.",
        ),
        counter(
            "mempool_mapped_overruns_total",
            mapped_overruns,
            "Loads that left more mapped than the limit, because readers hold it.",
        ),
        gauge(
            "mempool_foreign_mapped_bytes",
            foreign_mapped_bytes,
            "Bytes of other processes' frames that are mapped.",
        ),
        gauge("mempool_mapped_limit_bytes", mapped_limit_bytes, "The limit; absent without one."),
    ];
    all.extend(store_families(&store));
    all
}

fn store_families(usage: &StoreUsage) -> Vec<Family> {
    let StoreUsage {
        live_bytes,
        disk_bytes,
        peak_disk_bytes,
        limit_bytes,
        mapped_bytes,
        descriptors,
    } = *usage;
    vec![
        gauge("mempool_store_live_bytes", live_bytes, "Frames that the store has not freed."),
        gauge("mempool_store_disk_bytes", disk_bytes, "What the store takes, dead space included."),
        gauge("mempool_store_peak_disk_bytes", peak_disk_bytes, "The most that the store took."),
        gauge("mempool_store_limit_bytes", limit_bytes, "The store's limit; absent without one."),
        gauge("mempool_store_mapped_bytes", mapped_bytes, "Bytes of frames that are mapped."),
        gauge("mempool_store_descriptors", descriptors, "Files and descriptors that are open."),
    ]
}
