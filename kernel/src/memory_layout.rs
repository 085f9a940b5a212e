// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file divides RAM at boot: what is taken, the first heap, and what the memory manager gets.
//!
//! Pure arithmetic on ranges, tested on the host.

use core::ops::Range;

use arrayvec::ArrayVec;
use base::{PAGE_SIZE, Pfn, PhysAddr};

/// A range of physical addresses.
pub type PhysRange = Range<PhysAddr>;

/// The most ranges of RAM (and of taken memory) that are looked at.
pub const MAX_RANGES: usize = 32;

/// Bytes of a block: what has one owner, and what the memory manager counts in.
const BLOCK: u64 = 2 << 20;

/// RAM above this is not used: frame numbers end here, and so does the linear map.
const LIMIT: u64 = 1 << arch::layout::PHYS_BITS;

/// How RAM is divided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemoryLayout {
    /// All RAM: ascending, disjoint, whole pages.
    pub ram: ArrayVec<PhysRange, MAX_RANGES>,
    /// The first heap: whole blocks.
    pub heap: PhysRange,
    /// What is set aside for devices, if anything is: whole blocks.
    pub device_memory: Option<PhysRange>,
    /// What the memory manager gets: ascending, disjoint, whole blocks.
    pub managed: ArrayVec<Range<Pfn>, MAX_RANGES>,
}

impl MemoryLayout {
    /// Returns the bytes of all RAM.
    pub fn ram_bytes(&self) -> u64 {
        self.ram.iter().map(len).sum()
    }
}

/// Returns the last `len_bytes` of RAM, in whole blocks, if nothing in `taken` is there.
pub fn last_blocks(ram: &[PhysRange], taken: &[PhysRange], len_bytes: u64) -> Option<PhysRange> {
    let last = ram.iter().max_by_key(|range| range.end)?;
    let end = last.end.get().min(LIMIT) / BLOCK * BLOCK;
    let start = end.checked_sub(len_bytes.next_multiple_of(BLOCK))?;
    let is_free = |taken: &PhysRange| taken.end.get() <= start || taken.start.get() >= end;
    let is_there = start >= last.start.get() && start < end && taken.iter().all(is_free);
    is_there.then(|| PhysAddr::new(start)..PhysAddr::new(end))
}

/// There is no run of free blocks for the first heap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLittleMemory;

/// Divides RAM. `ram` and `taken` come in any order and may overlap.
///
/// # Errors
///
/// [`TooLittleMemory`].
pub fn divide(ram: &[PhysRange], taken: &[PhysRange]) -> Result<MemoryLayout, TooLittleMemory> {
    let ram = normalized(ram);
    let total: u64 = ram.iter().map(len).sum();
    let heap_size = (total / 64).next_multiple_of(BLOCK);
    let mut free = free_blocks(&ram, taken);
    let chosen = free.iter_mut().find(|range| len(range) >= heap_size).ok_or(TooLittleMemory)?;
    let heap = chosen.start..chosen.start.add(heap_size);
    chosen.start = heap.end;
    let frames = |range: &PhysRange| range.start.pfn()..range.end.pfn();
    let managed = free.iter().filter(|range| !range.is_empty()).map(frames).collect();
    Ok(MemoryLayout { ram, heap, device_memory: None, managed })
}

fn len(range: &PhysRange) -> u64 {
    range.end.get().saturating_sub(range.start.get())
}

/// Sorts ranges of RAM, cuts them to whole pages below the limit, and joins those that touch.
fn normalized(ram: &[PhysRange]) -> ArrayVec<PhysRange, MAX_RANGES> {
    let page = PAGE_SIZE as u64;
    let mut sorted: ArrayVec<PhysRange, MAX_RANGES> = ram
        .iter()
        .map(|range| {
            let start = range.start.get().next_multiple_of(page);
            let end = range.end.get().min(LIMIT) / page * page;
            PhysAddr::new(start)..PhysAddr::new(end)
        })
        .filter(|range| !range.is_empty())
        .take(MAX_RANGES)
        .collect();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut joined: ArrayVec<PhysRange, MAX_RANGES> = ArrayVec::new();
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// Returns the runs of whole blocks of RAM that nothing taken touches. Runs past [`MAX_RANGES`]
/// are given up.
fn free_blocks(ram: &[PhysRange], taken: &[PhysRange]) -> ArrayVec<PhysRange, MAX_RANGES> {
    let mut free = ArrayVec::new();
    for range in ram {
        let mut at = range.start.get().next_multiple_of(BLOCK);
        let end = range.end.get() / BLOCK * BLOCK;
        while at < end {
            // The first taken range that ends above `at` bounds the free run from here.
            let next = taken
                .iter()
                .filter(|taken| !taken.is_empty() && taken.end.get() > at)
                .min_by_key(|taken| taken.start);
            let (run_end, resume) = match next {
                Some(taken) if taken.start.get() < end => {
                    let up = taken.end.get().next_multiple_of(BLOCK);
                    (taken.start.get() / BLOCK * BLOCK, up)
                }
                _ => (end, end),
            };
            if at < run_end && !free.is_full() {
                free.push(PhysAddr::new(at)..PhysAddr::new(run_end));
            }
            at = resume;
        }
    }
    free
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const MIB: u64 = 1 << 20;

    fn range(start_mib: u64, end_mib: u64) -> PhysRange {
        PhysAddr::new(start_mib * MIB)..PhysAddr::new(end_mib * MIB)
    }

    fn managed(layout: &MemoryLayout) -> Vec<(u64, u64)> {
        layout
            .managed
            .iter()
            .map(|run| (run.start.base().get() / MIB, run.end.base().get() / MIB))
            .collect()
    }

    #[test]
    fn image_initrd_and_device_tree_are_cut_out() {
        // [ 1024 RAM                                          1280 )
        //        [1026 image 1027)   [1152 initrd 1155) [1156 1157)
        let taken = [range(1152, 1155), range(1026, 1027), range(1156, 1157)];
        let layout = divide(&[range(1024, 1280)], &taken).unwrap();
        assert_eq!(layout.heap, range(1028, 1032), "first run that is long enough");
        assert_eq!(managed(&layout), [(1024, 1026), (1032, 1152), (1158, 1280)]);
    }

    #[test]
    fn the_last_blocks_are_had_unless_something_is_there() {
        let ram = [range(1024, 1280)];
        assert_eq!(last_blocks(&ram, &[range(1024, 1030)], 16 * MIB), Some(range(1264, 1280)));
        assert_eq!(last_blocks(&ram, &[], 3 * MIB), Some(range(1276, 1280)));
        assert_eq!(last_blocks(&ram, &[range(1270, 1271)], 16 * MIB), None);
        assert_eq!(last_blocks(&ram, &[], 512 * MIB), None);
        assert_eq!(last_blocks(&ram, &[], 0), None);
    }

    #[test]
    fn heap_is_a_64th_of_ram_but_a_block_at_least() {
        let heap = |mib| len(&divide(&[range(0, mib)], &[]).unwrap().heap) / MIB;
        assert_eq!([heap(64), heap(128), heap(130), heap(256), heap(8192)], [2, 2, 4, 4, 128]);
    }

    #[test]
    fn ram_nodes_are_sorted_joined_and_cut_to_pages() {
        let odd = PhysAddr::new(2048 * MIB + 1)..PhysAddr::new(2052 * MIB + 17);
        let layout = divide(&[odd, range(1088, 1152), range(1024, 1088)], &[]).unwrap();
        assert_eq!(layout.ram[0], range(1024, 1152));
        assert_eq!(layout.ram[1].start.get(), 2048 * MIB + 4096);
        assert_eq!(layout.ram[1].end, PhysAddr::new(2052 * MIB));
        assert_eq!(managed(&layout), [(1028, 1152), (2050, 2052)]);
    }

    #[test]
    fn overlapping_and_nested_taken_ranges_count_once() {
        let taken = [range(1030, 1060), range(1040, 1044), range(1056, 1070), range(0, 1025)];
        let layout = divide(&[range(1024, 1152)], &taken).unwrap();
        assert_eq!(layout.heap, range(1026, 1028));
        assert_eq!(managed(&layout), [(1028, 1030), (1070, 1152)]);
    }

    #[test]
    fn managed_frames_never_overlap_anything_taken() {
        // Every small pattern of two taken ranges in sixteen MiB.
        for (a, b) in (0..16).flat_map(|a| (0..16).map(move |b| (a, b))) {
            for (la, lb) in [(0, 1), (1, 1), (3, 2), (5, 9)] {
                let taken = [range(a, a + la), range(b, b + lb)];
                let Ok(layout) = divide(&[range(0, 16)], &taken) else { continue };
                for run in &layout.managed {
                    let run = run.start.base()..run.end.base();
                    let overlaps = |other: &PhysRange| {
                        !other.is_empty() && other.start < run.end && run.start < other.end
                    };
                    assert!(!taken.iter().any(overlaps), "{taken:?} {layout:?}");
                    assert!(!overlaps(&layout.heap), "{taken:?} {layout:?}");
                }
            }
        }
    }

    #[test]
    fn machine_without_a_free_block_is_refused() {
        assert_eq!(divide(&[range(1024, 1026)], &[range(1025, 1026)]), Err(TooLittleMemory));
        assert_eq!(divide(&[], &[]), Err(TooLittleMemory));
    }
}
