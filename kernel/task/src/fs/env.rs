// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds what every file system needs from outside: memory, time, and a way to sleep.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;
use abi::stat::FileTime;
use base::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use hal::Machine;
use mm::System;

use super::nap::{EventCount, Nap};
use super::objects::ObjectFiles;
use crate::sched::TagPreferences;

/// Memory, time and sleep, shared by all file systems.
pub struct Env<M: Machine> {
    system: Arc<System<M>>,
    nap: &'static dyn Nap,
    tag_preferences: &'static TagPreferences,
    /// Advances with every change that a poll may wait for.
    polls: EventCount,
    /// Nanoseconds between the Unix epoch and the zero of the machine's clock.
    epoch_ns: AtomicU64,
    objects: ObjectFiles<M>,
    /// Number of the last file system made.
    last_dev: AtomicU32,
}

impl<M: Machine> Env<M> {
    /// Puts memory, sleep, what a setting sets, and the wall clock together.
    pub fn new(
        system: &Arc<System<M>>,
        nap: &'static dyn Nap,
        tag_preferences: &'static TagPreferences,
        epoch_ns: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            system: Arc::clone(system),
            nap,
            tag_preferences,
            polls: EventCount::default(),
            objects: ObjectFiles::new(),
            epoch_ns: AtomicU64::new(epoch_ns),
            last_dev: AtomicU32::new(0),
        })
    }

    /// Returns the memory manager.
    pub fn system(&self) -> &Arc<System<M>> {
        &self.system
    }

    /// Returns the files by the number of their object.
    pub(super) fn objects(&self) -> &ObjectFiles<M> {
        &self.objects
    }

    /// Returns how the CPUs like to check tags.
    pub(super) fn tag_preferences(&self) -> &'static TagPreferences {
        self.tag_preferences
    }

    /// Returns the machine.
    pub fn machine(&self) -> &M {
        self.system.machine()
    }

    /// Makes sure that the kernel's heap has room for another object. Called before a program makes
    /// the kernel keep something, with no lock held.
    ///
    /// # Errors
    ///
    /// ENOMEM when it has not, and cannot grow.
    pub fn reserve(&self, bytes: usize) -> Result<(), Errno> {
        self.system.reserve_kernel_heap(bytes).map_err(|_| Errno::ENOMEM)
    }

    /// Returns a buffer of zeroes that is used for the time of a call. A thread may sleep with it.
    ///
    /// # Errors
    ///
    /// ENOMEM.
    pub fn buffer(&self, len_bytes: usize) -> Result<Vec<u8>, Errno> {
        self.reserve(len_bytes)?;
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(len_bytes).map_err(|_| Errno::ENOMEM)?;
        buffer.resize(len_bytes, 0);
        Ok(buffer)
    }

    /// Returns half of the managed memory in pages: the limit of a tmpfs, as on Linux.
    pub fn half_of_ram(&self) -> u64 {
        let ranges = self.machine().managed_frames();
        let pages = ranges.iter().map(|range| u64::from(range.end.get() - range.start.get()));
        pages.sum::<u64>() / 2
    }

    /// Returns the way to sleep.
    pub fn nap(&self) -> &'static dyn Nap {
        self.nap
    }

    /// Returns what a poll waits for: any change of any file that can be waited for.
    pub fn polls(&self) -> &EventCount {
        &self.polls
    }

    /// Tells who waits for `count`, and whoever polls, of a change that was made.
    pub fn changed(&self, count: &EventCount) {
        count.advance(self.nap());
        self.polls.advance(self.nap());
    }

    /// Returns the time for a file's times.
    pub fn now(&self) -> FileTime {
        let epoch_ns = self.epoch_ns.load(Ordering::Relaxed);
        let since_epoch_ns = epoch_ns.saturating_add(self.machine().now_ns());
        FileTime {
            seconds: (since_epoch_ns / 1_000_000_000) as i64,
            nanoseconds: (since_epoch_ns % 1_000_000_000) as u32,
        }
    }

    /// Sets the wall clock.
    pub fn set_epoch(&self, epoch_ns: u64) {
        self.epoch_ns.store(epoch_ns, Ordering::Relaxed);
    }

    /// Returns a device number for a new file system: major 0, minors from 1 on.
    pub(super) fn new_dev(&self) -> u64 {
        abi::stat::device_number(0, self.last_dev.fetch_add(1, Ordering::Relaxed) + 1)
    }
}
