//! Makes reads cold without being root: takes our maps out of the page tables, writes what is dirty, and asks the kernel
//! to drop the files' pages. Then looks how many it kept.
#![expect(unsafe_code, reason = "madvise is a call about raw addresses")]

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, SeekFrom, fadvise, seek, syncfs};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use rustix::mm::{Advice as MapAdvice, madvise};

/// How many pages are looked at, spread over all files.
const PROBES: u64 = 2048;

/// Drops the pages of all files below `directory`; the share of them, in per cent, that was there all the same.
///
/// `posix_fadvise(DONTNEED)` keeps pages that are dirty or in a page table, so both is ended first: by `madvise` on the
/// maps that this process has of these files, and by `syncfs` (and not `fsync`, of which a store with a file for each
/// value would need a quarter of a million).
pub(crate) fn drop_pages(directory: &Path) -> Result<f64, Box<dyn Error>> {
    unmap_pages(directory)?;
    syncfs(File::open(directory)?)?;
    let files = files(directory)?;
    for path in &files {
        if let Some(file) = there(File::open(path))? {
            fadvise(file, 0, None, Advice::DontNeed)?;
        }
    }
    cached(&files)
}

/// Every file below `directory`.
fn files(directory: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

/// Bytes of the blocks that all files below `directory` take.
pub(crate) fn disk_bytes(directory: &Path) -> Result<u64, Box<dyn Error>> {
    let mut bytes = 0;
    for path in files(directory)? {
        bytes += there(fs::symlink_metadata(path))?.map_or(0, |file| file.blocks() * 512);
    }
    Ok(bytes)
}

/// None for a file that its store has removed since it was listed: some tidy up in threads of their own.
fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn unmap_pages(directory: &Path) -> Result<(), Box<dyn Error>> {
    let below = directory.to_string_lossy();
    for line in fs::read_to_string("/proc/self/maps")?.lines() {
        // Address range, rights, offset, device, inode, path.
        let mut words = line.split_whitespace();
        let (Some(range), Some(rights)) = (words.next(), words.next()) else { continue };
        // A private map may hold bytes of its own, which this would lose.
        if !line.contains(&*below) || !rights.ends_with('s') {
            continue;
        }
        let (start, end) =
            range.split_once('-').ok_or("a line of /proc/self/maps without a range")?;
        let start = usize::from_str_radix(start, 16)?;
        let end = usize::from_str_radix(end, 16)?;
        // SAFETY: by the check above the range is a shared map of a file. Taking its pages out of the page table keeps
        // them in the page cache, dirty ones as dirty; the next access finds the same bytes.
        unsafe { madvise(start as *mut _, end - start, MapAdvice::LinuxDontNeed)? };
    }
    Ok(())
}

/// The share of pages, in per cent, that can be read without the disk. Looks at pages in equal distances over all files.
fn cached(files: &[PathBuf]) -> Result<f64, Box<dyn Error>> {
    let mut sized = Vec::with_capacity(files.len());
    for path in files {
        sized.push((path, there(fs::symlink_metadata(path))?.map_or(0, |file| file.len())));
    }
    let step = (sized.iter().map(|(_, bytes)| bytes).sum::<u64>() / PROBES).max(4096);
    let (mut cached, mut probed, mut next) = (0_u64, 0_u64, 0_u64);
    for (path, bytes) in sized {
        if next < bytes {
            let Some(file) = there(File::open(path))? else { continue };
            // A read that may not wait starts to read ahead all the same, unless reads are said to be in no order.
            fadvise(&file, 0, None, Advice::Random)?;
            while next < bytes {
                let at = next / 4096 * 4096;
                // A page of a hole is made without the disk.
                if seek(&file, SeekFrom::Data(at)) == Ok(at) {
                    cached += u64::from(is_cached(&file, at)?);
                    probed += 1;
                }
                next += step;
            }
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
        next -= bytes;
    }
    Ok(100.0 * cached as f64 / probed.max(1) as f64)
}

fn is_cached(file: &File, at: u64) -> Result<bool, Errno> {
    let mut byte = [0];
    match preadv2(file, &mut [IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT) {
        Ok(_) => Ok(true),
        Err(Errno::AGAIN) => Ok(false),
        Err(other) => Err(other),
    }
}
