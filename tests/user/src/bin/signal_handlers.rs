// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests handlers of signals: their frames and stacks, what they may use, how they nest.

#![expect(unsafe_code, reason = "handlers, and registers across them")]

use core::arch::asm;
use core::ffi::c_void;
use core::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};

use user_tests::memory::{Mapping, PAGE};
use user_tests::process::{self, Ended};
use user_tests::signal::{self, NOTE, NOTED, ORDER};
use user_tests::{memory, sys};

user_tests::tests!(
    fp_registers_survive_a_handler_that_uses_them,
    a_handler_blocks_its_signal_unless_nodefer,
    resethand_handles_once,
    handlers_of_several_signals_nest,
    a_handler_runs_on_the_alternate_stack,
    sigaltstack_refuses_what_linux_refuses,
    a_stack_overflow_is_handled_on_the_alternate_stack,
    an_overflow_without_an_alternate_stack_kills,
    a_frame_that_makes_no_sense_is_sigsegv,
    a_blocked_fault_kills,
    the_context_of_a_fault_has_address_and_syndrome,
);

extern "C" fn clobber_fp(_: i32, _: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the registers named are declared as written.
    unsafe {
        asm!(
            "movi v0.16b, #0xff", "movi v8.16b, #0xff", "movi v31.16b, #0xff",
            "mov {0}, #0x400000", "msr fpcr, {0}",
            out(reg) _, out("v0") _, out("v8") _, out("v31") _,
        );
    }
}

fn fp_registers_survive_a_handler_that_uses_them() {
    signal::handle(libc::SIGUSR1, 0, 0, clobber_fp);
    let tid = sys::call(libc::SYS_gettid, []).unwrap();
    let (v0, v8, v31): (u64, u64, u64);
    let fpcr: u64;
    // SAFETY: tkill keeps every register but x0; the handler's changes are undone.
    unsafe {
        asm!(
            "movi v0.16b, #0x11", "movi v8.16b, #0x22", "movi v31.16b, #0x33",
            "svc #0",
            "umov {v0}, v0.d[1]", "umov {v8}, v8.d[1]", "umov {v31}, v31.d[0]",
            "mrs {fpcr}, fpcr",
            v0 = lateout(reg) v0, v8 = lateout(reg) v8, v31 = lateout(reg) v31,
            fpcr = lateout(reg) fpcr,
            in("x8") libc::SYS_tkill, inlateout("x0") tid => _, in("x1") libc::SIGUSR1,
            out("v0") _, out("v8") _, out("v31") _,
        );
    }
    assert_eq!(v0, 0x1111_1111_1111_1111);
    assert_eq!(v8, 0x2222_2222_2222_2222);
    assert_eq!(v31, 0x3333_3333_3333_3333);
    assert_eq!(fpcr, 0);
}

/// Raises its own signal again once, and notes how deep it is.
extern "C" fn raise_again(signal: i32, _: *mut libc::siginfo_t, _: *mut c_void) {
    static DEPTH: AtomicI32 = AtomicI32::new(0);
    let depth = DEPTH.fetch_add(1, Ordering::SeqCst) + 1;
    if ORDER.is_empty() && depth == 1 {
        signal::raise(signal);
    }
    ORDER.add(depth);
    DEPTH.fetch_sub(1, Ordering::SeqCst);
}

fn a_handler_blocks_its_signal_unless_nodefer() {
    signal::handle(libc::SIGUSR1, 0, 0, raise_again);
    signal::raise(libc::SIGUSR1);
    assert_eq!(ORDER.taken(), [1, 1], "one after the other");
    process::in_child(|| {
        ORDER.clear();
        signal::handle(libc::SIGUSR1, libc::SA_NODEFER, 0, raise_again);
        signal::raise(libc::SIGUSR1);
        assert_eq!(ORDER.taken(), [2, 1], "one inside the other");
    });
}

fn resethand_handles_once() {
    signal::handle(libc::SIGUSR1, libc::SA_RESETHAND, 0, NOTE);
    signal::raise(libc::SIGUSR1);
    assert_eq!(NOTED.count(), 1);
    let child = process::fork(|| {
        signal::raise(libc::SIGUSR1);
        0
    });
    assert_eq!(child.wait(), Ended::Killed(libc::SIGUSR1));
}

fn handlers_of_several_signals_nest() {
    let both = signal::set(&[libc::SIGUSR1, libc::SIGUSR2]);
    for signal in [libc::SIGUSR1, libc::SIGUSR2] {
        signal::handle(signal, 0, 0, signal::NOTE_VALUE);
    }
    let before = signal::mask(libc::SIG_BLOCK, both);
    for signal in [libc::SIGUSR1, libc::SIGUSR2] {
        signal::raise(signal);
    }
    signal::mask(libc::SIG_SETMASK, before);
    // Frames are built lowest signal first, and the last one built runs first.
    let order: Vec<_> = ORDER.taken().into_iter().map(|it| it / 100).collect();
    assert_eq!(order, [libc::SIGUSR2, libc::SIGUSR1]);
}

static HANDLER_SP: AtomicUsize = AtomicUsize::new(0);
static HANDLER_STACK: AtomicI32 = AtomicI32::new(-1);

extern "C" fn note_stack(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    HANDLER_SP.store((&raw const signal).addr(), Ordering::SeqCst);
    let (_, flags, _) = signal::altstack(None).expect("sigaltstack");
    HANDLER_STACK.store(flags, Ordering::SeqCst);
    NOTE(signal, info, context);
}

fn a_handler_runs_on_the_alternate_stack() {
    let stack = Mapping::anonymous(4 * PAGE);
    let wish = (stack.start(), 0, stack.len_bytes());
    assert_eq!(signal::altstack(Some(wish)).map(|old| old.0 != stack.start()), Ok(true));
    assert_eq!(signal::altstack(None), Ok(wish));
    signal::handle(libc::SIGUSR1, libc::SA_ONSTACK, 0, note_stack);
    signal::handle(libc::SIGUSR2, 0, 0, note_stack);
    signal::raise(libc::SIGUSR1);
    assert!(stack.range().contains(&HANDLER_SP.load(Ordering::SeqCst)));
    assert_eq!(HANDLER_STACK.load(Ordering::SeqCst), libc::SS_ONSTACK);
    assert_eq!(signal::altstack(None), Ok(wish), "not in use any more");
    signal::raise(libc::SIGUSR2);
    assert!(!stack.range().contains(&HANDLER_SP.load(Ordering::SeqCst)));
    assert_eq!(HANDLER_STACK.load(Ordering::SeqCst), 0);
}

extern "C" fn change_stack_in_use(_: i32, _: *mut libc::siginfo_t, _: *mut c_void) {
    let outcome = signal::altstack(Some((0, libc::SS_DISABLE, 0)));
    ORDER.add(outcome.map_or_else(|error| error, |_| 0));
}

fn sigaltstack_refuses_what_linux_refuses() {
    let stack = Mapping::anonymous(4 * PAGE);
    let at = stack.start();
    assert_eq!(signal::altstack(Some((at, 0, 5119))), Err(libc::ENOMEM));
    assert_eq!(signal::altstack(Some((at, 4, 4 * PAGE))), Err(libc::EINVAL));
    assert!(signal::altstack(Some((at, 0, 4 * PAGE))).is_ok());
    signal::handle(libc::SIGUSR1, libc::SA_ONSTACK, 0, change_stack_in_use);
    signal::raise(libc::SIGUSR1);
    assert_eq!(ORDER.taken(), [libc::EPERM]);
    assert!(signal::altstack(Some((at, libc::SS_DISABLE, 4 * PAGE))).is_ok());
    assert_eq!(signal::altstack(None), Ok((0, libc::SS_DISABLE, 0)));
    assert_eq!(sys::call(libc::SYS_sigaltstack, [1, 0]), Err(libc::EFAULT));
}

/// Uses stack without end.
#[inline(never)]
#[expect(unconditional_recursion, reason = "a stack overflow is wanted")]
fn recurse(depth: u64) -> u64 {
    let room = core::hint::black_box([depth; 512]);
    recurse(depth + 1) + room[(depth % 512) as usize]
}

extern "C" fn leave(signal: i32, _: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the call ends the process.
    unsafe { libc::_exit(100 + signal) }
}

fn a_stack_overflow_is_handled_on_the_alternate_stack() {
    let stack = Mapping::anonymous(4 * PAGE);
    signal::altstack(Some((stack.start(), 0, stack.len_bytes()))).unwrap();
    signal::handle(libc::SIGSEGV, libc::SA_ONSTACK, 0, leave);
    let child = process::fork(|| recurse(0) as i32);
    assert_eq!(child.wait(), Ended::Exited(100 + libc::SIGSEGV));
}

fn an_overflow_without_an_alternate_stack_kills() {
    signal::handle(libc::SIGSEGV, 0, 0, leave);
    let child = process::fork(|| recurse(0) as i32);
    assert_eq!(child.wait(), Ended::Killed(libc::SIGSEGV));
}

fn a_frame_that_makes_no_sense_is_sigsegv() {
    // The library's handler would return.
    signal::sigaction(libc::SIGSEGV, Some(&signal::Action::default())).unwrap();
    let child = process::fork(|| {
        let _ = sys::call(libc::SYS_rt_sigreturn, []);
        0
    });
    assert_eq!(child.wait(), Ended::Killed(libc::SIGSEGV));
}

fn a_blocked_fault_kills() {
    let fault = || {
        memory::load(8);
        0
    };
    signal::handle(libc::SIGSEGV, 0, 0, leave);
    assert_eq!(process::fork(fault).wait(), Ended::Exited(100 + libc::SIGSEGV));
    signal::mask(libc::SIG_BLOCK, signal::set(&[libc::SIGSEGV]));
    assert_eq!(process::fork(fault).wait(), Ended::Killed(libc::SIGSEGV));
    signal::mask(libc::SIG_SETMASK, 0);
    let ignore = signal::Action { handler: libc::SIG_IGN, ..Default::default() };
    signal::sigaction(libc::SIGSEGV, Some(&ignore)).unwrap();
    assert_eq!(process::fork(fault).wait(), Ended::Killed(libc::SIGSEGV));
}

static CONTEXT: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Notes fault_address, the ESR record and si_addr; skips the instruction. Offsets are those of
/// arch/arm64/include/uapi/asm/{ucontext,sigcontext}.h.
extern "C" fn note_context(_: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    let sigcontext = context.expose_provenance() + 176;
    let pc = sigcontext + 264;
    memory::store(pc, memory::load(pc) + 4);
    let mut record = sigcontext + 288;
    let mut esr = 0;
    // Magic number and size are 32 bits each; a magic number of 0 ends the records.
    while memory::load(record) as u32 != 0 {
        if memory::load(record) as u32 == 0x4553_5201 {
            esr = memory::load(record + 8);
        }
        record += (memory::load(record) >> 32) as usize;
    }
    let addr = memory::load(info.expose_provenance() + 16);
    for (cell, value) in CONTEXT.iter().zip([memory::load(sigcontext), esr, addr]) {
        cell.store(value, Ordering::SeqCst);
    }
}

fn the_context_of_a_fault_has_address_and_syndrome() {
    signal::handle(libc::SIGSEGV, 0, 0, note_context);
    let hole =
        Mapping::new(PAGE, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).unwrap();
    memory::store(hole.start() + 16, 1);
    let [fault_address, esr, addr] =
        [0, 1, 2].map(|index: usize| CONTEXT[index].load(Ordering::SeqCst));
    assert_eq!([fault_address, addr], [hole.start() as u64 + 16; 2]);
    // A data abort from a lower level by a store (WnR).
    assert_eq!((esr >> 26, esr >> 6 & 1), (0x24, 1), "{esr:#x}");
    // An address of the kernel: no more is told than that nothing is mapped.
    memory::load(0xffff_8000_0000_0000);
    let esr = CONTEXT[1].load(Ordering::SeqCst);
    assert_eq!((esr >> 26, esr & 0x3f), (0x24, 4), "{esr:#x}");
}
