// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the folio lock: a bit, whose waiters sleep.
//!
//! Linux's `PG_locked` and `PG_waiters`. The lock may be held across block I/O. Under a spin lock
//! it is only ever tried.

use base::lock_level;
use hal::{Machine, TraceKind, WaitChannel};

use super::{Folio, FolioFlags, FolioId, FolioRef};
use crate::system::System;

/// Shows that a folio is locked, and keeps a reference to it.
#[must_use = "the folio is unlocked as soon as this is dropped"]
pub(crate) struct FolioLock<'s, M: Machine> {
    // Dropped in this order: unlock, then put the reference.
    locked: LockedBit<'s, M>,
    folio: FolioRef<'s, M>,
}

/// The set bit; cleared when dropped.
struct LockedBit<'s, M: Machine> {
    system: &'s System<M>,
    id: FolioId,
}

fn channel(id: FolioId) -> WaitChannel {
    // Addresses are multiples of 16 and above 2^32; folio numbers are below.
    WaitChannel(id.get() as u64)
}

impl<'s, M: Machine> FolioRef<'s, M> {
    /// Locks the folio; sleeps while somebody else has it locked.
    pub(crate) fn lock(self) -> FolioLock<'s, M> {
        lock_level::assert_may_sleep();
        if self.try_set_locked() {
            return FolioLock::new(self);
        }
        let machine = self.system().machine();
        let _span = machine.span(TraceKind::FolioWait, || [channel(self.id()).0, 0]);
        machine.sleep_until(channel(self.id()), &mut || {
            // Announced before the attempt: an unlock after it sees the flag.
            self.set(FolioFlags::WAITERS);
            self.try_set_locked()
        });
        FolioLock::new(self)
    }

    /// Locks the folio if nobody has it locked; otherwise gives the reference back.
    pub(crate) fn try_lock(self) -> Result<FolioLock<'s, M>, Self> {
        if self.try_set_locked() { Ok(FolioLock::new(self)) } else { Err(self) }
    }

    /// Sleeps until no write of the folio is in flight.
    pub(crate) fn wait_for_writeback(&self) {
        if !self.has(FolioFlags::WRITEBACK) {
            return;
        }
        lock_level::assert_may_sleep();
        self.system().machine().sleep_until(channel(self.id()), &mut || {
            self.set(FolioFlags::WAITERS);
            !self.has(FolioFlags::WRITEBACK)
        });
    }

    /// Ends write-back and lets those who wait for it go on.
    pub(crate) fn end_writeback(&self) {
        let before = self.clear(FolioFlags::WRITEBACK);
        wake_waiters(self.system(), self.id(), before);
    }
}

impl Folio {
    fn try_set_locked(&self) -> bool {
        !self.set(FolioFlags::LOCKED).contains(FolioFlags::LOCKED)
    }
}

impl<'s, M: Machine> FolioLock<'s, M> {
    pub(super) fn new(folio: FolioRef<'s, M>) -> Self {
        Self { locked: LockedBit { system: folio.system(), id: folio.id() }, folio }
    }

    /// Marks a folio locked that nobody else can see yet.
    pub(crate) fn of_new(folio: FolioRef<'s, M>) -> Self {
        assert!(folio.try_set_locked(), "a new folio is not locked");
        Self::new(folio)
    }

    /// Unlocks and keeps the reference.
    pub(crate) fn unlock(self) -> FolioRef<'s, M> {
        let FolioLock { locked, folio } = self;
        drop(locked);
        folio
    }
}

impl<'s, M: Machine> core::ops::Deref for FolioLock<'s, M> {
    type Target = FolioRef<'s, M>;
    #[inline(always)]
    fn deref(&self) -> &FolioRef<'s, M> {
        &self.folio
    }
}

impl<M: Machine> Drop for LockedBit<'_, M> {
    fn drop(&mut self) {
        let folio = self.system.folio(self.id);
        let before = folio.clear(FolioFlags::LOCKED);
        debug_assert!(before.contains(FolioFlags::LOCKED), "folio lock: unlocked twice");
        wake_waiters(self.system, self.id, before);
    }
}

impl<M: Machine> System<M> {
    /// Sleeps while a folio is locked. Takes no reference: what is locked meanwhile may be another
    /// folio with the same descriptor, and the wait somewhat longer.
    pub(crate) fn wait_for_folio(&self, id: FolioId) {
        lock_level::assert_may_sleep();
        let folio = self.folio(id);
        self.machine().sleep_until(channel(id), &mut || {
            folio.set(FolioFlags::WAITERS);
            !folio.has(FolioFlags::LOCKED)
        });
    }
}

/// Wakes sleepers if any had announced itself. One that still has to wait announces itself again.
fn wake_waiters<M: Machine>(system: &System<M>, id: FolioId, before: FolioFlags) {
    if before.contains(FolioFlags::WAITERS) {
        system.folio(id).clear(FolioFlags::WAITERS);
        system.machine().wake_all(channel(id));
    }
}
