// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file keeps 2 MiB of zeroes that loads map as one block: Linux's huge zero folio
//! (mm/huge_memory.c).
//!
//! # Its life
//!
//! 1. The first load that may map it allocates it; `use_zero_page` (`settings.rs`) permits that.
//! 2. An address space that has mapped it once is a user of it until its teardown. To count entries
//!    instead would make all CPUs' faults and unmaps share a counter, and the last unmap wait for
//!    the TLBs before it frees.
//! 3. Without users it stays, for the next load, until somebody needs the memory.
//!
//! An entry that maps it is special, as no folio owns it, and read-only. A store gets a folio in its
//! place; what cannot stay a block becomes 512 entries of the small zero page.
//!
//! Its tags are zero like those of the small zero page, so that tagged memory maps it too.

use base::sync::atomic::{AtomicU64, Ordering};
use base::{Order, Pfn};
use hal::Machine;

use crate::events::MmEvent;
use crate::frame::word::FrameKind;
use crate::frame::{AllocMode, OutOfMemory};
use crate::mm::Mm;
use crate::system::System;

/// The zeroes and their users, in one word, so that they cannot go while somebody becomes one.
///
/// | bits | field |
/// |---|---|
/// | 31:0 | address spaces that use them |
/// | 63:32 | the first frame; all 0: there are none |
#[derive(Default)]
pub(crate) struct HugeZeroPage(AtomicU64);

const USERS: u64 = 0xffff_ffff;
const FIRST_SHIFT: u32 = 32;

impl HugeZeroPage {
    /// Returns the first frame, if there are any.
    pub(crate) fn first(&self) -> Option<Pfn> {
        first_of(self.0.load(Ordering::Acquire))
    }

    /// Returns how many address spaces use it.
    #[cfg(feature = "audit")]
    pub(crate) fn nr_users(&self) -> u64 {
        self.0.load(Ordering::Relaxed) & USERS
    }

    /// Counts one user more, if there are any frames, and returns the first of them.
    fn join(&self) -> Option<Pfn> {
        // Acquire: the user sees the zeroes.
        let more = |word| first_of(word).map(|_| word + 1);
        let before = self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, more);
        before.ok().and_then(first_of)
    }

    /// Shows the frames from `first` on to all, with one user; `false` if there are others already.
    fn publish(&self, first: Pfn) -> bool {
        let word = u64::from(first.get()) << FIRST_SHIFT | 1;
        self.0.compare_exchange(0, word, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    fn leave(&self) {
        // Release: what the user did with the frames is over for whoever takes them.
        let before = self.0.fetch_sub(1, Ordering::Release);
        debug_assert_ne!(before & USERS, 0, "the huge zero page has more leavers than users");
    }

    /// Takes the frames away if nobody uses them.
    fn take_unused(&self) -> Option<Pfn> {
        let word = self.0.load(Ordering::Relaxed);
        let first = first_of(word).filter(|_| word & USERS == 0)?;
        let taken = self.0.compare_exchange(word, 0, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok().then_some(first)
    }
}

fn first_of(word: u64) -> Option<Pfn> {
    (word != 0).then(|| Pfn::new((word >> FIRST_SHIFT) as u32))
}

impl<M: Machine> Mm<M> {
    /// Returns the first frame of the zeroes. They stay as long as this address space has entries.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when there are none, and no run of frames for them.
    pub(crate) fn huge_zero_page(&self) -> Result<Pfn, OutOfMemory> {
        let (system, is_user) = (self.system(), self.is_huge_zero_user());
        if is_user.load(Ordering::Acquire) {
            return Ok(system.thp().huge_zero.first().expect("a user keeps the zeroes"));
        }
        let first = system.join_huge_zero_page()?;
        if is_user.swap(true, Ordering::AcqRel) {
            // Another thread has counted this address space meanwhile.
            system.thp().huge_zero.leave();
        }
        Ok(first)
    }

    /// Stops being a user of the zeroes: no entry maps them, and no TLB has one that did.
    pub(crate) fn leave_huge_zero_page(&self) {
        if self.is_huge_zero_user().swap(false, Ordering::AcqRel) {
            self.system().thp().huge_zero.leave();
        }
    }
}

impl<M: Machine> System<M> {
    /// Becomes a user of the zeroes, which are made if there are none.
    fn join_huge_zero_page(&self) -> Result<Pfn, OutOfMemory> {
        let huge_zero = &self.thp().huge_zero;
        loop {
            if let Some(first) = huge_zero.join() {
                return Ok(first);
            }
            // Whatever `defrag` says: all that is loaded from such memory will share this one.
            let made = self.alloc_zeroes(Order::BLOCK, AllocMode::MayReclaim);
            let first = made.inspect_err(|_| self.count(MmEvent::ThpZeroPageAllocFailed, 1))?;
            if huge_zero.publish(first) {
                self.count(MmEvent::ThpZeroPageAlloc, 1);
                return Ok(first);
            }
            self.free_run(first, Order::BLOCK);
        }
    }

    /// Frees the zeroes if nobody uses them, and returns how many pages that were (Linux:
    /// `shrink_huge_zero_folio_scan`).
    pub fn shrink_huge_zero_page(&self) -> u64 {
        let Some(first) = self.thp().huge_zero.take_unused() else { return 0 };
        self.free_run(first, Order::BLOCK);
        Order::BLOCK.nr_pages().into()
    }

    /// Allocates pages of zeroes that no folio owns; where memory has tags they are zero too, so that
    /// the pages can be mapped with PROT_MTE as they are.
    pub(crate) fn alloc_zeroes(&self, order: Order, mode: AllocMode) -> Result<Pfn, OutOfMemory> {
        let (first, nr) = (self.alloc_run(order, mode)?, order.nr_pages());
        (0..nr).for_each(|n| self.words().claim(first.add(n), FrameKind::Zero));
        match self.machine().has_tags() {
            true => self.machine().zero_frames_and_tags(first, nr),
            false => self.machine().zero_frames(first, nr),
        }
        Ok(first)
    }
}
