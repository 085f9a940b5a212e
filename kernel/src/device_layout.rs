// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file divides the memory of devices: pages of two devices, and the allocation tags of all of
//! them behind.
//!
//! Pure arithmetic on ranges, tested on the host.

use core::ops::Range;

use base::{Pfn, PhysAddr};
use hal::PageTags;

/// How many devices share the memory. Linux's test_hmm has as many with private memory.
pub const NR_DEVICES: usize = 2;

/// Frames of a block.
const BLOCK: u32 = 512;

/// How the memory is divided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceLayout {
    /// The frames of each device: whole blocks.
    pub devices: [Range<Pfn>; NR_DEVICES],
    /// Tags of the first frame of the first device; those of the others follow.
    pub tags: PhysAddr,
}

impl DeviceLayout {
    /// Divides a range of physical addresses, which is 2 MiB aligned. `None` when there is not a block
    /// for each device beside their tags.
    pub fn divide(memory: &Range<PhysAddr>) -> Option<Self> {
        let first = memory.start.pfn();
        let nr_blocks = memory.end.pfn().get().checked_sub(first.get())? / BLOCK;
        // A block of tags serves 32 blocks of pages.
        let per_tag_block = (4096 / PageTags::BYTES) as u32;
        let nr_tag_blocks = nr_blocks.div_ceil(per_tag_block + 1);
        let nr_each = (nr_blocks - nr_tag_blocks) / NR_DEVICES as u32 * BLOCK;
        let device = |n: u32| first.add(n * nr_each)..first.add((n + 1) * nr_each);
        let devices = [device(0), device(1)];
        let tags = devices[1].end.base();
        (first.get().is_multiple_of(BLOCK) && nr_each > 0).then_some(Self { devices, tags })
    }

    /// Tells whether a frame is a device's.
    pub fn is_page(&self, pfn: Pfn) -> bool {
        (self.devices[0].start..self.devices[1].end).contains(&pfn)
    }

    /// Returns where the tags of a device's frame are: within one frame.
    pub fn tags_of(&self, pfn: Pfn) -> PhysAddr {
        let index = u64::from(pfn.get() - self.devices[0].start.get());
        self.tags.add(index * PageTags::BYTES as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn divide(mib: u64) -> Option<DeviceLayout> {
        let start = PhysAddr::new(1 << 39);
        DeviceLayout::divide(&(start..start.add(mib * MIB)))
    }

    #[test]
    fn pages_and_tags_fill_the_memory_and_do_not_meet() {
        for mib in [6, 8, 64, 66, 68, 128, 256, 1024] {
            let layout = divide(mib).unwrap_or_else(|| panic!("{mib} MiB is enough"));
            let [one, two] = &layout.devices;
            assert_eq!(one.end, two.start);
            assert_eq!(one.end.get() - one.start.get(), two.end.get() - two.start.get());
            assert_eq!(layout.tags, two.end.base());
            let last = Pfn::new(two.end.get() - 1);
            let end = layout.tags_of(last).get() + PageTags::BYTES as u64;
            assert!(end <= (1 << 39) + mib * MIB, "{mib} MiB: the last tags are inside");
            assert!(layout.is_page(last) && !layout.is_page(two.end));
        }
        let layout = divide(128).expect("enough");
        assert_eq!(layout.devices[0].end.get() - layout.devices[0].start.get(), 31 * BLOCK);
    }

    #[test]
    fn too_little_is_none() {
        assert_eq!(divide(0), None);
        assert_eq!(divide(4), None);
        let odd = PhysAddr::new((1 << 39) + 4096);
        assert_eq!(DeviceLayout::divide(&(odd..odd.add(64 * MIB))), None);
    }
}
