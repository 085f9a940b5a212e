// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file keeps folios in the order of their last use: an active and an inactive list.
//!
//! The lists are sharded by the CPU that allocated the folio, so a fault takes a lock that hardly
//! anybody else wants. Links are indices in the descriptors. Being on a list takes no reference: a
//! folio that is freed takes itself off; who isolates one takes a reference with the shard locked,
//! and fails if it is being freed.

use core::ops::ControlFlow;

use base::lock_level;
use base::percpu::{CpuId, PerCpu};
use base::sync::SpinLock;
use base::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use hal::Machine;

use crate::events::MmEvent;
use crate::folio::{Folio, FolioFlags, FolioId, FolioRef};
use crate::system::System;

const NIL: u32 = 0;

/// Which list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ListKind {
    /// Candidates for reclaim.
    Inactive,
    /// In use.
    Active,
}

impl ListKind {
    fn of(folio: &Folio) -> Self {
        if folio.has(FolioFlags::ACTIVE) { ListKind::Active } else { ListKind::Inactive }
    }
}

/// A list: head is the most recently added, tail the oldest.
#[derive(Default)]
struct List {
    head: u32,
    tail: u32,
}

#[derive(Default)]
struct Shard {
    lists: [List; 2],
}

/// The lists of all CPUs.
pub(crate) struct Lru {
    shards: PerCpu<SpinLock<Shard, lock_level::Lru>>,
    /// Pages on all lists of a kind.
    nr_pages: [AtomicU64; 2],
}

impl Lru {
    pub(crate) fn new(nr_cpus: usize) -> Self {
        Self {
            shards: PerCpu::new(nr_cpus, |_| SpinLock::new(Shard::default())),
            nr_pages: [AtomicU64::new(0), AtomicU64::new(0)],
        }
    }

    /// Returns the pages on a kind of list.
    pub(crate) fn nr_pages(&self, kind: ListKind) -> u64 {
        self.nr_pages[kind as usize].load(Ordering::Relaxed)
    }

    /// Returns the pages on the active lists.
    pub(crate) fn nr_active(&self) -> u64 {
        self.nr_pages(ListKind::Active)
    }

    /// Puts a folio that is on no list at the head of the one its ACTIVE flag says.
    #[inline]
    pub(crate) fn add_new<M: Machine>(&self, system: &System<M>, id: FolioId, folio: &Folio) {
        let mut shard = self.shards.of(folio.shard()).lock();
        self.link_head(&mut shard, system, id, folio);
    }

    /// Takes folios off their lists because they are being freed.
    pub(crate) fn remove_all<M: Machine>(&self, system: &System<M>, ids: &[FolioId]) {
        let listed = |id: &FolioId| Some(system.folio(*id)).filter(|f| f.has(FolioFlags::LRU));
        let mut listed = ids.iter().filter_map(listed).peekable();
        while let Some(first) = listed.peek() {
            let cpu = first.shard();
            let mut shard = self.shards.of(cpu).lock();
            while let Some(folio) = listed.next_if(|folio| folio.shard() == cpu) {
                // Somebody who isolates the tail may have been faster.
                if folio.has(FolioFlags::LRU) {
                    self.unlink(&mut shard, system, folio);
                }
            }
        }
    }

    /// Takes a folio off its list for somebody who has a reference. `false` if it is on none.
    pub(crate) fn isolate<M: Machine>(&self, folio: &FolioRef<'_, M>) -> bool {
        let mut shard = self.shards.of(folio.shard()).lock();
        let was_listed = folio.has(FolioFlags::LRU);
        if was_listed {
            self.unlink(&mut shard, folio.system(), folio);
        }
        was_listed
    }

    /// Takes folios off the tail of a shard's list until `take` says that it has enough, and hands it
    /// each one, referenced. Returns the pages of those that were looked at.
    pub(crate) fn isolate_tail<M: Machine>(
        &self,
        system: &System<M>,
        shard: CpuId,
        kind: ListKind,
        mut take: impl FnMut(FolioId) -> ControlFlow<()>,
    ) -> u64 {
        let mut shard = self.shards.of(shard).lock();
        let mut seen = 0;
        loop {
            let tail = shard.lists[kind as usize].tail;
            if tail == NIL {
                break;
            }
            let id = FolioId::new(tail);
            let folio = system.folio(id);
            // Asked first: once it is off the list, its freer no longer waits for this lock, and
            // the descriptor may be another folio's.
            let is_alive = folio.try_get();
            seen += u64::from(folio.order().nr_pages());
            self.unlink(&mut shard, system, folio);
            if is_alive && take(id).is_break() {
                break;
            }
        }
        seen
    }

    /// Remembers that a folio was used: a second use moves it to the active list.
    pub(crate) fn mark_accessed<M: Machine>(&self, system: &System<M>, id: FolioId) {
        let folio = system.folio(id);
        if folio.has(FolioFlags::ACTIVE) {
            return;
        }
        if !folio.set(FolioFlags::REFERENCED).contains(FolioFlags::REFERENCED) {
            return;
        }
        let mut shard = self.shards.of(folio.shard()).lock();
        if folio.has(FolioFlags::LRU) && !folio.has(FolioFlags::ACTIVE) {
            self.unlink(&mut shard, system, folio);
            folio.set(FolioFlags::ACTIVE);
            folio.clear(FolioFlags::REFERENCED);
            self.link_head(&mut shard, system, id, folio);
            system.count(MmEvent::PgActivate, folio.order().nr_pages() as u64);
        }
    }

    /// Puts an isolated folio at the tail of the inactive list: first in line for reclaim.
    pub(crate) fn add_coldest<M: Machine>(&self, system: &System<M>, id: FolioId) {
        let folio = system.folio(id);
        let mut shard = self.shards.of(folio.shard()).lock();
        folio.clear(FolioFlags::ACTIVE | FolioFlags::REFERENCED);
        self.link_tail(&mut shard, system, id, folio);
    }

    /// Calls `visit` with every folio on a kind of list.
    #[cfg(feature = "audit")]
    pub(crate) fn for_each<M: Machine>(
        &self,
        system: &System<M>,
        kind: ListKind,
        mut visit: impl FnMut(FolioId),
    ) {
        for shard in self.shards.iter() {
            let shard = shard.lock();
            let mut at = shard.lists[kind as usize].head;
            while at != NIL {
                visit(FolioId::new(at));
                at = get(&system.folio(FolioId::new(at)).lru_next);
            }
        }
    }

    fn link_head<M: Machine>(
        &self,
        shard: &mut Shard,
        system: &System<M>,
        id: FolioId,
        folio: &Folio,
    ) {
        let kind = self.count_in(folio);
        let list = &mut shard.lists[kind as usize];
        let next = core::mem::replace(&mut list.head, id.get());
        set(&folio.lru_prev, NIL);
        set(&folio.lru_next, next);
        match next {
            NIL => list.tail = id.get(),
            next => set(&system.folio(FolioId::new(next)).lru_prev, id.get()),
        }
    }

    fn link_tail<M: Machine>(
        &self,
        shard: &mut Shard,
        system: &System<M>,
        id: FolioId,
        folio: &Folio,
    ) {
        let kind = self.count_in(folio);
        let list = &mut shard.lists[kind as usize];
        let previous = core::mem::replace(&mut list.tail, id.get());
        set(&folio.lru_prev, previous);
        set(&folio.lru_next, NIL);
        match previous {
            NIL => list.head = id.get(),
            previous => set(&system.folio(FolioId::new(previous)).lru_next, id.get()),
        }
    }

    fn count_in(&self, folio: &Folio) -> ListKind {
        let before = folio.set(FolioFlags::LRU);
        assert!(!before.contains(FolioFlags::LRU), "folio is on an LRU list already");
        let kind = ListKind::of(folio);
        self.nr_pages[kind as usize].fetch_add(folio.order().nr_pages() as u64, Ordering::Relaxed);
        kind
    }

    fn unlink<M: Machine>(&self, shard: &mut Shard, system: &System<M>, folio: &Folio) {
        let kind = ListKind::of(folio);
        let list = &mut shard.lists[kind as usize];
        let (previous, next) = (get(&folio.lru_prev), get(&folio.lru_next));
        match previous {
            NIL => list.head = next,
            previous => set(&system.folio(FolioId::new(previous)).lru_next, next),
        }
        match next {
            NIL => list.tail = previous,
            next => set(&system.folio(FolioId::new(next)).lru_prev, previous),
        }
        self.nr_pages[kind as usize].fetch_sub(folio.order().nr_pages() as u64, Ordering::Relaxed);
        // Last: whoever frees it and sees the flag clear gives the descriptor away.
        folio.clear(FolioFlags::LRU);
    }
}

/// Loads a link; the shard is locked.
fn get(link: &AtomicU32) -> u32 {
    link.load(Ordering::Relaxed)
}

/// Stores a link; the shard is locked.
fn set(link: &AtomicU32, value: u32) {
    link.store(value, Ordering::Relaxed);
}
