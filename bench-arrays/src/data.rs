//! The data: three columns of TPC-H's `lineitem` at scale 1, as plain vectors.

use std::fmt;

use tpchgen::distribution::Distributions;
use tpchgen::generators::LineItemGenerator;
use tpchgen::text::TextPool;

use mempool_arrays::{Bits, Nullable, Strings, Values};

/// Bytes of generated prose that comments are cut from: the start of the benchmark's 300 MiB.
const TEXT_BYTES: i32 = 32 << 20;

/// The columns, one slot a row.
#[derive(Default)]
pub(crate) struct Data {
    /// `l_comment`: one more offset than rows, and the text.
    pub(crate) offsets: Vec<i64>,
    pub(crate) text: Vec<u8>,
    /// `l_shipmode`: a code a row, and what the codes stand for.
    pub(crate) modes: Vec<u8>,
    pub(crate) mode_names: Vec<String>,
    /// What the discount takes off the price; missing where there is none.
    pub(crate) savings: Vec<f64>,
    /// A bit a row, set where there is one, the least significant first.
    pub(crate) has_saving: Vec<u8>,
}

impl Data {
    pub(crate) fn generate() -> Self {
        let distributions = Distributions::static_default();
        let text = TextPool::new(TEXT_BYTES, distributions);
        let lines = LineItemGenerator::new_with_distributions_and_text_pool(
            1.0,
            1,
            1,
            distributions,
            &text,
        );
        let mut data = Self { offsets: vec![0], ..Self::default() };
        for line in lines.iter() {
            data.text.extend_from_slice(line.l_comment.as_bytes());
            data.offsets.push(i64::try_from(data.text.len()).unwrap_or(i64::MAX));
            let known = data.mode_names.iter().position(|name| name == line.l_shipmode);
            let code = known.unwrap_or_else(|| {
                data.mode_names.push(line.l_shipmode.to_owned());
                data.mode_names.len() - 1
            });
            data.modes.push(u8::try_from(code).unwrap_or(u8::MAX));
            let row = data.savings.len();
            if row.is_multiple_of(8) {
                data.has_saving.push(0);
            }
            // Cents times per cent.
            data.savings.push((line.l_extendedprice.0 * line.l_discount.0) as f64 / 1e4);
            data.has_saving[row / 8] |= u8::from(line.l_discount.0 > 0) << (row % 8);
        }
        // As a column that somebody has finished.
        data.offsets.shrink_to_fit();
        data.text.shrink_to_fit();
        data
    }

    pub(crate) fn rows(&self) -> usize {
        self.modes.len()
    }

    /// One comment.
    pub(crate) fn comment(&self, row: usize) -> &str {
        let bytes = &self.text[plain_index(self.offsets[row])..plain_index(self.offsets[row + 1])];
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// All comments as an array of ours.
    pub(crate) fn comments(&self) -> Strings {
        (0..self.rows()).map(|row| self.comment(row)).collect()
    }

    /// Comments, from the first on and over again, that take `bytes` with their offsets.
    pub(crate) fn comments_of(&self, bytes: usize) -> Strings {
        let mut left = bytes;
        let rows = (0..self.rows()).cycle().map(|row| self.comment(row));
        rows.take_while(|text| {
            left = left.saturating_sub(text.len() + size_of::<i64>());
            left > 0
        })
        .collect()
    }

    /// Savings as an array of ours.
    pub(crate) fn nullable_savings(&self) -> Nullable<Values<f64>> {
        let bits = (0..self.rows()).map(|row| self.has_saving[row / 8] >> (row % 8) & 1 == 1);
        let bits: Bits = bits.collect();
        Nullable::new(Values::from(self.savings.clone()), Some(bits)).expect("a bit a row")
    }
}

/// An offset of the data as an index.
pub(crate) fn plain_index(offset: i64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "lineitem at scale 1, {} rows: comments {:.1} MiB of text and {:.1} of offsets, {} ship modes, savings",
            self.rows(),
            mib(self.text.len()),
            mib(size_of_val(&*self.offsets)),
            self.mode_names.len(),
        )
    }
}
