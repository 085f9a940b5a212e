// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file copies to and from simulated user memory, through the current CPU's translations.
//!
//! A copy goes granule by granule as far as faults are concerned, so that it stops where hardware
//! would; pages are taken in two steps with a schedule point in between.

use core::ops::Range;

use base::addr::GRANULE_SIZE;
use base::sync::schedule_point;
use base::{PhysAddr, VirtAddr};

use super::SimMachine;
use super::mmu::TagRule;
use super::ram::Frame;
use crate::cpu::Cpus;
use crate::user_mem::{Access, FaultCause, MemFault, UserFault, UserMem};

impl SimMachine {
    /// Runs `act` for each piece of `at..at + len` that lies in one granule: frame, offset within
    /// it, range within the copy.
    fn for_each_piece(
        &self,
        at: VirtAddr,
        len: usize,
        access: Access,
        mut act: impl FnMut(&Frame, usize, Range<usize>),
    ) -> Result<(), UserFault> {
        let cut = self.draw_cut(len);
        let mut done = 0;
        while done < len {
            if done >= cut {
                schedule_point();
            }
            let from = at.wrapping_add(done as u64);
            let limit = if done < cut { cut } else { len };
            let step = self.copy_granules(from, limit - done, access, |frame, offset, part| {
                act(frame, offset, done + part.start..done + part.end);
            });
            done += step.map_err(|fault| UserFault { done: done + fault.done, ..fault })?;
        }
        Ok(())
    }

    /// Copies to the end of the page at most, as one step; returns how much.
    fn copy_granules(
        &self,
        at: VirtAddr,
        len: usize,
        access: Access,
        mut act: impl FnMut(&Frame, usize, Range<usize>),
    ) -> Result<usize, UserFault> {
        let mut mmu = self.mmu();
        let mut done = 0;
        while done < len {
            let from = at.wrapping_add(done as u64);
            let step = (GRANULE_SIZE - from.page_offset() % GRANULE_SIZE).min(len - done);
            let to = mmu.access(self.ram(), self.cpu(), from, access, TagRule::Checked);
            let to = to.map_err(|fault| UserFault { done, fault })?;
            let (frame, offset) = self.ram().at(to.addr);
            act(frame, offset, done..done + step);
            done += step;
            if from.wrapping_add(step as u64).page_offset() == 0 {
                break;
            }
        }
        Ok(done)
    }

    fn word_aligned(&self, at: VirtAddr, access: Access) -> Result<(), UserFault> {
        let fault = MemFault { addr: at, access, cause: FaultCause::Alignment, esr: 0 };
        let is_aligned = at.get().is_multiple_of(4);
        if is_aligned { Ok(()) } else { Err(UserFault { done: 0, fault }) }
    }
}

impl UserMem for SimMachine {
    fn read_user(&self, from: VirtAddr, buf: &mut [u8]) -> Result<(), UserFault> {
        self.for_each_piece(from, buf.len(), Access::Read, |frame, offset, part| {
            frame.read(offset, &mut buf[part]);
        })
    }

    fn write_user(&self, to: VirtAddr, buf: &[u8]) -> Result<(), UserFault> {
        self.for_each_piece(to, buf.len(), Access::Write, |frame, offset, part| {
            frame.write(offset, &buf[part]);
        })
    }

    fn read_user_to_frame(
        &self,
        from: VirtAddr,
        to: PhysAddr,
        len_bytes: usize,
    ) -> Result<(), UserFault> {
        let (target, start) = self.ram().at(to);
        target.set_synced(false);
        self.for_each_piece(from, len_bytes, Access::Read, |frame, offset, part| {
            let mut granule = [0; GRANULE_SIZE];
            let bytes = &mut granule[..part.len()];
            frame.read(offset, bytes);
            target.write(start + part.start, bytes);
        })
    }

    fn write_user_from_frame(
        &self,
        to: VirtAddr,
        from: PhysAddr,
        len_bytes: usize,
    ) -> Result<(), UserFault> {
        let (source, start) = self.ram().at(from);
        self.for_each_piece(to, len_bytes, Access::Write, |frame, offset, part| {
            let mut granule = [0; GRANULE_SIZE];
            let bytes = &mut granule[..part.len()];
            source.read(start + part.start, bytes);
            frame.write(offset, bytes);
        })
    }

    fn zero_user(&self, at: VirtAddr, len_bytes: usize) -> Result<(), UserFault> {
        self.for_each_piece(at, len_bytes, Access::Write, |frame, offset, part| {
            frame.write(offset, &[0; GRANULE_SIZE][..part.len()]);
        })
    }

    fn load_user_u32(&self, at: VirtAddr) -> Result<u32, UserFault> {
        self.word_aligned(at, Access::Read)?;
        self.access(self.cpu(), at, Access::Read, TagRule::Checked, |machine, to| {
            let (frame, offset) = machine.ram().at(to.addr);
            (frame.word(offset / 8) >> (offset % 8 * 8)) as u32
        })
        .map_err(|fault| UserFault { done: 0, fault })
    }

    fn compare_exchange_user_u32(
        &self,
        at: VirtAddr,
        current: u32,
        new: u32,
    ) -> Result<u32, UserFault> {
        self.word_aligned(at, Access::Write)?;
        self.access(self.cpu(), at, Access::Write, TagRule::Checked, |machine, to| {
            let (frame, offset) = machine.ram().at(to.addr);
            let shift = offset % 8 * 8;
            let exchange = |word: u64| {
                let is_current = (word >> shift) as u32 == current;
                let mask = u64::from(u32::MAX) << shift;
                if is_current { word & !mask | u64::from(new) << shift } else { word }
            };
            (frame.update_word(offset / 8, exchange) >> shift) as u32
        })
        .map_err(|fault| UserFault { done: 0, fault })
    }
}
