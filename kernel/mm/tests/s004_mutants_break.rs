// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file leaves out a step of break-before-make, and shows that the machine whose TLBs forget nothing
//! by themselves catches each.

mod world;

use base::{PageRange, Vpn};
use mm::lab::TlbFault;
use mm::{Placement, Prot};
use world::process::RW;
use world::weakened::{assert_judged, known_elsewhere, process};
use world::{CPU0, CPU1};

#[test]
fn an_entry_replaced_without_a_break_is_caught() {
    assert_judged(TlbFault::ReplacedUnbroken, |world| {
        let (p, pages) = process(world, 1);
        let c = p.fork(CPU1);
        p.load(pages.start.base()).unwrap();
        // Copied: another frame.
        p.store(pages.start.base(), 2).unwrap();
        drop(c);
    });
}

#[test]
fn an_entry_made_again_without_waiting_is_caught() {
    assert_judged(TlbFault::MadeBeforeCompletion, |world| {
        let (p, pages) = process(world, 1);
        let c = p.fork(CPU1);
        p.load(pages.start.base()).unwrap();
        p.store(pages.start.base(), 2).unwrap();
        drop(c);
    });
}

#[test]
fn a_run_unfolded_without_a_break_is_caught() {
    assert_judged(TlbFault::UnfoldedUnbroken, |world| {
        world.allow_order(4);
        let (mut p, pages) = process(world, 16);
        known_elsewhere(&p, pages);
        p.unmap(PageRange::of_len(pages.start, 1));
        pages.pages().skip(1).for_each(|page| assert!(p.load(page.base()).is_ok()));
    });
}

#[test]
fn a_table_moved_without_a_break_is_caught() {
    const START: Vpn = Vpn::new(0x10_0000);
    assert_judged(TlbFault::TableMovedUnbroken, |world| {
        let mut p = world.process(CPU0);
        let pages = p.map_at(Placement::Fixed(START), 512, RW);
        p.write(START, 0, 1);
        let page = PageRange::of_len(START, 1);
        known_elsewhere(&p, page);
        // CPU 1 still has the old place, and reclaim invalidates the new one.
        p.remap(pages, Some(START.add(1024)));
        world.on(CPU1, || world.system.reclaim_pages(64));
        p.load(START.add(1024).base()).unwrap();
    });
}

#[test]
fn a_block_split_without_a_break_is_caught() {
    assert_judged(TlbFault::BlockSplitUnbroken, |world| {
        world.allow_order(9);
        let (mut p, pages) = process(world, 512);
        p.unmap(PageRange::of_len(pages.start, 1));
        pages.pages().skip(1).for_each(|page| assert!(p.load(page.base()).is_ok()));
    });
}

#[test]
fn pages_collapsed_without_a_break_are_caught() {
    assert_judged(TlbFault::CollapsedUnbroken, |world| {
        let (p, pages) = process(world, 512);
        known_elsewhere(&p, pages);
        p.call(|mm| mm.collapse(pages)).expect("nobody uses the pages");
        pages.pages().for_each(|page| assert!(p.load(page.base()).is_ok()));
    });
}

#[test]
fn a_page_tagged_without_a_break_is_caught() {
    assert_judged(TlbFault::TaggedUnbroken, |world| {
        let (mut p, pages) = process(world, 2);
        p.protect(pages, Prot::READ | Prot::WRITE, true);
        pages.pages().for_each(|page| assert!(p.load(page.base()).is_ok()));
    });
}
