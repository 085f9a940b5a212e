// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads and writes the memory of an address space that is not the running one: exec
//! fills a new stack, a debugger or /proc looks at another process.

use base::{PAGE_SIZE, VirtAddr, Vpn};
use hal::{Access, FaultCause, Machine, MemFault};
use pgtable::{Entry, Pte};

use super::{Mapped, Mm};
use crate::fault::FaultError;
use crate::folio::{FolioFlags, FolioRef};

/// Why a remote access stopped: the fault that could not be resolved, and the bytes done before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RemoteError {
    /// Bytes copied before it.
    pub done: usize,
    /// Why no more.
    pub why: FaultError,
}

impl<M: Machine> Mm<M> {
    /// Writes bytes at `to`, faulting pages in as a store would.
    ///
    /// # Errors
    ///
    /// [`RemoteError`] at the first page that cannot be written.
    pub fn write_remote(&self, to: VirtAddr, bytes: &[u8]) -> Result<(), RemoteError> {
        self.for_each_chunk(to, bytes.len(), Access::Write, |hold, at, done, len| {
            self.machine().write_bytes(at, &bytes[done..done + len]);
            hold.set_written();
        })
    }

    /// Reads bytes at `from`, faulting pages in as a load would.
    ///
    /// # Errors
    ///
    /// [`RemoteError`] at the first page that cannot be read.
    pub fn read_remote(&self, from: VirtAddr, buf: &mut [u8]) -> Result<(), RemoteError> {
        let len = buf.len();
        self.for_each_chunk(from, len, Access::Read, |_, at, done, len| {
            self.machine().read_bytes(at, &mut buf[done..done + len]);
        })
    }

    fn for_each_chunk(
        &self,
        start: VirtAddr,
        len: usize,
        access: Access,
        mut copy: impl FnMut(&PageHold<'_, M>, base::PhysAddr, usize, usize),
    ) -> Result<(), RemoteError> {
        let mut done = 0;
        while done < len {
            let addr = start.wrapping_add(done as u64);
            let chunk = (PAGE_SIZE - addr.page_offset()).min(len - done);
            let hold = self.hold_page(addr, access).map_err(|why| RemoteError { done, why })?;
            copy(&hold, hold.pfn.at(addr.page_offset()), done, chunk);
            done += chunk;
        }
        Ok(())
    }

    /// Faults a page in and keeps its frame from going away. A store must reach the page itself,
    /// and the page must not be swapped out with older bytes: reclaim does not free a folio that
    /// somebody holds, and the caller marks it dirty.
    fn hold_page(&self, addr: VirtAddr, access: Access) -> Result<PageHold<'_, M>, FaultError> {
        let addr = addr.untagged();
        loop {
            if !addr.is_user() {
                return Err(FaultError::NotMapped);
            }
            let areas = self.read_areas();
            if let Some(hold) = self.hold_mapped(addr.page(), access) {
                return Ok(hold);
            }
            drop(areas);
            self.fault(&MemFault { addr, access, cause: FaultCause::Translation, esr: 0 })?;
        }
    }
}

impl<M: Machine> Mm<M> {
    /// Holds a page that is mapped with the right for `access`. The mmap lock is held.
    fn hold_mapped(&self, page: Vpn, access: Access) -> Option<PageHold<'_, M>> {
        // Asked for and taken with the table locked: that keeps the folio alive.
        let hold = |pte: Pte| {
            if !pte.permits(access == Access::Write, false, true, true) {
                return None;
            }
            let folio = (!pte.is_special()).then(|| {
                let id = self.system().words().folio(pte.pfn());
                self.system().get_folio(id)
            });
            Some(PageHold { pfn: pte.pfn(), folio })
        };
        match self.mapped_at(page)? {
            Mapped::Table(table) => {
                let lock = self.lock_leaf_table(table);
                let Entry::Present(pte) = lock.entry(page) else { return None };
                hold(pte)
            }
            Mapped::Block(slot) => {
                let block = self.lock_block(slot)?;
                hold(block.pte().advanced(pgtable::index_of(page) as u32))
            }
        }
    }
}

/// A frame that stays while it is read or written; the zero page has no folio.
struct PageHold<'s, M: Machine> {
    pfn: base::Pfn,
    folio: Option<FolioRef<'s, M>>,
}

impl<M: Machine> PageHold<'_, M> {
    fn set_written(&self) {
        if let Some(folio) = &self.folio {
            folio.clear(FolioFlags::CODE_SYNCED);
            folio.set(FolioFlags::DIRTY);
        }
    }
}
