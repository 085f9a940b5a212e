// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file drives a migration from its first step to its last, for callers without wishes of their own.

use base::{Order, PageRange};
use hal::{DeviceId, Machine};

use super::{From, MigrateError, MigrateRequest, MigrateWord};
use crate::mm::Mm;

/// Pages that move together at most.
const CHUNK: u64 = 512;

/// Why a range was not migrated, or not all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceError {
    /// See [`MigrateError::Invalid`].
    Invalid,
    /// No memory for the bookkeeping, or for a page that comes home.
    OutOfMemory,
}

impl core::convert::From<MigrateError> for DeviceError {
    fn from(why: MigrateError) -> Self {
        match why {
            MigrateError::Invalid => DeviceError::Invalid,
            MigrateError::OutOfMemory => DeviceError::OutOfMemory,
        }
    }
}

impl<M: Machine> Mm<M> {
    /// Moves the pages of a range, all in one area, to a device, as far as they can be moved. A folio that
    /// finds no room there as a whole is split and tried again page by page. `may_alloc` is asked before
    /// each allocation there. Returns how many pages moved.
    ///
    /// # Errors
    ///
    /// [`DeviceError`]; what has moved by then has moved.
    pub fn migrate_to_device(
        &self,
        pages: PageRange,
        to: DeviceId,
        mut may_alloc: impl FnMut(Order) -> bool,
    ) -> Result<u64, DeviceError> {
        self.in_chunks(pages, |chunk, src, dst| {
            let mut moved = 0;
            for whole_folios in [true, false] {
                let request = MigrateRequest { pages: chunk, from: From::Ram, whole_folios };
                let mut migration = self.migrate_setup(request, &mut *src, &mut *dst)?;
                for index in 0..chunk.nr_pages() as usize {
                    let word = migration.src()[index];
                    if !word.has(MigrateWord::MIGRATE) {
                        continue;
                    }
                    let order = migration.order_at(index);
                    // Without room it stays.
                    let _ = match may_alloc(order) {
                        true => migration.alloc_on_device(index, to),
                        false => migration.alloc_pages_on_device(index, to),
                    };
                }
                migration.copy();
                migration.pages();
                moved += migration.nr_moving();
                if migration.finalize() == 0 {
                    break;
                }
            }
            Ok(moved)
        })
    }

    /// Moves the pages of a range, all in one area, that are on a device to RAM. Returns how many pages
    /// of the range moved, and whether there was memory for all.
    ///
    /// # Errors
    ///
    /// [`DeviceError::Invalid`].
    pub fn migrate_to_ram(
        &self,
        pages: PageRange,
        from: DeviceId,
        mut may_alloc: impl FnMut(Order) -> bool,
    ) -> Result<(u64, bool), DeviceError> {
        let mut has_room = true;
        let moved = self.in_chunks(pages, |chunk, src, dst| {
            let from = From::Device(from);
            let request = MigrateRequest { pages: chunk, from, whole_folios: true };
            let mut migration = self.migrate_setup(request, src, dst)?;
            for index in 0..chunk.nr_pages() as usize {
                let wanted = MigrateWord::MIGRATE.with(MigrateWord::VALID);
                if !migration.src()[index].has(wanted) {
                    continue;
                }
                let order = migration.order_at(index);
                has_room &= may_alloc(order) && migration.alloc_in_ram(index).is_ok();
            }
            migration.copy();
            migration.pages();
            let moved = migration.nr_moving();
            migration.finalize();
            Ok(moved)
        })?;
        Ok((moved, has_room))
    }

    fn in_chunks(
        &self,
        pages: PageRange,
        mut each: impl FnMut(
            PageRange,
            &mut [MigrateWord],
            &mut [MigrateWord],
        ) -> Result<u64, DeviceError>,
    ) -> Result<u64, DeviceError> {
        let nr = pages.nr_pages().min(CHUNK) as usize;
        let words = || {
            let mut words = alloc::vec::Vec::new();
            words.try_reserve_exact(nr).map_err(|_| DeviceError::OutOfMemory)?;
            words.resize(nr, MigrateWord::NONE);
            Ok::<_, DeviceError>(words)
        };
        let (mut src, mut dst) = (words()?, words()?);
        let (mut moved, mut left) = (0, pages);
        while left.start < left.end {
            // Blocks are not cut.
            let aligned = left.start.align_down(CHUNK).add(CHUNK);
            let chunk = PageRange::new(left.start, aligned.min(left.end));
            moved += each(chunk, &mut src, &mut dst)?;
            left.start = chunk.end;
        }
        Ok(moved)
    }
}
