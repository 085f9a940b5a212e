// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file catches the fault of an instruction, and goes on behind it.

#![expect(unsafe_code, reason = "a signal handler that moves the program counter")]

use core::arch::asm;
use core::ffi::{c_int, c_void};
use core::mem;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering};

use crate::memory;
use crate::tags;

/// `SEGV_MAPERR` (asm-generic/siginfo.h): nothing is mapped there.
pub const SEGV_MAPERR: i32 = 1;

/// `SEGV_ACCERR` (asm-generic/siginfo.h): the mapping does not permit it.
pub const SEGV_ACCERR: i32 = 2;

/// `BUS_ADRERR` (asm-generic/siginfo.h): there is nothing, or it cannot be read.
pub const BUS_ADRERR: i32 = 2;

/// `SEGV_MTEAERR` (asm-generic/siginfo.h): a wrong tag, found later.
pub const SEGV_MTEAERR: i32 = 8;

/// `SEGV_MTESERR` (asm-generic/siginfo.h): a wrong tag, found at once.
pub const SEGV_MTESERR: i32 = 9;

/// `SA_EXPOSE_TAGBITS` (asm-generic/signal-defs.h).
pub const SA_EXPOSE_TAGBITS: i32 = 0x800;

/// The signals of faults.
const SIGNALS: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGTRAP];

/// Bytes of an instruction.
const INSTRUCTION: u64 = 4;

/// The number of the link register.
const LINK: usize = 30;

/// The place of TCO in its register.
const TCO_SHIFT: u32 = 25;

/// What a signal of a fault said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// `si_signo`.
    pub signal: i32,
    /// `si_code`.
    pub code: i32,
    /// `si_addr`.
    pub address: usize,
}

impl Fault {
    /// Removes the tag from the address, where a kernel may show it.
    pub fn without_tag(self) -> Self {
        Self { address: tags::with_tag(self.address, 0), ..self }
    }
}

/// Whether to go on where the link register says, and not behind the instruction.
static RETURNS: AtomicBool = AtomicBool::new(false);

static NR_FAULTS: AtomicU32 = AtomicU32::new(0);
static SIGNAL: AtomicI32 = AtomicI32::new(0);
static CODE: AtomicI32 = AtomicI32::new(0);
static ADDRESS: AtomicUsize = AtomicUsize::new(0);

/// Runs `access`, whose faults are noted and skipped, and returns the last one.
///
/// For one thread at a time: actions of signals belong to the process.
pub fn catch(access: impl FnOnce()) -> Option<Fault> {
    catch_with(0, access)
}

/// As [`catch`], with more flags of sigaction.
pub fn catch_with(flags: c_int, access: impl FnOnce()) -> Option<Fault> {
    NR_FAULTS.store(0, Ordering::Relaxed);
    let before = SIGNALS.map(|signal| set_action(signal, &noting(flags)));
    access();
    for (signal, action) in SIGNALS.into_iter().zip(before) {
        set_action(signal, &action);
    }
    (NR_FAULTS.load(Ordering::Relaxed) != 0).then(|| Fault {
        signal: SIGNAL.load(Ordering::Relaxed),
        code: CODE.load(Ordering::Relaxed),
        address: ADDRESS.load(Ordering::Relaxed),
    })
}

/// Calls the code at `address`, and returns the fault of its first instruction.
pub fn catch_call(address: usize) -> Option<Fault> {
    RETURNS.store(true, Ordering::Relaxed);
    let fault = catch(|| {
        memory::call_code(address);
    });
    RETURNS.store(false, Ordering::Relaxed);
    fault
}

/// Returns how often the `access` of the last [`catch`] has faulted.
pub fn nr_faults() -> u32 {
    NR_FAULTS.load(Ordering::Relaxed)
}

fn noting(flags: c_int) -> libc::sigaction {
    // SAFETY: all zeroes is a valid action: the default one.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = note as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | flags;
    action
}

fn set_action(signal: c_int, action: &libc::sigaction) -> libc::sigaction {
    // SAFETY: all zeroes is a valid action; it is replaced.
    let mut before: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: both point to actions. The handler, if it is ours, uses atomics and its frame only.
    let result = unsafe { libc::sigaction(signal, ptr::from_ref(action), &raw mut before) };
    assert_eq!(result, 0, "sigaction of signal {signal}");
    before
}

extern "C" fn note(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a siginfo.
    let info = unsafe { &*info };
    // SAFETY: the signals noted are those of faults, which have an address.
    let address = unsafe { info.si_addr() };
    SIGNAL.store(signal, Ordering::Relaxed);
    CODE.store(info.si_code, Ordering::Relaxed);
    ADDRESS.store(address as usize, Ordering::Relaxed);
    NR_FAULTS.fetch_add(1, Ordering::Relaxed);
    // The instruction of a fault reported later is long past.
    if (signal, info.si_code) != (libc::SIGSEGV, SEGV_MTEAERR) {
        let context = context.cast::<libc::ucontext_t>();
        // SAFETY: with SA_SIGINFO the kernel passes the context that sigreturn restores.
        let context = unsafe { &mut *context };
        let registers = &mut context.uc_mcontext;
        registers.pc = match RETURNS.load(Ordering::Relaxed) {
            true => registers.regs[LINK],
            false => registers.pc + INSTRUCTION,
        };
    }
}

/// Returns PSTATE.TCO: 1 while tags are not checked.
pub fn tco() -> u64 {
    let tco: u64;
    // SAFETY: the register is one that EL0 may read.
    unsafe { asm!("mrs {tco}, s3_3_c4_c2_7", tco = lateout(reg) tco, options(nostack)) };
    tco >> TCO_SHIFT & 1
}

/// Sets PSTATE.TCO.
pub fn set_tco(tco: u64) {
    let tco = tco << TCO_SHIFT;
    // SAFETY: the register is one that EL0 may write; it changes how tags are checked.
    unsafe { asm!("msr s3_3_c4_c2_7, {tco}", tco = in(reg) tco, options(nostack)) };
}

/// Returns PSTATE.TCO as a signal handler finds it.
pub fn tco_in_handler() -> u64 {
    extern "C" fn look(_: c_int) {
        TCO.store(tco() as u32, Ordering::Relaxed);
    }
    static TCO: AtomicU32 = AtomicU32::new(2);
    let mut action = noting(0);
    action.sa_sigaction = look as extern "C" fn(c_int) as usize;
    action.sa_flags = 0;
    set_action(libc::SIGUSR1, &action);
    // SAFETY: the signal's handler is `look`.
    assert_eq!(unsafe { libc::raise(libc::SIGUSR1) }, 0);
    u64::from(TCO.load(Ordering::Relaxed))
}
