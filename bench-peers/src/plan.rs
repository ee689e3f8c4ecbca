//! What is measured: sizes, counts, and the orders in which values are read.

use crate::value::mix;

/// Skew of the Zipf reads, as YCSB has it.
const SKEW: f64 = 0.99;
/// Cold reads stop at the first of these: a disk is slow.
const COLD_BYTES_MAX: u64 = 512 << 20;
const COLD_COUNT_MAX: usize = 4096;

/// One data set: four times the memory budget.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) value_bytes: usize,
    pub(crate) count: usize,
    pub(crate) budget_bytes: u64,
}

/// The data sets of a whole run, or of one that only shows that all of it works.
pub(crate) fn plans(quick: bool) -> Vec<Plan> {
    let of = |value_bytes: usize, budget_bytes: u64| Plan {
        value_bytes,
        count: usize::try_from(4 * budget_bytes).unwrap_or(usize::MAX) / value_bytes,
        budget_bytes,
    };
    let (budget, large) = if quick { (8 << 20, 4 << 20) } else { (256 << 20, 64 << 20) };
    // A quarter for the smallest: a file for each of a quarter of a million values takes minutes to make and to remove.
    vec![of(4 << 10, budget / 4), of(64 << 10, budget), of(1 << 20, budget), of(large, budget)]
}

/// The name of a size.
pub(crate) fn size_name(bytes: usize) -> String {
    if bytes < 1 << 20 { format!("{} KiB", bytes >> 10) } else { format!("{} MiB", bytes >> 20) }
}

impl Plan {
    pub(crate) fn data_bytes(&self) -> u64 {
        self.value_bytes as u64 * self.count as u64
    }

    /// Every value once, as they were set.
    pub(crate) fn in_order(&self) -> Vec<u64> {
        (0..self.count as u64).collect()
    }

    /// As many reads as there are values, four times as many of the large ones. Which values are hot has nothing to do
    /// with when they were set.
    pub(crate) fn zipf(&self) -> Vec<u64> {
        let by_rank = shuffled(self.count, 1);
        let mut reached = 0.0;
        let weights = (1..=self.count).map(|rank| (rank as f64).powf(-SKEW));
        let sums: Vec<f64> = weights
            .map(|weight| {
                reached += weight;
                reached
            })
            .collect();
        let reads = if self.count < 1024 { 4 * self.count } else { self.count };
        let rank = |read: usize| {
            let share = (mix(read as u64 ^ 2 << 40) >> 11) as f64 / (1_u64 << 53) as f64;
            sums.partition_point(|&sum| sum < share * reached).min(self.count - 1)
        };
        (0..reads).map(|read| by_rank[rank(read)]).collect()
    }

    /// Some values, each once, in no order.
    pub(crate) fn cold(&self) -> Vec<u64> {
        let fitting = usize::try_from(COLD_BYTES_MAX).unwrap_or(usize::MAX) / self.value_bytes;
        let mut order = shuffled(self.count, 3);
        order.truncate(fitting.min(COLD_COUNT_MAX));
        order
    }
}

/// The numbers below `count` in an order that the seed decides (Fisher and Yates).
fn shuffled(count: usize, seed: u64) -> Vec<u64> {
    let mut order: Vec<u64> = (0..count as u64).collect();
    for last in (1..count).rev() {
        let other = mix(seed << 40 ^ last as u64) % (last as u64 + 1);
        order.swap(last, usize::try_from(other).unwrap_or_default());
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { value_bytes: 4096, count: 10_000, budget_bytes: 10 << 20 };

    #[test]
    fn data_is_four_times_the_budget() {
        for quick in [false, true] {
            for plan in plans(quick) {
                assert_eq!(plan.data_bytes(), 4 * plan.budget_bytes);
                assert!(plan.budget_bytes > plan.value_bytes as u64);
            }
        }
    }

    #[test]
    fn cold_reads_name_each_value_once_at_most() {
        let mut cold = PLAN.cold();
        assert_eq!(cold.len(), COLD_COUNT_MAX);
        cold.sort_unstable();
        cold.dedup();
        assert_eq!(cold.len(), COLD_COUNT_MAX);
    }

    #[test]
    fn zipf_reads_are_skewed_as_asked() {
        let reads = PLAN.zipf();
        let mut counts = vec![0_usize; PLAN.count];
        reads.iter().for_each(|&id| counts[usize::try_from(id).unwrap()] += 1);
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let harmonic: f64 = (1..=PLAN.count).map(|rank| (rank as f64).powf(-SKEW)).sum();
        let hottest = reads.len() as f64 / harmonic;
        assert!((counts[0] as f64 / hottest - 1.0).abs() < 0.15, "{} of {hottest}", counts[0]);
        assert!(counts.iter().filter(|&&count| count == 0).count() > PLAN.count / 4);
    }
}
