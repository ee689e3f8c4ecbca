//! A number that stands for all columns of all rows of a chunk, so that what comes back can be compared with what was set without keeping either.

use std::fmt;

use twox_hash::XxHash3_64;

use super::lineitem::Row;

/// Bytes of the columns that are no strings.
const FIXED_BYTES: usize = 7 * 8 + 4 * 4 + 2;

/// XXH3 over all columns of a row.
#[inline]
pub(crate) fn row_hash(row: &Row<'_>) -> u64 {
    let texts = [row.ship_instruct, row.ship_mode, row.comment];
    let start = XxHash3_64::oneshot_with_seed(0, &fixed(row));
    // Each text is hashed with what came before as seed, so that none can change places with another.
    texts.iter().fold(start, |seed, text| XxHash3_64::oneshot_with_seed(seed, text.as_bytes()))
}

/// The hashes of the rows so far, each mixed into those before: order counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    /// Takes in the hash of one row.
    #[inline]
    pub(crate) fn add(&mut self, hash: u64) {
        // An odd factor loses no bit, and the turn brings the high ones down.
        self.0 = (self.0.rotate_left(23) ^ hash).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// The hashes of rows, added up: it is the same in each order, and one row more, less, twice or changed is another sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checksum {
    /// Rows of 64 bits cannot overflow 128.
    sum: u128,
    pub(crate) rows: u64,
}

impl Checksum {
    /// Takes in the hash of one row.
    #[inline]
    pub(crate) fn add(&mut self, hash: u64) {
        self.sum += u128::from(hash);
        self.rows += 1;
    }

    /// Adds what another thread summed.
    pub(crate) fn merge(&mut self, other: Self) {
        self.sum += other.sum;
        self.rows += other.rows;
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:024x}", self.sum)
    }
}

/// The columns that are no strings, side by side.
#[inline]
fn fixed(row: &Row<'_>) -> [u8; FIXED_BYTES] {
    let longs = [
        row.order_key,
        row.part_key,
        row.supplier_key,
        row.quantity,
        row.extended_price_cents,
        row.discount_percent,
        row.tax_percent,
    ];
    let ints = [row.line_number, row.ship_date, row.commit_date, row.receipt_date];
    let mut bytes = [0; FIXED_BYTES];
    let (long_bytes, rest) = bytes.split_at_mut(7 * 8);
    let (int_bytes, letters) = rest.split_at_mut(4 * 4);
    for (place, value) in long_bytes.chunks_exact_mut(8).zip(longs) {
        place.copy_from_slice(&value.to_le_bytes());
    }
    for (place, value) in int_bytes.chunks_exact_mut(4).zip(ints) {
        place.copy_from_slice(&value.to_le_bytes());
    }
    letters.copy_from_slice(&[row.return_flag, row.line_status]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tpch::lineitem::tests::ROW;

    fn of(rows: &[Row<'_>]) -> Fingerprint {
        let mut fingerprint = Fingerprint::default();
        rows.iter().for_each(|row| fingerprint.add(row_hash(row)));
        fingerprint
    }

    #[test]
    fn each_column_counts() {
        let changed = [
            Row { order_key: 0, ..ROW },
            Row { part_key: 0, ..ROW },
            Row { supplier_key: 0, ..ROW },
            Row { line_number: 0, ..ROW },
            Row { quantity: 0, ..ROW },
            Row { extended_price_cents: 0, ..ROW },
            Row { discount_percent: 0, ..ROW },
            Row { tax_percent: 0, ..ROW },
            Row { return_flag: 0, ..ROW },
            Row { line_status: 0, ..ROW },
            Row { ship_date: 0, ..ROW },
            Row { commit_date: 0, ..ROW },
            Row { receipt_date: 0, ..ROW },
            Row { ship_instruct: "NONEX", ship_mode: "TRUCK", ..ROW },
            Row { ship_instruct: "NONE", ship_mode: "XTRUCK", ..ROW },
            Row { comment: "", ..ROW },
        ];
        let mut all: Vec<_> = changed.iter().map(|row| of(&[*row]).0).collect();
        all.push(of(&[ROW]).0);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 17);
    }

    #[test]
    fn order_and_number_of_rows_count() {
        let other = Row { order_key: 9, ..ROW };
        assert_ne!(of(&[ROW, other]), of(&[other, ROW]));
        assert_ne!(of(&[ROW]), of(&[ROW, ROW]));
        assert_eq!(of(&[ROW, other]), of(&[ROW, other]));
    }

    #[test]
    fn a_checksum_is_the_same_in_each_order() {
        let sum = |hashes: &[u64]| {
            let mut sum = Checksum::default();
            hashes.iter().for_each(|hash| sum.add(*hash));
            sum
        };
        let all = sum(&[1, u64::MAX, 7]);
        assert_eq!(all, sum(&[7, 1, u64::MAX]));
        assert_ne!(all, sum(&[7, 1, u64::MAX - 1]));
        let mut merged = sum(&[7]);
        merged.merge(sum(&[1, u64::MAX]));
        assert_eq!((merged, merged.rows), (all, 3));
        assert_eq!(all.to_string(), "000000010000000000000007");
    }
}
