//! `mempool import` and `mempool show`, as a user runs them: what comes out beside what went in, what is refused, and what is left behind.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{self, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use mempool_arrays::{
    Bits, Field, Layout, Logical, Nullable, Pooled, Raw, Strings, Table, TimeUnit, Value, Values,
};
use mempool_core::PoolOptions;
use mempool_spill::SpillOptions;

/// A new directory, removed at the end.
struct Directory(PathBuf);

impl Directory {
    /// On the disk that the tests are built on: the system's temporary directory may be memory.
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mempool-tables-{}-{number}", process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), bytes).unwrap();
    }

    /// The names of what is in it, sorted.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The program, run here.
    fn mempool(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mempool"));
        command.current_dir(&self.0);
        command
    }

    /// Imports `x.csv` to `x.mempool`.
    fn import(&self, more: &[&str]) -> serde_json::Value {
        let output = self.mempool(&[&["import", "x.csv", "--json"], more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The chunks of `x.mempool`, as a program of the user's reads them.
    fn tables(&self) -> Vec<Table> {
        let store = SpillOptions::new(&self.0).open().unwrap();
        let pool = PoolOptions::new().memory_limit(64 << 20).store(store).open(Raw);
        let manifest = fs::read(self.0.join("x.mempool/table.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let chunks = manifest["chunks"].as_array().unwrap().len();
        let load = |number| {
            let path = self.0.join(format!("x.mempool/chunk-{number:05}.frame"));
            pool.get_file(&pool.file::<Table>(path)).unwrap().clone()
        };
        (0..chunks).map(load).collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What stays behind harms no other test.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What a plain program makes of `x.csv` below: columns of optional values.
#[test]
fn a_file_of_all_types_becomes_their_columns() {
    let directory = Directory::new();
    directory.write(
        "x.csv",
        "whole,part,truth,day,moment,zip,town,gone\r\n\
         1,0.5,true,1970-01-02,1970-01-01T00:00:01Z,007,\"Bern, \"\"CH\"\"\",\r\n\
         ,2,FALSE,,1970-01-01 00:00:00.000001Z,8,\"two\nlines\",\r\n\
         -9223372036854775808,NaN,True,2000-02-29,,,\"\",\r\n\
         4,1e3,false,1969-12-31,1969-12-31T23:59:59Z,1,\"Bern, \"\"CH\"\"\",\r\n\
         5,-7,true,1970-01-01,1970-01-01T00:00:00Z,1,\"\",\r\n\
         6,7,true,1970-01-01,1970-01-01T00:00:00Z,1,\"\",",
    );
    let report = directory.import(&[]);
    assert_eq!((&report["table"]["rows"], &report["runs"]), (&6.into(), &0.into()));
    assert_eq!(directory.names(), ["x.csv", "x.mempool"]);
    let tables = directory.tables();
    let [table] = &tables[..] else { panic!("{} tables", tables.len()) };
    assert_eq!(table.index(), []);
    let whole: Nullable<Values<i64>> = table.typed("whole").unwrap();
    assert!(whole.iter().eq([Some(1), None, Some(i64::MIN), Some(4), Some(5), Some(6)]));
    let part: Values<f64> = table.typed("part").unwrap();
    assert_eq!((part[0], part[1], part[3], part[4]), (0.5, 2.0, 1000.0, -7.0));
    assert!(part[2].is_nan());
    let truth: Bits = table.typed("truth").unwrap();
    assert!(truth.iter().eq([true, false, true, false, true, true]));
    let day: Nullable<Values<i32>> = table.typed("day").unwrap();
    assert!(day.iter().eq([Some(1), None, Some(11_016), Some(-1), Some(0), Some(0)]));
    let moment: Nullable<Values<i64>> = table.typed("moment").unwrap();
    let seconds = [Some(1_000_000), Some(1), None, Some(-1_000_000), Some(0), Some(0)];
    assert!(moment.iter().eq(seconds));
    // A number that would be printed another way keeps the whole column as it was written; half of its texts are one.
    let zip: Nullable<Strings> = table.typed("zip").unwrap();
    assert!(zip.iter().eq([Some("007"), Some("8"), None, Some("1"), Some("1"), Some("1")]));
    let town: Pooled<Strings> = table.typed("town").unwrap();
    let bern = "Bern, \"CH\"";
    assert!(town.iter().eq([bern, "two\nlines", "", bern, "", ""]));
    let gone: Nullable<Strings> = table.typed("gone").unwrap();
    assert_eq!(gone.nulls(), 6);
    let logical = |name: &str| {
        table.fields().iter().find(|field| field.name() == name).map(Field::logical).unwrap()
    };
    assert_eq!((logical("day"), logical("whole")), (Logical::Date, Logical::None));
    let unit = TimeUnit::Microsecond;
    assert_eq!(logical("moment"), Logical::Timestamp { unit, utc: true });
}

#[test]
fn a_type_that_changes_late_loses_no_text() {
    let directory = Directory::new();
    let mut text = "a,b\n".to_owned();
    (0..100_000).for_each(|row| writeln!(text, "{row},{}", row % 2).unwrap());
    text.push_str("+5,1.5\n");
    directory.write("x.csv", text);
    directory.import(&["--memory-limit", "1MiB"]);
    let tables = directory.tables();
    assert!(tables.len() > 1);
    let texts: Vec<String> = tables
        .iter()
        .flat_map(|table| {
            let strings: Strings = table.typed("a").unwrap();
            strings.iter().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    assert!(texts.iter().take(100_000).enumerate().all(|(row, text)| *text == row.to_string()));
    assert_eq!(texts[100_000], "+5");
    // Whole numbers and a fraction are floats, from the first row on.
    let floats: Values<f64> = tables[0].typed("b").unwrap();
    assert_eq!(floats[..2], [0.0, 1.0]);
}

/// Numbers that look random, the same each time.
fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

/// A row of the model: town, group, its number in the file, and a text.
type ModelRow = (Option<String>, i64, i64, String);

/// Rows of four columns, and the text of a file that has them.
fn model(count: i64, seed: u64) -> (Vec<ModelRow>, String) {
    let mut next = random(seed);
    let mut text = "number,note,town,group\n".to_owned();
    let rows = (0..count).map(|number| {
        let town = match next(40) {
            0 => None,
            town => Some(format!("town \"{town}\"")),
        };
        let (group, note) = (next(50) as i64 - 25, "é".repeat(usize::try_from(next(60)).unwrap()));
        let quoted = town
            .as_ref()
            .map_or(String::new(), |town| format!("\"{}\"", town.replace('"', "\"\"")));
        writeln!(text, "{number},\"{note}\",{quoted},{group}").unwrap();
        (town, group, number, note)
    });
    let rows = rows.collect();
    (rows, text)
}

/// All rows of tables in their order.
fn rows_of(tables: &[Table]) -> Vec<ModelRow> {
    let row = |row: mempool_arrays::Row| {
        let text = |value: Value<'_>| match value {
            Value::Text(text) => Some(text.to_owned()),
            Value::Null => None,
            other => panic!("{other:?}"),
        };
        let number = |value: Value<'_>| match value {
            Value::Int(number) => i64::try_from(number).unwrap(),
            other => panic!("{other:?}"),
        };
        let town = text(row.get("town").unwrap());
        let note = text(row.get("note").unwrap()).unwrap();
        (town, number(row.get("group").unwrap()), number(row.get("number").unwrap()), note)
    };
    tables.iter().flat_map(|table| table.iter().map(row).collect::<Vec<_>>()).collect()
}

#[test]
fn a_file_larger_than_memory_is_sorted_whole_and_stably() {
    let directory = Directory::new();
    let (mut rows, text) = model(60_000, 1);
    assert!(text.len() > 4 << 20, "{}", text.len());
    directory.write("x.csv", &text);
    let report = directory.import(&["--memory-limit", "1MiB", "--index", "town,group"]);
    assert!(report["runs"].as_u64().unwrap() > 10, "{report:#}");
    assert!(report["spilled_bytes"].as_u64().unwrap() > 1 << 20, "{report:#}");
    assert!(report["memory"]["peak_resident_bytes"].as_u64().unwrap() <= 1 << 20);
    // The exit code says that the process held no more than the limit and 64 MiB.
    let held = report["memory"]["process_peaks"]["unreclaimable_bytes"].as_u64().unwrap();
    assert!(held <= 65 << 20, "{report:#}");
    let tables = directory.tables();
    let (_, full) = tables.split_last().unwrap();
    assert!(full.len() > 10 && full.iter().all(|table| table.rows() > 100));
    for table in &tables {
        assert_eq!(table.index(), [Field::new("town"), Field::new("group")]);
        assert!(table.typed::<Nullable<Pooled<Strings>>>("town").is_ok());
    }
    // A stable sort by the index leaves one order alone.
    rows.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    assert_eq!(rows_of(&tables), rows);
    assert_eq!(directory.names(), ["x.csv", "x.mempool"]);
    // And the program that shows it agrees.
    let output = directory.mempool(&["show", "x.mempool", "--json", "--rows", "0"]);
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&shown["rows"], &shown["chunks"]), (&60_000.into(), &tables.len().into()));
    assert_eq!(shown["columns"][0]["distinct"], 39);
    let nulls = rows.iter().filter(|row| row.0.is_none()).count();
    assert_eq!(shown["columns"][0]["nulls"], nulls);
    assert_eq!(
        (&shown["columns"][1]["least"], &shown["columns"][1]["greatest"]),
        (&(-25).into(), &24.into())
    );
    assert_eq!(shown["columns"][2]["mean"], 29_999.5);
}

#[test]
fn rows_that_are_sorted_already_or_backwards_are_merged_as_well() {
    for (seed, sign) in [(2, 1), (3, -1)] {
        let directory = Directory::new();
        let mut text = "key,pad\n".to_owned();
        let mut next = random(seed);
        let keys: Vec<i64> = (0..30_000).map(|row| sign * (row / 7)).collect();
        keys.iter().for_each(|key| writeln!(text, "{key},{:0100}", next(1000)).unwrap());
        directory.write("x.csv", text);
        directory.import(&["--memory-limit", "1MiB", "--index", "key"]);
        let tables = directory.tables();
        let mut found = Vec::new();
        for table in &tables {
            found.extend_from_slice(&table.typed::<Values<i64>>("key").unwrap());
        }
        let mut expected = keys;
        expected.sort_unstable();
        assert!(found == expected, "{sign}");
        // Chunks are of the size that was asked for, in whatever order the runs come.
        let most = tables.iter().map(Table::rows).max().unwrap();
        assert!(tables.len() < 3 * 30_000 / most + 3, "{} chunks of {most} rows", tables.len());
    }
}

#[test]
fn rows_of_very_different_sizes_stay_within_the_limit() {
    let directory = Directory::new();
    let mut text = "key,pad\n".to_owned();
    // In the order of the key the long ones stand together.
    for row in 0..4000 {
        let (key, len) = if row % 20 == 0 { (0, 20_000) } else { (row, 10) };
        writeln!(text, "{key},{row:0>len$}").unwrap();
    }
    directory.write("x.csv", text);
    let report = directory.import(&["--memory-limit", "2MiB", "--index", "key"]);
    assert!(report["memory"]["peak_resident_bytes"].as_u64().unwrap() <= 2 << 20);
    let tables = directory.tables();
    let lens = tables.iter().flat_map(|table| {
        let pads: Strings = table.typed("pad").unwrap();
        pads.iter().map(str::len).collect::<Vec<_>>()
    });
    assert!(lens.eq([vec![20_000; 200], vec![10; 3800]].concat()));
}

#[test]
fn without_an_index_rows_keep_their_order() {
    let directory = Directory::new();
    let (rows, text) = model(20_000, 4);
    directory.write("x.csv", text);
    let report = directory.import(&["--memory-limit", "1MiB", "--out", "x.mempool"]);
    assert_eq!(report["runs"], 0);
    let tables = directory.tables();
    assert!(tables.len() > 3);
    assert_eq!(rows_of(&tables), rows);
}

#[test]
fn a_file_without_rows_has_its_columns() {
    let directory = Directory::new();
    for index in [&[][..], &["--index", "b"]] {
        directory.write("x.csv", "a,b");
        let report = directory.import(index);
        assert_eq!((&report["table"]["rows"], &report["table"]["chunks"]), (&0.into(), &1.into()));
        assert_eq!(report["table"]["columns"].as_array().unwrap().len(), 2);
        fs::remove_dir_all(directory.0.join("x.mempool")).unwrap();
    }
}

#[test]
fn fields_may_be_divided_by_tabs() {
    let directory = Directory::new();
    directory.write("x.tsv", "a,b\tc\n1,2\t3\n");
    let output = directory.mempool(&["import", "x.tsv"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("It was read twice"), "{}", stdout(&output));
    assert!(stdout(&output).ends_with("  a,b  c\n  1,2  3\n"), "{}", stdout(&output));
}

#[test]
fn a_file_that_is_no_table_is_refused_with_its_line() {
    let directory = Directory::new();
    let refused: &[(&[u8], &[&str], i32, &str)] = &[
        (
            b"a,b\n1,2\n\"x\ny\",2\n3\n",
            &[],
            1,
            "x.csv, line 5: 1 fields, and the first line names 2",
        ),
        (b"a,b\n1,\"\xFF\"\n", &[], 1, "x.csv, line 2: field 2 is not UTF-8"),
        (b"a\xFF,b\n1,2\n", &[], 1, "line 1: field 1 is not UTF-8"),
        (b"a,b\n1,\"2\n3,4\n", &[], 1, "line 2: a quote that is not closed"),
        (b"", &[], 1, "has no line with the names of its columns"),
        (b"a,a\n1,2\n", &[], 1, "line 1 names \"a\" twice"),
        (b"a,b\n1,2\n", &["--index", "c"], 2, "--index c: there is no such column; there are a, b"),
        (b"a,b\n1,2\n", &["--index", "a,a"], 1, "--index names \"a\" twice"),
        (b"a,b\n1,2\n", &["--memory-limit", "4KiB"], 2, "give at least --memory-limit 1024KiB"),
        (b"a,b\n1,2\n", &["--out", "x.csv"], 2, "x.csv is there already"),
        (b"a,b\n1,2\n", &["--out", "none/x"], 3, "cannot write none/"),
        (b"a,b\n1,2\n", &["--disk", "none"], 3, "cannot spill to none"),
    ];
    for (text, more, code, message) in refused {
        directory.write("x.csv", text);
        let output = directory.mempool(&[&["import", "x.csv"], *more].concat());
        assert!(stderr(&output).contains(message), "{message} in {}", stderr(&output));
        assert_eq!(output.status.code(), Some(*code), "{message}");
        assert_eq!(directory.names(), ["x.csv"], "{message}");
    }
    for (name, code, message) in [
        ("x.xls", 2, "x.xls: what it holds is told by the end of its name"),
        ("none.csv", 3, "cannot read none.csv"),
        (".", 2, "none of .csv, .tsv, .parquet and .arrow"),
    ] {
        let output = directory.mempool(&["import", name]);
        assert!(stderr(&output).contains(message), "{message} in {}", stderr(&output));
        assert_eq!(output.status.code(), Some(code), "{name}");
    }
    fs::create_dir(directory.0.join("directory.csv")).unwrap();
    let output = directory.mempool(&["import", "directory.csv"]);
    assert!(stderr(&output).contains("no regular file"), "{}", stderr(&output));
}

#[test]
fn a_full_disk_leaves_nothing() {
    let directory = Directory::new();
    directory.write("x.csv", model(40_000, 5).1);
    let program = env!("CARGO_BIN_EXE_mempool");
    // The result's files may not become so long; then nothing may be spilled but 64 KiB.
    let limited = format!("ulimit -f 16; {program} import x.csv --memory-limit 2MiB");
    let output =
        Command::new("bash").args(["-c", &limited]).current_dir(&directory.0).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("the disk is full"), "{}", stderr(&output));
    assert_eq!(directory.names(), ["x.csv"]);
    let arguments = ["import", "x.csv", "--index", "note", "--memory-limit", "1MiB"];
    let output = directory.mempool(&[&arguments[..], &["--disk", ".:64KiB"]].concat());
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("the disk is full"), "{}", stderr(&output));
    assert_eq!(directory.names(), ["x.csv"]);
}

#[test]
fn an_import_that_is_stopped_removes_its_files() {
    let directory = Directory::new();
    directory.write("x.csv", model(200_000, 6).1);
    let mut job = directory
        .command()
        .args(["import", "x.csv", "--index", "town", "--memory-limit", "2MiB"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Its session is made after it has begun to listen for signals.
    while !directory.names().contains(&".mempool".to_owned()) {
        assert_eq!(job.try_wait().unwrap(), None, "it ended before it began");
        thread::yield_now();
    }
    let killed = Command::new("kill").arg(job.id().to_string()).status().unwrap();
    assert!(killed.success());
    let output = job.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(128 + 15), "{}", stderr(&output));
    assert!(stderr(&output).contains("stopped by SIGTERM"), "{}", stderr(&output));
    assert_eq!(directory.names(), ["x.csv"]);
}

/// A small table of three columns, imported.
fn small() -> Directory {
    let directory = Directory::new();
    let text = "town,day,share\nZürich,1970-01-02,0.5\n東京,,1.25\nBern,2000-02-29,-3\nBern,1999-12-31,2\n";
    directory.write("x.csv", text);
    directory.import(&["--index", "town,day"]);
    directory
}

#[test]
fn a_small_table_is_shown_whole() {
    let directory = small();
    let output = directory.mempool(&["show", "x.mempool", "--rows", "3"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let bytes = fs::metadata(directory.0.join("x.mempool/chunk-00000.frame")).unwrap().len();
    let expected = format!(
        "x.mempool: a table of 4 rows, {bytes} B, sorted by town, day

  column  type                 missing  distinct       least    greatest      mean  text
  town    strings                                       Bern        東京            21 B
  day     nullable i32 (date)        1            1970-01-02  2000-02-29
  share   f64                                           -3.0         2.0  0.187500

The first 3 rows

  town           day  share
  Bern    1999-12-31    2.0
  Bern    2000-02-29   -3.0
  Zürich  1970-01-02    0.5
"
    );
    assert_eq!(stdout(&output), expected);
    let file = directory.mempool(&["show", "x.mempool/chunk-00000.frame", "--json", "--rows", "9"]);
    let shown: serde_json::Value = serde_json::from_slice(&file.stdout).unwrap();
    assert_eq!(shown["index"], serde_json::json!(["town", "day"]));
    assert_eq!(shown["first_rows"][3], serde_json::json!(["東京", null, 1.25]));
    assert_eq!(directory.names(), ["x.csv", "x.mempool"]);
}

#[test]
fn a_table_that_is_not_whole_is_an_error_that_names_it() {
    let directory = small();
    let chunk = directory.0.join("x.mempool/chunk-00000.frame");
    let manifest = directory.0.join("x.mempool/table.json");
    let (frame, text) = (fs::read(&chunk).unwrap(), fs::read_to_string(&manifest).unwrap());
    let refused = |message: &str, code| {
        let output = directory.mempool(&["show", "x.mempool"]);
        assert!(stderr(&output).contains(message), "{message} in {}", stderr(&output));
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    };
    for at in (0..frame.len()).step_by(97) {
        let mut damaged = frame.clone();
        damaged[at] ^= 0x10;
        fs::write(&chunk, damaged).unwrap();
        refused("x.mempool/chunk-00000.frame cannot be shown", 1);
    }
    fs::write(&chunk, &frame).unwrap();
    for (from, to, message) in [
        ("4\n", "5\n", "its chunks have others"),
        ("\"rows\": 4", "\"rows\": 18446744073709551615", "its chunks have others"),
        ("\"town\",", "\"day\",", "it is sorted by others"),
        ("\"version\": 1", "\"version\": 2", "version 2"),
        ("{", "[", "table.json: "),
    ] {
        fs::write(&manifest, text.replace(from, to)).unwrap();
        refused(message, 1);
    }
    let more = text.replace("    4\n", "    3\n").replace("\"rows\": 4", "\"rows\": 3");
    fs::write(&manifest, more).unwrap();
    refused("chunk-00000.frame: 4 rows, and table.json says 3", 1);
    // The same chunk twice: its first row comes before its last one.
    let twice = text.replace("    4\n", "    4,\n    4\n").replace("\"rows\": 4", "\"rows\": 8");
    fs::write(&manifest, twice).unwrap();
    fs::copy(&chunk, directory.0.join("x.mempool/chunk-00001.frame")).unwrap();
    refused("chunk-00001.frame: its first row comes before the last one in front of it", 1);
    fs::remove_file(&manifest).unwrap();
    refused("x.mempool has no table.json", 1);
    let output = directory.mempool(&["show", "none"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
}

#[test]
fn a_saved_value_that_is_no_table_is_told_from_damage() {
    let directory = Directory::new();
    let store = SpillOptions::new(&directory.0).open().unwrap();
    let pool = PoolOptions::new().memory_limit(1 << 20).store(store).open(Raw);
    let numbers = pool.set(vec![1_u32, 2, 3]).unwrap();
    pool.save_to_disk(&numbers, directory.0.join("numbers")).unwrap();
    pool.close().unwrap();
    let output = directory.mempool(&["show", "numbers"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("`mempool inspect` says what"), "{}", stderr(&output));
}

#[test]
#[cfg(not(feature = "arrow"))]
fn a_file_that_takes_a_feature_names_it() {
    let directory = Directory::new();
    for end in ["arrow", "parquet"] {
        let output = directory.mempool(&["import", &format!("x.{end}")]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let message = format!("build it with --features {end}");
        assert!(stderr(&output).contains(&message), "{}", stderr(&output));
    }
}

/// Files of Arrow's families, written by their own crates.
#[cfg(feature = "arrow")]
mod arrow {
    use mempool_arrays::{Column, arrow::ArrowFileWriter};

    use super::*;

    /// The model's rows as tables of `part` rows.
    fn batches(rows: &[ModelRow], part: usize) -> Vec<Table> {
        let table = |rows: &[ModelRow]| {
            let town: Nullable<Strings> = rows.iter().map(|row| row.0.as_deref()).collect();
            let note: Strings = rows.iter().map(|row| &row.3[..]).collect();
            let group: Values<i64> = rows.iter().map(|row| row.1).collect::<Vec<_>>().into();
            let number: Values<i64> = rows.iter().map(|row| row.2).collect::<Vec<_>>().into();
            let columns = [
                ("number", Column::of(&number)),
                ("note", Column::of(&note)),
                ("town", Column::of(&town)),
                ("group", Column::of(&group)),
            ];
            Table::new(columns).unwrap()
        };
        rows.chunks(part).map(table).collect()
    }

    fn write_arrow(path: &Path, tables: &[Table]) {
        let mut writer = ArrowFileWriter::create(path, &tables[0]).unwrap();
        tables.iter().for_each(|table| writer.write(table).unwrap());
        writer.finish().unwrap();
    }

    /// Imports `x.END` at 2 MiB sorted by group and number, and without an index; compares both with the model.
    fn is_imported_whole(directory: &Directory, end: &str, rows: &[ModelRow]) {
        let name = format!("x.{end}");
        for index in [&["--index", "group,number"][..], &[]] {
            let arguments = ["import", &name, "--memory-limit", "2MiB", "--json"];
            let output = directory.mempool(&[&arguments[..], index].concat());
            assert!(output.status.success(), "{}", stderr(&output));
            let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert!(report["memory"]["peak_resident_bytes"].as_u64().unwrap() <= 2 << 20);
            assert_eq!(report["read_twice"], false);
            let mut rows = rows.to_vec();
            if !index.is_empty() {
                assert!(report["runs"].as_u64().unwrap() > 3, "{report:#}");
                rows.sort_by_key(|row| (row.1, row.2));
            }
            assert_eq!(rows_of(&directory.tables()), rows);
            assert!(directory.names().iter().all(|left| *left == name || left == "x.mempool"));
            fs::remove_dir_all(directory.0.join("x.mempool")).unwrap();
        }
        let output = directory.mempool(&["import", &name, "--index", "none"]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let message = "no such column; there are number, note, town, group";
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
        // Cut off, it is no file of its kind.
        let path = directory.0.join(&name);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let output = directory.mempool(&["import", &name]);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(
            stderr(&output).contains(&format!("{name} cannot be read as")),
            "{}",
            stderr(&output)
        );
        assert_eq!(directory.names(), [name]);
    }

    #[test]
    fn an_arrow_file_is_imported_whole() {
        let directory = Directory::new();
        let (rows, _) = model(40_000, 7);
        write_arrow(&directory.0.join("x.arrow"), &batches(&rows, 900));
        is_imported_whole(&directory, "arrow", &rows);
    }

    #[test]
    fn an_arrow_file_without_rows_has_its_columns() {
        let directory = Directory::new();
        let (rows, _) = model(1, 7);
        let tables = batches(&rows, 1);
        let writer = ArrowFileWriter::create(directory.0.join("x.arrow"), &tables[0]).unwrap();
        writer.finish().unwrap();
        let output = directory.mempool(&["import", "x.arrow", "--index", "town"]);
        assert!(output.status.success(), "{}", stderr(&output));
        let tables = directory.tables();
        assert_eq!((tables.len(), tables[0].rows()), (1, 0));
        assert_eq!(tables[0].fields().len(), 4);
    }

    #[test]
    #[cfg(feature = "parquet")]
    fn a_parquet_file_is_imported_whole() {
        use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};

        let directory = Directory::new();
        let (rows, _) = model(40_000, 8);
        let tables = batches(&rows, 5000);
        let compressed = WriterProperties::builder().set_compression(Compression::SNAPPY);
        let small =
            compressed.set_max_row_group_row_count(Some(5000)).set_data_page_size_limit(16 << 10);
        let file = fs::File::create(directory.0.join("x.parquet")).unwrap();
        let schema = tables[0].to_record_batch().schema();
        let mut writer = ArrowWriter::try_new(file, schema, Some(small.build())).unwrap();
        tables.iter().for_each(|table| writer.write(&table.to_record_batch()).unwrap());
        writer.close().unwrap();
        is_imported_whole(&directory, "parquet", &rows);
    }
}
