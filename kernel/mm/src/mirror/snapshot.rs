// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tells what a device would find in a range, and faults nothing in.

use base::Vpn;
use hal::{Access, Machine};

use super::fault::Look;
use super::{Mirror, MirrorError, Rights};

/// What a device would find at a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Glimpse {
    /// No area that may be read.
    Unmapped,
    /// Nothing: not populated, or on another device.
    None,
    /// A page.
    Page {
        /// Stores are permitted.
        is_writable: bool,
        /// The page of zeroes.
        is_zero: bool,
        /// In the device's own memory.
        is_own: bool,
        /// One of a block of 2 MiB.
        by_block: bool,
    },
}

impl<M: Machine> Mirror<M> {
    /// Looks at one page.
    ///
    /// # Errors
    ///
    /// [`MirrorError::Gone`] when the program has ended.
    pub fn glimpse(&self, page: Vpn) -> Result<Glimpse, MirrorError> {
        if !self.mm.get_user() {
            return Err(MirrorError::Gone);
        }
        let found = loop {
            match self.mm.look_for_device(page, Access::Read, self) {
                Look::Wait(folio) => self.mm.system().wait_for_folio(folio),
                Look::Unmapped | Look::Denied => break Glimpse::Unmapped,
                Look::None => break Glimpse::None,
                Look::Page(page) => {
                    break Glimpse::Page {
                        is_writable: page.rights == Rights::Write,
                        is_zero: page.folio.is_none(),
                        is_own: page.is_on_device,
                        by_block: page.by_block,
                    };
                }
            }
        };
        self.mm.put_user();
        Ok(found)
    }
}
