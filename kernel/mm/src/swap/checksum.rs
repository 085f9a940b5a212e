// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file notices when a disk gives back other bytes than it was given: boot option
//! `swap.checksum=on`.
//!
//! A disk that loses a write, or writes to the wrong place, reports success. With the option, the
//! checksum of each page is kept with its slot, 8 bytes a page, and compared when the page comes
//! back. A page that is not what was written is treated like one that cannot be read: SIGBUS for
//! whoever touches it, and never wrong bytes.

use base::{PAGE_SIZE, Pfn};
use hal::Machine;
use xxhash_rust::xxh64::Xxh64;

use super::area::SwapArea;
use super::slot_table::SlotTable;
use crate::events::MmEvent;
use crate::folio::{Folio, FolioLock};
use crate::frame::OutOfMemory;
use crate::system::System;

/// Bytes hashed at a time: few, for they are on the stack.
const PART: usize = 512;

impl<M: Machine> System<M> {
    /// Keeps the checksums of a folio's pages with its slots, if the area has them. Nobody writes to
    /// the folio any more.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when the cluster has no room for them.
    pub(super) fn save_checksums(
        &self,
        area: &SwapArea,
        folio: &FolioLock<'_, M>,
        first_slot: u32,
    ) -> Result<(), OutOfMemory> {
        if !area.has_checksums {
            return Ok(());
        }
        for (slot, pfn) in (first_slot..).zip(folio.frames()) {
            let sum = checksum(self.machine(), pfn);
            let mut cluster = area.lock_cluster(self, slot);
            cluster.prepare_beside(SlotTable::Checksums)?;
            cluster.store_beside(SlotTable::Checksums, slot, sum);
        }
        Ok(())
    }

    /// Tells whether the pages that were just read are those that were written.
    pub(super) fn is_as_written(&self, area: &SwapArea, first_slot: u32, folio: &Folio) -> bool {
        let is_same = |(slot, pfn): (u32, Pfn)| {
            let found = checksum(self.machine(), pfn);
            let saved = area.lock_cluster(self, slot).load_beside(SlotTable::Checksums, slot);
            if found != saved {
                log::error!(
                    "swap: slot {slot} of area {:?} came back changed: checksum {found:#018x}, written {saved:#018x}",
                    area.id
                );
                self.count(MmEvent::SwapChecksumError, 1);
            }
            found == saved
        };
        !area.has_checksums || (first_slot..).zip(folio.frames()).all(is_same)
    }
}

fn checksum<M: Machine>(machine: &M, pfn: Pfn) -> u64 {
    let mut hash = Xxh64::new(0);
    let mut part = [0; PART];
    for offset in (0..PAGE_SIZE).step_by(PART) {
        machine.read_bytes(pfn.at(offset), &mut part);
        hash.update(&part);
    }
    hash.digest()
}
