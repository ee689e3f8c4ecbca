//! The orders in which values are read.

use super::value::mix;

/// Skew of the Zipf reads, as YCSB has it.
const SKEW: f64 = 0.99;

/// As many reads as there are values, four times as many where these are few. The value of rank n is read in proportion to n^-0.99; which
/// values are hot has nothing to do with when they were set.
pub(crate) fn zipf(count: u32) -> Vec<u32> {
    let by_rank = shuffled(count);
    let mut reached = 0.0;
    let weights = (1..=count).map(|rank| f64::from(rank).powf(-SKEW));
    let sums: Vec<f64> = weights
        .map(|weight| {
            reached += weight;
            reached
        })
        .collect();
    let reads = if count < 1024 { 4 * count } else { count };
    let draw = |read: u32| {
        // The upper 53 bits are a fraction from 0 to 1.
        let share = (mix(u64::from(read) ^ 2 << 40) >> 11) as f64 / (1_u64 << 53) as f64;
        let rank = sums.partition_point(|&sum| sum < share * reached);
        by_rank.get(rank).or(by_rank.last()).copied().unwrap_or_default()
    };
    (0..reads).map(draw).collect()
}

/// The numbers below `count` in an order that is always the same (Fisher and Yates).
fn shuffled(count: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count).collect();
    for last in (1..count).rev() {
        let other = mix(1 << 40 ^ u64::from(last)) % (u64::from(last) + 1);
        order.swap(last as usize, usize::try_from(other).unwrap_or_default());
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_reads_are_skewed_as_asked() {
        let count = 10_000_u32;
        let reads = zipf(count);
        let mut counts = vec![0_u32; count as usize];
        reads.iter().for_each(|&number| counts[number as usize] += 1);
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let harmonic: f64 = (1..=count).map(|rank| f64::from(rank).powf(-SKEW)).sum();
        let hottest = reads.len() as f64 / harmonic;
        assert!((f64::from(counts[0]) / hottest - 1.0).abs() < 0.15, "{} of {hottest}", counts[0]);
        assert!(counts.iter().filter(|&&count| count == 0).count() > 2500);
        assert_eq!(zipf(3).len(), 12);
    }
}
