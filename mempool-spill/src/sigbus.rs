//! A last message for SIGBUS that names the file.
//!
//! A page of a map that cannot be read ends the process: somebody has made the file shorter, or its device has failed.
//! No error can be made of it, and the usual last words are `Bus error`. The handler here looks its address up in
//! `/proc/self/maps`, which the kernel keeps for every map without our doing, writes one line, and hands the signal on to
//! whoever handled it before.
//!
//! It calls nothing but `open`, `read`, `write` and `close`, allocates nothing, takes no lock, and needs less than 2 KiB
//! of an alternate stack.

#![expect(unsafe_code, reason = "a signal handler is told to the C library")]

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::AsFd as _;
use std::ptr;
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags};

/// Who handled the signal before us. Set before our handler is, so that it is there whenever that runs.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Has the process say which file it was that ended it, when a page of a map cannot be read (SIGBUS).
///
/// The line goes to standard error; then the signal goes to the handler that stood here before, or to the system's, which
/// ends the process. Once for all pools of the process; later calls do nothing. Maps that are not ours are named, too.
///
/// # Errors
/// As `sigaction`.
pub fn name_files_on_sigbus() -> io::Result<()> {
    if mutant!("sigbus_unnamed") || PREVIOUS.get().is_some() {
        return Ok(());
    }
    let previous = set(None)?;
    if PREVIOUS.set(previous).is_err() {
        // Another thread was faster.
        return Ok(());
    }
    let mut ours = previous;
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_sigbus;
    ours.sa_sigaction = handler as usize;
    // On the alternate stack, where the thread has one. Other signals may come meanwhile, as they might before.
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    set(Some(&ours)).map(drop)
}

/// Sets what SIGBUS does, or leaves it; answers what it did before.
fn set(action: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    // SAFETY: a sigaction is plain numbers and pointers, for all of which zero is a value.
    let mut previous: libc::sigaction = unsafe { std::mem::zeroed() };
    let new = action.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `new` is null or points to an action whose handler is one of ours, the system's, or one that was set
    // before; `previous` is a place for one action.
    let refused = unsafe { libc::sigaction(libc::SIGBUS, new, &raw mut previous) };
    if refused == 0 { Ok(previous) } else { Err(io::Error::last_os_error()) }
}

extern "C" fn on_sigbus(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel hands a handler with SA_SIGINFO a siginfo that is valid until it returns.
    let what = unsafe { &*info };
    // One that somebody has sent has no address.
    if what.si_code > 0 {
        // SAFETY: the address is a field of every SIGBUS that the kernel raises itself.
        let address = unsafe { what.si_addr() };
        say(address as usize);
    }
    hand_on(signal, info, context);
}

/// Writes the last message about `address`.
fn say(address: usize) {
    let mut line = Line { bytes: [0; Line::BYTES], len: 0 };
    line.text(b"mempool: SIGBUS: ");
    let found = look_up(address, &mut line);
    match found {
        Some(offset) => {
            line.text(b" cannot be read at offset ");
            line.number(offset);
            line.text(b": somebody has made it shorter, or its device has failed\n");
        }
        None => line.text(b"a mapped file cannot be read, and the system does not say which\n"),
    }
    // Nobody is left who could be told that it failed.
    let _ = rustix::io::write(std::io::stderr().as_fd(), line.get());
}

/// Appends the path of the file that is mapped at `address`; answers where in the file that is.
fn look_up(address: usize, line: &mut Line) -> Option<u64> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let maps = rustix::fs::open(c"/proc/self/maps", flags, Mode::empty()).ok()?;
    let mut finder = Finder::new(address as u64);
    let mut chunk = [0; 512];
    loop {
        let count = match rustix::io::read(&maps, &mut chunk[..]) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(count) if count > 0 => count,
            _ => return None,
        };
        for &byte in chunk.get(..count)? {
            if let Some(offset) = finder.feed(byte, line) {
                return Some(offset);
            }
        }
    }
}

/// Hands the signal on to whoever handled it before, or lets the system end the process by it.
fn hand_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let previous = PREVIOUS.get();
    let handler = previous.map_or(libc::SIG_DFL, |previous| previous.sa_sigaction);
    if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
        // A fault that is ignored ends the process as well. It is raised for one that was sent: nothing runs again
        // that would fault by itself. The signal is blocked in here, so it comes when this returns.
        // SAFETY: both calls may be made in a handler.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        // SAFETY: as above.
        unsafe { libc::raise(signal) };
    } else if previous.is_some_and(|previous| previous.sa_flags & libc::SA_SIGINFO != 0) {
        type WithInfo = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
        // SAFETY: whoever set this address with SA_SIGINFO promised the system that it is such a function.
        let handler: WithInfo = unsafe { std::mem::transmute(handler) };
        handler(signal, info, context);
    } else {
        // SAFETY: whoever set this address without SA_SIGINFO promised the system that it is such a function.
        let handler: extern "C" fn(c_int) = unsafe { std::mem::transmute(handler) };
        handler(signal);
    }
}

/// A line of text on the stack. What does not fit is left out, at the end of the path.
struct Line {
    bytes: [u8; Self::BYTES],
    len: usize,
}

impl Line {
    const BYTES: usize = 1024;
    /// The most of it that a path may take; the rest is for what is said about it.
    const PATH_END: usize = Self::BYTES - 128;

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    fn text(&mut self, text: &[u8]) {
        text.iter().for_each(|&byte| self.push(byte));
    }

    fn number(&mut self, number: u64) {
        let mut unit = 1;
        while number / unit >= 10 {
            unit *= 10;
        }
        while unit > 0 {
            self.push(b'0' + (number / unit % 10).to_le_bytes()[0]);
            unit /= 10;
        }
    }

    fn get(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Reads `/proc/self/maps` byte by byte: `start-end perms offset device inode   path`.
struct Finder {
    address: u64,
    field: u8,
    /// The hexadecimal number that is being read.
    number: u64,
    start: u64,
    /// Whether the address lies in this line's map.
    inside: bool,
    offset: u64,
}

impl Finder {
    fn new(address: u64) -> Self {
        Self { address, field: 0, number: 0, start: 0, inside: false, offset: 0 }
    }

    /// Takes the next byte, and appends the path's to `line`; answers the place in the file when the line is at its end.
    fn feed(&mut self, byte: u8, line: &mut Line) -> Option<u64> {
        match (self.field, byte) {
            (6, b'\n') => return Some(self.offset),
            (_, b'\n') => *self = Self::new(self.address),
            (0, b'-') => self.start = std::mem::take(&mut self.number),
            (0, b' ') => {
                self.inside = (self.start..self.number).contains(&self.address);
                self.next_field();
            }
            (2, b' ') => {
                self.offset = self.number.wrapping_add(self.address.wrapping_sub(self.start));
                self.next_field();
            }
            (0 | 2, digit) => {
                let digit = char::from(digit).to_digit(16).unwrap_or_default();
                self.number = self.number << 4 | u64::from(digit);
            }
            (1 | 3 | 4, b' ') => self.next_field(),
            // The spaces before the path.
            (5, b' ') => {}
            (5 | 6, byte) if self.inside => {
                self.field = 6;
                if line.len < Line::PATH_END {
                    line.push(byte);
                }
            }
            _ => {}
        }
        None
    }

    fn next_field(&mut self) {
        self.field += 1;
        self.number = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55d0c0a00000-55d0c0a21000 r--p 00000000 fd:00 131                        /usr/bin/a
7f0000000000-7f0000010000 rw-p 00000000 00:00 0 \n\
7f0000010000-7f0000020000 r--s 00004000 fd:00 4711                       /tmp/.mempool/s-1/seg-1 (deleted)
7f0000020000-7f0000021000 r--s 00000000 fd:00 4712                       /b
";

    fn find(address: u64) -> Option<(u64, String)> {
        let mut line = Line { bytes: [0; Line::BYTES], len: 0 };
        let mut finder = Finder::new(address);
        let found = MAPS.bytes().find_map(|byte| finder.feed(byte, &mut line));
        found.map(|offset| (offset, String::from_utf8_lossy(line.get()).into_owned()))
    }

    #[test]
    fn the_file_and_the_place_in_it_are_found() {
        let deleted = "/tmp/.mempool/s-1/seg-1 (deleted)".to_owned();
        assert_eq!(find(0x7f00_0001_0000), Some((0x4000, deleted.clone())));
        assert_eq!(find(0x7f00_0001_ffff), Some((0x1_3fff, deleted)));
        assert_eq!(find(0x7f00_0002_0001), Some((1, "/b".to_owned())));
        assert_eq!(find(0x7f00_0002_1000), None, "behind the last map");
        assert_eq!(find(0x7f00_0000_0000), None, "memory that is of no file");
    }

    #[test]
    fn a_line_has_numbers_and_an_end() {
        let mut line = Line { bytes: [0; Line::BYTES], len: 0 };
        for number in [0, 7, 10, 12_345, u64::MAX] {
            line.number(number);
            line.push(b' ');
        }
        assert_eq!(line.get(), b"0 7 10 12345 18446744073709551615 ");
        (0..5000).for_each(|_| line.push(b'x'));
        assert_eq!(line.get().len(), Line::BYTES);
    }
}
