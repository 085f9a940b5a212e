// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file builds the frame of a signal handler and reads it back (Linux:
//! arch/arm64/kernel/signal.c; the layout is in `abi/src/sigframe.rs`).

use abi::Layout;
use abi::sigframe::{
    ESR_MAGIC, EsrContext, FPSIMD_MAGIC, FRAME_RECORD_SIZE, FpsimdContext, RECORDS_OFFSET,
    RECORDS_SIZE, RecordHead, SIGCONTEXT_OFFSET, SIGFRAME_SIZE, SigContext, UCONTEXT_OFFSET,
    UcontextHead,
};
use abi::siginfo::SigInfo;
use abi::signal::{SA_SIGINFO, SigAction, SigStack};
use abi::{SigSet, Signal};
use hal::{FpState, UserRegs};

/// Bytes of a frame that are written: two records and the end of them.
const WRITTEN: usize = RECORDS_OFFSET + FpsimdContext::SIZE + EsrContext::SIZE + RecordHead::SIZE;

/// PSTATE.TCO: tag checks are off (Arm ARM C5.2.28).
const PSTATE_TCO: u64 = 1 << 25;
/// PSTATE.BTYPE: the kind of the last branch.
const PSTATE_BTYPE: u64 = 0b11 << 10;
/// PSTATE bits that must be 0 in what a program wants restored: the interrupt masks, and a mode
/// that is not EL0 in AArch64.
const PSTATE_FORBIDDEN: u64 = 0b1111 << 6 | 0b1_1111;

/// What is interrupted, and what is to be restored later.
pub(super) struct Interrupted<'a> {
    pub regs: &'a UserRegs,
    pub fp: &'a FpState,
    pub mask: SigSet,
    pub altstack: SigStack,
    /// Address and ESR_EL1 of the fault that the signal reports.
    pub fault: Option<(u64, u64)>,
}

/// Where a frame goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FramePlace {
    /// Address of the frame: the handler's stack pointer.
    pub frame: u64,
    /// Address of the frame record above it.
    pub record: u64,
}

impl FramePlace {
    /// Returns the place below a stack pointer.
    pub fn below(sp: u64) -> Self {
        let record = sp.wrapping_sub(FRAME_RECORD_SIZE as u64) & !15;
        Self { frame: record.wrapping_sub(SIGFRAME_SIZE as u64), record }
    }
}

/// Builds the bytes of a frame.
pub(super) fn encode(interrupted: &Interrupted<'_>, info: &SigInfo) -> [u8; WRITTEN] {
    let mut bytes = [0; WRITTEN];
    let Interrupted { regs, fp, mask, altstack, fault } = interrupted;
    bytes[..UCONTEXT_OFFSET].copy_from_slice(&info.to_user());
    let head = UcontextHead { flags: 0, link: 0, stack: *altstack, mask: mask.0 };
    head.put(&mut bytes[UCONTEXT_OFFSET..]);
    let context = SigContext {
        fault_address: fault.map_or(0, |(addr, _)| addr),
        regs: regs.x,
        sp: regs.sp,
        pc: regs.pc,
        pstate: regs.pstate,
    };
    context.put(&mut bytes[SIGCONTEXT_OFFSET..]);
    let fpsimd = FpsimdContext {
        head: record_head(FPSIMD_MAGIC, FpsimdContext::SIZE),
        fpsr: fp.fpsr,
        fpcr: fp.fpcr,
        vregs: fp.v,
    };
    fpsimd.put(&mut bytes[RECORDS_OFFSET..]);
    if let Some((_, esr)) = *fault {
        let record = EsrContext { head: record_head(ESR_MAGIC, EsrContext::SIZE), esr };
        record.put(&mut bytes[RECORDS_OFFSET + FpsimdContext::SIZE..]);
    }
    // The end of the records is a head of zeroes, and these are there.
    bytes
}

fn record_head(magic: u32, size: usize) -> RecordHead {
    RecordHead { magic, size: size as u32 }
}

/// Makes registers those with which a handler begins.
pub(super) fn enter_handler(
    regs: &mut UserRegs,
    signal: Signal,
    action: &SigAction,
    place: FramePlace,
    return_to: u64,
) {
    regs.x[0] = signal.get().into();
    if action.flags & SA_SIGINFO != 0 {
        regs.x[1] = place.frame;
        regs.x[2] = place.frame + UCONTEXT_OFFSET as u64;
    }
    regs.x[29] = place.record;
    regs.x[30] = return_to;
    regs.sp = place.frame;
    regs.pc = action.handler;
    regs.pstate &= !(PSTATE_TCO | PSTATE_BTYPE);
}

/// What a frame says is to be restored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Restored {
    pub regs: UserRegs,
    pub fp: FpState,
    pub mask: SigSet,
    pub altstack: SigStack,
}

/// A frame that cannot be read or makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BadFrame;

/// Fills a buffer from an offset in a frame.
pub(super) type Read<'a> = dyn FnMut(usize, &mut [u8]) -> Result<(), BadFrame> + 'a;

/// Reads a frame; `read` copies bytes from an offset in it.
///
/// # Errors
///
/// [`BadFrame`]: it is not readable, its PSTATE is not user code's, or its records are damaged or
/// lack the FP registers.
pub(super) fn decode(read: &mut Read<'_>) -> Result<Restored, BadFrame> {
    let mut head = [0; RECORDS_OFFSET - UCONTEXT_OFFSET];
    read(UCONTEXT_OFFSET, &mut head)?;
    let ucontext = UcontextHead::get(&head);
    let context = SigContext::get(&head[SIGCONTEXT_OFFSET - UCONTEXT_OFFSET..]);
    if context.pstate & PSTATE_FORBIDDEN != 0 {
        return Err(BadFrame);
    }
    let SigContext { regs: x, sp, pc, pstate, .. } = context;
    Ok(Restored {
        regs: UserRegs { x, sp, pc, pstate },
        fp: find_fp(read)?,
        mask: SigSet(ucontext.mask),
        altstack: ucontext.stack,
    })
}

/// Walks the records up to their end and returns the FP registers.
fn find_fp(read: &mut Read<'_>) -> Result<FpState, BadFrame> {
    let mut fp = None;
    let mut offset = 0;
    while offset + RecordHead::SIZE <= RECORDS_SIZE {
        let mut head = [0; RecordHead::SIZE];
        read(RECORDS_OFFSET + offset, &mut head)?;
        let RecordHead { magic, size } = RecordHead::from_bytes(&head);
        let size = size as usize;
        match magic {
            0 if size == 0 => return fp.ok_or(BadFrame),
            FPSIMD_MAGIC if fp.is_none() && size == FpsimdContext::SIZE => {
                if offset + size > RECORDS_SIZE {
                    return Err(BadFrame);
                }
                let mut bytes = [0; FpsimdContext::SIZE];
                read(RECORDS_OFFSET + offset, &mut bytes)?;
                let FpsimdContext { fpsr, fpcr, vregs, .. } = FpsimdContext::from_bytes(&bytes);
                fp = Some(FpState { v: vregs, fpsr, fpcr });
            }
            ESR_MAGIC if size >= RecordHead::SIZE => {}
            _ => return Err(BadFrame),
        }
        if !size.is_multiple_of(16) {
            return Err(BadFrame);
        }
        offset += size;
    }
    Err(BadFrame)
}
