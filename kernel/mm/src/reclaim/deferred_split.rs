// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file queues folios that are partly mapped, and splits them when memory is short: the pages
//! that nothing maps become free.
//!
//! A folio is *partly mapped* when no address space maps all of it. That follows from the reverse
//! map, so it is asked when part of a folio has just been unmapped, and again before the split: a
//! folio that went away or came back as a whole costs nothing. The queue holds no references; a
//! folio that is freed leaves it first. Linux: `deferred_split_folio()`, `deferred_split_scan()`.

use base::Order;
use base::lock_level::DeferredSplit;
use base::sync::SpinLock;
use base::sync::atomic::{AtomicU32, Ordering};
use hal::Machine;

use crate::events::MmEvent;
use crate::folio::{Folio, FolioFlags, FolioId, FolioRef};
use crate::system::System;
use crate::thp::ThpStat;

const NIL: u32 = 0;

/// Folios to be split, the one queued first at the head.
pub(crate) struct DeferredSplits {
    queue: SpinLock<Queue, DeferredSplit>,
    /// How many there are, for who looks without the lock.
    len: AtomicU32,
}

struct Queue {
    head: u32,
    tail: u32,
}

impl DeferredSplits {
    pub(crate) fn new() -> Self {
        Self { queue: SpinLock::new(Queue { head: NIL, tail: NIL }), len: AtomicU32::new(0) }
    }

    /// Takes a folio off the queue that has just been marked as being split. It is not queued again:
    /// the mark is looked at under the lock. Returns whether it was there.
    pub(crate) fn remove<M: Machine>(&self, system: &System<M>, folio: &Folio) -> bool {
        let mut queue = self.queue.lock();
        let was_queued = folio.has(FolioFlags::SPLIT_QUEUED);
        if was_queued {
            self.unlink(&mut queue, system, folio);
        }
        was_queued
    }

    /// Takes folios that are being freed off the queue.
    pub(crate) fn remove_all<M: Machine>(&self, system: &System<M>, ids: &[FolioId]) {
        // Nobody else refers to them: none is queued meanwhile.
        if self.len.load(Ordering::Relaxed) == 0 {
            return;
        }
        for folio in ids.iter().map(|id| system.folio(*id)) {
            if folio.has(FolioFlags::SPLIT_QUEUED) {
                self.remove(system, folio);
            }
        }
    }

    /// Queues a folio. Returns `false` if it is queued already, or being split.
    pub(crate) fn add<M: Machine>(&self, system: &System<M>, id: FolioId, folio: &Folio) -> bool {
        let mut queue = self.queue.lock();
        if folio.has(FolioFlags::FREEZING)
            || folio.set(FolioFlags::SPLIT_QUEUED).contains(FolioFlags::SPLIT_QUEUED)
        {
            return false;
        }
        let last = core::mem::replace(&mut queue.tail, id.get());
        folio.split_prev.store(last, Ordering::Relaxed);
        folio.split_next.store(NIL, Ordering::Relaxed);
        match last {
            NIL => queue.head = id.get(),
            last => system.folio(FolioId::new(last)).split_next.store(id.get(), Ordering::Relaxed),
        }
        self.len.fetch_add(1, Ordering::Relaxed);
        system.count_thp(ThpStat::NrAnonPartiallyMapped, folio.order(), 1);
        true
    }

    /// Takes the first folio off the queue, with a reference.
    fn pop<'s, M: Machine>(&self, system: &'s System<M>) -> Option<FolioRef<'s, M>> {
        let mut queue = self.queue.lock();
        while queue.head != NIL {
            let id = FolioId::new(queue.head);
            let folio = system.folio(id);
            // Asked first: once it is off the queue, its freer does not wait for this lock.
            let is_alive = folio.try_get();
            self.unlink(&mut queue, system, folio);
            if is_alive {
                return Some(FolioRef::adopt(system, id, folio));
            }
        }
        None
    }

    fn unlink<M: Machine>(&self, queue: &mut Queue, system: &System<M>, folio: &Folio) {
        let (prev, next) =
            (folio.split_prev.load(Ordering::Relaxed), folio.split_next.load(Ordering::Relaxed));
        match prev {
            NIL => queue.head = next,
            prev => system.folio(FolioId::new(prev)).split_next.store(next, Ordering::Relaxed),
        }
        match next {
            NIL => queue.tail = prev,
            next => system.folio(FolioId::new(next)).split_prev.store(prev, Ordering::Relaxed),
        }
        self.len.fetch_sub(1, Ordering::Relaxed);
        system.count_thp(ThpStat::NrAnonPartiallyMapped, folio.order(), -1);
        // Last: whoever frees it and sees the flag clear gives the descriptor away.
        folio.clear(FolioFlags::SPLIT_QUEUED);
    }
}

impl<M: Machine> System<M> {
    /// Queues a folio of which part has just been unmapped, if it is partly mapped now. Whoever calls
    /// keeps it alive; a table may be locked.
    #[inline(always)]
    pub(crate) fn queue_if_partly_mapped(&self, id: FolioId, folio: &Folio) {
        if folio.is_large() {
            self.queue_large(id, folio);
        }
    }

    fn queue_large(&self, id: FolioId, folio: &Folio) {
        if folio.is_anon()
            && !folio.has(FolioFlags::SPLIT_QUEUED)
            && !folio.has_any(FolioFlags::GHOST | FolioFlags::DEVICE)
            && self.is_partly_mapped(folio)
            && self.deferred_splits().add(self, id, folio)
        {
            self.count_thp(ThpStat::SplitDeferred, folio.order(), 1);
            if folio.order() == Order::BLOCK {
                self.count(MmEvent::ThpDeferredSplitPage, 1);
            }
        }
    }

    /// Tells whether some pages of a folio are mapped, and no address space maps all of them.
    pub(crate) fn is_partly_mapped(&self, folio: &Folio) -> bool {
        let nr_pages = folio.order().nr_pages();
        nr_pages > 1
            && folio.is_mapped()
            && self.lock_rmap(folio).all(|mapping| mapping.nr < nr_pages)
    }

    /// Splits the folios on the queue that are still partly mapped, and returns how many pages became
    /// free.
    pub(super) fn split_deferred(&self) -> u64 {
        let mut freed = 0;
        // Those that are queued again are for another time.
        for _ in 0..self.deferred_splits().len.load(Ordering::Relaxed) {
            let Some(folio) = self.deferred_splits().pop(self) else { break };
            if !self.is_partly_mapped(&folio) {
                continue;
            }
            let id = folio.id();
            match folio.try_lock() {
                // Its user may be about to free it; what is left is found by its next unmap.
                Err(_) => {}
                Ok(locked) => match self.split_listed(locked) {
                    Ok(nr) => freed += u64::from(nr),
                    Err(locked) => drop(self.deferred_splits().add(self, id, &locked)),
                },
            }
        }
        freed
    }
}
