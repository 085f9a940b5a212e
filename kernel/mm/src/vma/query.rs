// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file looks at an address space from outside: /proc/self/maps, smaps, pagemap, mincore.

use alloc::sync::Arc;
use alloc::vec::Vec;

use base::{PageRange, Pfn, Vpn};
use hal::{DeviceId, Machine};
use pgtable::{Entry, NonPresent, SwapEntry};

use super::area::{Area, AreaFlags, Backing};
use crate::folio::FolioFlags;
use crate::mm::{Mapped, Mm};
use crate::shmem::Shmem;

/// One area as a line of /proc/self/maps shows it.
pub struct AreaView<M: Machine> {
    /// Its pages.
    pub pages: PageRange,
    /// Rights and kind.
    pub flags: AreaFlags,
    /// The object behind it and the object's page at its start.
    pub object: Option<(Arc<Shmem<M>>, u64)>,
}

/// What the pages of an area are, in pages, as smaps counts them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ResidentView {
    /// Mapped.
    pub rss: u64,
    /// Mapped, each page divided by the number of entries that map it, in bytes.
    pub pss_bytes: u64,
    /// Mapped by nobody else, clean.
    pub private_clean: u64,
    /// Mapped by nobody else, dirty.
    pub private_dirty: u64,
    /// Mapped by somebody else as well, clean.
    pub shared_clean: u64,
    /// Mapped by somebody else as well, dirty.
    pub shared_dirty: u64,
    /// Accessed since the access flag was last cleared.
    pub referenced: u64,
    /// Anonymous.
    pub anonymous: u64,
    /// Given up by MADV_FREE.
    pub lazy_free: u64,
    /// Mapped by blocks, anonymous.
    pub block_mapped: u64,
    /// Swap entries, and pages of the object in swap.
    pub swap: u64,
    /// Swap entries, each divided by its users, in bytes.
    pub swap_pss_bytes: u64,
}

/// What one page is, as pagemap shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageView {
    /// Nothing.
    None,
    /// Mapped.
    Present {
        /// The frame.
        pfn: Pfn,
        /// A page of an object, or shared anonymous.
        is_file: bool,
        /// Mapped by this address space only.
        is_exclusive: bool,
    },
    /// In the memory of a device.
    OnDevice(DeviceId),
    /// In RAM, and a device has it for itself.
    DeviceExclusive(Pfn),
    /// In a swap slot.
    Swapped(SwapEntry),
}

impl<M: Machine> Mm<M> {
    /// Returns the areas, lowest first.
    pub fn area_views(&self) -> Vec<AreaView<M>> {
        self.read_areas().iter().map(AreaView::of).collect()
    }

    /// Returns the area that `page` is in.
    pub fn area_view(&self, page: Vpn) -> Option<AreaView<M>> {
        self.read_areas().find(page).map(AreaView::of)
    }

    /// Returns the first area that ends above `page`.
    pub fn next_area_view(&self, page: Vpn) -> Option<AreaView<M>> {
        self.read_areas().find_at_or_above(page).map(AreaView::of)
    }

    /// Tells whether every page of `pages` is in some area.
    pub fn is_covered(&self, pages: PageRange) -> bool {
        self.read_areas().covers(pages)
    }

    /// Counts what the pages of `pages` are.
    pub fn resident_view(&self, pages: PageRange) -> ResidentView {
        let mut view = ResidentView::default();
        let areas = self.read_areas();
        self.for_each_entry(pages, |_, entry, by_block| {
            self.add_entry(&mut view, entry);
            view.block_mapped += u64::from(by_block);
        });
        drop(areas);
        view
    }

    /// Returns what each page of `pages` is.
    pub fn page_views(&self, pages: PageRange) -> Vec<PageView> {
        let mut views = alloc::vec![PageView::None; pages.nr_pages() as usize];
        let areas = self.read_areas();
        self.for_each_entry(pages, |page, entry, _| {
            views[(page.get() - pages.start.get()) as usize] = self.view(entry);
        });
        drop(areas);
        views
    }

    /// Calls `visit` with every entry in use within `pages`, and with whether a block maps the page of
    /// a folio; its table is locked.
    fn for_each_entry(&self, pages: PageRange, mut visit: impl FnMut(Vpn, Entry, bool)) {
        let mut left = pages;
        while let Some((part, mapped)) = self.next_mapped(left) {
            match mapped {
                Mapped::Table(table) => {
                    let lock = self.lock_leaf_table(table);
                    for page in part.pages() {
                        match lock.entry(page) {
                            Entry::Empty => {}
                            entry => visit(page, entry, false),
                        }
                    }
                }
                Mapped::Block(slot) => {
                    let Some(block) = self.lock_block(slot) else { continue };
                    for page in part.pages() {
                        let pte = block.pte().advanced(pgtable::index_of(page) as u32);
                        visit(page, Entry::Present(pte), !pte.is_special());
                    }
                }
            }
            left.start = part.end;
        }
    }

    fn view(&self, entry: Entry) -> PageView {
        match entry {
            Entry::Present(pte) if pte.is_on_device() => {
                PageView::OnDevice(self.system().device_memory().device_of(pte.pfn()))
            }
            Entry::Present(pte) if pte.is_device_exclusive() => {
                PageView::DeviceExclusive(pte.pfn())
            }
            Entry::Present(pte) if pte.is_special() => {
                PageView::Present { pfn: pte.pfn(), is_file: false, is_exclusive: false }
            }
            Entry::Present(pte) => {
                let id = self.system().folio_of(pte);
                PageView::Present {
                    pfn: pte.pfn(),
                    is_file: !self.system().folio(id).is_anon(),
                    is_exclusive: self
                        .system()
                        .is_mapped_only_by(self.system().folio(id), self.id()),
                }
            }
            Entry::NonPresent(NonPresent::Swap { entry, .. }) => PageView::Swapped(entry),
            _ => PageView::None,
        }
    }

    fn add_entry(&self, view: &mut ResidentView, entry: Entry) {
        let page = base::PAGE_SIZE as u64;
        match entry {
            // As on Linux, the zero page is nobody's.
            Entry::Present(pte) if !pte.is_special() => {
                let folio = self.system().folio(self.system().folio_of(pte));
                // The average over the folio's pages: exact for one page, and what Linux shows
                // without per-page counts (CONFIG_NO_PAGE_MAPCOUNT).
                let mappers = folio.mapcount().div_ceil(folio.order().nr_pages()).max(1);
                let is_dirty = pte.is_dirty() || folio.has(FolioFlags::DIRTY);
                view.rss += 1;
                view.pss_bytes += page / mappers as u64;
                let cell = match (mappers > 1, is_dirty) {
                    (false, false) => &mut view.private_clean,
                    (false, true) => &mut view.private_dirty,
                    (true, false) => &mut view.shared_clean,
                    (true, true) => &mut view.shared_dirty,
                };
                *cell += 1;
                view.referenced += pte.is_young() as u64;
                view.anonymous += folio.is_anon() as u64;
                view.lazy_free += folio.has(FolioFlags::LAZYFREE) as u64;
            }
            Entry::NonPresent(NonPresent::Swap { entry, .. }) => {
                view.swap += 1;
                view.swap_pss_bytes += page / self.system().slot_users(entry).max(1) as u64;
            }
            _ => {}
        }
    }
}

impl<M: Machine> AreaView<M> {
    fn of(area: &Area<M>) -> Self {
        let object = match &area.backing {
            Backing::Anon => None,
            Backing::Shmem { object, first } => Some((Arc::clone(object), *first)),
        };
        Self { pages: area.pages(), flags: area.flags, object }
    }
}
