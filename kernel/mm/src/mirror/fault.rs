// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file puts pages into a device's table: what the address space maps, faulted in where it does
//! not.

use base::{PageRange, Vpn};
use hal::{Access, FaultCause, Machine, MemFault};
use pgtable::{Entry, Prot, Pte};

use super::{Mirror, MirrorPage, Rights};
use crate::fault::FaultError;
use crate::folio::{FolioFlags, FolioId};
use crate::mm::{Mapped, Mm};

/// How long a fault may lose against invalidations.
const PATIENCE_NS: u64 = 1_000_000_000;

/// Pages that a device learns at a time, at most.
const ROUND: u64 = 512;

/// Why a device cannot access a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MirrorError {
    /// No area is there that may be read, or the page has no content.
    Fault,
    /// The area does not permit stores.
    Denied,
    /// It was invalidated again and again.
    Busy,
    /// The device does not know the page.
    Unknown,
    /// The page is not the program's own, as it must be for a device to have it for itself.
    NotAnonymous,
    /// No memory.
    OutOfMemory,
    /// The program has ended.
    Gone,
}

/// What a look at an entry finds.
pub(super) enum Look {
    /// The device may have this.
    Page(MirrorPage),
    /// Nothing the device could use.
    None,
    /// Somebody works on the folio.
    Wait(FolioId),
    /// No area that may be read.
    Unmapped,
    /// The area does not permit it.
    Denied,
}

impl<M: Machine> Mirror<M> {
    /// Makes the device know the pages of a range, as loads (or stores) by the program would make them
    /// present.
    ///
    /// # Errors
    ///
    /// [`MirrorError`].
    pub fn fault_in(&self, pages: PageRange, access: Access) -> Result<(), MirrorError> {
        if !self.mm.get_user() {
            return Err(MirrorError::Gone);
        }
        let fault_page = |page| self.reserve(1).and_then(|()| self.fault_page(page, access));
        let result = pages.pages().try_for_each(fault_page);
        self.mm.put_user();
        result
    }

    /// Makes sure that the heap has room for more pages in the device's table.
    pub(super) fn reserve(&self, nr_pages: usize) -> Result<(), MirrorError> {
        let room = self.mm.system().reserve_kernel_heap(4096 + nr_pages * 64);
        room.map_err(|_| MirrorError::OutOfMemory)
    }

    fn fault_page(&self, page: Vpn, access: Access) -> Result<(), MirrorError> {
        self.patiently(|| {
            let seq = self.inside.lock().seq;
            match self.mm.look_for_device(page, access, self) {
                Look::Page(found) => {
                    base::sync::stop_point("device has read the entry");
                    let mut inside = self.inside.lock();
                    if inside.seq == seq {
                        inside.pages.insert(page, found);
                        return Ok(true);
                    }
                }
                Look::Unmapped => return Err(MirrorError::Fault),
                Look::Denied => return Err(MirrorError::Denied),
                Look::Wait(folio) => self.mm.system().wait_for_folio(folio),
                Look::None => self.fault_as_program(page, access)?,
            }
            Ok(false)
        })
    }

    /// Attempts something until it is done, or for too long.
    pub(super) fn patiently(
        &self,
        mut attempt: impl FnMut() -> Result<bool, MirrorError>,
    ) -> Result<(), MirrorError> {
        let machine = self.mm.machine();
        let start_ns = machine.now_ns();
        while machine.now_ns().wrapping_sub(start_ns) <= PATIENCE_NS {
            if attempt()? {
                return Ok(());
            }
            machine.cond_resched();
        }
        Err(MirrorError::Busy)
    }

    /// Has the program's memory accessed as the program would.
    pub(super) fn fault_as_program(&self, page: Vpn, access: Access) -> Result<(), MirrorError> {
        let cause = FaultCause::Translation;
        let fault = MemFault { addr: page.base(), access, cause, esr: 0 };
        self.mm.fault(&fault).map_err(|why| match why {
            FaultError::OutOfMemory => MirrorError::OutOfMemory,
            _ => MirrorError::Fault,
        })
    }

    /// Makes the device know those pages of a range that are in its own memory.
    ///
    /// # Errors
    ///
    /// [`MirrorError::OutOfMemory`].
    pub fn learn_own(&self, pages: PageRange) -> Result<(), MirrorError> {
        let mut left = pages;
        while left.start < left.end {
            let round = PageRange::new(left.start, left.end.min(left.start.add(ROUND)));
            self.reserve(ROUND as usize)?;
            self.mm.teach_own(round, self);
            left.start = round.end;
        }
        Ok(())
    }
}

impl<M: Machine> Mm<M> {
    /// Puts those pages of a range, up to the end of an area, into a device's table that are in its own
    /// memory. The program's table stays locked until the device knows them, so that no invalidation
    /// comes in between: whoever makes one locks that table first.
    fn teach_own(&self, pages: PageRange, device: &Mirror<M>) {
        let areas = self.read_areas();
        let area = areas.find(pages.start).filter(|area| area.flags.prot().contains(Prot::READ));
        let Some(area) = area else { return };
        let mut left = PageRange::new(pages.start, pages.end.min(area.pages().end));
        while let Some((part, mapped)) = self.next_mapped(left) {
            left.start = part.end;
            let Mapped::Table(table) = mapped else { continue };
            let lock = self.lock_leaf_table(table);
            let mut inside = device.inside.lock();
            for page in part.pages() {
                if let Entry::Present(pte) = lock.entry(page)
                    && pte.is_on_device()
                    && let Look::Page(found) = self.look_at(pte, Access::Read, device, false)
                {
                    inside.pages.insert(page, found);
                }
            }
        }
    }

    /// Looks what a device may have of a page.
    pub(super) fn look_for_device(&self, page: Vpn, access: Access, by: &Mirror<M>) -> Look {
        let areas = self.read_areas();
        let Some(area) = areas.find(page) else { return Look::Unmapped };
        let prot = area.flags.prot();
        if !prot.contains(Prot::READ) {
            return Look::Unmapped;
        }
        if access == Access::Write && !prot.contains(Prot::WRITE) {
            return Look::Denied;
        }
        let look = |pte, by_block| self.look_at(pte, access, by, by_block);
        match self.mapped_at(page) {
            None => Look::None,
            Some(Mapped::Block(slot)) => match self.lock_block(slot) {
                Some(block) => look(block.pte().advanced(pgtable::index_of(page) as u32), true),
                None => Look::None,
            },
            Some(Mapped::Table(table)) => {
                let lock = self.lock_leaf_table(table);
                match lock.entry(page) {
                    Entry::Present(pte) => look(pte, false),
                    _ => Look::None,
                }
            }
        }
    }

    /// Judges a present entry; its table is locked.
    fn look_at(&self, pte: Pte, access: Access, by: &Mirror<M>, by_block: bool) -> Look {
        let system = self.system();
        if pte.is_special() {
            let page = MirrorPage {
                pfn: pte.pfn(),
                folio: None,
                rights: Rights::Read,
                is_on_device: false,
                by_block,
            };
            return if access == Access::Write { Look::None } else { Look::Page(page) };
        }
        let is_on_device = pte.is_on_device();
        if pte.is_frozen() && !is_on_device {
            return Look::Wait(system.words().folio(pte.pfn()));
        }
        let id = system.folio_of(pte);
        if is_on_device {
            if system.device_memory().device_of(pte.pfn()) != by.device {
                return Look::None;
            }
            if system.folio(id).has(FolioFlags::LOCKED) {
                return Look::Wait(id);
            }
        }
        if !is_on_device && !pte.is_valid() || access == Access::Write && !pte.is_writable() {
            return Look::None;
        }
        let (pfn, folio, rights) = (pte.pfn(), Some(id), Rights::of(pte));
        Look::Page(MirrorPage { pfn, folio, rights, is_on_device, by_block })
    }
}
