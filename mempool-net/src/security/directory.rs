//! A directory of certificates: an authority and its nodes, each in files of its own. Nothing that is there is ever changed.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::NodeName;
use crate::security::authority::{Authority, Validity};
use crate::security::{SecurityError, TlsFiles, pem};

/// A directory with the files of an authority, `ca.crt` and `ca.key`, and of nodes, `node-1.crt` and `node-1.key`. Private keys
/// have mode 0600, the directory 0700 where it is made here.
///
/// ```
/// use mempool_net::NodeName;
/// use mempool_net::security::{CertificateDirectory, Tls, Validity};
///
/// # let path = std::env::temp_dir().join(format!("mempool-certificates-{}", std::process::id()));
/// let mut directory = CertificateDirectory::open_or_make(&path)?;
/// let node = NodeName::new("node-1").expect("a label");
/// let files = directory.issue(&node, &[], Validity::days(30)?)?;
/// assert_eq!(Tls::from_files(files)?.node(), node);
/// # std::fs::remove_dir_all(path).unwrap();
/// # Ok::<(), mempool_net::security::SecurityError>(())
/// ```
#[derive(Debug)]
pub struct CertificateDirectory {
    path: PathBuf,
    authority: Authority,
    is_new: bool,
}

impl CertificateDirectory {
    /// The directory at `path`, with its authority; both are made where they are not there.
    ///
    /// # Errors
    /// [`SecurityError::File`] where one of the authority's two files is there alone, or the system refuses;
    /// [`KeyMode`](SecurityError::KeyMode), [`KeyOwner`](SecurityError::KeyOwner), [`Pem`](SecurityError::Pem) and
    /// [`Issue`](SecurityError::Issue) for an authority that cannot be used.
    pub fn open_or_make(path: impl Into<PathBuf>) -> Result<Self, SecurityError> {
        let path = path.into();
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(SecurityError::File { path, source: error });
            }
            _ => {}
        }
        let (certificate, key) = (path.join("ca.crt"), path.join("ca.key"));
        if is_there(&certificate)? || is_there(&key)? {
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            let kept = text(pem::read(&certificate)?);
            let authority = Authority::from_pem(&kept, &text(pem::read_private(&key)?))?;
            return Ok(Self { path, authority, is_new: false });
        }
        let authority = Authority::new("mempool")?;
        write_new(&key, &authority.key_pem(), 0o600)?;
        write_new(&certificate, authority.certificate_pem(), 0o644)?;
        Ok(Self { path, authority, is_new: true })
    }

    /// Whether the authority was made now.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Refuses `node` if it could not be [issued](Self::issue), and makes nothing.
    ///
    /// # Errors
    /// [`SecurityError::Issue`] for the name `ca`, whose files are the authority's; [`SecurityError::File`] for files that
    /// are there.
    pub fn check(path: &Path, node: &NodeName) -> Result<(), SecurityError> {
        let files = TlsFiles::in_directory(path, node);
        if files.certificate == files.roots {
            let why = format!("{node} is what the authority's files are called; take another name");
            return Err(SecurityError::Issue { why });
        }
        for path in [files.certificate, files.key] {
            if is_there(&path)? {
                return Err(SecurityError::File {
                    path,
                    source: io::ErrorKind::AlreadyExists.into(),
                });
            }
        }
        Ok(())
    }

    /// Makes the certificate and the key of a node.
    ///
    /// # Errors
    /// As [`check`](Self::check), and as [`Authority::issue`]; [`SecurityError::File`] where the system refuses.
    pub fn issue(
        &mut self,
        node: &NodeName,
        addresses: &[IpAddr],
        validity: Validity,
    ) -> Result<TlsFiles, SecurityError> {
        Self::check(&self.path, node)?;
        let issued = self.authority.issue(node, addresses, validity)?;
        let files = TlsFiles::in_directory(&self.path, node);
        write_new(&files.key, issued.key_pem(), 0o600)?;
        write_new(&files.certificate, issued.certificate_pem(), 0o644)?;
        Ok(files)
    }
}

/// Whether something is there, be it a link that leads nowhere.
fn is_there(path: &Path) -> Result<bool, SecurityError> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(SecurityError::File { path: path.to_owned(), source }),
    }
}

/// Writes a file that is not there yet, not through a link either.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), SecurityError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| SecurityError::File { path: path.to_owned(), source })
}
