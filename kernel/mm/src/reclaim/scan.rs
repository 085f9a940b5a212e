// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file chooses pages to reclaim: second chance over two lists.
//!
//! New pages start on the inactive list. A page found accessed there gets another round; accessed
//! again, it moves to the active list. The active list is trimmed from its tail while it is longer
//! than the inactive one. Linux's rules (mm/vmscan.c, `folio_check_references`), without the
//! distinction of file and anonymous pages, because all pages here are swap-backed.

use core::ops::ControlFlow;

use arrayvec::ArrayVec;

use base::percpu::CpuId;
use base::sync::atomic::Ordering;
use hal::{Machine, TraceKind};
use pgtable::Pte;

use super::evict::{BATCH, Eviction};
use super::lru::ListKind;
use crate::events::MmEvent;
use crate::folio::{FolioFlags, FolioId, FolioRef};
use crate::rmap::MappedBy;
use crate::system::System;

/// Pages evicted together, about: folios of 2 MiB go one by one.
const BATCH_PAGES: u32 = 128;

/// On whose behalf pages are looked at: for the counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reclaimer {
    Kswapd,
    Direct,
}

/// When the active list is trimmed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trim {
    /// While it is the longer one.
    Longer,
    /// Whatever its length: nothing on the inactive list could go, and there may be much of that.
    Always,
}

/// What the recent use of a page says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Reclaim,
    KeepInactive,
    Activate,
}

impl<M: Machine> System<M> {
    /// Reclaims about `nr_pages` pages because somebody asks for it, and returns how many it were
    /// (Linux: memory.reclaim).
    pub fn reclaim_pages(&self, nr_pages: u64) -> u64 {
        let mut reclaimed = 0;
        // A page found accessed goes one round more, and one on the active list two.
        for _ in 0..4 {
            if reclaimed < nr_pages {
                reclaimed += self.shrink(nr_pages - reclaimed, Reclaimer::Direct, Trim::Longer);
            }
        }
        if reclaimed == 0 {
            reclaimed = self.shrink(nr_pages, Reclaimer::Direct, Trim::Always);
        }
        reclaimed
    }

    /// Looks at about `nr_scan` pages and returns how many were reclaimed.
    pub(super) fn shrink(&self, nr_scan: u64, who: Reclaimer, trim: Trim) -> u64 {
        let mut span = self.machine().span(TraceKind::Reclaim, || [who as u64, 0]);
        let nr_cpus = self.machine().nr_cpus();
        let mut left = nr_scan as i64;
        // What nothing maps goes first.
        let mut reclaimed = self.shrink_huge_zero_page() + self.split_deferred();
        let mut idle_shards = 0;
        while left > 0 && idle_shards < nr_cpus {
            let shard = self.reclaim().next_shard.fetch_add(1, Ordering::Relaxed) % nr_cpus;
            let (seen, freed) = self.shrink_shard(CpuId::new(shard), who, trim);
            idle_shards = if seen == 0 { idle_shards + 1 } else { 0 };
            left -= seen as i64;
            reclaimed += freed;
            self.machine().cond_resched();
        }
        span.set(|| reclaimed);
        reclaimed
    }

    /// Looks at a batch of one shard. Returns (pages seen, pages reclaimed).
    fn shrink_shard(&self, shard: CpuId, who: Reclaimer, trim: Trim) -> (u64, u64) {
        self.trim_active(shard, trim);
        let lru = self.lru();
        let (isolated, seen) = self.isolate_batch(shard, ListKind::Inactive);
        let mut eviction = Eviction::new(self);
        for id in isolated {
            let folio = FolioRef::adopt(self, id, self.folio(id));
            match self.judge(&folio) {
                Verdict::Reclaim => eviction.take(folio),
                Verdict::KeepInactive => lru.add_new(self, id, self.folio(id)),
                Verdict::Activate => {
                    folio.set(FolioFlags::ACTIVE);
                    self.count(MmEvent::PgActivate, folio.order().nr_pages() as u64);
                    lru.add_new(self, id, self.folio(id));
                }
            }
        }
        let freed = eviction.finish();
        let (scanned, stolen) = match who {
            Reclaimer::Kswapd => (MmEvent::PgScanKswapd, MmEvent::PgStealKswapd),
            Reclaimer::Direct => (MmEvent::PgScanDirect, MmEvent::PgStealDirect),
        };
        self.count(scanned, seen);
        self.count(stolen, freed);
        (seen, freed)
    }

    /// Takes a batch off a list: folios that fit in an eviction, and no more than [`BATCH_PAGES`] with
    /// those before the last. Returns the pages looked at, too.
    fn isolate_batch(&self, shard: CpuId, kind: ListKind) -> (ArrayVec<FolioId, BATCH>, u64) {
        let mut isolated = ArrayVec::new();
        let mut pages = 0;
        let seen = self.lru().isolate_tail(self, shard, kind, |id| {
            pages += self.folio(id).order().nr_pages();
            isolated.push(id);
            let is_enough = isolated.is_full() || pages >= BATCH_PAGES;
            if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (isolated, seen)
    }

    /// Moves a batch from the active to the inactive list, as `trim` says.
    fn trim_active(&self, shard: CpuId, trim: Trim) {
        let lru = self.lru();
        let is_longer = lru.nr_pages(ListKind::Active) > lru.nr_pages(ListKind::Inactive);
        if !is_longer && trim == Trim::Longer {
            return;
        }
        for id in self.isolate_batch(shard, ListKind::Active).0 {
            let folio = FolioRef::adopt(self, id, self.folio(id));
            // Its access bits start anew: what counts is use while it is a candidate.
            self.take_young(&folio);
            folio.clear(FolioFlags::ACTIVE | FolioFlags::REFERENCED);
            self.count(MmEvent::PgDeactivate, folio.order().nr_pages() as u64);
            lru.add_new(self, id, self.folio(id));
        }
    }

    fn judge(&self, folio: &FolioRef<'_, M>) -> Verdict {
        let young = self.take_young(folio);
        let was_referenced = folio.clear(FolioFlags::REFERENCED).contains(FolioFlags::REFERENCED);
        if young == 0 {
            return Verdict::Reclaim;
        }
        folio.set(FolioFlags::REFERENCED);
        if was_referenced || young > 1 { Verdict::Activate } else { Verdict::KeepInactive }
    }

    /// Clears the access flags of all entries that map the folio and returns how many runs of them
    /// had one set.
    ///
    /// TLBs are not told: an entry that stays cached lets accesses go unseen for a while, which
    /// costs a wrong guess at worst (Linux does the same on arm64, `ptep_clear_flush_young`).
    fn take_young(&self, folio: &FolioRef<'_, M>) -> u32 {
        let mut young = 0;
        let _ = self.visit_mappings(folio, |at| {
            let old = match at.by {
                MappedBy::Table(table) => table.update_run(at.page, at.nr, Pte::old),
                MappedBy::Block(mut block) => block.update(Pte::old).0,
            };
            young += old.is_young() as u32;
            ControlFlow::Continue(())
        });
        young
    }
}
