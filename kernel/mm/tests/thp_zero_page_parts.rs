// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file does to the 2 MiB of zeroes that loads map as one block, and to parts of them, what can
//! be done to a mapping.

mod world;

use base::{PageRange, Vpn};
use mm::{Advice, MmEvent, Prot};
use world::folios::one;
use world::process::{RW, TAGGED};
use world::zeroes::{BLOCK, heads, is_small, on_machines, resident, with_zeroes, zeroes};
use world::{CPU0, SWAP};

#[test]
fn they_are_unmapped_as_a_whole_or_in_part() {
    with_zeroes(|world, p, pages| {
        p.unmap(PageRange::of_len(pages.start, BLOCK));
        assert_eq!(world.count(MmEvent::ThpSplitPmd), 0);
        world.audit();
        let part = PageRange::of_len(pages.start.add(BLOCK + 10), 20);
        p.unmap(part);
        assert_eq!(world.count(MmEvent::ThpSplitPmd), 1);
        assert_eq!(p.nr_present(PageRange::new(pages.start, pages.end)), 492);
        assert!(is_small(p, PageRange::new(part.end, pages.end)));
    });
}

#[test]
fn discarded_zeroes_are_mapped_again() {
    with_zeroes(|world, p, pages| {
        p.advise(pages, Advice::DontNeed);
        assert_eq!(p.nr_present(pages), 0);
        world.audit();
        assert_eq!(p.load(pages.start.base()), Ok(0));
        assert_eq!(p.nr_present(pages), 512);
        p.advise(one(pages.start), Advice::DontNeed);
        assert_eq!(p.nr_present(pages), 511);
        assert_eq!(world.count(MmEvent::ThpZeroPageAlloc), 1);
    });
}

#[test]
fn advice_about_their_use_leaves_them_whole() {
    with_zeroes(|world, p, pages| {
        let first = heads(p, pages);
        for part in [pages, PageRange::of_len(pages.start.add(3), 5)] {
            for advice in [Advice::Free, Advice::Cold, Advice::PageOut] {
                p.advise(part, advice);
            }
        }
        assert_eq!(heads(p, pages), first);
        assert_eq!(world.count(MmEvent::ThpSplitPmd), 0);
    });
}

#[test]
fn rights_change_of_the_whole_or_a_part() {
    with_zeroes(|world, p, pages| {
        let block = PageRange::of_len(pages.start, BLOCK);
        for prot in [Prot::empty(), Prot::READ, Prot::READ | Prot::WRITE] {
            p.protect(block, prot, false);
            world.audit();
            assert_eq!(p.load(block.start.base()).is_ok(), !prot.is_empty());
        }
        assert_eq!(world.count(MmEvent::ThpSplitPmd), 0);
        p.write(block.start, 0, 3);
        assert_eq!(resident(p), (512, 512), "the right to write alone gives no page");
        p.protect(one(pages.start.add(BLOCK + 5)), Prot::READ, false);
        assert_eq!(world.count(MmEvent::ThpSplitPmd), 1);
        assert!(is_small(p, PageRange::of_len(pages.start.add(BLOCK), BLOCK)));
        p.write(pages.start.add(BLOCK + 4), 0, 4);
        assert_eq!(resident(p), (513, 512));
    });
}

#[test]
fn memory_that_becomes_tagged_keeps_them() {
    on_machines(|world, _| {
        let mut p = world.tagged_process();
        let pages = zeroes(&mut p, 2, RW);
        let block = PageRange::of_len(pages.start, BLOCK);
        p.protect(block, Prot::READ | Prot::WRITE, true);
        assert_eq!(world.count(MmEvent::ThpSplitPmd), 0);
        world.audit();
        p.assert_all_zero(block.start.add(9));
        p.protect(one(block.end), Prot::READ | Prot::WRITE, true);
        assert_eq!(world.count(MmEvent::ThpSplitPmd), 1);
        world.audit();
        p.assert_all_zero(block.end);
        assert_eq!(resident(&p), (0, 0));
        p.retag(block.start.add(9), 1, 6);
        p.retag(block.end, 1, 7);
        assert_eq!(resident(&p), (513, 512));
        p.verify_all();
        p.exit();
    });
}

#[test]
fn they_are_moved_as_pages() {
    world::folios::for_orders_of(moving, &[9], |world, _| {
        let mut p = world.tagged_process();
        let pages = zeroes(&mut p, 1, TAGGED);
        let to = p.remap(pages, Some(Vpn::new(0x20_0003)));
        assert_eq!(p.nr_present(to), 512);
        assert!(is_small(&p, to));
        world.audit();
        p.write(to.start, 0, 5);
        p.verify_all();
        p.exit();
    });
}

/// mremap stores a moved entry before the invalidation of its old place is complete.
fn moving(_: u8, seed: u64) -> hal::sim::SimConfig {
    hal::sim::SimConfig { judges_new_mappings: false, ..world::folios::roomy(seed) }
}

#[test]
fn the_kernel_reads_them_and_swapoff_passes_them_by() {
    with_zeroes(|world, p, pages| {
        let mut bytes = [1; 8];
        let at = pages.start.add(7).base();
        p.call(|mm| mm.read_remote(at, &mut bytes)).unwrap();
        assert_eq!(bytes, [0; 8]);
        world.on(CPU0, || world.system.swap_off(SWAP, || false)).unwrap();
        world.swap_on_again();
        assert_eq!(resident(p), (0, 0));
        p.call(|mm| mm.write_remote(at, &[7; 8])).unwrap();
        assert_eq!(resident(p), (512, 512));
        assert_eq!(p.load(at), Ok(u64::from_le_bytes([7; 8])));
        // The oracle does not know of what the kernel wrote.
        p.call(|mm| mm.write_remote(at, &[0; 8])).unwrap();
    });
}
