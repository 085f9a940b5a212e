// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests queues, actions, alternate stacks and frames on their own.

use abi::Layout;
use abi::sigframe::{RECORDS_OFFSET, SIGCONTEXT_OFFSET, SIGFRAME_SIZE, SIGMASK_OFFSET};
use abi::siginfo::{SEGV_MAPERR, SI_QUEUE, SI_TKILL, SI_USER, SigInfo};
use abi::signal::{
    SA_NODEFER, SA_RESETHAND, SA_SIGINFO, SIG_DFL, SIG_IGN, SS_AUTODISARM, SS_DISABLE, SS_ONSTACK,
    SigAction, SigStack,
};
use abi::{Errno, SigSet, Signal};
use hal::{FpState, UserRegs};
use std::vec::Vec;

use super::action::{Actions, Disposition, blocked_by};
use super::altstack::AltStack;
use super::frame::{self, BadFrame, FramePlace, Interrupted, Restored};
use super::pending::{Full, MAX_QUEUED, Pending};

const RT: Signal = match Signal::new(40) {
    Some(signal) => signal,
    None => panic!("40 is a signal"),
};

fn queued(signal: Signal, code: i32, number: u32) -> SigInfo {
    SigInfo::sent(signal, code, number, 0)
}

fn add(pending: &mut Pending, signal: Signal, number: u32) {
    pending.add(signal, queued(signal, SI_TKILL, number)).unwrap();
}

/// Takes everything that `blocked` lets through, as signals and sender numbers.
fn drain(pending: &mut Pending, blocked: SigSet) -> Vec<(Signal, u64)> {
    std::iter::from_fn(|| pending.take(blocked)).map(|(it, info)| (it, info.fields[0])).collect()
}

#[test]
fn a_standard_signal_waits_once_a_realtime_signal_in_order() {
    let mut pending = Pending::default();
    for number in 1..=3 {
        add(&mut pending, RT, number);
        add(&mut pending, Signal::SIGUSR1, number);
    }
    assert_eq!(pending.set(), SigSet::of(&[RT, Signal::SIGUSR1]));
    let all = drain(&mut pending, SigSet::EMPTY);
    assert_eq!(all, [(Signal::SIGUSR1, 1), (RT, 1), (RT, 2), (RT, 3)]);
    assert!(pending.set().is_empty());
}

#[test]
fn blocked_signals_stay() {
    let mut pending = Pending::default();
    add(&mut pending, Signal::SIGHUP, 1);
    add(&mut pending, Signal::SIGTERM, 2);
    assert_eq!(drain(&mut pending, SigSet::of(&[Signal::SIGHUP])), [(Signal::SIGTERM, 2)]);
    assert_eq!(pending.set(), SigSet::of(&[Signal::SIGHUP]));
    pending.flush(SigSet::ALL);
    assert_eq!(drain(&mut pending, SigSet::EMPTY), []);
}

#[test]
fn what_an_instruction_caused_comes_first_what_somebody_sent_does_not() {
    let mut pending = Pending::default();
    add(&mut pending, Signal::SIGHUP, 1);
    add(&mut pending, Signal::SIGTRAP, 2);
    let fault = SigInfo::fault(Signal::SIGSEGV, SEGV_MAPERR, 0x1000);
    pending.add(Signal::SIGSEGV, fault).unwrap();
    assert_eq!(pending.take(SigSet::EMPTY), Some((Signal::SIGSEGV, fault)));
    assert_eq!(drain(&mut pending, SigSet::EMPTY), [(Signal::SIGHUP, 1), (Signal::SIGTRAP, 2)]);
}

#[test]
fn a_full_queue_refuses_sigqueue_and_forgets_who_killed() {
    let mut pending = Pending::default();
    (0..MAX_QUEUED).for_each(|_| add(&mut pending, RT, 9));
    assert_eq!(pending.add(RT, queued(RT, SI_QUEUE, 1)), Err(Full));
    assert_eq!(pending.add(RT, queued(RT, SI_USER, 1)), Ok(()));
    assert_eq!(pending.add(Signal::SIGHUP, queued(Signal::SIGHUP, SI_QUEUE, 7)), Ok(()));
    let (signal, info) = pending.take(SigSet::EMPTY).unwrap();
    assert_eq!((signal, info), (Signal::SIGHUP, queued(Signal::SIGHUP, SI_USER, 0)));
}

#[test]
fn actions_have_linux_defaults_and_lose_handlers_at_exec() {
    let actions = Actions::new();
    for (signal, expected) in [
        (Signal::SIGTERM, Disposition::Terminate),
        (Signal::SIGSEGV, Disposition::Terminate),
        (RT, Disposition::Terminate),
        (Signal::SIGCHLD, Disposition::Ignore),
        (Signal::SIGWINCH, Disposition::Ignore),
        (Signal::SIGCONT, Disposition::Ignore),
        (Signal::SIGTTOU, Disposition::Stop),
        (Signal::SIGSTOP, Disposition::Stop),
    ] {
        assert_eq!(actions.disposition(signal), expected, "{signal:?}");
    }
    let handler =
        SigAction { handler: 0x1000, flags: SA_RESETHAND | 1 << 20, ..Default::default() };
    actions.set(Signal::SIGHUP, SigAction { mask: u64::MAX, ..handler });
    actions.set(Signal::SIGINT, SigAction { handler: SIG_IGN, ..handler });
    let kept = actions.get(Signal::SIGHUP);
    assert_eq!(kept.flags, SA_RESETHAND, "unknown flags are dropped");
    assert_eq!(kept.mask, !SigSet::UNBLOCKABLE.0);
    let after_exec = actions.without_handlers();
    assert_eq!(after_exec.get(Signal::SIGHUP), SigAction::default());
    assert_eq!(after_exec.get(Signal::SIGINT).handler, SIG_IGN);
    // A handler for once.
    assert_eq!(actions.use_up(Signal::SIGHUP), Disposition::Handle(kept));
    assert_eq!(actions.get(Signal::SIGHUP).handler, SIG_DFL);
}

#[test]
fn a_handler_blocks_its_own_signal_unless_told_not_to() {
    let action = SigAction { mask: SigSet::of(&[Signal::SIGUSR1]).0, ..Default::default() };
    let both = SigSet::of(&[Signal::SIGUSR1, Signal::SIGHUP]);
    assert_eq!(blocked_by(&action, Signal::SIGHUP), both);
    let nested = SigAction { flags: SA_NODEFER, ..action };
    assert_eq!(blocked_by(&nested, Signal::SIGHUP), SigSet::of(&[Signal::SIGUSR1]));
}

#[test]
fn an_alternate_stack_is_checked_and_knows_who_runs_on_it() {
    let wish = SigStack { sp: 0x1_0000, flags: 0, size: 0x2000 };
    for (flags, size, expected) in [
        (0, 5119, Err(Errno::ENOMEM)),
        (SS_ONSTACK, 5120, Ok(())),
        (4, 0x2000, Err(Errno::EINVAL)),
        (SS_ONSTACK | SS_DISABLE, 0x2000, Err(Errno::EINVAL)),
        (SS_DISABLE, 0, Ok(())),
        (SS_AUTODISARM, 0x2000, Ok(())),
    ] {
        let made = AltStack::new(SigStack { flags, size, ..wish }).map(drop);
        assert_eq!(made, expected, "{flags:#x} {size}");
    }
    let stack = AltStack::new(wish).unwrap();
    assert!(!stack.holds(0x1_0000) && stack.holds(0x1_0001) && stack.holds(0x1_2000));
    assert!(!stack.holds(0x1_2001));
    assert_eq!(stack.shown(0x1_1000), SigStack { flags: SS_ONSTACK, ..wish });
    assert_eq!(stack.shown(0), wish);
    assert_eq!(stack.top_for_handler(0x9_0000), Some(0x1_2000));
    assert_eq!(stack.top_for_handler(0x1_1000), None, "a nested handler stays where it is");
    let none = AltStack::default();
    assert_eq!(none.shown(0), SigStack { sp: 0, flags: SS_DISABLE, size: 0 });
    assert_eq!(none.top_for_handler(0), None);
    let disarmed = AltStack::new(SigStack { flags: SS_AUTODISARM, ..wish }).unwrap();
    assert!(!disarmed.holds(0x1_1000));
    assert_eq!(disarmed.while_handled(), none);
    assert_eq!(stack.while_handled(), stack);
}

fn interrupted_regs() -> UserRegs {
    UserRegs {
        x: core::array::from_fn(|index| 0x1111 * index as u64),
        sp: 0x8_0000,
        pc: 0x40_0000,
        pstate: 1 << 30 | 1 << 25 | 0b01 << 10,
    }
}

fn fp_state() -> FpState {
    FpState { v: core::array::from_fn(|index| u128::MAX / (index as u128 + 2)), fpsr: 5, fpcr: 6 }
}

/// Builds a whole frame as it lies in memory; what is not written has junk in it.
fn frame_bytes(fault: Option<(u64, u64)>) -> Vec<u8> {
    let interrupted = Interrupted {
        regs: &interrupted_regs(),
        fp: &fp_state(),
        mask: SigSet(0x55),
        altstack: SigStack { sp: 1, flags: 2, size: 3 },
        fault,
    };
    let info = SigInfo::fault(Signal::SIGSEGV, SEGV_MAPERR, 0x1234);
    let mut bytes = std::vec![0xa5; SIGFRAME_SIZE];
    let written = frame::encode(&interrupted, &info);
    bytes[..written.len()].copy_from_slice(&written);
    bytes
}

fn decode(bytes: &[u8]) -> Result<Restored, BadFrame> {
    frame::decode(&mut |offset, buf| {
        let from = bytes.get(offset..offset + buf.len()).ok_or(BadFrame)?;
        buf.copy_from_slice(from);
        Ok(())
    })
}

#[test]
fn a_frame_says_what_linux_says_and_is_restored_exactly() {
    for fault in [None, Some((0x1234, 0x9200_0046))] {
        let bytes = frame_bytes(fault);
        let word = |at: usize| u64::get(&bytes[at..]);
        assert_eq!(u32::get(&bytes), 11);
        assert_eq!(word(16), 0x1234, "si_addr");
        assert_eq!(word(SIGMASK_OFFSET), 0x55);
        assert_eq!(word(SIGCONTEXT_OFFSET), fault.map_or(0, |(addr, _)| addr));
        assert_eq!(word(SIGCONTEXT_OFFSET + 8 + 8 * 30), 0x1111 * 30);
        assert_eq!(u32::get(&bytes[RECORDS_OFFSET..]), 0x4650_8001);
        let second = RECORDS_OFFSET + 528;
        match fault {
            None => assert_eq!(word(second), 0),
            Some((_, esr)) => {
                assert_eq!(u32::get(&bytes[second..]), 0x4553_5201);
                assert_eq!((u32::get(&bytes[second + 4..]), word(second + 8)), (16, esr));
                assert_eq!(word(second + 16), 0);
            }
        }
        let restored = decode(&bytes).unwrap();
        assert_eq!(restored.regs, interrupted_regs());
        assert_eq!(restored.fp, fp_state());
        assert_eq!(restored.mask, SigSet(0x55));
        assert_eq!(restored.altstack, SigStack { sp: 1, flags: 2, size: 3 });
    }
}

#[test]
fn a_handler_begins_below_the_interrupted_code_with_tag_checks_on() {
    for sp in [0x8_0000, 0x8_0008, 0x8_000f] {
        let place = FramePlace::below(sp);
        assert_eq!((place.frame % 16, place.record % 16), (0, 0));
        assert_eq!(place.record - place.frame, SIGFRAME_SIZE as u64);
        assert!(place.record + 16 <= sp && sp - place.record < 32);
    }
    let place = FramePlace::below(0x8_0000);
    let mut regs = interrupted_regs();
    let action = SigAction { handler: 0x50_0000, flags: SA_SIGINFO, ..Default::default() };
    frame::enter_handler(&mut regs, Signal::SIGUSR1, &action, place, 0x60_0000);
    assert_eq!(regs.x[..3], [10, place.frame, place.frame + 128]);
    assert_eq!((regs.x[29], regs.x[30]), (place.record, 0x60_0000));
    assert_eq!((regs.sp, regs.pc, regs.pstate), (place.frame, 0x50_0000, 1 << 30));
}

#[test]
fn damaged_frames_are_refused() {
    type Damage = fn(&mut [u8]);
    let cases: [Damage; 10] = [
        // PSTATE: EL1, AArch32, interrupts masked.
        |bytes| bytes[SIGCONTEXT_OFFSET + 272] = 0x05,
        |bytes| bytes[SIGCONTEXT_OFFSET + 272] = 0x10,
        |bytes| bytes[SIGCONTEXT_OFFSET + 272] = 0x80,
        // No FP record.
        |bytes| bytes[RECORDS_OFFSET..RECORDS_OFFSET + 8].fill(0),
        // An unknown one, and wrong sizes.
        |bytes| bytes[RECORDS_OFFSET] ^= 1,
        |bytes| bytes[RECORDS_OFFSET + 4] ^= 16,
        |bytes| bytes[RECORDS_OFFSET + 528 + 4] = 8,
        |bytes| bytes[RECORDS_OFFSET + 528 + 4] = 0,
        // No end.
        |bytes| bytes[RECORDS_OFFSET + 528 + 16] = 1,
        |bytes| bytes[RECORDS_OFFSET + 528 + 4..][..2].copy_from_slice(&[0xf0, 0x0f]),
    ];
    for (index, damage) in cases.iter().enumerate() {
        let mut bytes = frame_bytes(Some((1, 2)));
        damage(&mut bytes);
        assert_eq!(decode(&bytes), Err(BadFrame), "case {index}");
    }
    let bytes = frame_bytes(None);
    assert_eq!(decode(&bytes[..RECORDS_OFFSET + 500]), Err(BadFrame));
}
