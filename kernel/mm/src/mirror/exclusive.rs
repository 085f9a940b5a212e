// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file gives a page of RAM to one device for itself, and takes it back. Linux's
//! `make_device_exclusive()` and `remove_device_exclusive_entry()`.
//!
//! A device that cannot do atomic operations on RAM does them as a load and a store, while nobody else
//! reaches the page. Its entry keeps all it says, and is not valid (`Pte::device_exclusive`); counts,
//! reverse map and frame stay as they are. So an address space handles it like an entry of PROT_NONE,
//! with one thing more to do:
//!
//! - Who makes the entry valid again (a fault, fork, mprotect) tells the devices *before*
//!   ([`Mm::take_back`]).
//! - Who takes it away or freezes it (munmap, mremap, reclaim, exit, a split) tells them before the table
//!   is unlocked, like of any entry (`tlb/`). mremap leaves it as it is at the new place, where no
//!   device has the page: the next access finds out.
//!
//! So a device has a page for itself only while the entry says so. It does not follow that some device has
//! it when the entry says so: the device may have been closed since.

use base::sync::stop_point;
use base::{PageRange, Vpn};
use hal::{Access, Machine};
use pgtable::{Entry, Prot, Pte};

use super::{Mirror, MirrorError, MirrorPage, Rights};
use crate::events::MmEvent;
use crate::folio::{FolioFlags, FolioId};
use crate::lab::Fault;
use crate::mm::{Mapped, Mm, PageTableLock};
use crate::vma::AreaFlags;

/// What an attempt to take a page for a device ends with.
enum Attempt {
    /// It is the device's.
    Taken,
    /// A store by the program has to come first: it makes the page present and the program's own, and
    /// ends what another device has.
    NeedsStore,
    /// Somebody works on the folio.
    Wait(FolioId),
    /// The entry was part of a block: once more.
    Again,
}

impl<M: Machine> Mirror<M> {
    /// Gives the device a page for itself until somebody else wants it.
    ///
    /// # Errors
    ///
    /// [`MirrorError`]: `Fault` where the program could not store either.
    pub fn make_exclusive(&self, page: Vpn) -> Result<(), MirrorError> {
        if !self.mm.get_user() {
            return Err(MirrorError::Gone);
        }
        let result = self.reserve(1).and_then(|()| self.take_patiently(page));
        self.mm.put_user();
        result
    }

    fn take_patiently(&self, page: Vpn) -> Result<(), MirrorError> {
        self.patiently(|| {
            match self.try_take(page)? {
                Attempt::Taken => return Ok(true),
                Attempt::NeedsStore => self.fault_as_program(page, Access::Write)?,
                Attempt::Wait(folio) => self.mm.system().wait_for_folio(folio),
                Attempt::Again => {}
            }
            Ok(false)
        })
    }

    fn try_take(&self, page: Vpn) -> Result<Attempt, MirrorError> {
        let mm = &*self.mm;
        let areas = mm.read_areas();
        let area = areas.find(page).ok_or(MirrorError::Fault)?;
        if !area.flags.prot().contains(Prot::WRITE) || area.flags.contains(AreaFlags::SPECIAL) {
            return Err(MirrorError::Fault);
        }
        let table = match mm.mapped_at(page) {
            None => return Ok(Attempt::NeedsStore),
            Some(Mapped::Block(slot)) => {
                mm.split_block(slot, page);
                return Ok(Attempt::Again);
            }
            Some(Mapped::Table(table)) => table,
        };
        let mut lock = mm.lock_leaf_table(table);
        let Entry::Present(pte) = lock.entry(page) else { return Ok(Attempt::NeedsStore) };
        if pte.is_frozen() && !pte.is_on_device() {
            return Ok(Attempt::Wait(mm.system().words().folio(pte.pfn())));
        }
        // A writable entry of an anonymous page is its only one.
        if !pte.is_valid() || !pte.is_writable() {
            return Ok(Attempt::NeedsStore);
        }
        let id = mm.system().folio_of(pte);
        if !mm.system().folio(id).is_anon() {
            return Err(MirrorError::NotAnonymous);
        }
        self.take(&mut lock, page, id);
        Ok(Attempt::Taken)
    }

    /// Takes the page from the CPUs and from every other device. The table stays locked until this one has
    /// it: nobody can have taken it back by then.
    fn take(&self, lock: &mut PageTableLock<'_, M>, page: Vpn, id: FolioId) {
        let mm = &*self.mm;
        mm.unfold(lock, page);
        // Hardware cannot mark the entry for the device.
        let for_device = |old| Pte::from_raw(old).young().dirty().device_exclusive();
        let old = mm.replace_mapping(lock, page, |old| for_device(old).raw());
        let (pfn, folio) = (Pte::from_raw(old).pfn(), Some(id));
        let rights = Rights::Exclusive;
        let taken = MirrorPage { pfn, folio, rights, is_on_device: false, by_block: false };
        self.inside.lock().pages.insert(page, taken);
        mm.system().count(MmEvent::DeviceExclusive, 1);
    }

    /// Tells whether the device has any page of a range for itself.
    pub fn has_exclusive(&self, pages: PageRange) -> bool {
        let inside = self.inside.lock();
        let mut known = inside.pages.range(pages.start..pages.end);
        known.any(|(_, page)| page.rights == Rights::Exclusive)
    }

    /// Changes the word at `offset` of a page as a device does that has the page for itself: by a load and
    /// a store. Returns the old word.
    ///
    /// # Errors
    ///
    /// [`MirrorError::Unknown`] when it has not, or not any more.
    pub fn update(
        &self,
        page: Vpn,
        offset: usize,
        change: impl FnOnce(u64) -> u64,
    ) -> Result<u64, MirrorError> {
        let machine = self.mm.machine();
        let inside = self.inside.lock();
        let known = inside.pages.get(page).filter(|known| known.rights == Rights::Exclusive);
        let MirrorPage { pfn, folio, .. } = known.ok_or(MirrorError::Unknown)?;
        let mut word = [0; 8];
        machine.read_bytes(pfn.at(offset), &mut word);
        stop_point("device has loaded");
        let old = u64::from_le_bytes(word);
        machine.write_bytes(pfn.at(offset), &change(old).to_le_bytes());
        let folio = folio.expect("an anonymous page");
        self.mm.system().folio(folio).set(FolioFlags::DIRTY);
        Ok(old)
    }
}

impl<M: Machine> Mm<M> {
    /// Takes the page of an entry back from a device that may have it for itself, and returns the entry as
    /// it is then: any other stays as it is. The table is locked.
    pub(crate) fn take_back(&self, table: &mut PageTableLock<'_, M>, page: Vpn, pte: Pte) -> Pte {
        if !pte.is_device_exclusive() {
            return pte;
        }
        let is_late = self.system().commits(Fault::ExclusiveEndedLate);
        if !is_late {
            self.mirrors().invalidate(PageRange::of_len(page, 1));
        }
        let now = pte.taken_back();
        table.exchange(page, now.raw());
        if is_late {
            stop_point("taken back, the device not told");
            self.mirrors().invalidate(PageRange::of_len(page, 1));
        }
        self.system().count(MmEvent::DeviceExclusiveEnd, 1);
        now
    }
}
