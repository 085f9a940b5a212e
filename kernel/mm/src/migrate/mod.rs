// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder moves pages to the memory of a device and back. Linux's `migrate_vma_*()`.
//!
//! # The steps
//!
//! | step | what | file |
//! |---|---|---|
//! | collect | locks what can be locked at once, takes it off its LRU list, freezes the entries of this address space; one invalidation per table, complete before the table is unlocked | `collect.rs` |
//! | unmap | freezes the entries of all others, and puts back what somebody else holds | `unmap.rs` |
//! | copy | frames at the destination, the engine's copies; all in flight at once | `copy.rs` |
//! | pages | what moves is settled: holes get their pages | `pages.rs` |
//! | finalize | entries are thawed: where the page is now, or where it was | `finalize.rs`, `remap.rs` |
//!
//! Best effort, page by page: what is locked, pinned, held, in write-back, in a swap slot that others
//! refer to, or without room at the destination stays where it is, as it was. A large folio moves as
//! a whole, whatever its order, or is split by who has no room for it (`to_device.rs`).
//!
//! # What stands in the entries
//!
//! | the page is | entry | counted in |
//! |---|---|---|
//! | in RAM | valid | its folio |
//! | leaving RAM | frozen | the ghost of its folio (`folio/freeze.rs`) |
//! | on a device, or leaving it | frozen, names the device's frame (`Pte::on_device`) | its folio there |
//!
//! Linux has migration entries and device-private entries; here rights, access and dirty state stay in
//! the entry, and fork, munmap, mprotect and mremap handle all of them like present entries. A
//! page that leaves a device needs no other state: no CPU can reach it, and who wants it waits for its
//! folio's lock. A CPU's fault on it brings it home (`home.rs`).

mod collect;
mod copy;
mod finalize;
mod home;
mod pages;
mod remap;
mod source;
mod to_device;
mod unmap;
mod word;

pub use to_device::DeviceError;
pub use word::MigrateWord;

use alloc::vec::Vec;

use base::{PageRange, Vpn};
use hal::sleep_lock::SleepReadGuard;
use hal::{DeviceId, Machine};

use crate::mm::Mm;
use crate::vma::{Area, AreaFlags, Areas};
use source::Source;

/// Which pages are to move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    /// Those in RAM, and holes.
    Ram,
    /// Those in the memory of one device.
    Device(DeviceId),
}

/// A range to migrate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MigrateRequest {
    /// The pages: not empty, all in one area.
    pub pages: PageRange,
    /// Which of them.
    pub from: From,
    /// Large folios may move as a whole; otherwise they are split.
    pub whole_folios: bool,
}

/// Why nothing is migrated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MigrateError {
    /// The range is empty, in no area, in a special one, or reaches past one; or an array is shorter than
    /// the range.
    Invalid,
    /// No memory for the bookkeeping.
    OutOfMemory,
}

/// A migration under way. Dropped at any step, it leaves every page either moved or as it was.
#[must_use = "what was collected is locked until finalize()"]
pub struct Migration<'m, M: Machine> {
    mm: &'m Mm<M>,
    request: MigrateRequest,
    src: &'m mut [MigrateWord],
    dst: &'m mut [MigrateWord],
    sources: Vec<Source<'m, M>>,
    /// Held until the end, shared: areas do not change.
    areas: SleepReadGuard<'m, Areas<M>, M>,
}

impl<M: Machine> Mm<M> {
    /// Collects the pages of a range and takes them away from every CPU. Then `src` says of each page
    /// whether it moves.
    ///
    /// # Errors
    ///
    /// [`MigrateError`]; nothing has happened then.
    pub fn migrate_setup<'m>(
        &'m self,
        request: MigrateRequest,
        src: &'m mut [MigrateWord],
        dst: &'m mut [MigrateWord],
    ) -> Result<Migration<'m, M>, MigrateError> {
        let nr = request.pages.nr_pages() as usize;
        if nr == 0 || request.pages.start >= request.pages.end || src.len() < nr || dst.len() < nr {
            return Err(MigrateError::Invalid);
        }
        let bytes = nr * size_of::<Source<'_, M>>() * 2 + crate::rmap::HEAP_RESERVE;
        self.system().reserve_kernel_heap(bytes).map_err(|_| MigrateError::OutOfMemory)?;
        let mut sources = Vec::new();
        sources.try_reserve_exact(nr).map_err(|_| MigrateError::OutOfMemory)?;
        let areas = self.read_areas();
        let area = areas.find(request.pages.start).ok_or(MigrateError::Invalid)?;
        let is_special = area.flags.contains(AreaFlags::SPECIAL);
        if !area.pages().covers(request.pages) || is_special {
            return Err(MigrateError::Invalid);
        }
        src[..nr].fill(MigrateWord::NONE);
        dst[..nr].fill(MigrateWord::NONE);
        let mut migration = Migration { mm: self, request, src, dst, sources, areas };
        migration.collect();
        migration.unmap();
        Ok(migration)
    }
}

impl<'m, M: Machine> Migration<'m, M> {
    /// Returns what is known of each page: `MIGRATE` if it moves.
    pub fn src(&self) -> &[MigrateWord] {
        &self.src[..self.request.pages.nr_pages() as usize]
    }

    /// Returns where each page goes; valid where there is a frame for it.
    pub fn dst(&self) -> &[MigrateWord] {
        &self.dst[..self.request.pages.nr_pages() as usize]
    }

    fn area(&self) -> &Area<M> {
        self.areas.find(self.request.pages.start).expect("areas do not change meanwhile")
    }

    /// Returns where the range begins, for the trace.
    fn first_address(&self) -> u64 {
        self.request.pages.start.base().get()
    }

    fn page(&self, index: usize) -> Vpn {
        self.request.pages.start.add(index as u64)
    }

    fn index(&self, page: Vpn) -> usize {
        (page.get() - self.request.pages.start.get()) as usize
    }
}
