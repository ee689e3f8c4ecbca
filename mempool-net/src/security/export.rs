//! Where values are saved for others: one directory of the owner's, and names in it that lead nowhere else.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::security::error::{ExportError, ExportNameFault};

/// The most bytes of a name, as file systems have them.
const NAME_BYTES_MAX: usize = 255;
/// How many names of unfinished files are tried: each is random, so the first is free unless somebody made them all.
const ATTEMPTS_MAX: u32 = 16;

/// The name that a peer gives to a value which is saved for it: one component, and never a path.
///
/// *Shape*: 1 to 255 bytes of UTF-8, case kept. No `/`, `\` or `:`; none of `<>"|?*`, which other systems give a meaning; no
/// character that controls or is not seen (below U+0020, U+007F to U+009F, those without width, those that change the direction of
/// text, U+2028 and U+2029, tags, variation selectors, private ones and those that are no character); no dot at either end, no
/// space at either end; and not a device of Windows (`con`, `nul.txt`, `com1`). Two forms of one letter are two names.
///
/// ```
/// use mempool_net::security::ExportName;
///
/// assert!(ExportName::new("prices 2024.frame").is_ok());
/// for name in ["../prices", "/etc/passwd", ".ssh", "a\0b", "nul", "a\u{202e}b"] {
///     assert!(ExportName::new(name).is_err());
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExportName(String);

impl ExportName {
    /// A name of that text.
    ///
    /// # Errors
    /// [`ExportError::Name`].
    pub fn new(name: &str) -> Result<Self, ExportError> {
        match fault(name).filter(|_| !mutant!("export_name_raw")) {
            None => Ok(Self(name.to_owned())),
            Some(fault) => {
                let name = name.chars().take(NAME_BYTES_MAX).collect();
                Err(ExportError::Name { name, fault })
            }
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExportName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn fault(name: &str) -> Option<ExportNameFault> {
    if name.is_empty() {
        return Some(ExportNameFault::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Some(ExportNameFault::Long { bytes: name.len() });
    }
    if name.starts_with('.') {
        return Some(ExportNameFault::LeadingDot);
    }
    if let Some((at, letter)) = name.char_indices().find(|&(_, letter)| is_evil(letter)) {
        return Some(ExportNameFault::Character { code: letter.into(), at });
    }
    if name.ends_with('.') || name.trim() != name {
        return Some(ExportNameFault::Edge);
    }
    is_device(name).then_some(ExportNameFault::Device)
}

/// What may stand in no name: separators, what shells and other systems give a meaning, and what nobody sees.
fn is_evil(letter: char) -> bool {
    let code = u32::from(letter);
    let unseen = matches!(letter,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{ffff}' | '\u{e000}'..='\u{f8ff}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{10ffff}');
    // The last two code points of each plane, and 32 in the middle, are no characters.
    let no_character = code & 0xfffe == 0xfffe || (0xfdd0..=0xfdef).contains(&code);
    // Slashes that look like ours, or that a careless conversion makes ours.
    let slash = matches!(
        letter,
        '/' | '\\' | '\u{2044}' | '\u{2215}' | '\u{29f8}' | '\u{ff0f}' | '\u{ff3c}'
    );
    let meaning = matches!(letter, ':' | '<' | '>' | '"' | '|' | '?' | '*');
    // A space of another width is not seen to be one.
    let space = letter.is_whitespace() && letter != ' ';
    letter.is_control() || unseen || no_character || slash || meaning || space
}

/// Names that Windows takes for devices, whatever follows their first dot.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    if ["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"].contains(&stem.as_str()) {
        return true;
    }
    let number = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt"));
    let digits = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "\u{b9}", "\u{b2}", "\u{b3}"];
    number.is_some_and(|number| digits.contains(&number))
}

/// What happens to a file that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Existing {
    /// It stays, and the export is refused.
    #[default]
    Keep,
    /// It is replaced at once, when the new one is whole. Only a plain file is.
    Replace,
}

/// Where a node saves values for others: nowhere, or one directory. That is held open, so that whoever renames it or puts a link
/// in its place changes nothing. A clone is the same one.
///
/// ```
/// use std::io::Write;
///
/// use mempool_net::security::{Existing, ExportName, Exports};
///
/// # let directory = std::env::temp_dir().join(format!("mempool-exports-{}", std::process::id()));
/// # std::fs::create_dir(&directory)?;
/// let name = ExportName::new("prices.frame")?;
/// assert!(Exports::off().create(&name, Existing::Keep).is_err());
/// let exports = Exports::open(&directory)?;
/// let mut file = exports.create(&name, Existing::Keep)?;
/// file.write_all(b"bytes")?;
/// file.commit()?;
/// assert_eq!(std::fs::read(directory.join("prices.frame"))?, b"bytes");
/// # std::fs::remove_dir_all(directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Exports {
    directory: Option<Arc<OwnedFd>>,
}

impl Exports {
    /// Nothing is exported, as at first.
    #[must_use]
    pub fn off() -> Self {
        Self::default()
    }

    /// The directory at `path`, which must exist; a link there is followed, as it is the owner's own.
    ///
    /// # Errors
    /// [`ExportError::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ExportError> {
        let path = path.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty());
        let fail = |error: Errno| ExportError::Io {
            name: path.display().to_string(),
            source: error.into(),
        };
        Ok(Self { directory: Some(Arc::new(directory.map_err(fail)?)) })
    }

    /// Begins a file of that name. It has mode 0600, and is seen under its name when it is [committed](ExportFile::commit);
    /// dropped before that it leaves nothing.
    ///
    /// # Errors
    /// [`ExportError::Off`], [`ExportError::Exists`], [`ExportError::NoFile`], [`ExportError::Io`].
    pub fn create(&self, name: &ExportName, existing: Existing) -> Result<ExportFile, ExportError> {
        let directory = self.directory.as_ref().ok_or(ExportError::Off)?;
        check(directory, name, existing)?;
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        for _ in 0..ATTEMPTS_MAX {
            let unfinished = unfinished_name().map_err(|error| io_error(name, error))?;
            match rustix::fs::openat(directory, &unfinished, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => {
                    let unfinished =
                        Unfinished { directory: directory.clone(), name: unfinished, ends: false };
                    return Ok(ExportFile {
                        file: file.into(),
                        name: name.clone(),
                        existing,
                        unfinished,
                    });
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(io_error(name, error)),
            }
        }
        Err(io_error(name, Errno::EXIST))
    }
}

/// A file that is being exported. It blocks where the disk does.
#[derive(Debug)]
pub struct ExportFile {
    file: File,
    name: ExportName,
    existing: Existing,
    unfinished: Unfinished,
}

/// The name of a file that is not whole, which goes unless it ends as another.
#[derive(Debug)]
struct Unfinished {
    directory: Arc<OwnedFd>,
    name: String,
    ends: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.ends {
            // Nobody is told by a destructor; the name begins with a dot and is random, so it is in nobody's way.
            let _ = rustix::fs::unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}

impl ExportFile {
    /// Gives the file its name. After `Ok` it is on the disk, name and bytes.
    ///
    /// # Errors
    /// [`ExportError::Exists`] and [`ExportError::NoFile`] for what came there meanwhile, [`ExportError::Io`].
    pub fn commit(mut self) -> Result<(), ExportError> {
        let name = self.name.clone();
        self.file
            .sync_all()
            .map_err(|source| ExportError::Io { name: name.to_string(), source })?;
        match self.existing {
            Existing::Keep => self.publish(RenameFlags::NOREPLACE)?,
            Existing::Replace => {
                check(&self.unfinished.directory, &name, Existing::Replace)?;
                self.publish(RenameFlags::empty())?;
            }
        }
        self.unfinished.ends = true;
        rustix::fs::fsync(&self.unfinished.directory).map_err(|error| io_error(&name, error))
    }

    fn publish(&self, flags: RenameFlags) -> Result<(), ExportError> {
        let (directory, from, to) =
            (&self.unfinished.directory, &self.unfinished.name, self.name.as_str());
        match rustix::fs::renameat_with(directory, from, directory, to, flags) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(ExportError::Exists { name: to.to_owned() }),
            // A directory is not replaced by a file.
            Err(Errno::ISDIR) => Err(ExportError::NoFile { name: to.to_owned() }),
            Err(error) => Err(io_error(&self.name, error)),
        }
    }
}

impl Write for ExportFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Looks at what is there, so that a refusal comes before the bytes. What comes in between is found when the file is
/// committed.
fn check(directory: &OwnedFd, name: &ExportName, existing: Existing) -> Result<(), ExportError> {
    match rustix::fs::statat(directory, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(io_error(name, error)),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {
            Err(ExportError::NoFile { name: name.to_string() })
        }
        Ok(_) => match existing {
            Existing::Replace => Ok(()),
            Existing::Keep => Err(ExportError::Exists { name: name.to_string() }),
        },
    }
}

/// A name that no export can have, for it begins with a dot.
fn unfinished_name() -> Result<String, Errno> {
    let mut random = [0; 16];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!(".mempool-export-{:032x}", u128::from_ne_bytes(random)))
}

fn io_error(name: &ExportName, error: Errno) -> ExportError {
    ExportError::Io { name: name.to_string(), source: error.into() }
}
