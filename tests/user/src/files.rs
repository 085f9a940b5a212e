// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes files for tests, in a directory that goes with them.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;

use crate::process;
use crate::sys::Errno;

/// A directory of the test's own, removed with what is in it.
#[derive(Debug)]
pub struct Scratch(String);

impl Scratch {
    /// Makes it.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        let path = format!("/dev/shm/files-{}", process::pid());
        fs::create_dir(&path).expect("a new directory");
        Self(path)
    }

    /// Returns its own path.
    pub fn root(&self) -> &str {
        &self.0
    }

    /// Returns the path of a name in it.
    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }

    /// Makes a file in it, open to read and write, the position behind its content.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    pub fn file(&self, name: &str, content: &[u8]) -> File {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let mut file = options.open(self.path(name)).expect("a new file");
        file.write_all(content).expect("room");
        file
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns the error number of what failed.
pub fn errno<T>(result: std::io::Result<T>) -> Option<Errno> {
    result.err().and_then(|error| error.raw_os_error())
}

/// Returns a string as the kernel wants it.
///
/// # Panics
///
/// When there is a NUL in it.
pub fn c(path: &str) -> CString {
    CString::new(path).expect("no NUL")
}

/// Returns bytes that differ from page to page.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n + n / 251) as u8).collect()
}
