//! Reads PEM files, and a private key only where it is one.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::security::SecurityError;

/// The most that a file of certificates may hold: some hundred of them.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The certificates of a PEM text, at least one.
///
/// # Errors
/// [`SecurityError::Pem`].
pub(crate) fn certificates(
    text: &[u8],
    origin: &str,
) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
    let wanted = "certificate";
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = read.map_err(|error| no(origin, wanted, &error))?;
    if found.is_empty() {
        return Err(SecurityError::Pem { origin: origin.to_owned(), wanted, detail: None });
    }
    Ok(found)
}

/// The first private key of a PEM text.
///
/// # Errors
/// [`SecurityError::Pem`].
pub(crate) fn private_key(
    text: &[u8],
    origin: &str,
) -> Result<PrivateKeyDer<'static>, SecurityError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| no(origin, "private key", &error))
}

fn no(origin: &str, wanted: &'static str, error: &pem::Error) -> SecurityError {
    let detail = match error {
        pem::Error::NoItemsFound => None,
        other => Some(other.to_string()),
    };
    SecurityError::Pem { origin: origin.to_owned(), wanted, detail }
}

/// The bytes of a file that anybody may read. Links are followed, as those who renew certificates set them.
///
/// # Errors
/// [`SecurityError::File`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, SecurityError> {
    let fail = |source| SecurityError::File { path: path.to_owned(), source };
    contents(open(path).map_err(fail)?).map_err(fail)
}

/// The bytes of a private key's file. What is looked at is the file that was opened, so it cannot be another by then.
///
/// # Errors
/// [`SecurityError::KeyMode`], [`SecurityError::KeyOwner`], [`SecurityError::File`].
pub(crate) fn read_private(path: &Path) -> Result<Vec<u8>, SecurityError> {
    let fail = |source| SecurityError::File { path: path.to_owned(), source };
    let file = open(path).map_err(fail)?;
    let stat = rustix::fs::fstat(&file).map_err(|error| fail(error.into()))?;
    let others = Mode::RWXG | Mode::RWXO;
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.intersects(others) && !mutant!("key_mode_ignored") {
        return Err(SecurityError::KeyMode { path: path.to_owned(), mode: mode.as_raw_mode() });
    }
    let own = rustix::process::geteuid().as_raw();
    if stat.st_uid != own && stat.st_uid != 0 {
        return Err(SecurityError::KeyOwner { path: path.to_owned(), uid: stat.st_uid, own });
    }
    contents(file).map_err(fail)
}

/// Opens a plain file. A pipe would keep the open waiting for its other end, so it is opened without waiting and refused.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(file.into()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "no plain file")),
    }
}

fn contents(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 {
        0..=FILE_BYTES_MAX => Ok(bytes),
        _ => Err(io::Error::new(io::ErrorKind::FileTooLarge, "more than 1 MiB of PEM")),
    }
}
