// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file moves the program break: brk.

use base::{PageRange, VirtAddr};
use hal::Machine;

use super::area::{Area, AreaFlags, Backing};
use super::mmap::HEAP_BYTES;
use crate::mm::Mm;
use crate::tlb::TlbGather;

/// The heap: from `start` to `end`, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Break {
    start: VirtAddr,
    end: VirtAddr,
}

impl Default for Break {
    fn default() -> Self {
        Self { start: VirtAddr::new(0), end: VirtAddr::new(0) }
    }
}

impl<M: Machine> Mm<M> {
    /// Sets where the heap begins; it is empty.
    pub fn set_break_start(&self, start: VirtAddr) {
        self.write_areas().brk = Break { start, end: start };
    }

    /// Moves the end of the heap if it can be moved there, and returns where it then is. Never
    /// fails otherwise: that is brk's way.
    pub fn set_break(&self, wish: VirtAddr) -> VirtAddr {
        let has_heap = self.system().reserve_kernel_heap(HEAP_BYTES).is_ok();
        let mut areas = self.write_areas();
        let Break { start, end } = areas.brk;
        if !has_heap || wish < start || !wish.is_user() {
            return end;
        }
        let (old_top, new_top) = (page_above(end), page_above(wish));
        if new_top > old_top {
            let pages = PageRange::new(old_top, new_top);
            if areas.overlapping(pages).next().is_some() {
                return end;
            }
            let flags = AreaFlags::READ | AreaFlags::WRITE | AreaFlags::MAY_TAG | AreaFlags::HEAP;
            areas.insert(Area::new(pages, flags, Backing::Anon));
        } else if new_top < old_top {
            let mut gather = TlbGather::complete_at_finish(self);
            self.unmap_locked(&mut areas, PageRange::new(new_top, old_top), &mut gather);
            gather.finish();
        }
        areas.brk.end = wish;
        wish
    }
}

/// Returns the first page that starts at or above `addr`; behind the last page of user space there is
/// none, and its number is the end of them.
fn page_above(addr: VirtAddr) -> base::Vpn {
    base::Vpn::new(addr.get().div_ceil(base::PAGE_SIZE as u64))
}
