//! A number that stands for all columns of all rows of a chunk, so that what comes back can be compared with what was set without keeping either.

use twox_hash::XxHash3_64;

use super::lineitem::Row;

/// Bytes of the columns that are no strings.
const FIXED_BYTES: usize = 7 * 8 + 4 * 4 + 2;

/// XXH3 over the rows so far, each hashed with the one before as seed: order counts, and no column is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    /// Takes in one row.
    #[inline]
    pub(crate) fn add(&mut self, row: &Row<'_>) {
        let texts = [row.ship_instruct, row.ship_mode, row.comment];
        let seed = XxHash3_64::oneshot_with_seed(self.0, &fixed(row));
        self.0 = texts
            .iter()
            .fold(seed, |seed, text| XxHash3_64::oneshot_with_seed(seed, text.as_bytes()));
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
        rows.iter().for_each(|row| fingerprint.add(row));
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
}
