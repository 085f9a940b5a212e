// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder resolves page faults.
//!
//! A fault is resolved in thread context with no lock held, whether user code or a kernel copy took
//! it. The steps, each in its file:
//!
//! 1. Find the area under the shared mmap lock; judge the access (`access` below). A fault just
//!    below the stack grows it (`stack.rs`).
//! 2. Look at the entry without its lock, to know what to allocate.
//!    A level-2 entry without a table: a block (`block.rs`).
//! 3. Nothing there: a zeroed page or the zero page (`anonymous.rs`), where one fits a block of
//!    either (`block.rs`), or a page of the object (`shared.rs`). A swap entry: bring the page back
//!    (`swap_in.rs`), and those that are wanted next (`read_ahead.rs`). A frame: set what the hardware did not, or copy (`copy_on_write.rs`).
//! 4. Take the table's lock and look again. If the entry is another now, somebody else was faster:
//!    drop everything and let the program try again.
//!
//! Resolving a fault twice is harmless; resolving none is a spurious fault and costs the program
//! one more.

mod anonymous;
mod block;
mod copy_on_write;
mod device;
mod read_ahead;
mod shared;
mod stack;
mod swap_in;
mod swap_window;

use base::Vpn;
use hal::{Access, FaultCause, Machine, MemFault, TraceKind};
use pgtable::{Entry, NonPresent, Prot, Pte};

use crate::events::MmEvent;
use crate::frame::OutOfMemory;
use crate::mm::{Mapped, Mm};
use crate::vma::Area;

/// Why an access cannot be made possible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultError {
    /// No area is there: SEGV_MAPERR.
    NotMapped,
    /// The area does not permit the access: SEGV_ACCERR.
    Denied,
    /// The object ends before the page, or its content cannot be read: BUS_ADRERR.
    NoContent,
    /// No memory, even after reclaim: somebody must be killed.
    OutOfMemory,
}

impl From<OutOfMemory> for FaultError {
    fn from(_: OutOfMemory) -> Self {
        FaultError::OutOfMemory
    }
}

/// What a fault needs to know about where it happened.
struct Site<'a, M: Machine> {
    area: &'a Area<M>,
    page: Vpn,
    access: Access,
}

impl<M: Machine> Site<'_, M> {
    fn is_write(&self) -> bool {
        self.access == Access::Write
    }

    /// Returns a young entry that maps `pfn` with the area's rights, but writable only if the
    /// caller says so later.
    fn read_only_pte(&self, pfn: base::Pfn) -> Pte {
        let prot = self.area.flags.prot().difference(Prot::WRITE);
        // What may be written may be read; PROT_WRITE alone must not make a page inaccessible.
        let prot =
            if self.area.flags.prot().contains(Prot::WRITE) { prot | Prot::READ } else { prot };
        Pte::new(pfn, prot, self.area.flags.mem_type())
    }
}

impl<M: Machine> Mm<M> {
    /// Makes the access behind `fault` possible, or says why it is not. Tag-check faults are not
    /// the memory manager's: the caller turns them into signals.
    ///
    /// # Errors
    ///
    /// [`FaultError`].
    pub fn fault(&self, fault: &MemFault) -> Result<(), FaultError> {
        let addr = fault.addr.untagged();
        if !addr.is_user() {
            return Err(FaultError::NotMapped);
        }
        match fault.cause {
            FaultCause::External => return Err(FaultError::NoContent),
            FaultCause::Alignment | FaultCause::TagCheck => return Err(FaultError::Denied),
            FaultCause::Translation | FaultCause::AccessFlag | FaultCause::Permission => {}
        }
        self.system().count(MmEvent::PgFault, 1);
        let mut span = self.machine().span(TraceKind::Fault, || [addr.get(), 0]);
        let refused = self.system().spill().nr_refused();
        let mut resolved = self.resolve(addr.page(), fault.access);
        // Memory that is used up is for the caller to find.
        let by_heap = || self.system().spill().nr_refused() != refused;
        if resolved == Err(FaultError::OutOfMemory) && by_heap() {
            resolved = self.resolve_with_heap(addr.page(), fault.access);
        }
        let is_major = resolved?;
        span.set(|| 1 + u64::from(is_major));
        self.gauges().count_fault(is_major);
        if is_major {
            self.system().count(MmEvent::PgMajFault, 1);
        }
        Ok(())
    }

    /// Resolves once more, and again as long as it is the heap that was too low for the reverse map
    /// and it grows, whoever lets it grow.
    #[cold]
    fn resolve_with_heap(&self, page: Vpn, access: Access) -> Result<bool, FaultError> {
        loop {
            self.system().grow_kernel_heap(crate::rmap::HEAP_RESERVE)?;
            let refused = self.system().spill().nr_refused();
            let resolved = self.resolve(page, access);
            let is_refused = self.system().spill().nr_refused() != refused;
            if resolved != Err(FaultError::OutOfMemory) || !is_refused {
                return resolved;
            }
        }
    }

    /// Resolves and tells whether it waited for I/O.
    fn resolve(&self, page: Vpn, access: Access) -> Result<bool, FaultError> {
        let areas = self.read_areas();
        let Some(area) = areas.find(page) else {
            drop(areas);
            return self.grow_stack(page).map(|()| false);
        };
        if !permits(area, access) {
            return Err(FaultError::Denied);
        }
        let site = Site { area, page, access };
        let table = match self.last_leaf_table(page) {
            Some(table) => table,
            None => match self.mapped_at(page) {
                Some(Mapped::Block(slot)) => return self.fault_block(&site, slot).map(|()| false),
                None if self.fault_whole_block(&site)? => return Ok(false),
                Some(Mapped::Table(_)) | None => self.ensure_leaf_table(page)?,
            },
        };
        let raw = self.machine().load(hal::PteSlot::new(table, pgtable::index_of(page)));
        match Entry::decode(raw) {
            Entry::Empty => match area.object_page(page) {
                None => self.fault_anonymous(&site, table).map(|()| false),
                Some((object, index)) => self.fault_shared(&site, table, object, index),
            },
            Entry::Present(_) => self.fault_present(&site, table),
            Entry::NonPresent(NonPresent::Swap { entry, .. }) => {
                self.fault_swap(&site, table, entry, raw)
            }
            // A poisoned page has no content.
            Entry::NonPresent(_) => Err(FaultError::NoContent),
            Entry::Corrupt(raw) => {
                log::error!("{:?}: corrupt entry {raw:#x} at {:?}", self.id(), page.base());
                Err(FaultError::NoContent)
            }
        }
    }
}

fn permits<M: Machine>(area: &Area<M>, access: Access) -> bool {
    let prot = area.flags.prot();
    match access {
        // As on Linux, an area that may be written or executed may be read.
        Access::Read => !prot.is_empty(),
        Access::Write => prot.contains(Prot::WRITE),
        Access::Execute => prot.contains(Prot::EXEC),
    }
}
