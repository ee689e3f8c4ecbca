//! The record: one line of an order, all 16 columns. `LineItem` owns its strings and is what an archive of rows is made of, `LineColumns` has a chunk's lines as
//! columns; `Row` borrows its strings and is what queries read, be it from the generator, from an archive or from columns.

use mempool_arrays::{Pooled, Strings, Values};
use rkyv::{Archive, Serialize, string::ArchivedString};
use tpchgen::generators;

use super::{
    columns::columns,
    layout::{LineChunk, View},
    partition::Amount,
    q1::PricingSummary,
    q6::RevenueChange,
    rows::ArchivedRow,
    sort::Key,
};

/// One row of `lineitem` that owns its strings. Money is in cents, discount and tax are in percent, dates are days since 1970-01-01.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize)]
pub(crate) struct LineItem {
    pub(crate) order_key: i64,
    pub(crate) part_key: i64,
    pub(crate) supplier_key: i64,
    pub(crate) line_number: i32,
    /// Whole units.
    pub(crate) quantity: i64,
    pub(crate) extended_price_cents: i64,
    pub(crate) discount_percent: i64,
    pub(crate) tax_percent: i64,
    /// `A`, `N` or `R`.
    pub(crate) return_flag: u8,
    /// `F` or `O`.
    pub(crate) line_status: u8,
    pub(crate) ship_date: i32,
    pub(crate) commit_date: i32,
    pub(crate) receipt_date: i32,
    pub(crate) ship_instruct: String,
    pub(crate) ship_mode: String,
    pub(crate) comment: String,
}

impl ArchivedRow for LineItem {
    type Row<'a> = Row<'a>;

    // Its place and its three strings at their longest (`DELIVER IN PERSON`, `REG AIR`, and a comment of 43 characters).
    const HEAP_BYTES_MAX: usize = size_of::<Self>() + 17 + 7 + 43;

    /// Its fixed part, and each string that is too long to stand in it.
    #[inline]
    fn archived_bytes(&self) -> u64 {
        let strings = [&self.ship_instruct, &self.ship_mode, &self.comment];
        let outside =
            strings.map(String::len).into_iter().filter(|len| *len > size_of::<ArchivedString>());
        (size_of::<ArchivedLineItem>() + outside.sum::<usize>()) as u64
    }
}

impl LineChunk for Vec<LineItem> {
    fn rows(view: &View<Self>) -> usize {
        view.len()
    }

    #[inline]
    fn row(view: &View<Self>, index: usize) -> Option<Row<'_>> {
        view.get(index).map(Row::from)
    }

    fn key(view: &View<Self>, index: usize) -> Option<Key> {
        let line = view.get(index)?;
        Some(Key {
            ship_date: line.ship_date.to_native(),
            order_key: line.order_key.to_native(),
            line_number: line.line_number.to_native(),
        })
    }

    fn price(view: &View<Self>, summary: &mut PricingSummary) {
        view.iter().for_each(|line| summary.add(&Row::from(line)));
    }

    fn discount(view: &View<Self>, change: &mut RevenueChange) {
        view.iter().for_each(|line| change.add(&Row::from(line)));
    }

    fn quantities(view: &View<Self>) -> impl Iterator<Item = Amount> {
        let rows = view.iter().map(Row::from);
        rows.map(|row| Amount { key: row.order_key, amount: row.quantity })
    }
}

columns! {
    /// Lines as columns; units as in [`LineItem`]. Flags, statuses and the two kinds of words are pooled.
    LineColumns, grown as LinesGrowing, of Row {
        order_key: Values<i64>,
        part_key: Values<i64>,
        supplier_key: Values<i64>,
        line_number: Values<i32>,
        quantity: Values<i64>,
        extended_price_cents: Values<i64>,
        discount_percent: Values<i64>,
        tax_percent: Values<i64>,
        return_flag: Pooled<Values<u8>>,
        line_status: Pooled<Values<u8>>,
        ship_date: Values<i32>,
        commit_date: Values<i32>,
        receipt_date: Values<i32>,
        ship_instruct: Pooled<Strings<i32>>,
        ship_mode: Pooled<Strings<i32>>,
        comment: Strings<i32>,
    }
}

impl LineChunk for LineColumns {
    fn rows(view: &Self) -> usize {
        view.order_key.len()
    }

    #[inline]
    fn row(view: &Self, index: usize) -> Option<Row<'_>> {
        mempool_arrays::Layout::get(view, index)
    }

    fn key(view: &Self, index: usize) -> Option<Key> {
        Some(Key {
            ship_date: *view.ship_date.get(index)?,
            order_key: *view.order_key.get(index)?,
            line_number: *view.line_number.get(index)?,
        })
    }

    fn price(view: &Self, summary: &mut PricingSummary) {
        summary.add_columns(view);
    }

    fn discount(view: &Self, change: &mut RevenueChange) {
        change.add_columns(view);
    }

    fn quantities(view: &Self) -> impl Iterator<Item = Amount> {
        let pairs = view.order_key.iter().zip(&view.quantity);
        pairs.map(|(&key, &amount)| Amount { key, amount })
    }
}

/// One row of `lineitem` that borrows its strings; units as in [`LineItem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row<'a> {
    pub(crate) order_key: i64,
    pub(crate) part_key: i64,
    pub(crate) supplier_key: i64,
    pub(crate) line_number: i32,
    pub(crate) quantity: i64,
    pub(crate) extended_price_cents: i64,
    pub(crate) discount_percent: i64,
    pub(crate) tax_percent: i64,
    pub(crate) return_flag: u8,
    pub(crate) line_status: u8,
    pub(crate) ship_date: i32,
    pub(crate) commit_date: i32,
    pub(crate) receipt_date: i32,
    pub(crate) ship_instruct: &'a str,
    pub(crate) ship_mode: &'a str,
    pub(crate) comment: &'a str,
}

impl<'a> From<generators::LineItem<'a>> for Row<'a> {
    #[inline]
    fn from(line: generators::LineItem<'a>) -> Self {
        Self {
            order_key: line.l_orderkey,
            part_key: line.l_partkey,
            supplier_key: line.l_suppkey,
            line_number: line.l_linenumber,
            quantity: line.l_quantity,
            extended_price_cents: line.l_extendedprice.0,
            // The generator's decimals have two places: 0.04 is 4.
            discount_percent: line.l_discount.0,
            tax_percent: line.l_tax.0,
            return_flag: letter(line.l_returnflag),
            line_status: letter(line.l_linestatus),
            ship_date: line.l_shipdate.to_unix_epoch(),
            commit_date: line.l_commitdate.to_unix_epoch(),
            receipt_date: line.l_receiptdate.to_unix_epoch(),
            ship_instruct: line.l_shipinstruct,
            ship_mode: line.l_shipmode,
            comment: line.l_comment,
        }
    }
}

/// The one letter of a flag column.
fn letter(text: &str) -> u8 {
    text.as_bytes().first().copied().unwrap_or(b' ')
}

impl From<Row<'_>> for LineItem {
    #[inline]
    fn from(row: Row<'_>) -> Self {
        Self {
            order_key: row.order_key,
            part_key: row.part_key,
            supplier_key: row.supplier_key,
            line_number: row.line_number,
            quantity: row.quantity,
            extended_price_cents: row.extended_price_cents,
            discount_percent: row.discount_percent,
            tax_percent: row.tax_percent,
            return_flag: row.return_flag,
            line_status: row.line_status,
            ship_date: row.ship_date,
            commit_date: row.commit_date,
            receipt_date: row.receipt_date,
            ship_instruct: row.ship_instruct.to_owned(),
            ship_mode: row.ship_mode.to_owned(),
            comment: row.comment.to_owned(),
        }
    }
}

impl<'a> From<&'a ArchivedLineItem> for Row<'a> {
    // Inlined, so that a query that reads four columns loads four columns.
    #[inline(always)]
    fn from(line: &'a ArchivedLineItem) -> Self {
        Self {
            order_key: line.order_key.to_native(),
            part_key: line.part_key.to_native(),
            supplier_key: line.supplier_key.to_native(),
            line_number: line.line_number.to_native(),
            quantity: line.quantity.to_native(),
            extended_price_cents: line.extended_price_cents.to_native(),
            discount_percent: line.discount_percent.to_native(),
            tax_percent: line.tax_percent.to_native(),
            return_flag: line.return_flag,
            line_status: line.line_status,
            ship_date: line.ship_date.to_native(),
            commit_date: line.commit_date.to_native(),
            receipt_date: line.receipt_date.to_native(),
            ship_instruct: &line.ship_instruct,
            ship_mode: &line.ship_mode,
            comment: &line.comment,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::tpch::{filling::Filling, job::tests::with_job, lines, source::Source};

    /// A row of which each column differs from the others.
    pub(crate) const ROW: Row<'_> = Row {
        order_key: 1,
        part_key: 2,
        supplier_key: 3,
        line_number: 4,
        quantity: 5,
        extended_price_cents: 6,
        discount_percent: 7,
        tax_percent: 8,
        return_flag: b'A',
        line_status: b'F',
        ship_date: 9,
        commit_date: 10,
        receipt_date: 11,
        ship_instruct: "NONE",
        ship_mode: "TRUCK",
        comment: "a comment that is too long to stand inline",
    };

    #[test]
    fn the_first_row_is_the_benchmarks() {
        let source = Source::new(1.0);
        let row = source.part(0, 1).next().unwrap();
        // 1|155190|7706|1|17|21168.23|0.04|0.02|N|O|1996-03-13|1996-02-12|1996-03-22|DELIVER IN PERSON|TRUCK|...
        let expected = Row {
            order_key: 1,
            part_key: 155_190,
            supplier_key: 7706,
            line_number: 1,
            quantity: 17,
            extended_price_cents: 2_116_823,
            discount_percent: 4,
            tax_percent: 2,
            return_flag: b'N',
            line_status: b'O',
            ship_date: 9568,
            commit_date: 9538,
            receipt_date: 9577,
            ship_instruct: "DELIVER IN PERSON",
            ship_mode: "TRUCK",
            comment: row.comment,
        };
        assert_eq!(row, expected);
        assert_eq!(row.comment.len(), "egular courts above the".len());
    }

    #[test]
    fn columns_are_read_and_counted_as_rows_are() {
        let source = Source::new(0.001);
        with_job(|job| {
            let mut filling = Filling::<LineColumns>::new(job, 1024);
            let (mut prices, mut revenue) = (PricingSummary::default(), RevenueChange::default());
            for row in source.part(0, 1) {
                prices.add(&row);
                revenue.add(&row);
                filling.push(row).unwrap();
            }
            filling.end().unwrap();
            let chunks = filling.chunks();
            let mut rows = source.part(0, 1);
            let (mut found_prices, mut found_revenue) =
                (PricingSummary::default(), RevenueChange::default());
            for chunk in &chunks {
                job.columns.move_to_disk(&chunk.reference).unwrap();
                let lines = job.columns.get(&chunk.reference).unwrap();
                assert_eq!(LineColumns::rows(&lines) as u64, chunk.rows);
                assert!(lines::rows::<LineColumns>(&lines).all(|row| rows.next() == Some(row)));
                let quantities = LineColumns::quantities(&lines).map(|sum| sum.amount);
                assert!(quantities.eq(lines::rows::<LineColumns>(&lines).map(|row| row.quantity)));
                LineColumns::price(&lines, &mut found_prices);
                LineColumns::discount(&lines, &mut found_revenue);
            }
            assert_eq!(rows.next(), None);
            assert_eq!((&found_prices, &found_revenue), (&prices, &revenue));
            assert_eq!(prices.exact().rows.len(), 4);
            assert_ne!(revenue, RevenueChange::default());
        });
    }

    #[test]
    fn a_row_comes_back_from_its_archive() {
        let line = LineItem::from(ROW);
        let bytes = rkyv::to_bytes::<rkyv::rancor::BoxedError>(&vec![line]).unwrap();
        type Archived = rkyv::Archived<Vec<LineItem>>;
        let archived = rkyv::access::<Archived, rkyv::rancor::BoxedError>(&bytes).unwrap();
        assert_eq!(Row::from(&archived[0]), ROW);
    }

    #[test]
    fn the_size_of_an_archive_is_known_beforehand() {
        let source = Source::new(0.001);
        let lines: Vec<_> = source.part(0, 1).map(LineItem::from).collect();
        let bytes = lines.iter().map(LineItem::archived_bytes).sum::<u64>();
        let archive = rkyv::to_bytes::<rkyv::rancor::BoxedError>(&lines).unwrap();
        // Strings come first, then rows at their alignment, then the vector's own few bytes.
        let beside =
            archive.len() as u64 - bytes - size_of::<rkyv::Archived<Vec<LineItem>>>() as u64;
        assert!(beside < align_of::<ArchivedLineItem>() as u64, "{beside}");
    }

    #[test]
    fn no_row_takes_more_heap_than_is_counted_for_it() {
        let strings_bytes_max = LineItem::HEAP_BYTES_MAX - size_of::<LineItem>();
        for row in Source::new(0.01).part(0, 1) {
            let line = LineItem::from(row);
            let strings = [&line.ship_instruct, &line.ship_mode, &line.comment];
            let bytes: usize = strings.iter().map(|string| string.capacity()).sum();
            assert!(bytes <= strings_bytes_max, "{line:?}");
        }
    }
}
