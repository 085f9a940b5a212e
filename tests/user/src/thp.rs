// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads and changes the settings of large folios.

use std::fs::{self, OpenOptions};
use std::io::Write;

use crate::sys::Errno;
use crate::trial::Skip;

/// Where they are.
pub const DIR: &str = "/sys/kernel/mm/transparent_hugepage";

/// Bytes that one level-2 entry maps: the largest folio.
pub const BLOCK: usize = 2 << 20;

/// The sizes of anonymous folios with pages of 4 KiB.
pub const SIZES_KIB: [usize; 8] = [16, 32, 64, 128, 256, 512, 1024, 2048];

/// A setting; when dropped, it becomes what it was.
#[derive(Debug)]
pub struct Setting {
    path: String,
    was: String,
}

impl Setting {
    /// Finds the setting `name`, a path in [`DIR`].
    ///
    /// # Errors
    ///
    /// Where there is none, or it may not be changed.
    pub fn open(name: &str) -> Result<Self, Skip> {
        Self::at(format!("{DIR}/{name}"))
    }

    /// Finds the setting that is the file `path`.
    pub(crate) fn at(path: String) -> Result<Self, Skip> {
        let Ok(text) = fs::read_to_string(&path) else { return Err(Skip("no such setting")) };
        let was = chosen(&text).to_owned();
        let setting = Self { path, was };
        match setting.write(&setting.was) {
            Ok(_) => Ok(setting),
            Err(libc::EACCES) => Err(Skip("only root may change settings")),
            Err(error) => panic!("{}: {:?}: error {error}", setting.path, setting.was),
        }
    }

    /// Finds the setting of one size.
    ///
    /// # Errors
    ///
    /// As [`Setting::open`].
    pub fn of_size(size_kib: usize) -> Result<Self, Skip> {
        Self::open(&format!("hugepages-{size_kib}kB/enabled"))
    }

    /// Returns what the file shows.
    pub fn text(&self) -> String {
        fs::read_to_string(&self.path).expect("read")
    }

    /// Returns what is set.
    pub fn chosen(&self) -> String {
        chosen(&self.text()).to_owned()
    }

    /// Writes `text` with one call and returns how many bytes were taken.
    ///
    /// # Errors
    ///
    /// The call's.
    pub fn write(&self, text: &str) -> Result<usize, Errno> {
        let mut file = OpenOptions::new().write(true).open(&self.path).map_err(number)?;
        file.write(text.as_bytes()).map_err(number)
    }

    /// Sets `word`.
    ///
    /// # Panics
    ///
    /// When the kernel refuses it.
    #[must_use = "it becomes what it was as soon as it is dropped"]
    pub fn to(self, word: &str) -> Self {
        assert_eq!(self.write(word), Ok(word.len()), "{}: {word:?}", self.path);
        self
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        self.write(&self.was).expect("what was shown can be written");
    }
}

/// Lets memory have folios of `size_kib` as `word` says, and no other large ones.
///
/// # Errors
///
/// Where that cannot be set.
pub fn only(size_kib: usize, word: &str) -> Result<Vec<Setting>, Skip> {
    let set =
        |size: usize| Ok(Setting::of_size(size)?.to(if size == size_kib { word } else { "never" }));
    SIZES_KIB.into_iter().map(set).collect()
}

/// Returns a statistic of one size.
pub fn stat(size_kib: usize, name: &str) -> Option<u64> {
    let path = format!("{DIR}/hugepages-{size_kib}kB/stats/{name}");
    fs::read_to_string(path).ok()?.strip_suffix('\n')?.parse().ok()
}

fn number(error: std::io::Error) -> Errno {
    error.raw_os_error().expect("an error of the kernel")
}

/// Returns the word in brackets, or the number that the text is.
fn chosen(text: &str) -> &str {
    text.split(['[', ']']).nth(1).unwrap_or(text.trim_end())
}

/// Returns AnonHugePages of the area that starts at `start`, in KiB.
///
/// # Panics
///
/// When no area starts there.
pub fn anon_huge_kib(start: usize) -> usize {
    smaps_kib(start, "AnonHugePages")
}

/// Returns a field of /proc/self/smaps, in KiB, of the area that starts at `start`.
///
/// # Panics
///
/// When no area starts there, or smaps has no such field.
pub fn smaps_kib(start: usize, field: &str) -> usize {
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let from = smaps.find(&format!("{start:08x}-")).expect("the area");
    let mut lines = smaps[from..].lines();
    let value = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap().trim().strip_suffix(" kB").unwrap().parse().unwrap()
}
