// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the descriptors of a process.
//!
//! Closing the last descriptor of a file may sleep, so a closed file is handed to the caller, who
//! drops it with the table unlocked.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;
use base::lock_level::Task;
use base::sync::SpinLock;
use hal::Machine;

use super::file::File;

/// Descriptors are below this; RLIMIT_NOFILE lowers it.
pub const MAX_FILES: usize = 1024;

/// A descriptor in use.
struct Slot<M: Machine> {
    file: Arc<File<M>>,
    close_on_exec: bool,
}

impl<M: Machine> Clone for Slot<M> {
    fn clone(&self) -> Self {
        Self { file: Arc::clone(&self.file), close_on_exec: self.close_on_exec }
    }
}

/// The descriptors of a process; threads share it.
pub struct FileTable<M: Machine> {
    slots: SpinLock<Vec<Option<Slot<M>>>, Task>,
}

/// Files that were closed. Dropping them may sleep.
pub type Closed<M> = Vec<Arc<File<M>>>;

impl<M: Machine> Default for FileTable<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Machine> FileTable<M> {
    /// Builds an empty table.
    pub fn new() -> Self {
        Self { slots: SpinLock::new(Vec::new()) }
    }

    /// Copies the table for a child.
    pub fn fork(&self) -> Self {
        Self { slots: SpinLock::new(self.slots.lock().clone()) }
    }

    /// Returns an open file.
    ///
    /// # Errors
    ///
    /// EBADF.
    pub fn get(&self, fd: i32) -> Result<Arc<File<M>>, Errno> {
        let slots = self.slots.lock();
        let slot = usize::try_from(fd).ok().and_then(|fd| slots.get(fd)?.as_ref());
        Ok(Arc::clone(&slot.ok_or(Errno::EBADF)?.file))
    }

    /// Gives a file the lowest free descriptor from `from` on, below `limit`.
    ///
    /// # Errors
    ///
    /// EMFILE.
    pub fn insert(
        &self,
        file: Arc<File<M>>,
        close_on_exec: bool,
        from: usize,
        limit: usize,
    ) -> Result<i32, Errno> {
        let mut slots = self.slots.lock();
        let used = |fd: &usize| slots.get(*fd).is_some_and(Option::is_some);
        let free = (from..limit.min(MAX_FILES)).find(|fd| !used(fd));
        let Some(fd) = free else {
            drop(slots);
            drop(file);
            return Err(Errno::EMFILE);
        };
        put(&mut slots, fd, Slot { file, close_on_exec });
        Ok(fd as i32)
    }

    /// Gives a file the descriptor `fd`, whose file is closed.
    ///
    /// # Errors
    ///
    /// EBADF when `fd` is not below `limit`.
    pub fn replace(
        &self,
        fd: i32,
        file: Arc<File<M>>,
        close_on_exec: bool,
        limit: usize,
    ) -> Result<Option<Arc<File<M>>>, Errno> {
        let fd = usize::try_from(fd).ok().filter(|fd| *fd < limit.min(MAX_FILES));
        let fd = fd.ok_or(Errno::EBADF)?;
        let old = put(&mut self.slots.lock(), fd, Slot { file, close_on_exec });
        Ok(old.map(|slot| slot.file))
    }

    /// Frees a descriptor.
    ///
    /// # Errors
    ///
    /// EBADF.
    pub fn close(&self, fd: i32) -> Result<Arc<File<M>>, Errno> {
        let mut slots = self.slots.lock();
        let slot = usize::try_from(fd).ok().and_then(|fd| slots.get_mut(fd)?.take());
        Ok(slot.ok_or(Errno::EBADF)?.file)
    }

    /// Tells whether the descriptor is closed on exec.
    ///
    /// # Errors
    ///
    /// EBADF.
    pub fn close_on_exec(&self, fd: i32) -> Result<bool, Errno> {
        self.with(fd, |slot| slot.close_on_exec)
    }

    /// Sets whether the descriptor is closed on exec.
    ///
    /// # Errors
    ///
    /// EBADF.
    pub fn set_close_on_exec(&self, fd: i32, is_on: bool) -> Result<(), Errno> {
        self.with(fd, |slot| slot.close_on_exec = is_on)
    }

    fn with<R>(&self, fd: i32, f: impl FnOnce(&mut Slot<M>) -> R) -> Result<R, Errno> {
        let mut slots = self.slots.lock();
        let slot = usize::try_from(fd).ok().and_then(|fd| slots.get_mut(fd)?.as_mut());
        slot.map(f).ok_or(Errno::EBADF)
    }

    /// Closes descriptors `first..=last`, or sets their flag (CLOSE_RANGE_CLOEXEC).
    pub fn close_range(&self, first: u32, last: u32, only_flag: bool) -> Closed<M> {
        self.take_if(|fd, slot| {
            let is_inside = (first as usize..=last as usize).contains(&fd);
            slot.close_on_exec |= is_inside && only_flag;
            is_inside && !only_flag
        })
    }

    /// Closes what is closed on exec.
    pub fn exec(&self) -> Closed<M> {
        self.take_if(|_, slot| slot.close_on_exec)
    }

    /// Closes everything: the process ends.
    pub fn close_all(&self) -> Closed<M> {
        self.take_if(|_, _| true)
    }

    fn take_if(&self, mut goes: impl FnMut(usize, &mut Slot<M>) -> bool) -> Closed<M> {
        let mut slots = self.slots.lock();
        let taken = slots.iter_mut().enumerate().filter_map(|(fd, slot)| {
            let goes = slot.as_mut().is_some_and(|slot| goes(fd, slot));
            if goes { slot.take().map(|slot| slot.file) } else { None }
        });
        taken.collect()
    }

    /// Returns the descriptors in use.
    pub fn fds(&self) -> Vec<i32> {
        let slots = self.slots.lock();
        (0..).zip(slots.iter()).filter(|(_, slot)| slot.is_some()).map(|(fd, _)| fd).collect()
    }

    /// Returns how many descriptors fit before the table grows: FDSize of /proc/PID/status.
    pub fn capacity(&self) -> usize {
        self.slots.lock().len().next_power_of_two().max(64)
    }
}

fn put<M: Machine>(slots: &mut Vec<Option<Slot<M>>>, fd: usize, slot: Slot<M>) -> Option<Slot<M>> {
    if slots.len() <= fd {
        slots.resize_with(fd + 1, || None);
    }
    slots[fd].replace(slot)
}
