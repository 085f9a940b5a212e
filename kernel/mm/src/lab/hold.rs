// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds pages from outside, as a device or another path of the kernel would: what asks
//! whether it is alone with a page must find that it is not.

use base::Vpn;
use hal::Machine;
use pgtable::index_of;

use crate::folio::FolioRef;
use crate::mm::{Mapped, Mm};

/// A reference to the folio of a page.
#[must_use = "the page is held until this is dropped"]
pub struct HeldFolio<'s, M: Machine> {
    _folio: FolioRef<'s, M>,
}

impl<M: Machine> Mm<M> {
    /// Takes a reference to the folio that is mapped at `page`, if one is.
    pub fn hold_folio_of(&self, page: Vpn) -> Option<HeldFolio<'_, M>> {
        let areas = self.read_areas();
        let held = match self.mapped_at(page)? {
            Mapped::Table(table) => {
                let lock = self.lock_leaf_table(table);
                lock.present(page).filter(|pte| !pte.is_special()).map(|pte| self.hold(pte))
            }
            Mapped::Block(slot) => {
                let block = self.lock_block(slot)?;
                let pte = block.pte().advanced(index_of(page) as u32);
                (!pte.is_special()).then(|| self.hold(pte))
            }
        };
        drop(areas);
        held
    }

    /// Takes a reference to the folio of a page; its table is locked.
    fn hold(&self, pte: pgtable::Pte) -> HeldFolio<'_, M> {
        let system = self.system();
        HeldFolio { _folio: system.get_folio(system.folio_of(pte)) }
    }
}
