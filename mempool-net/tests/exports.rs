//! Names under which values are saved for others: evil ones are refused, and nothing outside of the directory is ever changed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod security;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process;

use mempool_net::security::{Existing, ExportError, ExportName, ExportNameFault, Exports};
use rustix::fs::{CWD, FileType, Mode};

use security::Dice;

/// A tree of its own: `inside` is exported to, what is around it must not change.
struct Tree {
    root: PathBuf,
}

impl Tree {
    fn new(name: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("exports-{name}-{}", process::id()));
        fs::create_dir(&root).unwrap();
        for directory in ["inside", "inside/below", "outside", "outside/etc"] {
            fs::create_dir(root.join(directory)).unwrap();
        }
        for file in ["outside/passwd", "outside/etc/passwd", "beside", "inside/below/kept"] {
            fs::write(root.join(file), file).unwrap();
        }
        Self { root }
    }

    fn inside(&self) -> PathBuf {
        self.root.join("inside")
    }

    /// Everything there is: kind, mode and content, by path.
    fn listing(&self) -> BTreeMap<PathBuf, (String, u32, Vec<u8>)> {
        let mut found = BTreeMap::new();
        let mut open = vec![self.root.clone()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
                let (path, stat) = (entry.path(), entry.metadata().unwrap());
                let content = match stat.file_type() {
                    kind if kind.is_file() => fs::read(&path).unwrap(),
                    kind if kind.is_symlink() => {
                        fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
                    }
                    _ => Vec::new(),
                };
                if stat.is_dir() {
                    open.push(path.clone());
                }
                let kind = format!("{:?}", stat.file_type());
                found.insert(path, (kind, stat.permissions().mode(), content));
            }
        }
        found
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // One that stays behind harms no other test, and a panic here would hide the test's own.
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// At least 250 names that nobody wants in his file system.
fn evil_names(tree: &Tree) -> Vec<String> {
    let mut names: Vec<String> =
        ["", ".", "..", "...", ".hidden", ".mempool-export-0", "..\\x", "~/x", "./x"]
            .map(String::from)
            .into();
    // Ways out, in all the ways that slashes and dots are written. None leads to what is there: should one be taken after all,
    // the test says so, and the machine that it ran on is as it was.
    let targets = ["evil", "outside/evil", "outside/etc/evil", "inside/below/evil", "below/evil"];
    let ups = [
        "../",
        "..\\",
        "./",
        "/mempool-none/",
        "//mempool-none/",
        "\\\\",
        "a/../../",
        "..//",
        "../../../../../../mempool-none/",
        "..\u{2215}",
        "..\u{ff0f}",
    ];
    for up in ups {
        names.extend(targets.map(|target| format!("{up}{target}")));
    }
    let root = tree.root.display();
    names.extend(targets.map(|target| format!("{root}/{target}")));
    names.extend(targets.map(|target| format!("file://{root}/{target}")));
    let elsewhere = [
        "/dev/mempool-none",
        "/proc/self/mempool-none",
        "C:\\x",
        "C:x",
        "\\\\host\\x",
        "a:b",
        "a//b",
        "below/",
        "/",
    ];
    names.extend(elsewhere.map(String::from));
    // Each control character, at each end and in the middle.
    for code in (0..0x20).chain(0x7f..0xa0) {
        let letter = char::from_u32(code).unwrap();
        names.extend([format!("{letter}x"), format!("x{letter}y"), format!("x{letter}")]);
    }
    // What nobody sees, what turns text around, and spaces of other widths.
    let unseen = "\u{ad}\u{34f}\u{61c}\u{115f}\u{1160}\u{17b4}\u{180b}\u{180e}\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2060}\u{2061}\u{2066}\u{2067}\u{2068}\u{2069}\u{206f}\u{2800}\u{3164}\u{fe00}\u{fe0f}\u{feff}\u{ffa0}\u{fff9}\u{fffc}\u{fffd}\u{fffe}\u{ffff}\u{fdd0}\u{1d173}\u{1fffe}\u{e0001}\u{e0041}\u{e000}\u{f0000}\u{10fffd}\u{10ffff}\u{a0}\u{1680}\u{2000}\u{2003}\u{2009}\u{202f}\u{205f}\u{3000}\u{2044}\u{29f8}\u{ff3c}";
    for letter in unseen.chars() {
        names.extend([format!("x{letter}y"), format!("{letter}"), format!("xyz{letter}.frame")]);
    }
    names.extend("<>\"|?*:\\/".chars().map(|letter| format!("x{letter}y")));
    for device in [
        "con",
        "PRN",
        "Aux",
        "nul",
        "NUL.txt",
        "nul .txt",
        "com1",
        "COM9.frame",
        "lpt1",
        "LPT0",
        "com\u{b9}",
        "conin$",
        "CONOUT$",
        "clock$",
    ] {
        names.push(device.to_owned());
    }
    names.extend([" x", "x ", " ", "x.", "x..", "  ..  "].map(String::from));
    names.extend([256, 257, 4096, 1 << 20].map(|length| "x".repeat(length)));
    names.push("\u{e4}".repeat(128));
    names
}

fn export(exports: &Exports, name: &str, existing: Existing) -> Result<(), ExportError> {
    let mut file = exports.create(&ExportName::new(name)?, existing)?;
    file.write_all(b"exported").unwrap();
    file.commit()
}

#[test]
fn evil_names_are_refused_and_nothing_changes() {
    let tree = Tree::new("evil");
    let exports = Exports::open(tree.inside()).unwrap();
    let before = tree.listing();
    let names = evil_names(&tree);
    assert!(names.len() >= 250, "{}", names.len());
    for name in &names {
        for existing in [Existing::Keep, Existing::Replace] {
            let error = export(&exports, name, existing).expect_err(name);
            assert!(matches!(error, ExportError::Name { .. }), "{name:?}: {error}");
            assert!(error.to_string().len() < 4096, "a message is not as long as what it names");
        }
    }
    assert_eq!(tree.listing(), before);
    println!("proof: cases={}", names.len());
}

#[test]
fn each_fault_of_a_name_is_told() {
    let cases = [
        ("", ExportNameFault::Empty),
        (&*"x".repeat(256), ExportNameFault::Long { bytes: 256 }),
        (".ssh", ExportNameFault::LeadingDot),
        ("x ", ExportNameFault::Edge),
        ("a/b", ExportNameFault::Character { code: 0x2f, at: 1 }),
        ("a\u{202e}b", ExportNameFault::Character { code: 0x202e, at: 1 }),
        ("Nul.frame", ExportNameFault::Device),
    ];
    for (name, expected) in cases {
        match ExportName::new(name) {
            Err(ExportError::Name { fault, .. }) => assert_eq!(fault, expected, "{name:?}"),
            other => panic!("{name:?}: {other:?}"),
        }
    }
    let umlauts = "\u{e4}".repeat(127);
    for good in [
        "a",
        "prices 2024.frame",
        "com10",
        "console",
        "x.nul",
        "\u{4ef7}\u{683c}",
        &*umlauts,
        &*"x".repeat(255),
    ] {
        assert_eq!(ExportName::new(good).unwrap().as_str(), good);
    }
}

#[test]
fn names_by_chance_stay_inside() {
    const CASES: usize = 100_000;
    // Each of these is synced, which takes its time.
    const MADE: usize = 300;
    let tree = Tree::new("chance");
    let exports = Exports::open(tree.inside()).unwrap();
    let before = tree.listing();
    let mut dice = Dice(22);
    let letters: Vec<char> = "..//\\\0ax:~ \u{202e}\u{200b}\u{ff0f}\u{e4}".chars().collect();
    let mut made = BTreeSet::new();
    for _ in 0..CASES {
        let name: String = (0..dice.below(8)).map(|_| letters[dice.below(letters.len())]).collect();
        let refused = ExportName::new(&name).is_err();
        assert!(refused || !name.contains(['/', '\\', '\0']), "{name:?}");
        if !refused && made.len() < MADE && made.insert(name.clone()) {
            export(&exports, &name, Existing::Keep).unwrap();
        }
    }
    assert_eq!(made.len(), MADE);
    for name in &made {
        fs::remove_file(tree.inside().join(name)).unwrap();
    }
    assert_eq!(tree.listing(), before);
    println!("proof: cases={CASES}");
}

#[test]
fn what_stands_in_the_way_is_not_followed_and_not_touched() {
    let tree = Tree::new("planted");
    let exports = Exports::open(tree.inside()).unwrap();
    let inside = tree.inside();
    symlink("../outside/passwd", inside.join("link")).unwrap();
    symlink("../outside/none", inside.join("dangling")).unwrap();
    symlink("../outside", inside.join("way out")).unwrap();
    rustix::fs::mknodat(CWD, inside.join("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .unwrap();
    fs::hard_link(tree.root.join("outside/passwd"), inside.join("hard")).unwrap();
    let before = tree.listing();
    for name in ["link", "dangling", "way out", "pipe", "below"] {
        for existing in [Existing::Keep, Existing::Replace] {
            let error = export(&exports, name, existing).expect_err(name);
            assert!(matches!(error, ExportError::NoFile { .. }), "{name}: {error}");
        }
    }
    let error = export(&exports, "hard", Existing::Keep).unwrap_err();
    assert!(matches!(error, ExportError::Exists { .. }), "{error}");
    assert_eq!(tree.listing(), before);
    // The name is given to another file; the one that had it is what it was, under its other name.
    export(&exports, "hard", Existing::Replace).unwrap();
    assert_eq!(fs::read(inside.join("hard")).unwrap(), b"exported");
    assert_eq!(fs::read(tree.root.join("outside/passwd")).unwrap(), b"outside/passwd");
}

#[test]
fn a_file_is_there_when_it_is_whole_and_for_its_owner_alone() {
    rustix::process::umask(Mode::empty());
    let tree = Tree::new("whole");
    let exports = Exports::open(tree.inside()).unwrap();
    let before = tree.listing();
    let name = ExportName::new("prices").unwrap();
    let mut file = exports.create(&name, Existing::Keep).unwrap();
    file.write_all(b"half").unwrap();
    assert!(!tree.inside().join("prices").exists());
    drop(file);
    assert_eq!(tree.listing(), before, "what was not committed leaves nothing");
    // Two at once: the first one that is whole has the name.
    let mut first = exports.create(&name, Existing::Keep).unwrap();
    let second = exports.create(&name, Existing::Keep).unwrap();
    first.write_all(b"first").unwrap();
    first.commit().unwrap();
    assert!(matches!(second.commit().unwrap_err(), ExportError::Exists { .. }));
    assert_eq!(fs::read(tree.inside().join("prices")).unwrap(), b"first");
    let mode = fs::metadata(tree.inside().join("prices")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    export(&exports, "prices", Existing::Replace).unwrap();
    assert_eq!(fs::read(tree.inside().join("prices")).unwrap(), b"exported");
    fs::remove_file(tree.inside().join("prices")).unwrap();
    assert_eq!(tree.listing(), before);
}

#[test]
fn the_directory_stays_the_one_that_was_opened() {
    let tree = Tree::new("swapped");
    let exports = Exports::open(tree.inside()).unwrap();
    fs::rename(tree.inside(), tree.root.join("moved")).unwrap();
    symlink("outside", tree.inside()).unwrap();
    let outside = fs::read_dir(tree.root.join("outside")).unwrap().count();
    export(&exports, "passwd", Existing::Replace).unwrap();
    assert_eq!(fs::read(tree.root.join("moved/passwd")).unwrap(), b"exported");
    assert_eq!(fs::read(tree.root.join("outside/passwd")).unwrap(), b"outside/passwd");
    assert_eq!(fs::read_dir(tree.root.join("outside")).unwrap().count(), outside);
}

#[test]
fn an_export_that_is_off_or_gone_says_so() {
    let error = export(&Exports::off(), "x", Existing::Keep).unwrap_err();
    assert!(matches!(error, ExportError::Off), "{error}");
    let tree = Tree::new("gone");
    let error = Exports::open(tree.root.join("none")).unwrap_err();
    assert!(matches!(error, ExportError::Io { .. }), "{error}");
    let error = Exports::open(tree.root.join("beside")).unwrap_err();
    assert!(matches!(error, ExportError::Io { .. }), "a file is no directory: {error}");
    let exports = Exports::open(tree.inside()).unwrap();
    fs::remove_dir_all(tree.inside()).unwrap();
    let error = export(&exports, "x", Existing::Keep).unwrap_err();
    assert!(matches!(error, ExportError::Io { .. }), "{error}");
}
