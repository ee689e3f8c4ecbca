//! The codec keeps the laws of codecs, for layouts of every kind.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use mempool_arrays::{
    Binary, Bits, Builder, Column, Field, Layout, List, ListBuilder, Logical, NdArray, Nullable,
    Pooled, Raw, Strings, Struct, Table, Units, Values,
};
use mempool_codec::codec_laws;

fn text(n: u64) -> String {
    "aé東🦀".chars().cycle().take(n as usize % 23).collect()
}

fn texts(n: u64) -> Vec<String> {
    (0..n).map(text).collect()
}

codec_laws!(
    values_i128,
    Raw,
    |n: u64| (0..n).map(|i| -i128::from(i) << 70).collect::<Values<i128>>(),
    |view: &Values<i128>, value: &Values<i128>| view == value
);
codec_laws!(
    vector_of_records,
    Raw,
    |n: u64| (0..n).map(|i| [i as u16, 7, 9]).collect::<Vec<_>>(),
    |view: &[[u16; 3]], value: &Vec<[u16; 3]>| view == value.as_slice()
);
codec_laws!(
    bits,
    Raw,
    |n: u64| (0..n * 3).map(|i| i % 3 == 1).collect::<Bits>(),
    |view: &Bits, value: &Bits| view == value
);
codec_laws!(
    booleans,
    Raw,
    |n: u64| (0..n * 3).map(|i| i % 5 < 2).collect::<Vec<bool>>(),
    |view: &Bits, value: &Vec<bool>| *view == Bits::from(value.as_slice())
);
codec_laws!(units, Raw, |n: u64| Units::new(n as usize), |view: &Units, value: &Units| view
    == value);
codec_laws!(
    strings,
    Raw,
    |n: u64| texts(n).into_iter().collect::<Strings>(),
    |view: &Strings, value: &Strings| view == value
);
codec_laws!(vector_of_strings, Raw, texts, |view: &Strings, value: &Vec<String>| view
    .iter()
    .eq(value.iter().map(String::as_str)));
codec_laws!(
    binary,
    Raw,
    |n: u64| (0..n).map(|i| vec![i as u8; i as usize % 5]).collect::<Binary>(),
    |view: &Binary, value: &Binary| view == value
);
codec_laws!(
    nullable_numbers,
    Raw,
    |n: u64| (0..n).map(|i| (i % 3 != 1).then_some(i as f64)).collect::<Vec<_>>(),
    |view: &Nullable<Values<f64>>, value: &Vec<Option<f64>>| *view
        == value.iter().copied().collect()
);
codec_laws!(
    nullable_strings,
    Raw,
    |n: u64| (0..n).map(|i| (i % 3 != 1).then(|| text(i))).collect::<Vec<_>>(),
    |view: &Nullable<Strings>, value: &Vec<Option<String>>| *view
        == value.iter().map(Option::as_deref).collect()
);
codec_laws!(
    nullable_without_nulls,
    Raw,
    |n: u64| (0..n).map(|i| Some(i as u8)).collect::<Nullable<Values<u8>>>(),
    |view: &Nullable<Values<u8>>, value: &Nullable<Values<u8>>| view == value
);
codec_laws!(
    pooled,
    Raw,
    |n: u64| (0..n * 9)
        .map(|i| text(i % 7))
        .collect::<Vec<_>>()
        .iter()
        .map(String::as_str)
        .collect::<Pooled<Strings>>(),
    |view: &Pooled<Strings>, value: &Pooled<Strings>| view == value
);
codec_laws!(
    nullable_pooled,
    Raw,
    |n: u64| (0..n)
        .map(|i| (i % 3 != 0).then_some(i as i32 % 5))
        .collect::<Nullable<Pooled<Values<i32>>>>(),
    |view: &Nullable<Pooled<Values<i32>>>, value: &Nullable<Pooled<Values<i32>>>| view == value
);
codec_laws!(lists_of_nullable_strings, Raw, |n: u64| lists(n), |view: &List<Nullable<Strings>>,
                                                                value: &List<
    Nullable<Strings>,
>| view == value);
codec_laws!(
    a_slice_in_the_middle,
    Raw,
    |n: u64| lists(n + 7).slice(3..3 + n as usize),
    |view: &List<Nullable<Strings>>, value: &List<Nullable<Strings>>| view == value
);
codec_laws!(
    several_dimensions,
    Raw,
    |n: u64| cube(n).permuted(&[2, 0, 1]),
    |view: &Cube, value: &Cube| view == value
);
codec_laws!(
    a_part_of_several_dimensions,
    Raw,
    |n: u64| cube(n).slice_axis(1, 1..3).reversed(2),
    |view: &Cube, value: &Cube| view == value
);
codec_laws!(
    no_dimensions,
    Raw,
    |n: u64| NdArray::new(vec![n as f64], &[]).unwrap(),
    |view: &NdArray<f64>, value: &NdArray<f64>| view == value
);

type Cube = NdArray<i16>;

fn cube(n: u64) -> Cube {
    NdArray::new((0..n as i16 * 12).collect::<Vec<_>>(), &[n as usize, 3, 4]).unwrap()
}

codec_laws!(columns, Raw, |n: u64| Column::of(&lists(n)), |view: &Column, value: &Column| view
    == value);
codec_laws!(
    structs,
    Raw,
    |n: u64| table(n).as_struct().clone(),
    |view: &Struct, value: &Struct| view == value
);
codec_laws!(
    tables,
    Raw,
    |n: u64| table(n).sort_by(&["mode", "day"]).unwrap(),
    |view: &Table, value: &Table| view == value
);

fn table(n: u64) -> Table {
    let days: Nullable<Values<i32>> =
        (0..n).map(|i| (i % 4 != 3).then_some((i * 7 % 11) as i32)).collect();
    let texts = texts(n);
    let modes: Pooled<Strings> = texts.iter().map(|text| &text[..text.len().min(1)]).collect();
    let day = Field::new("day").with_logical(Logical::Date);
    let columns = [
        (day, Column::of(&days)),
        ("mode".into(), Column::of(&modes)),
        ("lists".into(), Column::of(&lists(n))),
        ("text".into(), Column::of(&texts.iter().collect::<Strings>())),
    ];
    Table::new(columns).unwrap()
}

fn lists(n: u64) -> List<Nullable<Strings>> {
    let mut builder = ListBuilder::default();
    for i in 0..n {
        let texts: Vec<String> = texts(i % 4);
        let list = texts.iter().map(|text| (text.len() % 3 != 1).then_some(text.as_str()));
        builder.push(list.collect()).unwrap();
    }
    builder.finish()
}
