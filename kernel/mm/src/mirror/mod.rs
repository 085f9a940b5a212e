// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder lets a device see an address space as its program does: a table of its own, page by page,
//! filled by faults (`fault.rs`) and emptied by the address space. Linux's `hmm_range_fault()` and
//! `mmu_interval_notifier`.
//!
//! A device's table is a TLB like any other: whoever takes away or tightens a translation tells it
//! where the TLBs are told, before the entry's table is unlocked (`tlb/`), and what only devices can
//! have (entries that name a device's frame) where the entry changes. The call waits for accesses
//! that the device makes at the moment. So a frame that is free is in no device's table.
//!
//! A fault reads an entry with its table locked and puts it into the device's table later; a count of
//! invalidations (`Inside::seq`) tells whether one came in between.

mod access;
mod exclusive;
mod fault;
mod snapshot;
mod table;

pub use fault::MirrorError;
pub use snapshot::Glimpse;

use alloc::sync::Arc;
use alloc::vec::Vec;

#[cfg(feature = "audit")]
use base::Vpn;
use base::sync::atomic::{AtomicUsize, Ordering};
use base::sync::{RwSpinLock, SpinLock};
use base::{PageRange, Pfn, lock_level};
use hal::{DeviceId, Machine};

use pgtable::Pte;

use crate::folio::FolioId;
use crate::frame::OutOfMemory;
use crate::mm::Mm;
use table::DeviceTable;

/// The devices that mirror one address space.
pub(crate) struct Mirrors<M: Machine> {
    /// How many, for who looks without the lock. Changed before the device reads its first entry, so
    /// whoever has locked a table after that sees it.
    nr: AtomicUsize,
    list: RwSpinLock<Vec<Arc<Mirror<M>>>, lock_level::Mirrors>,
}

/// What one device has of an address space.
pub struct Mirror<M: Machine> {
    mm: Arc<Mm<M>>,
    device: DeviceId,
    inside: SpinLock<Inside, lock_level::Mirror>,
}

struct Inside {
    /// Invalidations so far, of whatever pages.
    seq: u64,
    pages: DeviceTable,
}

/// What a device knows of one page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct MirrorPage {
    pfn: Pfn,
    /// The folio, but for the page of zeroes.
    folio: Option<FolioId>,
    rights: Rights,
    is_on_device: bool,
    /// A block maps it.
    by_block: bool,
}

/// What a device may do with a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rights {
    /// Read it.
    Read,
    /// Write it too.
    Write,
    /// Read it, and change it while no CPU and no other device reaches it.
    Exclusive,
}

impl Rights {
    /// Returns what an entry permits a device that has the page like anybody else.
    fn of(pte: Pte) -> Self {
        if pte.is_writable() { Rights::Write } else { Rights::Read }
    }
}

impl<M: Machine> Mirrors<M> {
    pub(crate) fn new() -> Self {
        Self { nr: AtomicUsize::new(0), list: RwSpinLock::new(Vec::new()) }
    }

    /// Takes pages away from every device. When this returns, no device reads or writes any of them.
    #[inline(always)]
    pub(crate) fn invalidate(&self, pages: PageRange) {
        if self.nr.load(Ordering::Relaxed) != 0 {
            self.invalidate_all(pages);
        }
    }

    #[cold]
    fn invalidate_all(&self, pages: PageRange) {
        self.list.read().iter().for_each(|mirror| mirror.invalidate(pages));
    }

    /// Returns the devices' views.
    #[cfg(feature = "audit")]
    pub(crate) fn all(&self) -> Vec<Arc<Mirror<M>>> {
        self.list.read().clone()
    }

    fn add(&self, mirror: &Arc<Mirror<M>>) -> Result<(), OutOfMemory> {
        let mut list = self.list.write();
        list.try_reserve(1).map_err(|_| OutOfMemory)?;
        list.push(Arc::clone(mirror));
        self.nr.store(list.len(), Ordering::Relaxed);
        Ok(())
    }

    fn remove(&self, mirror: &Mirror<M>) {
        let mut list = self.list.write();
        let at = list.iter().position(|other| core::ptr::eq(&**other, mirror));
        let gone = at.map(|at| list.swap_remove(at));
        self.nr.store(list.len(), Ordering::Relaxed);
        drop(list);
        drop(gone);
    }
}

impl<M: Machine> Mirror<M> {
    fn invalidate(&self, pages: PageRange) {
        let mut inside = self.inside.lock();
        inside.seq += 1;
        inside.pages.forget(pages);
    }

    /// Returns the address space.
    pub fn mm(&self) -> &Arc<Mm<M>> {
        &self.mm
    }

    /// Returns the device.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// Returns what the device knows: page, frame, whether it may write, whether it has the page for
    /// itself.
    #[cfg(feature = "audit")]
    pub(crate) fn all_known(&self) -> Vec<(Vpn, Pfn, bool, bool)> {
        let told = |(page, known): (Vpn, &MirrorPage)| {
            let is_exclusive = known.rights == Rights::Exclusive;
            (page, known.pfn, known.rights != Rights::Read, is_exclusive)
        };
        self.inside.lock().pages.range(Vpn::new(0)..Vpn::END).map(told).collect()
    }

    /// Returns how many pages of the range the device knows.
    pub fn nr_known(&self, pages: PageRange) -> usize {
        self.inside.lock().pages.range(pages.start..pages.end).count()
    }
}

/// A device's view of an address space, for as long as this lives.
pub struct Mirroring<M: Machine>(Arc<Mirror<M>>);

impl<M: Machine> Mm<M> {
    /// Lets a device mirror the address space.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`].
    pub fn mirror(self: &Arc<Self>, device: DeviceId) -> Result<Mirroring<M>, OutOfMemory> {
        self.system().reserve_kernel_heap(4096)?;
        let inside = SpinLock::new(Inside { seq: 0, pages: DeviceTable::new() });
        let mirror = Arc::new(Mirror { mm: Arc::clone(self), device, inside });
        self.mirrors().add(&mirror)?;
        Ok(Mirroring(mirror))
    }
}

impl<M: Machine> core::ops::Deref for Mirroring<M> {
    type Target = Mirror<M>;
    fn deref(&self) -> &Mirror<M> {
        &self.0
    }
}

impl<M: Machine> Drop for Mirroring<M> {
    fn drop(&mut self) {
        self.0.mm.mirrors().remove(&self.0);
    }
}
