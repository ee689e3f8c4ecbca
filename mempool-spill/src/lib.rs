//! The slower tier: values that a pool evicts go to files, with checksums, and come back as memory maps.
//!
//! ```
//! use mempool_core::{Blob, PoolOptions};
//! use mempool_spill::SpillOptions;
//!
//! let directory = std::env::temp_dir();
//! let store = SpillOptions::new(&directory).disk_limit(1 << 30).open()?;
//! let pool = PoolOptions::new().memory_limit(1_600_000).store(store).open(Blob);
//! let first = pool.set(vec![1; 1_000_000])?;
//! let second = pool.set(vec![2; 1_000_000])?; // evicts the first to disk
//! assert_eq!(pool.get(&first)?[999_999], 1); // a view of the file's pages: no copy, no decoding
//! # drop(second);
//! pool.close()?; // nothing is left behind
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is on disk
//!
//! Each open pool has a *session*: a directory of its own under `.mempool`, mode 0700, locked while its process lives
//! (`session.rs` draws it). Opening a store sweeps the sessions of dead processes under the same directory, and
//! touches no living one. Frames of 4 MiB and more have a file, a *segment*, of their own; smaller ones share
//! segments of 64 MiB (`segment.rs`). `docs/format.md` draws every byte.
//!
//! # What is retained
//!
//! Values that have a name when a pool is closed by `close_retaining` stay on disk with all that they refer to, and a later
//! pool restores them, in this process or another:
//!
//! ```
//! use mempool_core::{Blob, PoolOptions, SetOptions};
//! use mempool_spill::SpillOptions;
//!
//! # let directory = std::env::temp_dir().join(format!("mempool-retain-doc-{}", std::process::id()));
//! # std::fs::create_dir(&directory)?;
//! let options = SpillOptions::new(&directory).label("etl");
//! let pool = PoolOptions::new().store(options.clone().open()?).open(Blob);
//! pool.set_with(b"a result".to_vec(), SetOptions::new().name("results/today"))?;
//! pool.close_retaining()?; // durable when it returns
//!
//! let pool = PoolOptions::new().store(options.restore()?).restore(Blob)?;
//! let result = pool.named::<Vec<u8>>("results/today")?;
//! assert_eq!(&pool.get(&result)?[..], b"a result"); // checked, every byte, when it is first read
//! pool.close()?; // it stays as it was; `forget_retained` gives it up
//! # std::fs::remove_dir_all(&directory)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A session with something retained is locked by whoever has it open, and by nobody in between. No sweep removes it;
//! [`survey`] tells of it, [`read_retained`] shows what is in it and checks it, and [`remove_retained`] removes it. A kill at
//! any moment leaves what was retained before or what was to take its place, whole: segments that a manifest names are not
//! written to any more.
//!
//! # Several directories
//!
//! A store may have several, each with its own limit ([`SpillOptions::directory`]); [`Placement`] says which is filled. A
//! value lies in one of them. What a directory refuses, being full or failing, goes to the next. A disk that hangs stops the
//! threads that read what it holds, or were writing or removing something there; once it has done nothing for a second,
//! the others write elsewhere. A `set` that hangs in such a write keeps its turn for memory for a second; then those behind
//! it overtake it, as far as there is room for them or values that can go without a write.
//!
//! `save_to_disk` writes where its user says; `get_file` brings the file into a directory on its own file system, if
//! there is one.
//!
//! # Filters
//!
//! [`SpillOptions::filter`] puts what is written through filters: `Lz4`, `Zstd`, `Encrypt` (features `lz4`, `zstd`, which builds a C
//! library, and `encrypt`), or a [`Filter`] of your own. A filtered store decodes what it reads into counted memory.
//!
//! # What is checked
//!
//! | bytes | checked |
//! | --- | --- |
//! | written by this process in this session | the file's length when it is mapped; the header at each open; content with [`Verify::Always`] |
//! | written through filters | as above, and each block by a checksum; with `Encrypt` each block is authenticated, at every read |
//! | retained by an earlier store | the manifest when it is restored; header, length, every byte, and the content by its codec, when a value is first read |
//! | a file that `save_to_disk` wrote | brought into the session first, so that nobody can change it; then header, length, and every byte |
//! | a file that `map_file` maps in place | header, length, and every byte, once by `Pool::read_frame`; nobody may write to it, which the caller promises |
//!
//! # What is assumed
//!
//! Nobody else writes in the session's directory. A device that fails when a mapped page is read ends the process with
//! SIGBUS ([`name_files_on_sigbus`] has it say which file it was); one that then returns other bytes cannot be noticed.
//! [`ReadMode::Copy`] excludes both: frames are read into counted memory, and no file is mapped.
//! Spilled values do not survive their process, unless they are retained.

macro_rules! mutant {
    ($name:literal) => {{
        #[cfg(feature = "mutants")]
        let on = mempool_core::mutant_is_on($name);
        #[cfg(not(feature = "mutants"))]
        let on = false;
        on
    }};
}

mod chain;
mod checksum;
mod container;
mod decode;
mod directory;
mod disk;
mod error;
#[cfg(feature = "testing")]
mod faulty;
mod files;
mod filter;
mod machine;
mod map;
mod options;
mod placement;
mod places;
mod quota;
mod reserve;
mod retained;
mod save;
mod saved;
mod segment;
mod session;
mod sigbus;
mod standing;
mod storage;
mod survey;
mod views;
mod volume;
mod warning;
mod writer;

pub use container::{Applied, Container};
pub use decode::check_blocks;
pub use directory::{Directory, DirectoryState, DirectoryUsage};
pub use disk::{Disk, RealDisk};
pub use error::SpillError;
#[cfg(feature = "testing")]
pub use faulty::{DiskCall, DiskFault, FaultyDisk};
#[cfg(feature = "encrypt")]
pub use filter::Encrypt;
#[cfg(feature = "lz4")]
pub use filter::Lz4;
#[cfg(feature = "zstd")]
pub use filter::Zstd;
#[cfg(feature = "testing")]
pub use filter::check_filter;
pub use filter::{Block, Filter, FilterError, FilterName, KeyId, Parameters};
pub use machine::{Machine, MachineError, MachineMemory};
pub use map::map_file;
pub use options::{ReadMode, SpillOptions, Verify};
pub use placement::Placement;
pub use retained::{Retained, RetainedSegment, read_retained};
pub use session::{Swept, remove_retained, sweep_directory};
pub use sigbus::name_files_on_sigbus;
pub use storage::{Directories, SpillStorage};
pub use survey::{SessionReport, SessionState, survey};
pub use warning::Warning;
