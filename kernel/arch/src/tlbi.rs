// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file invalidates TLB entries (Arm ARM D8.17) and switches address spaces.
//!
//! The order of an invalidation, and what each step guarantees to whom, is told in `hal::tlb`.

#![expect(unsafe_code, reason = "TLBI, and the user table base")]

use aarch64_cpu::asm::barrier;
use base::PageRange;
use hal::tlb::TlbiCount;
use hal::{Asid, Invalidate, LeafLevel, Reach};

use crate::features::CpuFeatures;
use crate::image;
use crate::linear_map::Frame;
use crate::sysreg;
use crate::tlbi_range::{self, Piece};

/// Without range instructions, a range longer than this is invalidated by its ASID. Linux draws
/// the same line (arch/arm64/include/asm/tlbflush.h, MAX_DVM_OPS): one table's worth of pages.
const MAX_SINGLE_PAGES: u64 = 512;

/// With range instructions, the same for what one of them cannot cover (MAX_TLBI_RANGE_PAGES there).
const MAX_RANGE_PAGES: u64 = tlbi_range::MAX_RUN_PAGES;

/// Emits one TLBI with a register operand.
macro_rules! tlbi {
    ($operation:literal, $operand:expr) => {
        // SAFETY: forgetting translations changes none: the tables say the same as before.
        unsafe {
            core::arch::asm!(
                ".arch_extension tlb-rmi",
                concat!("tlbi ", $operation, ", {}"),
                in(reg) $operand,
                // Not `nomem`: entry stores before it stay before it.
                options(nostack, preserves_flags)
            )
        }
    };
}

/// Makes all earlier entry stores of this CPU visible to the walkers of all CPUs, and to the
/// accesses of this one that follow (Arm ARM D8.2.5).
#[inline(always)]
pub fn publish() {
    barrier::dsb(barrier::ISHST);
    barrier::isb(barrier::SY);
}

/// Orders all earlier entry stores of this CPU before the invalidations that follow: the walkers of
/// all CPUs in reach see them, so that none of them refills an entry from the old store.
#[inline(always)]
pub fn before() {
    barrier::dsb(barrier::ISHST);
}

/// Waits until every invalidation of this CPU is complete on all CPUs in reach, and until the
/// accesses that other CPUs made through a forgotten translation are visible.
///
/// No ISB: user code is entered through an exception return, and a user copy's accesses come after
/// the DSB in program order.
#[inline(always)]
pub fn complete(reach: Reach) {
    match reach {
        Reach::Broadcast => barrier::dsb(barrier::ISH),
        Reach::Local => barrier::dsb(barrier::NSH),
    }
}

/// Starts one invalidation of user translations and returns what instructions it took, as `features`
/// allow.
#[inline]
pub fn invalidate(what: Invalidate, reach: Reach, features: &CpuFeatures) -> TlbiCount {
    match what {
        // One page, as most faults have it.
        Invalidate::Leaves { asid, pages, level } if pages.nr_pages() == 1 => {
            let operand = Piece::Page(pages.start).operand(asid, level, features.tlbi_level);
            match reach {
                Reach::Broadcast => tlbi!("vale1is", operand),
                Reach::Local => tlbi!("vale1", operand),
            }
            TlbiCount { pages: 1, ..TlbiCount::default() }
        }
        what => invalidate_many(what, reach, features),
    }
}

fn invalidate_many(what: Invalidate, reach: Reach, features: &CpuFeatures) -> TlbiCount {
    let (has_ranges, has_levels) = (features.tlbi_range, features.tlbi_level);
    match what {
        Invalidate::Leaves { asid, pages, level } => {
            let operand = |piece: Piece| piece.operand(asid, level, has_levels);
            // A block falls to the invalidation of any of its pages.
            let step = if level == LeafLevel::Blocks { 512 } else { 1 };
            invalidate_pages(asid, pages, step, reach, has_ranges, |piece| match (piece, reach) {
                (Piece::Page(_), Reach::Broadcast) => tlbi!("vale1is", operand(piece)),
                (Piece::Page(_), Reach::Local) => tlbi!("vale1", operand(piece)),
                (Piece::Run { .. }, Reach::Broadcast) => tlbi!("rvale1is", operand(piece)),
                (Piece::Run { .. }, Reach::Local) => tlbi!("rvale1", operand(piece)),
            })
        }
        Invalidate::Walks { asid, pages } => {
            let operand = |piece: Piece| piece.operand(asid, LeafLevel::Any, has_levels);
            invalidate_pages(asid, pages, 1, reach, has_ranges, |piece| match (piece, reach) {
                (Piece::Page(_), Reach::Broadcast) => tlbi!("vae1is", operand(piece)),
                (Piece::Page(_), Reach::Local) => tlbi!("vae1", operand(piece)),
                (Piece::Run { .. }, Reach::Broadcast) => tlbi!("rvae1is", operand(piece)),
                (Piece::Run { .. }, Reach::Local) => tlbi!("rvae1", operand(piece)),
            })
        }
        Invalidate::Asid(asid) => invalidate_asid(asid, reach),
        Invalidate::All => invalidate_all(reach),
    }
}

/// Cuts a range into pieces, as the CPU's instructions allow, and starts each one.
fn invalidate_pages(
    asid: Asid,
    pages: PageRange,
    step: usize,
    reach: Reach,
    has_ranges: bool,
    start: impl Fn(Piece),
) -> TlbiCount {
    let mut count = TlbiCount::default();
    let most = if has_ranges { MAX_RANGE_PAGES } else { MAX_SINGLE_PAGES * step as u64 };
    if pages.nr_pages() > most {
        return invalidate_asid(asid, reach);
    }
    if has_ranges {
        for piece in tlbi_range::pieces(pages) {
            start(piece);
            match piece {
                Piece::Page(_) => count.pages += 1,
                Piece::Run { .. } => count.ranges += 1,
            }
        }
        return count;
    }
    for page in pages.pages().step_by(step) {
        start(Piece::Page(page));
        count.pages += 1;
    }
    count
}

fn invalidate_asid(asid: Asid, reach: Reach) -> TlbiCount {
    let operand = u64::from(asid.0) << 48;
    match reach {
        Reach::Broadcast => tlbi!("aside1is", operand),
        Reach::Local => tlbi!("aside1", operand),
    }
    TlbiCount { asids: 1, ..TlbiCount::default() }
}

fn invalidate_all(reach: Reach) -> TlbiCount {
    match reach {
        Reach::Broadcast => {
            // SAFETY: forgetting translations changes none: the tables say the same as before.
            unsafe { core::arch::asm!("tlbi vmalle1is", options(nostack, preserves_flags)) }
        }
        Reach::Local => {
            // SAFETY: as above.
            unsafe { core::arch::asm!("tlbi vmalle1", options(nostack, preserves_flags)) }
        }
    }
    TlbiCount { alls: 1, ..TlbiCount::default() }
}

/// Makes this CPU forget all translations of EL1 and EL0, and waits for it.
pub fn local_all() {
    // SAFETY: forgetting translations changes none.
    unsafe { core::arch::asm!("tlbi vmalle1", options(nostack, preserves_flags)) };
    barrier::dsb(barrier::NSH);
    barrier::isb(barrier::SY);
}

/// Makes this CPU translate user addresses with the table in `root`.
pub fn activate(root: Frame<'_>, asid: Asid) {
    set_user_table(crate::linear_map::phys_of(root.as_ptr().addr()).get(), asid);
}

/// Makes this CPU translate no user address: the user half is an empty table, under ASID 0, which
/// no address space has.
pub fn deactivate() {
    set_user_table(image::phys(image::empty_user_table()).get(), Asid(0));
}

/// Writes table and ASID in one store, so that no walk can pair the new with the old.
fn set_user_table(table: u64, asid: Asid) {
    let value = table | u64::from(asid.0) << 48;
    // A rewrite of the same value changes nothing; under QEMU it still costs a look at the TLB.
    if sysreg::ttbr0_el1() != value {
        // SAFETY: changes translations of the user half only, through which no Rust object is
        // reached.
        unsafe { sysreg::set_ttbr0_el1(value) };
        // User copies of this CPU from here on use the new table.
        barrier::isb(barrier::SY);
    }
}
