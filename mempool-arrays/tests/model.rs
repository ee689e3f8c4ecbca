//! Arrays beside plain vectors: for every element and every layout, random items go in and the same come out, of the heap,
//! of a frame, of a map and of a saved file.
//!
//! `ARRAY_CASES` says how many cases each element has in each layout; a failure prints its case, and the seed for `SEED`. `CASE`
//! runs one alone.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::cmp::Ordering;
use std::hash::{DefaultHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mempool_arrays::{Column, Layout, Raw, Rearrange, Stored, Table, Unmetered, Values};
use mempool_core::testing::{decode, encode, encode_value, room};
use mempool_core::{Buffer, Codec, Ledger, MemoryStore, Pool, PoolOptions, Trust};
use mempool_spill::SpillOptions;

mod frames;
mod shapes;
use frames::sections;
use shapes::{
    Bool, Bytes, Color, Few, Maybe, Nothing, Plain, Random, Runs, Shape, Text, Trade, Wide, build,
    elements, environment, seed, shows,
};

/// More than any case takes.
const LIMIT_BYTES: u64 = 16 << 20;
/// One of so many cases is saved to a file of its own, which is synced.
const SAVED_SHARE: u64 = 50;

/// Where arrays go and come back from.
struct Places {
    heap: Pool<Raw>,
    disk: Pool<Raw>,
    directory: PathBuf,
}

impl Places {
    fn new(name: &str) -> Self {
        let name = format!("model-{name}-{}", std::process::id());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let options = || PoolOptions::new().memory_limit(LIMIT_BYTES);
        let store = SpillOptions::new(&directory).open().unwrap();
        Self {
            heap: options().store(MemoryStore::new()).open(Raw),
            disk: options().store(store).open(Raw),
            directory,
        }
    }

    /// By the pool that has no disk: resident, and after it was moved to a frame in memory.
    fn through_heap<S: Shape>(&self, array: &S::Array, items: &[S::Item]) {
        let reference = self.heap.set(array.clone()).unwrap();
        assert!(shows::<S>(&self.heap.get(&reference).unwrap(), items), "resident");
        drop(self.heap.move_to_disk(&reference).unwrap());
        assert!(shows::<S>(&self.heap.get(&reference).unwrap(), items), "in memory's store");
    }

    fn through_map<S: Shape>(&self, array: &S::Array, items: &[S::Item]) {
        let reference = self.disk.set(array.clone()).unwrap();
        drop(self.disk.move_to_disk(&reference).unwrap());
        let view = self.disk.get(&reference).unwrap();
        assert!(shows::<S>(&view, items), "mapped");
        // A part of what is mapped enters a pool as a copy.
        let part = view.slice(0..items.len() / 2);
        drop(view);
        let part = self.disk.set(part).unwrap();
        assert!(shows::<S>(&self.disk.get(&part).unwrap(), &items[..items.len() / 2]), "copied");
    }

    fn through_file<S: Shape>(&self, array: &S::Array, items: &[S::Item]) {
        let reference = self.disk.set(array.clone()).unwrap();
        let path = self.directory.join("saved");
        let file = self.disk.save_to_disk(&reference, &path).unwrap();
        assert!(shows::<S>(&self.disk.get_file(&file).unwrap(), items), "saved");
        std::fs::remove_file(&path).unwrap();
    }

    /// Nothing is left of what was set.
    fn close(self) {
        for pool in [&self.heap, &self.disk] {
            pool.quiesce();
            assert_eq!(pool.stats().used_bytes, 0);
            pool.close().unwrap();
        }
        std::fs::remove_dir_all(&self.directory).unwrap();
    }
}

/// The frame of a value that was admitted; it is the frame of the value itself, too.
fn frame<T: Stored + Clone>(value: &T) -> Buffer {
    let ledger = Ledger::new(LIMIT_BYTES, Duration::ZERO);
    let straight = encode_value(&Raw, value, 0).unwrap();
    let Ok(resident) = Raw.admit(value.clone(), &mut room(&ledger)) else {
        panic!("it is admitted")
    };
    let frame = encode::<T, Raw>(&Raw, &resident, 0).unwrap();
    assert!(frame[..] == straight[..], "resident or not, the bytes are the same");
    frame
}

fn through_frame<S: Shape>(array: &S::Array, items: &[S::Item]) {
    let ledger = Ledger::new(LIMIT_BYTES, Duration::ZERO);
    let bytes = frame(array);
    for trust in [Trust::Own, Trust::Saved, Trust::Foreign] {
        let back = decode::<S::Array, Raw>(&Raw, &bytes, trust, &mut room(&ledger)).unwrap();
        let view = <Raw as Codec<S::Array>>::view(&Raw, &back);
        assert!(shows::<S>(view, items), "as {trust:?}");
        let again = encode::<S::Array, Raw>(&Raw, &back, 0).unwrap();
        assert!(again[..] == bytes[..], "what was read is written as it was");
    }
    if S::CANONICAL {
        let fresh = frame(&build::<S>(items));
        assert!(fresh[..] == bytes[..], "a part of something is written as if made by itself");
    }
}

/// Slots taken in another order, and parts joined; and that slots of one order and one hash are the same.
fn rearranged<S: Shape>(array: &S::Array, items: &[S::Item], random: &mut Random) {
    let len = items.len();
    let slots: Vec<usize> =
        (0..random.below(20).min(len * 20)).map(|_| random.below(len)).collect();
    let taken: Vec<S::Item> = slots.iter().map(|&slot| items[slot].clone()).collect();
    assert!(shows::<S>(&array.take(&slots, &mut Unmetered).unwrap(), &taken), "taken");
    let (one, two) = (random.range(len), random.range(len));
    let parts = [&array.slice(one.clone()), &array.slice(two.clone()), array];
    let joined = [&items[one], &items[two], items].concat();
    assert!(shows::<S>(&S::Array::concat(&parts, &mut Unmetered).unwrap(), &joined), "joined");
    for pair in slots.chunks_exact(2) {
        let [a, b] = [0, 1].map(|at| array.get(pair[at]).unwrap());
        let order = S::Array::order(&a, &b);
        assert_eq!(S::Array::order(&b, &a), order.reverse());
        let hash = |item| {
            let mut state = DefaultHasher::new();
            S::Array::hash_item(item, &mut state);
            state.finish()
        };
        assert_eq!(order.is_eq(), hash(&a) == hash(&b), "{a:?} and {b:?}");
        assert_eq!(order.is_eq(), S::same(a, &items[pair[1]]));
    }
}

/// As a column: the same frame, and the same array again as its own type.
fn through_column<S: Shape>(array: &S::Array, items: &[S::Item], random: &mut Random) -> Column {
    let typed = |column: &Column| column.to::<S::Array>().unwrap();
    let column = Column::of(array);
    assert!(shows::<S>(&typed(&column), items), "as a column");
    assert!(sections(&column) == sections(array), "a column is written as its array is");
    let slots: Vec<usize> = (0..items.len().min(9)).map(|_| random.below(items.len())).collect();
    let taken: Vec<S::Item> = slots.iter().map(|&slot| items[slot].clone()).collect();
    let taken_column = column.take(&slots, &mut Unmetered).unwrap();
    assert!(shows::<S>(&typed(&taken_column), &taken), "taken from a column");
    let joined = Column::concat(&[&taken_column, &column], &mut Unmetered).unwrap();
    assert!(shows::<S>(&typed(&joined), &[&taken, items].concat()), "joined columns");
    column
}

/// As the first column of a table, beside the numbers of its rows: sorted, each row is where its number says.
fn through_table<S: Shape>(places: &Places, column: &Column, items: &[S::Item]) {
    let rows = Column::of(&(0..items.len() as u64).collect::<Values<u64>>());
    let table = Table::new([("item", column.clone()), ("row", rows)]).unwrap();
    let sorted = table.sort_by(&["item"]).unwrap();
    let reference = places.disk.set(sorted).unwrap();
    drop(places.disk.move_to_disk(&reference).unwrap());
    let table = places.disk.get(&reference).unwrap();
    let rows: Values<u64> = table.typed("row").unwrap();
    let sorted: Vec<S::Item> = rows.iter().map(|&row| items[row as usize].clone()).collect();
    assert!(shows::<S>(&table.typed("item").unwrap(), &sorted), "sorted");
    let of_slots = table.column("item").unwrap();
    assert!((1..items.len()).all(|at| match of_slots.order_slots(at - 1, at) {
        Ordering::Less => true,
        Ordering::Equal => rows[at - 1] < rows[at],
        Ordering::Greater => false,
    }));
    if let Some(key) = of_slots.get(items.len() / 2) {
        assert!(table.find(&[key]).contains(&(items.len() / 2)));
    }
}

/// By way of columns, for which the pool's own code is compiled once.
fn column_case<S: Shape>(places: &Places, number: u64, random: &mut Random) {
    let len = random.len();
    let items: Vec<S::Item> = (0..len).map(|_| S::item(random)).collect();
    let part = random.range(len);
    let array = build::<S>(&items).slice(part.clone());
    let items = &items[part];
    assert!(shows::<S>(&array, items), "a part");
    rearranged::<S>(&array, items, random);
    through_frame::<S>(&array, items);
    let column = through_column::<S>(&array, items, random);
    let typed = |column: &Column| column.to::<S::Array>().unwrap();
    let reference = places.disk.set(column.clone()).unwrap();
    assert!(shows::<S>(&typed(&places.disk.get(&reference).unwrap()), items), "resident");
    drop(places.disk.move_to_disk(&reference).unwrap());
    assert!(shows::<S>(&typed(&places.disk.get(&reference).unwrap()), items), "mapped");
    if number.is_multiple_of(SAVED_SHARE) {
        let path = places.directory.join("saved column");
        let file = places.disk.save_to_disk(&reference, &path).unwrap();
        assert!(shows::<S>(&typed(&places.disk.get_file(&file).unwrap()), items), "saved");
        std::fs::remove_file(&path).unwrap();
    }
    through_table::<S>(places, &column, items);
}

fn column<S: Shape>(element: &str, layout: &str) {
    let name = format!("{element}-{layout}");
    let places = Places::new(&name);
    cases(&name, |number, random| column_case::<S>(&places, number, random));
    places.close();
}

/// Whole, a part, and a part of a part.
fn one_case<S: Shape>(places: &Places, number: u64, random: &mut Random) {
    let len = random.len();
    let items: Vec<S::Item> = (0..len).map(|_| S::item(random)).collect();
    let whole = build::<S>(&items);
    assert!(shows::<S>(&whole, &items), "built");
    let outer = random.range(len);
    let part = whole.slice(outer.clone());
    assert!(shows::<S>(&part, &items[outer.clone()]), "a part");
    let inner = random.range(outer.len());
    let items_inner = &items[outer.clone()][inner.clone()];
    let inner = part.slice(inner);
    assert!(shows::<S>(&inner, items_inner), "a part of a part");
    let (array, items) = match random.below(3) {
        0 => (whole, &items[..]),
        1 => (part, &items[outer]),
        _ => (inner, items_inner),
    };
    rearranged::<S>(&array, items, random);
    through_frame::<S>(&array, items);
    through_column::<S>(&array, items, random);
    places.through_heap::<S>(&array, items);
    places.through_map::<S>(&array, items);
    if number.is_multiple_of(SAVED_SHARE) {
        places.through_file::<S>(&array, items);
    }
}

/// Runs `case` so often, and says which failed.
fn cases(name: &str, mut case: impl FnMut(u64, &mut Random)) {
    let (cases, seed) = (environment("ARRAY_CASES").unwrap_or(100), seed());
    let numbers = match environment("CASE") {
        Some(number) => number..number + 1,
        None => 0..cases,
    };
    let count = numbers.end - numbers.start;
    for number in numbers {
        let mut random = Random::of_case(seed, number);
        let done = catch_unwind(AssertUnwindSafe(|| case(number, &mut random)));
        assert!(done.is_ok(), "CASE={number} SEED={seed}: {name}");
    }
    println!("proof: cases={count} seed={seed}");
}

fn layout<S: Shape>(element: &str, layout: &str) {
    let name = format!("{element}-{layout}");
    let places = Places::new(&name);
    cases(&name, |number, random| one_case::<S>(&places, number, random));
    places.close();
}

/// An element in every layout.
fn layouts<S: Shape>(element: &str) {
    layout::<S>(element, "bare");
    layout::<Maybe<S>>(element, "nullable");
    column::<Few<S>>(element, "pooled");
    column::<Runs<S>>(element, "list");
}

/// A vector is kept as the array that would be built of its items.
fn vectors<S: Shape>(name: &str)
where
    Vec<S::Item>: Stored<Array = S::Array>,
{
    cases(name, |_, random| {
        let len = random.len();
        let items: Vec<S::Item> = (0..len).map(|_| S::item(random)).collect();
        let built = frame(&build::<S>(&items));
        assert!(frame(&items)[..] == built[..]);
    });
}

macro_rules! element {
    ($name:ident, $shape:ty) => {
        #[test]
        fn $name() {
            layouts::<$shape>(stringify!($name));
        }
    };
}
elements!(element);

#[test]
fn layouts_in_layouts() {
    column::<Maybe<Maybe<Plain<u16>>>>("u16", "nullable-twice");
    column::<Maybe<Maybe<Text<i32>>>>("text", "nullable-twice");
    column::<Maybe<Few<Text>>>("text", "nullable-pooled");
    column::<Few<Maybe<Text>>>("text", "pooled-nullable");
    column::<Few<Few<Text>>>("text", "pooled-twice");
    column::<Maybe<Runs<Maybe<Plain<f64>>, i32>>>("f64", "nullable-list-nullable");
    column::<Runs<Runs<Text>, i32>>("text", "list-twice");
    column::<Few<Runs<Bool>>>("boolean", "pooled-lists");
    column::<Runs<Few<Text<i32>>>>("text", "lists-pooled");
}

#[test]
fn vectors_are_kept_as_their_arrays() {
    vectors::<Plain<u8>>("Vec<u8>");
    vectors::<Plain<f64>>("Vec<f64>");
    vectors::<Plain<Trade>>("Vec<Trade>");
    vectors::<Maybe<Plain<i32>>>("Vec<Option<i32>>");
    vectors::<Maybe<Plain<Wide>>>("Vec<Option<Wide>>");
    vectors::<Bool>("Vec<bool>");
    vectors::<Nothing>("Vec<()>");
    vectors::<Text>("Vec<String>");
    vectors::<Maybe<Text>>("Vec<Option<String>>");
}
