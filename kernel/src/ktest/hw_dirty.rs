// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests access flag and dirty state: set by hardware where the machine says so, reported
//! as a fault where it does not. Boot options `mm.af=sw` and `mm.dbm=sw` make it the second.

use arch::descriptor::{ACCESSED, DIRTY_MODIFIER, READ_ONLY};
use base::VirtAddr;
use hal::{Access, FaultCause, PteMem, Tlb, Trap, UserMem};

use super::space::{self, DATA, READ, READ_WRITE, Space};
use super::{Outcome, Test, TestCtx, expect_eq, expect_that};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("hw_dirty::access_flag_is_set_or_faults", access_flag),
    ("hw_dirty::first_write_makes_dirty_or_faults", first_write),
    ("hw_dirty::user_copies_set_both_like_el0", user_copies),
    ("hw_dirty::read_only_without_modifier_always_faults", read_only),
];

fn access_flag(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    let slot = space.map(DATA, ctx.frame(), READ_WRITE & !ACCESSED);
    let (trap, _) = space.run(space::load(), 0, DATA);
    let is_set = ctx.machine.load(slot) & ACCESSED != 0;
    if ctx.machine.sets_access_flag() {
        expect_eq!(trap, Trap::Syscall);
        expect_that!(is_set, "hardware has set it");
    } else {
        let Trap::Fault(fault) = trap else {
            return Err(super::failed(file!(), line!(), format_args!("{trap:?}")));
        };
        expect_eq!((fault.cause, fault.access), (FaultCause::AccessFlag, Access::Read));
        expect_eq!(fault.addr, VirtAddr::new(DATA));
        expect_that!(!is_set, "nobody has set it");
    }
    Ok(())
}

fn first_write(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    let slot = space.map(DATA, ctx.frame(), READ | DIRTY_MODIFIER);
    let (trap, _) = space.run(space::load(), 0, DATA);
    expect_eq!(trap, Trap::Syscall, "a read");
    expect_that!(ctx.machine.load(slot) & READ_ONLY != 0, "a read does not make dirty");
    let (trap, _) = space.run(space::store(), 7, DATA);
    let is_dirty = ctx.machine.load(slot) & READ_ONLY == 0;
    expect_eq!(is_dirty, ctx.machine.sets_dirty());
    match trap {
        Trap::Syscall => expect_that!(ctx.machine.sets_dirty(), "the store went through"),
        Trap::Fault(fault) => {
            expect_that!(!ctx.machine.sets_dirty(), "{fault:?}");
            expect_eq!((fault.cause, fault.access), (FaultCause::Permission, Access::Write));
        }
        other => expect_that!(false, "{other:?}"),
    }
    Ok(())
}

fn user_copies(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    let slot = space.map(DATA, ctx.frame(), (READ | DIRTY_MODIFIER) & !ACCESSED);
    let read = ctx.machine.read_user(VirtAddr::new(DATA), &mut [0; 8]).map_err(|e| e.fault.cause);
    if ctx.machine.sets_access_flag() {
        expect_eq!(read, Ok(()));
        expect_that!(ctx.machine.load(slot) & ACCESSED != 0);
    } else {
        expect_eq!(read, Err(FaultCause::AccessFlag));
        ctx.machine.store(slot, ctx.machine.load(slot) | ACCESSED);
        ctx.machine.publish();
    }
    let exchange = || ctx.machine.compare_exchange_user_u32(VirtAddr::new(DATA), 0, 5);
    let exchanged = exchange().map_err(|error| error.fault.cause);
    let is_dirty = ctx.machine.load(slot) & READ_ONLY == 0;
    expect_eq!(is_dirty, ctx.machine.sets_dirty());
    let expected = if is_dirty { Ok(0) } else { Err(FaultCause::Permission) };
    expect_eq!(exchanged, expected);
    Ok(())
}

fn read_only(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    let slot = space.map(DATA, ctx.frame(), READ);
    let (trap, _) = space.run(space::store(), 7, DATA);
    let Trap::Fault(fault) = trap else {
        return Err(super::failed(file!(), line!(), format_args!("{trap:?}")));
    };
    expect_eq!((fault.cause, fault.access), (FaultCause::Permission, Access::Write));
    expect_that!(ctx.machine.load(slot) & READ_ONLY != 0);
    let written = ctx.machine.write_user(VirtAddr::new(DATA), &[1]).map_err(|e| e.fault.cause);
    expect_eq!(written, Err(FaultCause::Permission));
    Ok(())
}
