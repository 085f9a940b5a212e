// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file sets up machines and memory with folios of a chosen order.

use base::{Order, PageRange, Vpn};
use hal::TagCheckMode;
use hal::sim::{Adversary, Bank, SimConfig, explore};
use mm::{Advice, AreaFlags, MmEvent, PageView, Placement, ThpStat};

use super::process::{Process, with_tag};
use super::{CPU0, Dice, SWAP, World, config};

/// The orders that behaviours are shown for: a page, the smallest large folio, 64 KiB, 2 MiB.
pub const ORDERS: [u8; 4] = [0, 2, 4, 9];

/// Where [`Process::map_folios`] begins: no other mapping gets there.
const FOLIOS: Vpn = Vpn::new(0x10_0000);

pub fn nr_pages(order: u8) -> u64 {
    Order::new(order).nr_pages().into()
}

pub fn one(page: Vpn) -> PageRange {
    PageRange::of_len(page, 1)
}

/// Returns a configuration with room for some folios of 2 MiB: 12 MiB of RAM, 16 MiB of swap.
pub fn roomy(seed: u64) -> SimConfig {
    let first = SimConfig::default().banks[0].first;
    let banks = vec![Bank { first, nr_blocks: 6 }];
    SimConfig { banks, disks: vec![8 * 256 * 16], ..config(seed) }
}

/// What is run with a machine for each order.
pub trait Body: Fn(&World, u8) + Copy + Send + Sync + 'static {}
impl<F: Fn(&World, u8) + Copy + Send + Sync + 'static> Body for F {}

/// Runs `body` for each order on machines with every combination of hardware access and dirty
/// state, and a few seeds each; checks that all counts add up and that everything is given back.
pub fn for_orders(orders: &[u8], body: impl Body) {
    for_orders_on(Adversary::FULL, orders, body);
}

/// Like [`for_orders`], with a choice of what the machine does of its own accord.
pub fn for_orders_on(adversary: Adversary, orders: &[u8], body: impl Body) {
    let roomy = match adversary {
        Adversary::FULL => |_, seed| roomy(seed),
        _ => |_, seed| SimConfig { adversary: Adversary::CALM, ..roomy(seed) },
    };
    for_orders_of(roomy, orders, body);
}

/// Like [`for_orders`], on machines that `config_of` chooses for an order and a seed.
pub fn for_orders_of(config_of: fn(u8, u64) -> SimConfig, orders: &[u8], body: impl Body) {
    for &order in orders {
        // Large ones take a while.
        let seeds = 12 / (1 + u64::from(order) / 3);
        explore(0..seeds, move |seed| {
            let (hw_access_flag, hw_dirty) = (seed % 3 != 0, seed % 3 == 2);
            let config = config_of(order, seed);
            let world = World::new(SimConfig { hw_access_flag, hw_dirty, ..config });
            world.allow_order(order);
            let before = world.footprint();
            body(&world, order);
            world.audit();
            assert_eq!(world.footprint(), before, "order {order}: everything is given back");
        });
    }
}

/// Has the swap area of a machine keep tags.
pub fn with_tags_on_device(world: World) -> World {
    world.on(CPU0, || world.system.swap_off(SWAP, || false)).expect("nothing is on it");
    world.system.set_swap_tags_on_device();
    world.swap_on_again();
    world
}

impl World {
    /// Makes a process whose accesses are checked against tags.
    pub fn tagged_process(&self) -> Process {
        let p = self.process(CPU0);
        p.check_tags(TagCheckMode::Sync);
        p
    }

    /// Returns what was counted for folios of an order.
    pub fn stat(&self, stat: ThpStat, order: u8) -> u64 {
        self.system.thp().stats().total(stat, Order::new(order))
    }

    /// Returns the requests that the swap disk has had.
    pub fn requests(&self) -> u64 {
        self.count(MmEvent::SwapRequest)
    }

    /// Lets the next swap-ins bring single pages back.
    pub fn allow_single_pages_only(&self) {
        self.system.thp().settings().set_sizes(mm::SizeSettings::NEVER);
    }

    /// Reclaims until every page of `pages` is a swap entry of `p`, whoever else maps them.
    pub fn reclaim(&self, p: &Process, pages: PageRange) {
        let is_out = |_: &u32| {
            self.on(CPU0, || self.system.reclaim_pages(4096));
            pages.pages().all(|page| p.is_swapped(page))
        };
        (0..20).find(is_out).expect("everything goes out");
    }

    /// Puts the swap area, which was taken out of service, into service again.
    pub fn swap_on_again(&self) {
        self.on(CPU0, || self.system.swap_on(SWAP, None)).expect("the area is there as before");
    }
}

impl Process {
    /// Maps room for `nr` folios of `order`, aligned; the first store to each allocates it.
    pub fn map_folios(&mut self, order: u8, nr: u64, flags: AreaFlags) -> PageRange {
        let last = self.oracle.mapped().into_iter().rfind(|page| *page < Vpn::new(0x20_0000));
        let start = last.map_or(FOLIOS, |last| last.align_down(512).add(1024).max(FOLIOS));
        self.map_at(Placement::Fixed(start), nr * nr_pages(order), flags)
    }

    /// Maps folios and stores to each page a value and, if it is tagged, a tag of its own.
    pub fn new_folios(&mut self, order: u8, nr: u64, flags: AreaFlags) -> PageRange {
        let pages = self.map_folios(order, nr, flags);
        self.fill(pages);
        assert_eq!(
            self.world.stat(ThpStat::NrAnon, order) >= nr,
            order > 0,
            "folios of order {order}"
        );
        pages
    }

    /// Stores to each page a value and, if it is tagged, a tag of its own.
    pub fn fill(&mut self, pages: PageRange) {
        for page in pages.pages() {
            self.write(page, 0, page.get() + 1);
            if self.oracle.pages[&page].is_tagged {
                self.retag(page, 1, (page.get() % 15 + 1) as u8);
            }
        }
    }

    /// Pages out what must go.
    pub fn page_out(&mut self, pages: PageRange) {
        self.advise(pages, Advice::PageOut);
        pages.pages().for_each(|page| assert!(self.is_swapped(page), "{page:?} was paged out"));
    }

    pub fn views(&self, pages: PageRange) -> Vec<PageView> {
        self.call(|mm| mm.page_views(pages))
    }

    /// Counts the pages that are mapped.
    pub fn nr_present(&self, pages: PageRange) -> usize {
        let is_present = |view: &&PageView| matches!(view, PageView::Present { .. });
        self.views(pages).iter().filter(is_present).count()
    }

    pub fn is_exclusive(&self, page: Vpn) -> bool {
        matches!(self.page_view(page), PageView::Present { is_exclusive: true, .. })
    }

    /// Gives all granules of a page tags that `seed` chooses, so different from run to run that
    /// they are stored raw.
    pub fn set_all_tags(&self, page: Vpn, seed: u64) {
        let mut dice = Dice::new(seed);
        for granule in 0..256 {
            let tag = dice.roll(16) as u8;
            self.store_tag(page.base().wrapping_add(granule * 16), tag).unwrap();
        }
    }

    /// Checks the tags that [`Process::set_all_tags`] has set, by what they are and by what they do.
    pub fn assert_all_tags(&self, page: Vpn, seed: u64) {
        let mut dice = Dice::new(seed);
        for granule in 0..256 {
            let tag = dice.roll(16) as u8;
            let at = page.base().wrapping_add(granule * 16);
            assert_eq!(self.load_tag(at), Ok(tag), "granule {granule} of {page:?}");
            assert!(self.load(with_tag(at, tag)).is_ok(), "granule {granule} with its tag");
        }
    }

    /// Checks that all tags and some words of a page are zero.
    pub fn assert_all_zero(&self, page: Vpn) {
        for granule in 0..256 {
            let at = page.base().wrapping_add(granule * 16);
            assert_eq!(self.load_tag(at), Ok(0), "granule {granule} of {page:?}");
        }
        for offset in (0..4096).step_by(256) {
            assert_eq!(self.load(page.base().wrapping_add(offset)), Ok(0), "{page:?}+{offset:#x}");
        }
    }
}
