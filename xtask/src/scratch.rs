// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file gives each run its own files below `target/granule`, and removes them at its end.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::error::Error;
use crate::workspace;

/// The files of one run. Dropping it removes them.
#[derive(Debug)]
pub struct Scratch {
    dir: PathBuf,
    prefix: String,
    files: Vec<PathBuf>,
    removes: bool,
}

/// Tells apart the runs of this process.
static NEXT_RUN: AtomicU32 = AtomicU32::new(0);

impl Scratch {
    /// Starts a set of files that no other run uses.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made.
    pub fn new() -> Result<Self, Error> {
        let run = NEXT_RUN.fetch_add(1, Relaxed);
        Self::with_prefix(format!("run-{}-{run}-", std::process::id()), true)
    }

    /// Starts a set of files that stay, for a command that is printed and not run.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made.
    pub fn kept() -> Result<Self, Error> {
        Self::with_prefix(String::from("dry-run-"), false)
    }

    fn with_prefix(prefix: String, removes: bool) -> Result<Self, Error> {
        let dir = workspace::granule_dir();
        std::fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
        sweep(&dir);
        Ok(Self { dir, prefix, files: Vec::new(), removes })
    }

    /// Returns the path of a new file of this run.
    pub fn file(&mut self, name: &str) -> PathBuf {
        let path = self.dir.join(format!("{}{name}", self.prefix));
        self.files.push(path.clone());
        path
    }

    /// Returns a directory of this run, which may be there already.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn dir(&mut self, name: &str) -> Result<PathBuf, Error> {
        let path = self.file(name);
        std::fs::create_dir_all(&path).map_err(Error::file("create", &path))?;
        Ok(path)
    }
}

/// Removes a file or a directory. One that was never written is not there, and that is well.
fn remove(path: &Path) {
    let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.removes {
            for file in &self.files {
                remove(file);
            }
        }
    }
}

/// Removes what runs left behind that were killed (by Ctrl-C, for one).
fn sweep(dir: &Path) {
    // Without a /proc there is no telling who is alive.
    if !Path::new("/proc/self").exists() {
        return;
    }
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(owner);
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            // Another process may be sweeping too.
            remove(&entry.path());
        }
    }
}

/// Returns the process that a file of a run belongs to.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix("run-")?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_of_a_process_share_no_file() {
        let mut one = Scratch::new().expect("a scratch directory");
        let mut two = Scratch::new().expect("a scratch directory");
        assert_ne!(one.file("disk0.img"), two.file("disk0.img"));
    }

    #[test]
    fn files_go_with_their_run_and_survive_a_sweep_before() {
        let mut run = Scratch::new().expect("a scratch directory");
        let file = run.file("disk0.img");
        std::fs::write(&file, b"x").expect("write");
        let _other = Scratch::new().expect("a scratch directory");
        assert!(file.exists(), "swept although its run is alive");
        drop(run);
        assert!(!file.exists());
    }

    #[test]
    fn files_of_a_dead_process_are_swept() {
        let mut child = std::process::Command::new("true").spawn().expect("true");
        child.wait().expect("wait");
        let dir = workspace::granule_dir();
        std::fs::create_dir_all(&dir).expect("create");
        let file = dir.join(format!("run-{}-0-disk0.img", child.id()));
        std::fs::write(&file, b"x").expect("write");
        let _run = Scratch::new().expect("a scratch directory");
        assert!(!file.exists());
    }

    #[test]
    fn owner_is_read_from_names_of_runs_only() {
        assert_eq!(owner("run-123-0-disk0.img"), Some(123));
        assert_eq!(owner("dry-run-disk0.img"), None);
        assert_eq!(owner("Image"), None);
    }
}
