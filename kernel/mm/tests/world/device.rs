// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file adds devices with memory of their own to a machine, and what processes do with them.

use base::{Order, PageRange, Pfn, Vpn};
use hal::DeviceId;
use hal::sim::{Adversary, Bank, SimConfig, explore};
use mm::{MmEvent, PageView};

use super::folios::roomy;
use super::process::Process;
use super::{World, seeds};

pub const DEVICE: DeviceId = DeviceId(0);
pub const OTHER: DeviceId = DeviceId(1);

/// Frames of the first device.
pub const FRAMES: u64 = 3 * 512;

/// Adds two devices to a machine: 6 MiB and 2 MiB.
pub fn with_devices(config: SimConfig) -> SimConfig {
    let bank = |first, nr_blocks| Bank { first: Pfn::new(first), nr_blocks };
    SimConfig { devices: vec![bank(0x80_0000, 3), bank(0x80_1000, 1)], ..config }
}

/// Runs `body` for each order on machines with devices and every combination of hardware access and
/// dirty state; checks that all counts add up and that everything is given back.
pub fn for_orders(orders: &[u8], body: impl Fn(&World, u8) + Copy + Send + Sync + 'static) {
    for_orders_on(Adversary::FULL, orders, body);
}

/// Like [`for_orders`], with a choice of what the machine does of its own accord.
pub fn for_orders_on(
    adversary: Adversary,
    orders: &[u8],
    body: impl Fn(&World, u8) + Copy + Send + Sync + 'static,
) {
    for &order in orders {
        explore(seeds(if order > 4 { 3 } else { 9 }), move |seed| {
            let (hw_access_flag, hw_dirty) = (seed % 3 != 0, seed % 3 == 2);
            let config = with_devices(roomy(seed));
            let world = World::new(SimConfig { hw_access_flag, hw_dirty, adversary, ..config });
            world.allow_order(order);
            let before = world.footprint();
            body(&world, order);
            world.audit();
            assert_eq!(world.footprint(), before, "order {order}: everything is given back");
            world.assert_devices_empty();
        });
    }
}

impl World {
    /// Returns how many frames of a device are in use.
    pub fn nr_on_device(&self, device: DeviceId) -> u64 {
        let (free, all) = self.system.device_frames(device);
        all - free
    }

    pub fn assert_devices_empty(&self) {
        for device in [DEVICE, OTHER] {
            assert_eq!(self.nr_on_device(device), 0, "frames of {device:?} in use");
        }
    }
}

impl Process {
    /// Moves pages to a device, as far as they can be moved. Returns how many did.
    pub fn to_device(&self, pages: PageRange) -> u64 {
        self.to(DEVICE, pages)
    }

    pub fn to(&self, device: DeviceId, pages: PageRange) -> u64 {
        let moved = self.call(|mm| mm.migrate_to_device(pages, device, |_: Order| true));
        moved.expect("a range of one area")
    }

    /// Moves pages home. Returns how many did.
    pub fn to_ram(&self, pages: PageRange) -> u64 {
        let moved = self.call(|mm| mm.migrate_to_ram(pages, DEVICE, |_: Order| true));
        moved.expect("a range of one area").0
    }

    pub fn is_on_device(&self, page: Vpn) -> bool {
        matches!(self.page_view(page), PageView::OnDevice(_))
    }

    pub fn nr_on_device(&self, pages: PageRange) -> u64 {
        pages.pages().filter(|page| self.is_on_device(*page)).count() as u64
    }

    /// Moves all of some pages to a device.
    pub fn all_to_device(&self, pages: PageRange) {
        assert_eq!(self.to_device(pages), pages.nr_pages(), "pages moved");
        assert_eq!(self.nr_on_device(pages), pages.nr_pages(), "entries that name the device");
    }

    /// Counts the faults that `act` takes.
    pub fn faults_of(&mut self, act: impl FnOnce(&mut Self)) -> u64 {
        let before = self.world.count(MmEvent::PgFault);
        act(self);
        self.world.count(MmEvent::PgFault) - before
    }
}
