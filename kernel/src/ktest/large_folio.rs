// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests how the real MMU takes contiguous runs and blocks: as they are made, and as they
//! are taken apart while another CPU uses them.

use alloc::boxed::Box;
use alloc::sync::Arc;

use arch::{cpu, descriptor, sysreg};
use base::{Order, PageRange, VirtAddr};
use hal::{PteMem, PteSlot, UserMem};
use mm::{FaultError, MmEvent, Prot, SizeEnabled};

use super::program::{Program, RW, Stop, count, fail, leaves_nothing};
use super::tlb::Talk;
use super::{Outcome, Test, TestCtx, expect_eq, expect_that};
use crate::smp;

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("large_folio::first_store_to_64_kib_maps_a_contiguous_run", contiguous_run),
    ("large_folio::run_is_unfolded_where_a_page_differs", unfolded_run),
    ("large_folio::run_that_another_cpu_takes_apart_is_seen_at_once", unfolded_elsewhere),
    ("large_folio::first_store_to_2_mib_maps_a_block", block),
    ("large_folio::block_is_split_where_a_page_differs", split_block),
    ("large_folio::block_that_another_cpu_takes_apart_is_seen_at_once", split_elsewhere),
];

/// Bit 52 of a page descriptor: one of 16 that a TLB may hold as one (Arm ARM D8.7.1).
const CONTIGUOUS: u64 = 1 << 52;
/// Pages that the contiguous bit spans.
const RUN: u64 = 16;
/// The page that tests make different.
const ODD: u64 = 3;

/// Runs `body` with a program that has one folio of an order, each page of it with its number.
fn with_folio(
    ctx: &TestCtx,
    order: Order,
    body: fn(&TestCtx, &Program<'_>, PageRange) -> Outcome,
) -> Outcome {
    leaves_nothing(ctx, |system| {
        let settings = system.thp().settings();
        let before = settings.sizes();
        settings.set_size(order, SizeEnabled::Always);
        let outcome = folio(ctx, order).and_then(|(program, pages)| body(ctx, &program, pages));
        settings.set_sizes(before);
        outcome
    })
}

fn folio(ctx: &TestCtx, order: Order) -> Result<(Program<'_>, PageRange), super::Failure> {
    let program = Program::new(ctx)?;
    let nr = u64::from(order.nr_pages());
    let room = program.map(2 * nr, RW)?;
    let start = room.start.add(nr - 1).align_down(nr);
    let pages = PageRange::of_len(start, nr);
    // The first store is to none of its edges.
    for n in (0..nr).map(|n| (n + 7) % nr) {
        expect_eq!(program.store(at(pages, n), n), Ok(()));
    }
    Ok((program, pages))
}

fn at(pages: PageRange, n: u64) -> u64 {
    pages.start.add(n).base().get()
}

/// Returns the entry that the walk of an address ends at, and its level.
fn entry(ctx: &TestCtx, va: u64) -> (u32, u64) {
    let mut table = descriptor::output(sysreg::ttbr0_el1()).pfn();
    for level in 0..3 {
        let slot = PteSlot::new(table, descriptor::index(va as usize, level));
        let entry = PteMem::load(ctx.machine, slot);
        if !descriptor::is_table(entry) {
            return (level, entry);
        }
        table = descriptor::output(entry).pfn();
    }
    (3, PteMem::load(ctx.machine, PteSlot::new(table, descriptor::index(va as usize, 3))))
}

/// Expects the MMU to find page after page of one folio, and each page's number in it.
fn check_pages(program: &Program<'_>, pages: PageRange) -> Outcome {
    program.forget_all();
    let first = cpu::translate(at(pages, 0) as usize);
    let first = first.expect("the folio is mapped").pfn();
    expect_eq!(u64::from(first.get()) % pages.nr_pages(), 0, "aligned");
    for n in 0..pages.nr_pages() {
        let found = cpu::translate(at(pages, n) as usize + 8);
        expect_eq!(found, Some(first.add(n as u32).base().add(8)), "page {n}");
        expect_eq!(program.load(at(pages, n)), Ok(n));
    }
    Ok(())
}

/// Makes one page read-only.
fn make_odd(program: &Program<'_>, pages: PageRange) -> Outcome {
    let odd = PageRange::of_len(pages.start.add(ODD), 1);
    program.mm.protect(odd, Prot::READ, false).map_err(fail)
}

/// Expects that the odd page, and no other, refuses stores.
fn check_odd(program: &Program<'_>, pages: PageRange) -> Outcome {
    let denied = Err(Stop::Fault(FaultError::Denied));
    for n in 0..pages.nr_pages() {
        let expected = if n == ODD { denied } else { Ok(()) };
        expect_eq!(program.store(at(pages, n), n), expected, "page {n}");
    }
    Ok(())
}

/// Tells whether the entry of page `n` has the contiguous bit.
fn is_contiguous(ctx: &TestCtx, pages: PageRange, n: u64) -> bool {
    let (level, entry) = entry(ctx, at(pages, n));
    level == 3 && entry & CONTIGUOUS != 0
}

fn contiguous_run(ctx: &TestCtx) -> Outcome {
    with_folio(ctx, Order::CONT, |ctx, program, pages| {
        for n in 0..RUN {
            expect_that!(is_contiguous(ctx, pages, n), "page {n}");
        }
        check_pages(program, pages)
    })
}

fn unfolded_run(ctx: &TestCtx) -> Outcome {
    with_folio(ctx, Order::CONT, |ctx, program, pages| {
        let unfolded = count(ctx.system, MmEvent::ContUnfold);
        make_odd(program, pages)?;
        expect_eq!(count(ctx.system, MmEvent::ContUnfold), unfolded + 1);
        for n in 0..RUN {
            expect_that!(!is_contiguous(ctx, pages, n), "page {n}");
        }
        check_odd(program, pages)?;
        check_pages(program, pages)
    })
}

fn block(ctx: &TestCtx) -> Outcome {
    with_folio(ctx, Order::BLOCK, |ctx, program, pages| {
        for n in [0, 1, 255, 511] {
            let (level, entry) = entry(ctx, at(pages, n));
            expect_eq!((level, entry & 0b11), (2, descriptor::BLOCK), "page {n}");
        }
        check_pages(program, pages)
    })
}

fn split_block(ctx: &TestCtx) -> Outcome {
    with_folio(ctx, Order::BLOCK, |ctx, program, pages| {
        let splits = count(ctx.system, MmEvent::ThpSplitPmd);
        make_odd(program, pages)?;
        expect_eq!(count(ctx.system, MmEvent::ThpSplitPmd), splits + 1);
        for n in 0..pages.nr_pages() {
            expect_eq!(entry(ctx, at(pages, n)).0, 3, "page {n}");
            expect_eq!(is_contiguous(ctx, pages, n), n >= RUN, "page {n}");
        }
        check_odd(program, pages)?;
        check_pages(program, pages)
    })
}

fn unfolded_elsewhere(ctx: &TestCtx) -> Outcome {
    with_folio(ctx, Order::CONT, taken_apart_elsewhere)
}

fn split_elsewhere(ctx: &TestCtx) -> Outcome {
    with_folio(ctx, Order::BLOCK, taken_apart_elsewhere)
}

/// Another CPU has the folio in its TLB, as one entry maybe. What it sees afterwards is what this
/// CPU has made of it.
fn taken_apart_elsewhere(ctx: &TestCtx, program: &Program<'_>, pages: PageRange) -> Outcome {
    let other = ctx.other_cpu()?;
    let talk = Arc::new(Talk::default());
    let (machine, system) = (ctx.machine, ctx.system);
    let (mm, its) = (Arc::clone(&program.mm), Arc::clone(&talk));
    let use_it = move || {
        mm.activate();
        // Which pages it may store to, one bit each: 64 of them.
        let stores = || {
            let store = |n: u64| {
                let word = n.to_le_bytes();
                machine.write_user(VirtAddr::new(at(pages, n)), &word).is_ok()
            };
            let nr = pages.nr_pages().min(64);
            (0..nr).filter(|n| store(*n)).fold(0, |bits, n| bits | 1 << n)
        };
        its.say(0, stores());
        its.go_on_with(1);
        its.wait_for(2);
        its.say(1, stores());
        system.deactivate();
        its.go_on_with(3);
    };
    smp::run_on(other, Box::new(use_it));
    talk.wait_for(1);
    let made = make_odd(program, pages);
    talk.go_on_with(2);
    talk.wait_for(3);
    made?;
    let all = u64::MAX >> (64 - pages.nr_pages().min(64));
    expect_eq!(talk.heard(0), all, "before");
    expect_eq!(talk.heard(1), all & !(1 << ODD), "after");
    check_odd(program, pages)?;
    check_pages(program, pages)
}
