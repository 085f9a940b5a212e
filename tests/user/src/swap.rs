// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes swap areas on a disk, and puts them into service and out of it.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use crate::memory::PAGE;
use crate::sys::{self, Errno};

/// The bytes of a header's end (include/linux/swap.h, `union swap_header`).
const SIGNATURE: &[u8; 10] = b"SWAPSPACE2";
/// Where version, last page and number of bad pages are, and where these are listed.
const INFO: usize = 1024;
const LIST: usize = INFO + 512;
/// The name of areas that were made here.
const NAME: &[u8; 10] = b"user-tests";
const NAME_AT: usize = INFO + 28;

/// `SWAP_FLAG_PREFER`: the lowest bits of the flags are a priority (include/linux/swap.h).
pub const PREFER: usize = 0x8000;
/// `SWAP_FLAG_DISCARD`.
pub const DISCARD: usize = 0x1_0000;
/// `SWAP_FLAG_DISCARD_ONCE`: only at swapon.
pub const DISCARD_ONCE: usize = 0x2_0000;
/// `SWAP_FLAG_DISCARD_PAGES`: only what becomes free.
pub const DISCARD_PAGES: usize = 0x4_0000;

/// The header of an area.
#[derive(Clone, Debug)]
pub struct Header {
    /// 1.
    pub version: u32,
    /// The number of the last page.
    pub last_page: u32,
    /// The number of bad pages.
    pub nr_bad: u32,
    /// Their numbers.
    pub bad: Vec<u32>,
}

impl Header {
    /// Describes an area of so many pages, the header among them.
    pub fn of_pages(nr_pages: u32) -> Self {
        Self { version: 1, last_page: nr_pages - 1, nr_bad: 0, bad: Vec::new() }
    }

    /// Describes the same area with bad pages.
    #[must_use]
    pub fn with_bad(self, bad: &[u32]) -> Self {
        Self { nr_bad: bad.len() as u32, bad: bad.to_vec(), ..self }
    }

    fn page(&self) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        let words = [self.version, self.last_page, self.nr_bad].into_iter().zip(0..);
        let bad = self.bad.iter().copied().zip((LIST - INFO) / 4..);
        for (word, index) in words.chain(bad) {
            let at = INFO + 4 * index;
            page[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        page[NAME_AT..NAME_AT + NAME.len()].copy_from_slice(NAME);
        page[PAGE - SIGNATURE.len()..].copy_from_slice(SIGNATURE);
        page
    }
}

/// Tells whether a disk may be written: nothing is on it, or an area that was made here.
pub fn is_ours(disk: &str) -> bool {
    let mut page = [0; PAGE];
    let read = std::fs::File::open(disk).and_then(|disk| disk.read_exact_at(&mut page, 0));
    read.is_ok() && (page == [0; PAGE] || page[NAME_AT..NAME_AT + NAME.len()] == *NAME)
}

/// Writes a header, or zeroes for none.
///
/// # Panics
///
/// When the disk cannot be written.
pub fn write_header(disk: &str, header: Option<&Header>) {
    let page = header.map_or([0; PAGE], Header::page);
    let file = OpenOptions::new().write(true).open(disk).expect("a disk");
    file.write_all_at(&page, 0).expect("a page of the disk");
    file.sync_all().expect("fsync of the disk");
}

/// Calls swapon.
///
/// # Errors
///
/// The call's.
pub fn on(path: &str, flags: usize) -> Result<(), Errno> {
    let path = CString::new(path).expect("no NUL");
    sys::call(libc::SYS_swapon, [path.as_ptr().expose_provenance(), flags]).map(drop)
}

/// Calls swapoff.
///
/// # Errors
///
/// The call's.
pub fn off(path: &str) -> Result<(), Errno> {
    let path = CString::new(path).expect("no NUL");
    sys::call(libc::SYS_swapoff, [path.as_ptr().expose_provenance()]).map(drop)
}

/// Returns size, used bytes and priority of an area in service (/proc/swaps).
pub fn area(path: &str) -> Option<(u64, u64, i32)> {
    let text = std::fs::read_to_string("/proc/swaps").ok()?;
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(path))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, _, size, used, priority] = words[..] else { return None };
    let bytes = |kib: &str| kib.parse().ok().map(|kib: u64| kib * 1024);
    Some((bytes(size)?, bytes(used)?, priority.parse().ok()?))
}

/// Returns the path of an area in service.
pub fn first_area() -> Option<String> {
    let text = std::fs::read_to_string("/proc/swaps").ok()?;
    text.lines().nth(1)?.split_whitespace().next().map(str::to_owned)
}
