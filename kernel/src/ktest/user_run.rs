// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests running user code: registers, traps, and what user code cannot do.

use arch::syndrome::{self, class};
use base::VirtAddr;
use hal::{Access, Clock, FaultCause, Interrupt, MemFault, RunUser, Threads, Trap, UserRegs};

use super::space::{self, DATA, READ_WRITE, Space, address_of, regs_at};
use super::{Failure, Outcome, Test, TestCtx, expect_eq, expect_that, skip};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("user_run::every_register_goes_in_and_comes_out", registers),
    ("user_run::syscall_resumes_behind_the_instruction", resumes),
    ("user_run::kernel_pstate_becomes_a_user_one", pstate),
    ("user_run::unmapped_load_and_store_fault_with_their_address", data_faults),
    ("user_run::kernel_addresses_look_unmapped", kernel_addresses),
    ("user_run::fetch_from_data_and_from_nowhere_faults", fetch_faults),
    ("user_run::undefined_and_privileged_instructions_trap", undefined),
    ("user_run::breakpoint_carries_its_immediate", breakpoint),
    ("user_run::misaligned_pc_traps", misaligned_pc),
    ("user_run::misaligned_sp_traps", misaligned_sp),
    ("user_run::timer_ends_an_endless_loop", timer_preempts),
    ("user_run::counter_and_cache_registers_are_readable", readable_registers),
    ("user_run::cache_maintenance_is_permitted", cache_maintenance),
    ("user_run::thread_pointer_is_kept", thread_pointer),
];

fn fault_of(trap: Trap) -> Result<MemFault, Failure> {
    match trap {
        Trap::Fault(fault) => Ok(fault),
        other => Err(super::failed(file!(), line!(), format_args!("no fault but {other:x?}"))),
    }
}

fn registers(ctx: &TestCtx) -> Outcome {
    let _space = Space::new(ctx);
    let mut regs = regs_at(space::count_registers());
    let start = regs.pc;
    regs.x = core::array::from_fn(|n| (n as u64 + 1).rotate_right(8) | n as u64);
    regs.sp = DATA;
    let before = regs;
    expect_eq!(ctx.machine.run_user(&mut regs), Trap::Syscall);
    for (n, (after, before)) in regs.x.iter().zip(before.x).enumerate() {
        expect_eq!(*after, before.wrapping_add(n as u64 + 1), "x{n}");
    }
    expect_eq!(regs.sp, DATA + 16);
    expect_eq!(regs.pc, start + 4 * (31 + 3));
    expect_eq!(regs.pstate & 0xf000_0000, 0x4000_0000, "NZCV");
    Ok(())
}

fn resumes(ctx: &TestCtx) -> Outcome {
    let _space = Space::new(ctx);
    let mut regs = regs_at(space::svc());
    let start = regs.pc;
    for _ in 0..3 {
        expect_eq!(ctx.machine.run_user(&mut regs), Trap::Syscall);
        expect_eq!(regs.pc, start + 4);
    }
    Ok(())
}

fn pstate(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    // EL1h, everything masked, single step, illegal state, PAN: all of it is for EL1 to set.
    for pstate in [0x3c5, 0x3c0, 1 << 21, 1 << 20, 1 << 22 | 0x5, !(1 << 25)] {
        let mut regs = UserRegs { pstate, ..regs_at(space::svc()) };
        expect_eq!(ctx.machine.run_user(&mut regs), Trap::Syscall, "{pstate:#x}");
        expect_eq!(regs.pstate & 0x3df, 0, "EL0t, nothing masked");
    }
    drop(space);
    Ok(())
}

fn data_faults(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    for addr in [0, 8, DATA, (1 << 48) - 8, 1 << 48, 0x0100_0000_0000_0000 | DATA] {
        let (trap, regs) = space.run(space::load(), 0, addr);
        let fault = fault_of(trap)?;
        let found = (fault.addr, fault.access, fault.cause);
        expect_eq!(found, (VirtAddr::new(addr), Access::Read, FaultCause::Translation));
        expect_eq!(syndrome::class(fault.esr), class::DATA_ABORT_EL0);
        expect_eq!(regs.pc, address_of(space::load()).get(), "pc is at the load");
        let (trap, _) = space.run(space::store(), 0, addr);
        expect_eq!(fault_of(trap)?.access, Access::Write, "{addr:#x}");
    }
    Ok(())
}

fn kernel_addresses(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    let linear = arch::linear_map::virt_range(&(ctx.frame().base()..ctx.frame().base())).start;
    for addr in [linear, arch::image::start(), usize::MAX - 7, 0xffff_7000_0000_0000] {
        let fault = fault_of(space.run(space::load(), 0, addr as u64).0)?;
        expect_eq!(fault.cause, FaultCause::Translation, "load from {addr:#x}");
        let fault = fault_of(space.run(space::jump(), 0, addr as u64 & !3).0)?;
        let found = (fault.access, fault.cause);
        expect_eq!(found, (Access::Execute, FaultCause::Translation), "jump to {addr:#x}");
    }
    Ok(())
}

fn fetch_faults(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    space.map_data(READ_WRITE);
    let fault = fault_of(space.run(space::jump(), 0, DATA).0)?;
    let found = (fault.addr.get(), fault.access, fault.cause);
    expect_eq!(found, (DATA, Access::Execute, FaultCause::Permission));
    let fault = fault_of(space.run(space::jump(), 0, 0x1000).0)?;
    let found = (fault.addr.get(), fault.access, fault.cause);
    expect_eq!(found, (0x1000, Access::Execute, FaultCause::Translation));
    Ok(())
}

fn undefined(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    for entry in [space::undefined(), space::privileged()] {
        let (trap, regs) = space.run(entry, 0, 0);
        expect_that!(matches!(trap, Trap::Undefined(_)), "{trap:x?}");
        expect_eq!(regs.pc, address_of(entry).get());
    }
    Ok(())
}

fn breakpoint(ctx: &TestCtx) -> Outcome {
    let (trap, regs) = Space::new(ctx).run(space::breakpoint(), 0, 0);
    expect_that!(matches!(trap, Trap::Breakpoint(0x123, _)), "{trap:x?}");
    expect_eq!(regs.pc, address_of(space::breakpoint()).get());
    Ok(())
}

fn misaligned_pc(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    // Inside mapped code: QEMU looks for a translation before it looks at the alignment.
    let odd = address_of(space::svc()).get() + 2;
    let (trap, _) = space.run(space::jump(), 0, odd);
    expect_that!(matches!(trap, Trap::Misaligned(at, _) if at == odd), "{trap:x?}");
    Ok(())
}

fn misaligned_sp(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    space.map_data(READ_WRITE);
    let mut regs = UserRegs { sp: DATA, ..regs_at(space::misaligned_sp()) };
    let trap = ctx.machine.run_user(&mut regs);
    if trap == Trap::Syscall {
        return skip("this machine does not check the alignment of SP");
    }
    expect_that!(matches!(trap, Trap::Misaligned(at, _) if at == DATA + 8), "{trap:x?}");
    Ok(())
}

fn timer_preempts(ctx: &TestCtx) -> Outcome {
    let _space = Space::new(ctx);
    let mut regs = regs_at(space::spin());
    let start = regs.pc;
    let deadline = ctx.machine.now_ns() + 100_000;
    ctx.machine.set_timer(Some(deadline));
    expect_eq!(ctx.machine.run_user(&mut regs), Trap::Interrupt);
    expect_that!(ctx.machine.now_ns() >= deadline, "not before its time");
    expect_eq!(ctx.machine.take_interrupt(), Some(Interrupt::Timer));
    expect_eq!(regs.pc, start, "the loop goes on where it was");
    Ok(())
}

fn readable_registers(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    let before = ctx.machine.now_ns();
    let (trap, regs) = space.run(space::read_registers(), 0, 0);
    expect_eq!(trap, Trap::Syscall);
    let ns = (u128::from(regs.x[0]) * 1_000_000_000 / u128::from(regs.x[3])) as u64;
    expect_that!((before..=ctx.machine.now_ns()).contains(&ns), "counter");
    expect_eq!(regs.x[1], arch::sysreg::ctr_el0());
    expect_eq!(regs.x[2], arch::sysreg::dczid_el0());
    Ok(())
}

fn cache_maintenance(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    space.map_data(READ_WRITE);
    expect_eq!(space.run(space::maintain_cache(), 0, DATA).0, Trap::Syscall);
    Ok(())
}

fn thread_pointer(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    ctx.machine.load_tls(0x1234_5678_0000);
    expect_eq!(space.run(space::add_to_tls(), 0x111, 0).0, Trap::Syscall);
    expect_eq!(ctx.machine.save_tls(), 0x1234_5678_0111);
    Ok(())
}
