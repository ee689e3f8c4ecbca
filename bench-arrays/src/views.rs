//! Whether a layout of views for short strings (Arrow's Utf8View: 16 bytes a slot, which hold up to 12 bytes of text) would pay beside
//! offsets: arrow-rs's own of both, over the same texts.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use arrow_array::{Array, StringArray, StringViewArray};

use crate::Outcome;
use crate::data::Data;
use crate::measure::{Lap, Side, in_turn};

fn lap(work: impl FnOnce() -> f64) -> Outcome<Lap> {
    let start = Instant::now();
    let answer = black_box(work());
    Ok(Lap { spent: start.elapsed(), answer })
}

pub(crate) fn measure(data: &Data, _directory: &Path) -> Outcome<()> {
    println!("\nOffsets of 32 bits, and views beside them; both are arrow-rs's");
    let modes: Vec<&str> =
        data.modes.iter().map(|&code| &*data.mode_names[usize::from(code)]).collect();
    let comments: Vec<&str> = (0..data.rows()).map(|row| data.comment(row)).collect();
    for (name, texts) in [("ship modes", modes), ("comments", comments)] {
        let offsets = StringArray::from_iter_values(&texts);
        let views = StringViewArray::from_iter_values(&texts);
        let (first, second) = (offsets.get_buffer_memory_size(), views.get_buffer_memory_size());
        println!("{name}: {} MiB with offsets, {} MiB with views", first >> 20, second >> 20);
        let wanted = texts[texts.len() / 2];
        in_turn(vec![
            Side::new("offsets", || lap(|| StringArray::from_iter_values(&texts).len() as f64)),
            Side::new("views", || lap(|| StringViewArray::from_iter_values(&texts).len() as f64)),
        ])?
        .print("  build", None);
        let lengths = |texts: &mut dyn Iterator<Item = usize>| texts.sum::<usize>() as f64;
        in_turn(vec![
            Side::new("offsets", || lap(|| lengths(&mut offsets.iter().flatten().map(str::len)))),
            Side::new("views", || lap(|| lengths(&mut views.iter().flatten().map(str::len)))),
        ])?
        .print("  lengths, as &str", None);
        in_turn(vec![
            Side::new("offsets", || {
                lap(|| offsets.iter().flatten().filter(|text| *text == wanted).count() as f64)
            }),
            Side::new("views", || {
                lap(|| views.iter().flatten().filter(|text| *text == wanted).count() as f64)
            }),
        ])?
        .print("  rows equal to one of them", None);
        in_turn(vec![
            Side::new("offsets", || lap(|| offsets.iter().flatten().map(last).sum())),
            Side::new("views", || lap(|| views.iter().flatten().map(last).sum())),
        ])?
        .print("  last byte of each", None);
    }
    Ok(())
}

fn last(text: &str) -> f64 {
    text.as_bytes().last().copied().unwrap_or_default().into()
}
