//! Arrays that several tests use.

use mempool_arrays::{
    ArrayError, Binary, Bits, Builder, Column, Field, List, ListBuilder, Logical, Nullable, Pooled,
    Strings, Struct, TimeUnit, Values,
};
use mempool_core::Error;

/// What was wrong with an array; `None` for an error about something else.
pub(crate) fn array_error(error: &Error) -> Option<&ArrayError> {
    match error {
        Error::Codec(error) => error.source.downcast_ref(),
        _ => None,
    }
}

pub(crate) fn lists() -> List<Nullable<Strings>> {
    let mut builder = ListBuilder::<Nullable<Strings>, i64>::default();
    for list in [&[Some("a"), None][..], &[], &[Some("東京")], &[None]] {
        builder.push(list.iter().copied().collect()).unwrap();
    }
    builder.finish()
}

/// A column of every layout, with its logical type.
pub(crate) fn columns() -> Vec<(Field, Column)> {
    let plain = |name: &str, column: Column| (Field::new(name), column);
    let with = |name: &str, logical: Logical, column: Column| {
        (Field::new(name).with_logical(logical), column)
    };
    let decimal = Logical::Decimal { precision: 12, scale: 2 };
    let utc = Logical::Timestamp { unit: TimeUnit::Nanosecond, utc: true };
    let local = Logical::Timestamp { unit: TimeUnit::Second, utc: false };
    let dates: Nullable<Pooled<Values<i32>>> =
        [Some(1), None, Some(1), Some(9)].into_iter().collect();
    let long = || Column::of(&Values::from(vec![1_i64, -2, 3, i64::MAX]));
    let int = || Column::of(&Values::from(vec![1_i32, -2, 3, i32::MAX]));
    vec![
        plain("int", int()),
        plain("bits", Column::of(&Bits::from(&[true, false, true, true][..]))),
        plain("narrow", Column::of(&Strings::<i64>::from_iter(["a", "", "é", "d"]))),
        plain("bytes", Column::of(&Binary::from_iter([&b"a"[..], b"\xff", b"", b"b"]))),
        plain(
            "maybe",
            Column::of(
                &[None, Some(0.5), None, Some(-0.0)].into_iter().collect::<Nullable<Values<f64>>>(),
            ),
        ),
        plain("lists", Column::of(&lists())),
        plain("wide", Column::of(&Values::from(vec![i128::MAX, 0, -1, 7]))),
        with("date", Logical::Date, int()),
        with("dates", Logical::Date, Column::of(&dates)),
        with("day", Logical::DateMillis, long()),
        with("price", decimal, long()),
        with("large", decimal, Column::of(&Values::from(vec![1_i128, 2, 3, 4]))),
        with("at", utc, long()),
        with("local", local, long()),
        with("second", Logical::Time(TimeUnit::Second), int()),
        with("micro", Logical::Time(TimeUnit::Microsecond), long()),
        with("span", Logical::Duration(TimeUnit::Millisecond), long()),
        plain(
            "inner",
            Column::of(
                &Struct::new([(Field::new("x").with_logical(Logical::Date), int())]).unwrap(),
            ),
        ),
    ]
}
