//! The same comments in the formats that a program would otherwise keep them in: written, opened to the first string, and
//! scanned whole.
#![expect(unsafe_code, reason = "Arrow checks what it maps unless it is promised that it need not")]

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::{LargeStringArray, RecordBatch};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_ipc::writer::FileWriter;
use mempool_arrays::{Layout, Raw, Strings};
use mempool_core::{DRef, Pool};
use mempool_spill::Verify;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::data::Data;
use crate::measure::{Lap, Side, in_turn, shown};
use crate::{Outcome, plain, pool};

/// A way to keep a column of strings on disk.
struct Format<'a> {
    name: &'static str,
    /// Writes it; answers how long that took, without what it is written from.
    write: Box<dyn Fn() -> Outcome<Duration> + 'a>,
    /// Opens it and answers the length of its first string.
    first: Box<dyn Fn() -> Outcome<Lap> + 'a>,
    /// Opens it and sums the lengths of all strings.
    scan: Box<dyn Fn() -> Outcome<Lap> + 'a>,
    /// What it takes on disk.
    bytes: Box<dyn Fn() -> Outcome<u64> + 'a>,
}

impl Format<'_> {
    fn write(&self) -> Side<'_> {
        Side::new(self.name, || Ok(Lap { spent: (self.write)()?, answer: 0.0 }))
    }
}

pub(crate) fn measure(data: &Data, directory: &Path) -> Outcome<()> {
    println!(
        "\nAll comments in other formats, files in the page cache; nothing is synced but what is saved"
    );
    let (pool, _) = pool(directory, Verify::Header)?;
    let comments = data.comments();
    let spilled = pool.set(data.comments())?;
    pool.move_to_disk(&spilled)?;
    let paths = ["saved", "ipc", "parquet", "bincode"].map(|name| directory.join(name));
    let [saved, ipc, parquet, bincode] = &paths;
    let batch = batch(data)?;
    let strings: Vec<String> = (0..data.rows()).map(|row| data.comment(row).to_owned()).collect();
    let formats = [
        ours_spilled(&pool, &comments, &spilled),
        arrow_ipc("Arrow IPC, trusted", &batch, ipc, true),
        arrow_ipc("Arrow IPC, checked", &batch, ipc, false),
        parquet_file(&batch, parquet),
        bincode_file(&strings, bincode),
        ours_saved(&pool, &spilled, saved),
    ];
    // What syncs leaves less to be written for those behind it, so that one goes by itself.
    let (synced, others) = formats.split_last().ok_or("no formats")?;
    let mut written = each(others, Format::write)?;
    written.extend(each(std::slice::from_ref(synced), Format::write)?);
    let first = each(&formats, |format| Side::new(format.name, || (format.first)()))?;
    let scanned = each(&formats, |format| Side::new(format.name, || (format.scan)()))?;
    println!(
        "{:<22} {:>9} {:>10} {:>13} {:>11}",
        "", "size", "write", "first string", "whole scan"
    );
    for (at, format) in formats.iter().enumerate() {
        let mib = (format.bytes)()? as f64 / f64::from(1 << 20);
        let [written, first, scanned] = [written[at], first[at], scanned[at]].map(shown);
        println!("{:<22} {mib:>5.0} MiB {written:>10} {first:>13} {scanned:>11}", format.name);
    }
    drop(formats);
    paths.iter().try_for_each(fs::remove_file)?;
    drop((comments, spilled));
    pool.close()?;
    Ok(())
}

/// The medians of one thing that all formats do.
fn each<'a>(
    formats: &'a [Format<'a>],
    side: impl Fn(&'a Format<'a>) -> Side<'a>,
) -> Outcome<Vec<f64>> {
    let medians = in_turn(formats.iter().map(side).collect())?;
    Ok((0..formats.len()).map(|at| medians.seconds(at)).collect())
}

/// Times `open`, which answers something of what it opened; what it opened is let go of afterwards.
fn timed<T>(open: impl FnOnce() -> Outcome<(f64, T)>) -> Outcome<Lap> {
    let start = Instant::now();
    let (answer, opened) = open()?;
    let spent = start.elapsed();
    drop(opened);
    // The allocator sorts what was freed, millions of strings it may be, when it is next asked for much. That is not the
    // next one's work.
    drop(black_box(Vec::<u8>::with_capacity(100 << 10)));
    Ok(Lap { spent, answer })
}

fn spent<T>(write: impl FnOnce() -> Outcome<T>) -> Outcome<Duration> {
    let start = Instant::now();
    let written = write()?;
    let spent = start.elapsed();
    drop(written);
    Ok(spent)
}

/// What is read of each format.
fn first_length(strings: &LargeStringArray) -> f64 {
    f64::from(u32::try_from(strings.value(0).len()).unwrap_or(u32::MAX))
}

fn ours_spilled<'a>(
    pool: &'a Pool<Raw>,
    comments: &'a Strings,
    spilled: &'a DRef<Strings>,
) -> Format<'a> {
    // The get before left the map in place; a fresh one is what is measured.
    let fresh = move || pool.move_to_disk(spilled);
    Format {
        name: "ours, spilled",
        write: Box::new(move || {
            let column = pool.set(comments.clone())?;
            spent(|| Ok((pool.copy_to_disk(&column)?, &column)))
        }),
        first: Box::new(move || {
            fresh()?;
            timed(|| {
                let view = pool.get(spilled)?;
                Ok((view.get(0).map_or(0, str::len) as f64, view))
            })
        }),
        scan: Box::new(move || {
            fresh()?;
            timed(|| {
                let view = pool.get(spilled)?;
                Ok((view.iter().map(str::len).sum::<usize>() as f64, view))
            })
        }),
        bytes: Box::new(move || Ok(pool.info(spilled)?.frame_bytes.unwrap_or_default())),
    }
}

fn ours_saved<'a>(pool: &'a Pool<Raw>, spilled: &'a DRef<Strings>, path: &'a Path) -> Format<'a> {
    let open = move || {
        Ok::<_, Box<dyn std::error::Error>>(pool.read_frame::<Strings>(&plain::map_frame(path)?)?)
    };
    Format {
        name: "ours, saved and synced",
        write: Box::new(move || spent(|| Ok(pool.save_to_disk(spilled, path)?))),
        first: Box::new(move || {
            timed(|| {
                let view = open()?;
                Ok((view.get(0).map_or(0, str::len) as f64, view))
            })
        }),
        scan: Box::new(move || {
            timed(|| {
                let view = open()?;
                Ok((view.iter().map(str::len).sum::<usize>() as f64, view))
            })
        }),
        bytes: Box::new(move || Ok(fs::metadata(path)?.len())),
    }
}

/// The comments as Arrow has them.
fn batch(data: &Data) -> Outcome<RecordBatch> {
    let offsets = OffsetBuffer::new(ScalarBuffer::from(data.offsets.clone()));
    let strings = LargeStringArray::new(offsets, Buffer::from_vec(data.text.clone()), None);
    Ok(RecordBatch::try_from_iter([("comment", Arc::new(strings) as _)])?)
}

/// A file that is mapped and read where it is, as Arrow's own example of reading without a copy does it.
fn arrow_ipc<'a>(
    name: &'static str,
    batch: &'a RecordBatch,
    path: &'a Path,
    trusted: bool,
) -> Format<'a> {
    let open = move || {
        let file = Buffer::from(bytes::Bytes::from_owner(plain::map(path)?));
        let trailer = file.len().checked_sub(10).ok_or("no trailer")?;
        let footer_len = read_footer_length(file[trailer..].try_into()?)?;
        let footer = arrow_ipc::root_as_footer(&file[trailer - footer_len..trailer])
            .map_err(|error| error.to_string())?;
        let schema = Arc::new(try_fb_to_schema(footer.schema().ok_or("no schema")?)?);
        let decoder = FileDecoder::new(schema, footer.version());
        // SAFETY: the file was written by this process, and nobody else has it.
        let decoder = unsafe { decoder.with_skip_validation(trusted) };
        let block = footer.recordBatches().ok_or("no batches")?.get(0);
        let block_len =
            usize::try_from(block.bodyLength())? + usize::try_from(block.metaDataLength())?;
        let bytes = file.slice_with_length(usize::try_from(block.offset())?, block_len);
        let batch = decoder.read_record_batch(block, &bytes)?.ok_or("no batch")?;
        Ok::<_, Box<dyn std::error::Error>>(batch.column(0).as_string::<i64>().clone())
    };
    Format {
        name,
        write: Box::new(move || {
            let file = File::create(path)?;
            spent(|| {
                let mut writer = FileWriter::try_new_buffered(&file, &batch.schema())?;
                writer.write(batch)?;
                Ok(writer.finish()?)
            })
        }),
        first: Box::new(move || timed(|| open().map(|strings| (first_length(&strings), strings)))),
        scan: Box::new(move || {
            timed(|| {
                let strings = open()?;
                Ok((strings.iter().flatten().map(str::len).sum::<usize>() as f64, strings))
            })
        }),
        bytes: Box::new(move || Ok(fs::metadata(path)?.len())),
    }
}

fn parquet_file<'a>(batch: &'a RecordBatch, path: &'a Path) -> Format<'a> {
    let open = move |rows: usize| {
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
        Ok::<_, Box<dyn std::error::Error>>(builder.with_batch_size(rows).build()?)
    };
    Format {
        name: "Parquet",
        write: Box::new(move || {
            let file = File::create(path)?;
            spent(|| {
                let mut writer = ArrowWriter::try_new(&file, batch.schema(), None)?;
                writer.write(batch)?;
                Ok(writer.close()?)
            })
        }),
        first: Box::new(move || {
            timed(|| {
                let batch = open(1)?.next().ok_or("no batch")??;
                Ok((first_length(batch.column(0).as_string()), batch))
            })
        }),
        scan: Box::new(move || {
            timed(|| {
                let mut lengths = 0;
                for batch in open(8192)? {
                    let batch = batch?;
                    let strings = batch.column(0).as_string::<i64>();
                    lengths += strings.iter().flatten().map(str::len).sum::<usize>();
                }
                Ok((lengths as f64, ()))
            })
        }),
        bytes: Box::new(move || Ok(fs::metadata(path)?.len())),
    }
}

fn bincode_file<'a>(strings: &'a [String], path: &'a Path) -> Format<'a> {
    let config = bincode::config::standard();
    let open = move || {
        let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
        Ok::<Vec<String>, Box<dyn std::error::Error>>(bincode::decode_from_std_read(
            &mut file, config,
        )?)
    };
    Format {
        name: "bincode",
        write: Box::new(move || {
            let file = File::create(path)?;
            spent(|| {
                let mut writer = BufWriter::with_capacity(1 << 20, &file);
                bincode::encode_into_std_write(strings, &mut writer, config)?;
                Ok(writer.flush()?)
            })
        }),
        first: Box::new(move || {
            timed(|| {
                let strings = open()?;
                Ok((strings.first().map_or(0, String::len) as f64, strings))
            })
        }),
        scan: Box::new(move || {
            timed(|| {
                let strings = open()?;
                Ok((strings.iter().map(String::len).sum::<usize>() as f64, strings))
            })
        }),
        bytes: Box::new(move || Ok(fs::metadata(path)?.len())),
    }
}
