// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder pins pages for users inside the kernel: a pinned folio is not reclaimed, split or moved.
//!
//! Pins are counted exactly, for folios of every order. A pin of a page that is on a device brings it
//! home first.

use base::Vpn;
use base::sync::atomic::Ordering;
use hal::{Access, FaultCause, Machine, MemFault};
use pgtable::{Entry, Pte, index_of};

use crate::fault::FaultError;
use crate::folio::FolioRef;
use crate::mm::{Mapped, Mm};

/// A pin of one page; dropped, it is gone.
#[must_use = "the page is pinned until this is dropped"]
pub struct Pin<'s, M: Machine> {
    folio: FolioRef<'s, M>,
    pfn: base::Pfn,
}

impl<M: Machine> Pin<'_, M> {
    /// Returns the frame of the page, which stays its frame.
    pub fn pfn(&self) -> base::Pfn {
        self.pfn
    }

    /// Ends the pin.
    pub fn unpin(self) {}
}

impl<M: Machine> Drop for Pin<'_, M> {
    fn drop(&mut self) {
        let before = self.folio.pins().fetch_sub(1, Ordering::Release);
        debug_assert_ne!(before, 0, "pin: unpinned too often");
    }
}

impl<M: Machine> Mm<M> {
    /// Pins the page at `page`, made present for `access` first. A page of zeroes that many share is
    /// given a folio of its own.
    ///
    /// # Errors
    ///
    /// [`FaultError`], as a touch of the page would have.
    pub fn pin(&self, page: Vpn, access: Access) -> Result<Pin<'_, M>, FaultError> {
        let mut access = access;
        loop {
            let areas = self.read_areas();
            match self.try_pin(page, access) {
                Tried::Pinned(pin) => return Ok(pin),
                Tried::ZeroPage => access = Access::Write,
                Tried::NotThere => {}
            }
            drop(areas);
            let cause = FaultCause::Translation;
            self.fault(&MemFault { addr: page.base(), access, cause, esr: 0 })?;
        }
    }

    /// Pins what is mapped with the right for `access`. The mmap lock is held.
    fn try_pin(&self, page: Vpn, access: Access) -> Tried<'_, M> {
        // Counted with the table locked: who freezes the entry after that sees the pin.
        let judge = |pte: Pte| {
            if !pte.permits(access == Access::Write, false, true, true) {
                return Tried::NotThere;
            }
            if pte.is_special() {
                return Tried::ZeroPage;
            }
            let folio = self.system().get_folio(self.system().folio_of(pte));
            folio.pins().fetch_add(1, Ordering::Acquire);
            Tried::Pinned(Pin { folio, pfn: pte.pfn() })
        };
        match self.mapped_at(page) {
            None => Tried::NotThere,
            Some(Mapped::Table(table)) => match self.lock_leaf_table(table).entry(page) {
                Entry::Present(pte) => judge(pte),
                _ => Tried::NotThere,
            },
            Some(Mapped::Block(slot)) => match self.lock_block(slot) {
                Some(block) => judge(block.pte().advanced(index_of(page) as u32)),
                None => Tried::NotThere,
            },
        }
    }
}

enum Tried<'s, M: Machine> {
    Pinned(Pin<'s, M>),
    ZeroPage,
    NotThere,
}
