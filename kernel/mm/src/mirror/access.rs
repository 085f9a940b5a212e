// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is what a device does with its table: it reads and writes pages.
//!
//! An access holds the lock of the table, so that an invalidation waits for it.

use base::Vpn;
use hal::Machine;

use super::{Mirror, MirrorError, MirrorPage, Rights};
use crate::folio::FolioFlags;

impl<M: Machine> Mirror<M> {
    /// Reads bytes from the start of a page as the device does.
    ///
    /// # Errors
    ///
    /// [`MirrorError::Unknown`] when the device does not know the page.
    pub fn read(&self, page: Vpn, buf: &mut [u8]) -> Result<(), MirrorError> {
        let inside = self.inside.lock();
        let known = inside.pages.get(page).ok_or(MirrorError::Unknown)?;
        let at = known.pfn.base();
        match known.is_on_device {
            true => self.mm.machine().read_device(at, buf),
            false => self.mm.machine().read_bytes(at, buf),
        }
        Ok(())
    }

    /// Writes bytes to the start of a page as the device does.
    ///
    /// # Errors
    ///
    /// [`MirrorError::Unknown`] when the device does not know the page, or not as writable.
    pub fn write(&self, page: Vpn, bytes: &[u8]) -> Result<(), MirrorError> {
        let inside = self.inside.lock();
        let known = inside.pages.get(page).filter(|known| known.rights == Rights::Write);
        let MirrorPage { pfn, folio, is_on_device, .. } = known.ok_or(MirrorError::Unknown)?;
        let at = pfn.base();
        match is_on_device {
            true => self.mm.machine().write_device(at, bytes),
            false => self.mm.machine().write_bytes(at, bytes),
        }
        if let Some(folio) = folio {
            // Hardware marks no entry for a device. The folio lives: its entries go after this one.
            self.mm.system().folio(*folio).set(FolioFlags::DIRTY);
        }
        Ok(())
    }
}
