// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests that each kind of invalidation makes the MMU forget.
//!
//! Every test warms the TLB, changes entries (break-before-make), invalidates, and looks through the
//! user's translation. Without the invalidation QEMU keeps using the old one: with the TLBI of
//! `check` left out, every test here but the last two fails.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arch::features::CpuFeatures;
use arch::{descriptor, sysreg, tlbi};
use base::{PageRange, Pfn, VirtAddr, sync};
use hal::tlb::TlbiCount;
use hal::{Asid, Invalidate, LeafLevel, PhysMem, PteMem, PteSlot, Reach, Tlb, UserMem};

use super::space::{DATA, READ_WRITE, Space};
use super::{Outcome, Test, TestCtx, expect_eq, skip};
use crate::smp;

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("tlb::page_invalidation_is_seen_locally", |ctx| pages(ctx, 1, Reach::Local)),
    ("tlb::page_invalidation_is_seen_when_broadcast", |ctx| pages(ctx, 1, Reach::Broadcast)),
    ("tlb::range_of_16_pages_is_forgotten", |ctx| pages(ctx, 16, Reach::Broadcast)),
    ("tlb::range_of_77_pages_is_forgotten", |ctx| pages(ctx, 77, Reach::Local)),
    ("tlb::single_page_instructions_do_the_same", single_pages),
    ("tlb::walks_are_forgotten_with_their_table", walks),
    ("tlb::whole_asid_is_forgotten", whole_asid),
    ("tlb::broadcast_reaches_another_cpu", other_cpu),
    ("tlb::other_asid_is_another_translation", other_asid),
    ("tlb::two_mebibytes_take_one_range_instruction", instruction_counts),
];

/// Reads a word of user memory.
fn read(ctx: &TestCtx, va: u64) -> u64 {
    let mut bytes = [0; 8];
    match ctx.machine.read_user(VirtAddr::new(va), &mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => u64::MAX,
    }
}

/// Returns a frame whose first word is `mark`.
fn marked(ctx: &TestCtx, mark: u64) -> Pfn {
    let frame = ctx.frame();
    ctx.machine.write_bytes(frame.base(), &mark.to_le_bytes());
    frame
}

fn invalidate(ctx: &TestCtx, what: Invalidate, reach: Reach) -> TlbiCount {
    ctx.machine.before();
    let count = ctx.machine.invalidate(what, reach);
    ctx.machine.complete(reach);
    count
}

/// Points an entry elsewhere, without any invalidation.
fn redirect(ctx: &TestCtx, slot: PteSlot, to: Pfn) {
    ctx.machine.store(slot, descriptor::page(to.base(), READ_WRITE));
    ctx.machine.publish();
}

fn pages_from(start: u64, nr_pages: u64) -> PageRange {
    PageRange::of_len(VirtAddr::new(start).page(), nr_pages)
}

/// Maps pages, reads each, invalidates all with `check`, and expects each to be read anew.
fn check(ctx: &TestCtx, nr_pages: u64, forget: impl Fn(&TestCtx, Asid, PageRange)) -> Outcome {
    let space = Space::new(ctx);
    let (old, new) = (marked(ctx, 1), marked(ctx, 2));
    let at = |page: u64| DATA + page * 4096;
    for page in 0..nr_pages {
        space.map(at(page), old, READ_WRITE);
        expect_eq!(read(ctx, at(page)), 1);
    }
    for page in 0..nr_pages {
        ctx.machine.store(space.entry(at(page)), 0);
    }
    forget(ctx, space.asid, pages_from(DATA, nr_pages));
    for page in 0..nr_pages {
        expect_eq!(read(ctx, at(page)), u64::MAX, "page {page} is unmapped");
        redirect(ctx, space.entry(at(page)), new);
    }
    for page in 0..nr_pages {
        expect_eq!(read(ctx, at(page)), 2, "page {page} is another frame");
    }
    Ok(())
}

fn pages(ctx: &TestCtx, nr_pages: u64, reach: Reach) -> Outcome {
    check(ctx, nr_pages, |ctx, asid, pages| {
        invalidate(ctx, Invalidate::Leaves { asid, pages, level: LeafLevel::Pages }, reach);
    })
}

fn single_pages(ctx: &TestCtx) -> Outcome {
    check(ctx, 5, |ctx, asid, pages| {
        tlbi::before();
        let features = CpuFeatures { tlbi_range: false, ..ctx.machine.features };
        let what = Invalidate::Leaves { asid, pages, level: LeafLevel::Pages };
        let count = tlbi::invalidate(what, Reach::Broadcast, &features);
        assert_eq!(count, TlbiCount { pages: 5, ..TlbiCount::default() });
        tlbi::complete(Reach::Broadcast);
    })
}

fn whole_asid(ctx: &TestCtx) -> Outcome {
    check(ctx, 3, |ctx, asid, _| {
        let count = invalidate(ctx, Invalidate::Asid(asid), Reach::Local);
        assert_eq!(count, TlbiCount { asids: 1, ..TlbiCount::default() });
    })
}

fn walks(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    let old = space.map(DATA, marked(ctx, 1), READ_WRITE);
    expect_eq!(read(ctx, DATA), 1);
    // Another L3 table, with another frame, in place of the first.
    let table = ctx.frame();
    redirect(ctx, PteSlot::new(table, old.index.into()), marked(ctx, 2));
    let l1 = next_table(ctx, space.root, 0);
    let slot = PteSlot::new(next_table(ctx, l1, 1), descriptor::index(DATA as usize, 2));
    ctx.machine.store(slot, 0);
    let pages = pages_from(DATA, 1);
    invalidate(ctx, Invalidate::Walks { asid: space.asid, pages }, Reach::Broadcast);
    ctx.machine.store(slot, descriptor::table(table.base()));
    ctx.machine.publish();
    expect_eq!(read(ctx, DATA), 2);
    Ok(())
}

/// Returns the table that the entry for [`DATA`] at `level` points to.
fn next_table(ctx: &TestCtx, table: Pfn, level: u32) -> Pfn {
    let slot = PteSlot::new(table, descriptor::index(DATA as usize, level));
    descriptor::output(ctx.machine.load(slot)).pfn()
}

/// What two CPUs tell each other.
#[derive(Default)]
pub(super) struct Talk {
    step: AtomicU32,
    values: [AtomicU64; 2],
}

impl Talk {
    /// Lets who waits for `step` go on.
    pub(super) fn go_on_with(&self, step: u32) {
        self.step.store(step, Ordering::Release);
        sync::notify();
    }

    /// Leaves a word for the other.
    pub(super) fn say(&self, index: usize, value: u64) {
        self.values[index].store(value, Ordering::Relaxed);
    }

    /// Returns a word that the other has left.
    pub(super) fn heard(&self, index: usize) -> u64 {
        self.values[index].load(Ordering::Relaxed)
    }

    /// Waits until the other says so.
    pub(super) fn wait_for(&self, step: u32) {
        while self.step.load(Ordering::Acquire) != step {
            sync::relax();
        }
    }
}

fn other_cpu(ctx: &TestCtx) -> Outcome {
    let cpu = ctx.other_cpu()?;
    let space = Space::new(ctx);
    let (old, new) = (marked(ctx, 1), marked(ctx, 2));
    let slot = space.map(DATA, old, READ_WRITE);
    let talk = Arc::new(Talk::default());
    let (machine, root, asid, its) = (ctx.machine, space.root, space.asid, talk.clone());
    let look = move || {
        let mut bytes = [0; 8];
        let is_read = machine.read_user(VirtAddr::new(DATA), &mut bytes).is_ok();
        if is_read { u64::from_le_bytes(bytes) } else { u64::MAX }
    };
    smp::run_on(
        cpu,
        alloc::boxed::Box::new(move || {
            machine.activate(root, asid);
            its.say(0, look());
            its.go_on_with(1);
            its.wait_for(2);
            its.say(1, look());
            machine.deactivate();
            its.go_on_with(3);
        }),
    );
    talk.wait_for(1);
    ctx.machine.store(slot, 0);
    let pages = pages_from(DATA, 1);
    invalidate(
        ctx,
        Invalidate::Leaves { asid: space.asid, pages, level: LeafLevel::Pages },
        Reach::Broadcast,
    );
    redirect(ctx, slot, new);
    talk.go_on_with(2);
    talk.wait_for(3);
    expect_eq!(talk.heard(0), 1, "before");
    expect_eq!(talk.heard(1), 2, "after");
    Ok(())
}

fn other_asid(ctx: &TestCtx) -> Outcome {
    let first = Space::new(ctx);
    first.map(DATA, marked(ctx, 1), READ_WRITE);
    expect_eq!(read(ctx, DATA), 1);
    let second = Space::with_asid(ctx, Asid(0x2345));
    second.map(DATA, marked(ctx, 2), READ_WRITE);
    second.activate();
    expect_eq!(sysreg::ttbr0_el1(), second.root.base().get() | 0x2345 << 48);
    expect_eq!(read(ctx, DATA), 2);
    first.activate();
    expect_eq!(sysreg::ttbr0_el1(), first.root.base().get() | 0x1234 << 48);
    expect_eq!(read(ctx, DATA), 1);
    ctx.machine.deactivate();
    expect_eq!(read(ctx, DATA), u64::MAX, "no address space");
    Ok(())
}

fn instruction_counts(ctx: &TestCtx) -> Outcome {
    if !ctx.machine.features.tlbi_range {
        return skip("no FEAT_TLBIRANGE");
    }
    let asid = Asid(0x1234);
    let count = |nr_pages| {
        let pages = pages_from(DATA, nr_pages);
        invalidate(
            ctx,
            Invalidate::Leaves { asid, pages, level: LeafLevel::Pages },
            Reach::Broadcast,
        )
    };
    let expected = |pages, ranges| TlbiCount { pages, ranges, ..TlbiCount::default() };
    expect_eq!(count(512), expected(0, 1));
    expect_eq!(count(16), expected(0, 1));
    expect_eq!(count(1), expected(1, 0));
    expect_eq!(count(511), expected(1, 2));
    Ok(())
}
