// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder recomputes what the memory manager keeps count of, and compares.
//!
//! [`System::audit`] walks every page table, every object, every swap slot, every LRU list and every
//! frame word, and panics with the first thing that does not add up. It is for moments when nobody
//! else uses the memory manager: between two steps of a test.

mod frames;
mod mirrors;
mod observed;
mod sharing;

use alloc::sync::Arc;

use base::sync::atomic::Ordering;
use hal::Machine;

use crate::folio::{Folio, FolioFlags, FolioId, Place};
use crate::mm::Mm;
use crate::reclaim::ListKind;
use crate::system::System;
use crate::thp::{OrderSet, ThpStat};
pub(crate) use observed::Observed;
pub use sharing::Sharing;

impl<M: Machine> System<M> {
    /// Recomputes every count and compares.
    ///
    /// # Panics
    ///
    /// Naming the first broken invariant.
    pub fn audit(&self) {
        // What waits for the TLBs to forget it is in use, and nobody's.
        self.settle_tlb();
        let mut seen = Observed::default();
        let mut nr_zero_users = 0;
        let mut last = 0;
        while let Some(mm) = self.mms().next(last) {
            last = mm.id().get();
            seen.walk_mm(&mm);
            mirrors::audit(&mm);
            self.audit_gauges(&mm, &seen);
            nr_zero_users += u64::from(self.audit_huge_zero_user(&mm, &seen));
        }
        assert_eq!(self.thp().huge_zero.nr_users(), nr_zero_users, "users of the huge zero page");
        let mut last = 0;
        while let Some(object) = self.shmems().next(last) {
            last = object.id();
            seen.walk_object(&object);
        }
        for id in self.folios().live() {
            self.audit_folio(id, &seen);
        }
        for id in seen.folios.keys() {
            assert!(self.folio(*id).refcount() > 0, "{id:?} is used but free");
        }
        self.audit_descriptors();
        let (tag_bytes, swap_frames) = self.audit_swap(&seen);
        assert_eq!(self.tag_bytes_stored(), tag_bytes, "bytes of tag storage in use");
        self.audit_lru();
        self.audit_thp_gauges();
        frames::audit(self, &seen, swap_frames);
    }

    fn audit_gauges(&self, mm: &Arc<Mm<M>>, seen: &Observed) {
        let counted = &seen.mms[&mm.id()];
        let stats = mm.gauges().read(0);
        let named = [
            ("anonymous pages", stats.anon, counted.anon),
            ("pages mapped by blocks", stats.block_mapped, counted.block_mapped),
            ("shared pages", stats.shmem, counted.shmem),
            ("swap entries", stats.swap, counted.swap),
            ("table pages", stats.tables, counted.tables),
        ];
        for (name, kept, found) in named {
            assert_eq!(kept, found, "{name} of {:?}: kept, found", mm.id());
        }
    }

    /// Tells whether an address space is a user of the huge zero page; who maps it is one.
    fn audit_huge_zero_user(&self, mm: &Arc<Mm<M>>, seen: &Observed) -> bool {
        let is_user = mm.is_huge_zero_user().load(Ordering::Relaxed);
        let nr_blocks = seen.mms[&mm.id()].zero_blocks;
        assert!(is_user || nr_blocks == 0, "{:?} maps the huge zero page uncounted", mm.id());
        is_user
    }

    fn audit_folio(&self, id: FolioId, seen: &Observed) {
        let folio = self.folio(id);
        let nothing = observed::FolioUse::default();
        let found = seen.folios.get(&id).unwrap_or(&nothing);
        let pages: u32 = found.mappings.values().sum();
        assert_eq!(folio.mapcount(), pages, "mapcount of {id:?}: kept, found");
        let mut kept = alloc::collections::BTreeMap::new();
        self.lock_rmap(self.folio(id)).all(|mapping| {
            let before = kept.insert((mapping.mm, mapping.base), mapping.nr);
            assert!(before.is_none(), "{id:?} has two reverse-map entries for one place");
            true
        });
        assert_eq!(kept, found.mappings, "reverse map of {id:?}: kept, found");
        self.audit_place(id, folio, found.objects);
        let references = folio.is_mapped() as u32 + (folio.place() != Place::Nowhere) as u32;
        assert_eq!(folio.refcount(), references, "references of {id:?}: kept, found");
        let is_device = folio.has(FolioFlags::DEVICE);
        assert!(folio.has(FolioFlags::LRU) != is_device, "{id:?} is on an LRU list, or on none");
        let transient = FolioFlags::LOCKED.union(FolioFlags::WRITEBACK);
        assert!(!folio.has(transient), "{id:?} is locked or being written");
        for pfn in folio.frames() {
            let words = if is_device { self.device_memory().words(pfn) } else { self.words() };
            assert_eq!(words.folio(pfn), id, "frame word of {pfn:?}");
        }
    }

    /// Compares the descriptors and spill tables that are gone with those in use.
    fn audit_descriptors(&self) {
        let (all, free) = self.folios().census();
        assert_eq!(all - free, self.folios().live().count(), "descriptors allocated, in use");
        let has_table = |id: &FolioId| self.folio(*id).rmap_spill.load(Ordering::Relaxed) != 0;
        let with_table = self.folios().live().filter(has_table).count();
        assert_eq!(self.spill().nr_in_use(), with_table, "spill tables allocated, in use");
    }

    fn audit_place(&self, id: FolioId, folio: &Folio, nr_objects: u32) {
        match folio.place() {
            Place::Nowhere => {
                assert_eq!(nr_objects, 0, "{id:?} is in an object that it does not know");
                assert!(folio.is_mapped(), "{id:?} is used by nobody");
            }
            Place::Shmem(place) => {
                assert_eq!(nr_objects, 1, "{id:?} is in one object");
                let object = self.shmems().get(place.object).expect("the object lives");
                assert!(object.names(place.index, id), "{id:?} is not page {place:?}");
            }
            Place::Swap(entry) => {
                assert_eq!(nr_objects, 0, "{id:?} is in the swap cache and in an object");
                for n in 0..folio.order().nr_pages() {
                    let cached = self.cached_folio(entry.add(n));
                    assert_eq!(cached, Some(id), "slot {:?}'s folio", entry.add(n));
                }
            }
        }
    }

    /// Compares the number of folios of each order with its gauge.
    fn audit_thp_gauges(&self) {
        for order in OrderSet::LARGE.iter() {
            let is_counted = |id: &FolioId| {
                let folio = self.folio(*id);
                let is_counted = folio.is_anon() && !folio.has(FolioFlags::DEVICE);
                is_counted && folio.order() == order
            };
            let found = self.folios().live().filter(is_counted).count() as u64;
            let kept = self.thp().stats().total(ThpStat::NrAnon, order);
            assert_eq!(kept, found, "anonymous folios of {order:?}: kept, found");
        }
    }

    fn audit_lru(&self) {
        for kind in [ListKind::Inactive, ListKind::Active] {
            let mut pages = 0;
            self.lru().for_each(self, kind, |id| {
                let folio = self.folio(id);
                let is_active = folio.has(FolioFlags::ACTIVE);
                assert_eq!(is_active, kind == ListKind::Active, "{id:?} is on the wrong list");
                pages += folio.order().nr_pages() as u64;
            });
            assert_eq!(self.lru().nr_pages(kind), pages, "pages on {kind:?}: kept, found");
        }
    }
}
