//! Pooled arrays, lists, structs, columns and tables to and from Arrow.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

mod samples;

use std::sync::Arc;

use mempool_arrays::arrow::Arrow;
use mempool_arrays::arrow::arrow_array::builder::{
    Int32Builder, LargeListBuilder, ListBuilder as ArrowListBuilder, StringBuilder,
};
use mempool_arrays::arrow::arrow_array::types::{self, ArrowDictionaryKeyType};
use mempool_arrays::arrow::arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
    FixedSizeListArray, Int32Array, Int64Array, LargeStringArray, NullArray, PrimitiveArray,
    RecordBatch, StringArray, StructArray, TimestampNanosecondArray, new_null_array,
};
use mempool_arrays::arrow::arrow_schema::{
    DataType, Field as ArrowField, Schema, TimeUnit as Unit,
};
use mempool_arrays::{
    ArrayError, Builder, Column, Field, Kind, Layout, List, ListBuilder, Logical, Nullable, Pooled,
    Raw, Strings, Struct, Table, TimeUnit, Units, Value, Values,
};
use mempool_core::PoolOptions;
use samples::{array_error, columns, lists};

const CITIES: [Option<&str>; 6] =
    [Some("Ushuaia"), None, Some("Oslo"), Some("Ushuaia"), Some(""), None];

fn keys<K: ArrowDictionaryKeyType>() {
    let theirs: DictionaryArray<K> = CITIES.into_iter().collect();
    let all: DictionaryArray<K> = CITIES.into_iter().flatten().collect();
    let ours = Pooled::<Strings<i32>>::from_arrow(&all).unwrap();
    assert!(ours.iter().eq(CITIES.into_iter().flatten()));
    let same_codes = all.keys().values().as_ptr().addr();
    let mut starts = Vec::new();
    ours.visit(&mut |buffer| starts.push(buffer.as_ptr().addr()));
    assert!(starts.contains(&same_codes), "the codes were copied");
    for start in 0..CITIES.len() {
        let part = theirs.slice(start, CITIES.len() - start);
        let ours = Nullable::<Pooled<Strings<i32>>>::from_arrow(&part).unwrap();
        assert!(ours.iter().eq(CITIES[start..].iter().copied()));
        let back = ours.to_arrow();
        let back = Nullable::<Pooled<Strings<i32>>>::from_arrow(&back).unwrap();
        assert_eq!(back, ours);
        let column = Column::from_arrow(&part).unwrap();
        assert_eq!(column, Column::of(&ours));
    }
    let refused = Pooled::<Strings<i32>>::from_arrow(&theirs).unwrap_err();
    assert!(matches!(refused, ArrayError::Missing { nulls: 2, .. }), "{refused}");
}

#[test]
fn dictionaries_with_keys_of_every_type() {
    keys::<types::UInt8Type>();
    keys::<types::UInt16Type>();
    keys::<types::UInt32Type>();
    keys::<types::UInt64Type>();
    keys::<types::Int8Type>();
    keys::<types::Int16Type>();
    keys::<types::Int32Type>();
    keys::<types::Int64Type>();
}

#[test]
fn a_pooled_array_goes_out_as_a_dictionary_without_a_copy() {
    let ours: Nullable<Pooled<Strings>> = CITIES.into_iter().collect();
    let theirs = ours.slice(1..5).to_arrow();
    let theirs = theirs.as_any().downcast_ref::<DictionaryArray<types::UInt8Type>>().unwrap();
    let typed = theirs.downcast_dict::<LargeStringArray>().unwrap();
    assert!(typed.into_iter().eq(CITIES[1..5].iter().copied()));
    let mut starts = Vec::new();
    ours.visit(&mut |buffer| starts.push(buffer.as_ptr_range()));
    let held = |address: usize| {
        starts.iter().any(|held| (held.start.addr()..=held.end.addr()).contains(&address))
    };
    assert!(held(theirs.keys().values().as_ptr().addr()));
    assert!(held(typed.values().value_data().as_ptr().addr()));
    assert!(held(typed.values().value_offsets().as_ptr().addr()));
}

/// An array of Arrow's with these keys, of which those are missing that `missing` says.
fn pooled<K: ArrowDictionaryKeyType>(
    keys: Vec<K::Native>,
    missing: &[usize],
    dictionary: i64,
) -> Nullable<Pooled<Values<i64>>> {
    let valid: Vec<bool> = (0..keys.len()).map(|slot| !missing.contains(&slot)).collect();
    let keys = PrimitiveArray::<K>::new(keys.into(), Some(valid.into()));
    let values = Int64Array::from_iter_values((0..dictionary).map(|n| n * 10));
    let theirs = DictionaryArray::try_new(keys, Arc::new(values)).unwrap();
    Nullable::from_arrow(&theirs).unwrap()
}

#[test]
fn what_key_is_below_a_missing_slot_does_not_matter() {
    let ours = pooled::<types::Int8Type>(vec![1, -1, 0, 100], &[1, 3], 2);
    assert!(ours.iter().eq([Some(10), None, Some(0), None]));
    let ours = pooled::<types::Int64Type>(vec![i64::MIN, 1], &[0], 2);
    assert!(ours.iter().eq([None, Some(10)]));
    // Of 256 values a byte that means -1 could name the last.
    let ours = pooled::<types::Int8Type>(vec![-1, 127], &[0], 256);
    assert!(ours.iter().eq([None, Some(1270)]));
    let ours = pooled::<types::UInt8Type>(vec![255, 3], &[], 256);
    assert!(ours.iter().eq([Some(2550), Some(30)]));
}

#[test]
fn an_empty_dictionary_of_missing_slots_has_a_value_that_nobody_sees() {
    let ours = pooled::<types::Int8Type>(vec![0, 5, -1], &[0, 1, 2], 0);
    assert!(ours.iter().eq([None, None, None]));
    let none: ArrayRef =
        Arc::new(DictionaryArray::<types::Int32Type>::from_iter([None::<&str>; 3]));
    assert_eq!(none.to_data().child_data()[0].len(), 0);
    let column = Column::from_arrow(&none).unwrap();
    assert_eq!(column.nulls(), 3);
    assert_eq!(Column::from_arrow(&column.to_arrow()).unwrap(), column);
}

#[test]
fn lists_of_both_widths() {
    let mut builder = ArrowListBuilder::new(Int32Builder::new());
    for list in [Some(vec![Some(1), None]), None, Some(vec![]), Some(vec![Some(3)])] {
        builder.append_option(list);
    }
    let theirs = builder.finish();
    let ours = Nullable::<List<Nullable<Values<i32>>, i32>>::from_arrow(&theirs).unwrap();
    let found: Vec<Option<Vec<Option<i32>>>> =
        ours.iter().map(|list| list.map(|list| list.iter().collect())).collect();
    assert_eq!(found, [Some(vec![Some(1), None]), None, Some(vec![]), Some(vec![Some(3)])]);
    assert_eq!(ours.to_arrow().as_ref(), &theirs as &dyn Array);
    let part = Nullable::<List<Nullable<Values<i32>>, i32>>::from_arrow(&theirs.slice(2, 2));
    assert_eq!(part.unwrap(), ours.slice(2..4));

    let mut builder = LargeListBuilder::new(StringBuilder::new());
    builder.append_option(Some([Some("x"), Some("yz")]));
    let theirs = builder.finish();
    let ours = List::<Nullable<Strings<i32>>>::from_arrow(&theirs).unwrap();
    assert!(ours.get(0).unwrap().iter().eq([Some("x"), Some("yz")]));
    let narrow = List::<Nullable<Strings<i32>>, i32>::from_arrow(&theirs).unwrap_err();
    assert!(matches!(narrow, ArrayError::Kind { .. }));

    let ours = lists();
    let theirs = ours.slice(1..4).to_arrow();
    assert_eq!(List::<Nullable<Strings>>::from_arrow(&theirs).unwrap(), ours.slice(1..4));
    let without_slots = List::<Nullable<Strings>>::from_arrow(&theirs.slice(0, 0)).unwrap();
    assert_eq!(without_slots.len(), 0);
    let mut units = ListBuilder::<Units, i64>::default();
    units.push(Units::new(3)).unwrap();
    let units: List<Units> = units.finish();
    assert_eq!(List::<Units>::from_arrow(&units.to_arrow()).unwrap(), units);
}

#[test]
fn a_list_whose_elements_may_not_be_missing_refuses_those_that_are() {
    let theirs = lists().to_arrow();
    let refused = List::<Strings>::from_arrow(&theirs).unwrap_err();
    assert!(matches!(refused, ArrayError::Missing { nulls: 2, .. }), "{refused}");
}

#[test]
fn a_table_is_a_record_batch_and_back() {
    let table = Table::new(columns()).unwrap();
    let batch = table.to_record_batch();
    assert_eq!((batch.num_rows(), batch.num_columns()), (4, table.columns().len()));
    let types: Vec<(String, String)> = batch
        .schema()
        .fields()
        .iter()
        .map(|field| (field.name().clone(), field.data_type().to_string()))
        .collect();
    let of = |name: &str| &types.iter().find(|(of, _)| of == name).unwrap().1;
    assert_eq!(of("date"), "Date32");
    assert_eq!(of("dates"), "Dictionary(UInt8, Date32)");
    assert_eq!(of("price"), "Decimal64(12, 2)");
    assert_eq!(of("large"), "Decimal128(12, 2)");
    assert_eq!(of("wide"), "Decimal128(38, 0)");
    assert_eq!(of("at"), "Timestamp(ns, \"UTC\")");
    assert_eq!(of("local"), "Timestamp(s)");
    assert_eq!(of("second"), "Time32(s)");
    assert_eq!(of("span"), "Duration(ms)");
    let nullable = |name: &str| batch.schema().field_with_name(name).unwrap().is_nullable();
    assert!(nullable("maybe") && nullable("dates") && !nullable("int") && !nullable("lists"));
    let back = Table::from_record_batch(&batch).unwrap();
    assert_eq!(back, table);
    let kinds = |table: &Table| table.columns().iter().map(Column::kind).collect::<Vec<_>>();
    assert_eq!(kinds(&back), kinds(&table));
    for range in [0..4, 1..3, 2..2] {
        let back = Table::from_record_batch(&batch.slice(range.start, range.len())).unwrap();
        assert_eq!(back, table.slice(range.clone()), "{range:?}");
        let out = table.slice(range.clone()).to_record_batch();
        assert_eq!(Table::from_record_batch(&out).unwrap(), back);
        assert_eq!(out, batch.slice(range.start, range.len()), "{range:?}");
    }
}

#[test]
fn a_logical_type_that_does_not_fit_its_numbers_is_left_out() {
    let out = |logical, column: Column| {
        let table = Table::new([(Field::new("x").with_logical(logical), column)]).unwrap();
        table.to_record_batch().schema().field(0).data_type().clone()
    };
    let int = || Column::of(&Values::from(vec![1_i32]));
    assert_eq!(out(Logical::DateMillis, int()), DataType::Int32);
    assert_eq!(out(Logical::Time(TimeUnit::Nanosecond), int()), DataType::Int32);
    for (precision, scale) in [(10, 2), (0, 0), (3, 4), (9, 10), (9, -128), (255, 0)] {
        assert_eq!(out(Logical::Decimal { precision, scale }, int()), DataType::Int32);
    }
    let text = Column::of(&Strings::<i64>::from_iter(["a"]));
    assert_eq!(out(Logical::Date, text), DataType::LargeUtf8);
    assert_eq!(out(Logical::Date, Column::of(&Values::from(vec![0.5]))), DataType::Float64);
}

#[test]
fn a_batch_that_arrow_made_is_a_table() {
    let fields = vec![
        ArrowField::new("id", DataType::Int32, false),
        ArrowField::new("name", DataType::Utf8, true),
        ArrowField::new("day", DataType::Date32, true),
        ArrowField::new("paid", DataType::Decimal128(15, 2), false),
        ArrowField::new(
            "at",
            DataType::Timestamp(Unit::Nanosecond, Some("Europe/Oslo".into())),
            false,
        ),
        ArrowField::new("none", DataType::Null, true),
        ArrowField::new("flag", DataType::Boolean, true),
    ];
    let decimals = Decimal128Array::from(vec![100_i128, 250, 5]);
    let at = TimestampNanosecondArray::from(vec![1, 2, 3]).with_timezone("Europe/Oslo");
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![3, 1, 2])),
        Arc::new(StringArray::from(vec![Some("c"), None, Some("b")])),
        Arc::new(Date32Array::from(vec![10, 20, 30])),
        Arc::new(decimals.with_precision_and_scale(15, 2).unwrap()),
        Arc::new(at),
        Arc::new(NullArray::new(3)),
        Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
    ];
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    let table = Table::from_record_batch(&batch).unwrap();
    assert_eq!(table.typed::<Values<i32>>("id").unwrap()[..], [3, 1, 2]);
    let names = table.typed::<Nullable<Strings<i32>>>("name").unwrap();
    assert!(names.iter().eq([Some("c"), None, Some("b")]));
    // None of these days is missing, but the field says that one may be.
    assert_eq!(table.column("day").unwrap().kind(), Kind::Nullable);
    assert_eq!(table.typed::<Values<i128>>("paid").unwrap()[1], 250);
    assert_eq!(table.column("none").unwrap().nulls(), 3);
    let logical =
        |name: &str| table.fields().iter().find(|field| field.name() == name).unwrap().logical();
    assert_eq!(logical("day"), Logical::Date);
    assert_eq!(logical("paid"), Logical::Decimal { precision: 15, scale: 2 });
    assert_eq!(logical("at"), Logical::Timestamp { unit: TimeUnit::Nanosecond, utc: true });
    let indexed = table.sort_by(&["id"]).unwrap();
    assert_eq!(indexed.find(&[Value::from(2_i32)]), 1..2);
    let pool = PoolOptions::new().memory_limit(1 << 20).open(Raw);
    let reference = pool.set(table).unwrap();
    assert_eq!(pool.get(&reference).unwrap().rows(), 3);
}

#[test]
fn a_table_without_columns_and_structs_without_rows() {
    let none = Table::new::<&str>([]).unwrap();
    assert_eq!(none.to_record_batch().num_columns(), 0);
    assert_eq!(Table::from_record_batch(&none.to_record_batch()).unwrap(), none);
    let schema = Schema::new(vec![ArrowField::new("x", DataType::Utf8, true)]);
    let empty = RecordBatch::new_empty(Arc::new(schema));
    assert_eq!(Table::from_record_batch(&empty).unwrap().rows(), 0);
}

#[test]
fn structs_with_missing_rows_keep_them() {
    let x: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3, 4]));
    let field = Arc::new(ArrowField::new("x", DataType::Int32, false));
    let theirs =
        StructArray::new(vec![field].into(), vec![x], Some(vec![true, false, true, true].into()));
    for start in 0..4 {
        let part = theirs.slice(start, 4 - start);
        let ours = Nullable::<Struct>::from_arrow(&part).unwrap();
        let found: Vec<String> = ours.iter().map(|row| format!("{row:?}")).collect();
        let all =
            ["Some({\"x\": Int(1)})", "None", "Some({\"x\": Int(3)})", "Some({\"x\": Int(4)})"];
        assert_eq!(found, all[start..]);
        assert_eq!(ours.to_arrow().as_ref(), &part as &dyn Array);
        // The same as data, whose offset counts for its children.
        let data = theirs.to_data().slice(start, 4 - start);
        let memory = mempool_arrays::arrow::Memory::Heap;
        let again = Nullable::<Struct>::from_arrow_data(&data, memory).unwrap();
        assert_eq!(Column::of(&again), Column::of(&ours));
    }
    assert!(matches!(Struct::from_arrow(&theirs), Err(ArrayError::Missing { nulls: 1, .. })));
}

#[test]
fn names_that_come_twice_and_types_that_we_have_not_are_refused() {
    let twice = vec![
        ArrowField::new("x", DataType::Int32, false),
        ArrowField::new("x", DataType::Int32, false),
    ];
    let x = || Arc::new(Int32Array::from(vec![1])) as ArrayRef;
    let batch = RecordBatch::try_new(Arc::new(Schema::new(twice)), vec![x(), x()]).unwrap();
    let refused = Table::from_record_batch(&batch).unwrap_err();
    assert!(matches!(array_error(&refused), Some(ArrayError::Duplicate { name }) if name == "x"));
    let item = Arc::new(ArrowField::new("item", DataType::Int32, true));
    let fixed = FixedSizeListArray::new(item, 1, x(), None);
    let refused = Column::from_arrow(&fixed).unwrap_err();
    assert!(refused.to_string().ends_with("asked for as a column"), "{refused}");
    assert!(Column::from_arrow(&new_null_array(&DataType::FixedSizeBinary(0), 2)).is_err());
    let refused = Struct::from_arrow(&x()).unwrap_err();
    assert!(matches!(refused, ArrayError::Kind { .. }));
    assert!(matches!(Pooled::<Strings>::from_arrow(&x()), Err(ArrayError::Kind { .. })));
}

#[test]
fn bytes_of_a_fixed_size_are_columns_of_byte_arrays() {
    let ours = Values::from(vec![[1_u8, 2, 3], [4, 5, 6]]);
    let column = Column::from_arrow(&ours.to_arrow()).unwrap();
    assert_eq!(column.to::<Values<[u8; 3]>>().unwrap(), ours);
    let wide = Values::from(vec![u128::MAX, 1]);
    let column = Column::from_arrow(&wide.to_arrow()).unwrap();
    assert_eq!(column.get(1), Some(Value::Record(&1_u128.to_le_bytes())));
}
