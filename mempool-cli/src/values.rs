//! The commands on values of a node: `put`, `get`, `ls`, `stat`, `rm` and `move-to-disk`. What they answer.

use std::{
    collections::HashMap,
    fmt,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process,
};

use mempool_core::{Place, Pool, SetOptions, Untyped};
use mempool_net::{GlobalId, ValueAt};
use serde::Serialize;

use crate::{
    cli::{GetArgs, LsArgs, NamedArgs, PutArgs},
    containers::ContainerInspection,
    error::CliError,
    saved::{SavedError, SavedFile},
    size::Bytes,
    visit::{Room, Visit, of_pool},
};

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 256 << 10;

/// A file that went to a node, or came from one.
#[derive(Debug, Serialize)]
pub(crate) struct Moved {
    file: PathBuf,
    name: String,
    node: String,
    file_bytes: u64,
    #[serde(skip)]
    went: bool,
}

/// A value with its name.
#[derive(Debug, Serialize)]
pub(crate) struct Value {
    name: String,
    node: String,
    id: String,
    value_type: String,
    codec: String,
    /// `memory`, `map`, `disk`, or `other node`.
    place: &'static str,
    resident_bytes: u64,
    /// `null` where no copy is on disk.
    frame_bytes: Option<u64>,
    pins: u32,
    references: u32,
}

/// The names at a node, in ascending order.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Listing {
    values: Vec<Value>,
}

/// A name that is there no more.
#[derive(Debug, Serialize)]
pub(crate) struct Removed {
    name: String,
    node: String,
}

/// # Errors
/// The file, the room for it here, and what the node says.
pub(crate) fn put(args: &PutArgs, room: &Room) -> Result<Moved, CliError> {
    let raw = args.raw.then(|| read(&args.file, room.memory_limit_bytes)).transpose()?;
    if raw.is_none() {
        check(&args.file)?;
    }
    let visit = Visit::with_room(&args.to, &args.visit, room)?;
    let (value, file_bytes) = match raw {
        Some(bytes) => {
            let file_bytes = bytes.len() as u64;
            let value = visit.pool().set(bytes).map_err(|rejected| of_pool(rejected.error))?;
            (value.untyped(), file_bytes)
        }
        None => take_in(visit.pool(), &args.file)?,
    };
    visit.put(&value, &args.name)?;
    let (file, name, node) = (args.file.clone(), args.name.clone(), visit.host().to_string());
    Ok(Moved { file, name, node, file_bytes, went: true })
}

/// # Errors
/// A file that is there or cannot be written, and what the node says.
pub(crate) fn get(args: &GetArgs, room: &Room) -> Result<Moved, CliError> {
    let file = match &args.out {
        Some(out) => out.clone(),
        None => file_of(&args.name)?,
    };
    let new = NewFile::at(&file, args.force)?;
    let visit = Visit::with_room(&args.from, &args.visit, room)?;
    let (pool, value) = (visit.pool(), visit.find(&args.name)?);
    match args.raw {
        true => {
            let bytes = pool.typed::<Vec<u8>>(&value).map_err(of_pool)?;
            new.write(&pool.get(&bytes).map_err(of_pool)?)?;
        }
        false => {
            pool.save_to_disk(&value.erased(), &new.part).map_err(of_pool)?;
        }
    }
    let file_bytes = new.place()?;
    let (name, node) = (args.name.clone(), visit.host().to_string());
    Ok(Moved { file, name, node, file_bytes, went: false })
}

/// # Errors
/// What the node says.
pub(crate) fn list(args: &LsArgs) -> Result<Listing, CliError> {
    let visit = Visit::to(&args.from, &args.visit)?;
    let names = visit.names()?;
    let values: HashMap<GlobalId, ValueAt> =
        visit.values()?.into_iter().map(|value| (value.id, value)).collect();
    // A name that was removed between the two answers has no value in the second.
    let named = names.iter().filter_map(|named| {
        values
            .get(&named.id)
            .map(|value| Value::of(&named.name, &visit, value, named.value_type.clone()))
    });
    Ok(Listing { values: named.collect() })
}

/// # Errors
/// What the node says; [`CliError::Net`] for a name that is not there.
pub(crate) fn stat(args: &NamedArgs) -> Result<Value, CliError> {
    let visit = Visit::to(&args.from, &args.visit)?;
    let value = visit.find(&args.name)?;
    Ok(Value::of(&args.name, &visit, &visit.stat(&value)?, value.info().value_type))
}

/// # Errors
/// As [`stat`].
pub(crate) fn remove(args: &NamedArgs) -> Result<Removed, CliError> {
    let visit = Visit::to(&args.from, &args.visit)?;
    visit.unname(&args.name)?;
    Ok(Removed { name: args.name.clone(), node: visit.host().to_string() })
}

/// # Errors
/// As [`stat`].
pub(crate) fn move_to_disk(args: &NamedArgs) -> Result<Value, CliError> {
    let visit = Visit::to(&args.from, &args.visit)?;
    let value = visit.find(&args.name)?;
    visit.pool().move_to_disk(&value.erased()).map_err(of_pool)?;
    Ok(Value::of(&args.name, &visit, &visit.stat(&value)?, value.info().value_type))
}

/// The bytes of any file.
fn read(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, CliError> {
    let refused = |source: io::Error| SavedError::Read { path: path.into(), source };
    let metadata = fs::metadata(path).map_err(refused)?;
    if !metadata.is_file() {
        return Err(refused(io::Error::other("it is no regular file")).into());
    }
    // What could not be a value is not read.
    let too_large = |asked_bytes| mempool_core::Error::TooLarge { asked_bytes, limit_bytes };
    let asked_bytes = metadata.len();
    let len = usize::try_from(asked_bytes).ok().filter(|_| asked_bytes <= limit_bytes);
    let len = len.ok_or_else(|| of_pool(too_large(asked_bytes)))?;
    let mut bytes = Vec::new();
    let refusal = mempool_core::Error::Allocation { bytes: asked_bytes };
    bytes.try_reserve_exact(len).map_err(|_| of_pool(refusal))?;
    let file = File::open(path).map_err(refused)?;
    file.take(limit_bytes).read_to_end(&mut bytes).map_err(refused)?;
    Ok(bytes)
}

/// Looks whether a file is a whole frame, to say where it is not.
fn check(path: &Path) -> Result<(), CliError> {
    if ContainerInspection::of(path).is_some() {
        return Err(CliError::Filtered { path: path.into() });
    }
    SavedFile::open(path)?.check_content()?;
    Ok(())
}

/// Makes a value of a frame whose type is not known here. The pool checks it once more, for the file may have changed.
fn take_in<C: Send + Sync + 'static>(
    pool: &Pool<C>,
    path: &Path,
) -> Result<(Untyped, u64), CliError> {
    let refused = |source: io::Error| SavedError::Read { path: path.into(), source };
    let header = SavedFile::open(path)?.header;
    let mut receiving = pool.receive(header.frame_bytes).map_err(of_pool)?;
    let mut file = File::open(path).map_err(refused)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => {
                receiving.write(piece.get(..count).unwrap_or_default()).map_err(of_pool)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(refused(source).into()),
        }
    }
    // A file says which type it has by a number alone.
    let value_type = format!("type {:016x}", header.format.type_tag);
    let value = receiving.finish(&value_type, Vec::new(), SetOptions::new()).map_err(of_pool)?;
    Ok((value, header.frame_bytes))
}

/// The file that a name alone stands for: one in this directory.
fn file_of(name: &str) -> Result<PathBuf, CliError> {
    match name {
        "" | "." | ".." => Err(CliError::NoFileName { name: name.into() }),
        name if name.contains(['/', '\0']) => Err(CliError::NoFileName { name: name.into() }),
        name => Ok(name.into()),
    }
}

/// A file that appears when it is whole.
struct NewFile {
    path: PathBuf,
    /// What is written until then, beside it.
    part: PathBuf,
    force: bool,
}

impl NewFile {
    fn at(path: &Path, force: bool) -> Result<Self, CliError> {
        let Some(name) = path.file_name() else {
            return Err(CliError::NoFileName { name: path.display().to_string() });
        };
        if !force && path.symlink_metadata().is_ok() {
            return Err(CliError::Exists { path: path.into() });
        }
        let mut part = std::ffi::OsString::from(".");
        part.push(name);
        part.push(format!(".{}.part", process::id()));
        Ok(Self { path: path.into(), part: path.with_file_name(part), force })
    }

    fn refused(&self, source: io::Error) -> CliError {
        match source.kind() {
            io::ErrorKind::AlreadyExists => CliError::Exists { path: self.path.clone() },
            _ => CliError::Write { path: self.path.clone(), source },
        }
    }

    fn write(&self, bytes: &[u8]) -> Result<(), CliError> {
        let write = || {
            let mut file = File::create(&self.part)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(|source| self.refused(source))
    }

    /// Gives it its name, durably; answers its length.
    fn place(self) -> Result<u64, CliError> {
        let place = || {
            let bytes = fs::metadata(&self.part)?.len();
            match self.force {
                true => fs::rename(&self.part, &self.path)?,
                // Unlike a rename it takes the place of nothing.
                false => fs::hard_link(&self.part, &self.path)?,
            }
            let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
            Ok(bytes)
        };
        place().map_err(|source| self.refused(source))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // It is not there, or is there twice, or could not be finished.
        let _ = fs::remove_file(&self.part);
    }
}

impl Value {
    /// What the node knows of a value, and the type that whoever put it said: the node itself was never asked for it as one.
    fn of(name: &str, visit: &Visit, value: &ValueAt, value_type: String) -> Self {
        Self {
            name: name.to_owned(),
            node: visit.host().to_string(),
            id: value.id.to_string(),
            value_type,
            codec: value.codec.clone(),
            place: match value.place {
                Place::Resident => "memory",
                Place::Mapped => "map",
                Place::Spilled => "disk",
                _ => "other node",
            },
            resident_bytes: value.resident_bytes,
            frame_bytes: value.frame_bytes,
            pins: value.pins,
            references: value.references,
        }
    }

    /// What it takes where it takes most.
    fn bytes(&self) -> Bytes {
        Bytes(self.frame_bytes.unwrap_or(0).max(self.resident_bytes))
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, name, node, .. } = self;
        let (file, bytes) = (file.display(), Bytes(self.file_bytes));
        match self.went {
            true => write!(f, "{file} is {name:?} at {node}: {bytes}"),
            false => write!(f, "{name:?} of {node} is {file}: {bytes}"),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?} at {}: value {}\n", self.name, self.node, self.id)?;
        writeln!(f, "  type        {}", self.value_type)?;
        writeln!(f, "  codec       {}", self.codec)?;
        writeln!(f, "  place       {}", self.place)?;
        writeln!(f, "  in memory   {}", Bytes(self.resident_bytes))?;
        match self.frame_bytes {
            Some(bytes) => writeln!(f, "  on disk     {}", Bytes(bytes))?,
            None => writeln!(f, "  on disk     no copy")?,
        }
        write!(f, "  held by     {} readers, {} references", self.pins, self.references)
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |text: fn(&Value) -> usize| self.values.iter().map(text).max().unwrap_or(0);
        let name = width(|value| value.name.chars().count());
        let place = width(|value| value.place.len());
        for value in &self.values {
            let (bytes, value_type) = (value.bytes().to_string(), &value.value_type);
            writeln!(
                f,
                "{:<name$}  {bytes:>10}  {:<place$}  {value_type}",
                value.name, value.place
            )?;
        }
        write!(f, "{} names", self.values.len())
    }
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no name at {} any more", self.name, self.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_name_that_is_no_file_needs_another() {
        assert_eq!(file_of("trips.frame").unwrap(), Path::new("trips.frame"));
        for bad in ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\0"] {
            assert!(matches!(file_of(bad), Err(CliError::NoFileName { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_file_that_is_there_stays_unless_it_is_to_be_replaced() {
        let scratch = Scratch::new();
        let path = scratch.path().join("x");
        let early = NewFile::at(&path, false).unwrap();
        early.write(b"early").unwrap();
        scratch.write("x", "there");
        assert!(matches!(NewFile::at(&path, false), Err(CliError::Exists { .. })));
        assert!(matches!(early.place(), Err(CliError::Exists { .. })), "it came meanwhile");
        assert_eq!(fs::read(&path).unwrap(), b"there");
        let new = NewFile::at(&path, true).unwrap();
        new.write(b"newer").unwrap();
        assert_eq!(new.place().unwrap(), 5);
        assert_eq!(fs::read(&path).unwrap(), b"newer");
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1, "no part is left");
    }
}
