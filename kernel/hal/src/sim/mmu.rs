// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the translation hardware of all simulated CPUs: what they share, and one access.
//!
//! Every access goes through the CPU's cached translations first ([`super::tlb`]) and walks the
//! tables in RAM only where nothing is cached ([`super::walker`]). The whole of it is under one
//! lock, and an access is one step of it, data included: an invalidation that is complete cannot
//! be followed by an access that used the old translation.

use alloc::vec::Vec;

use base::addr::GRANULE_SIZE;
use base::percpu::CpuId;
use base::{Pfn, PhysAddr, VirtAddr, Vpn};

use super::config::{Adversary, SimConfig};
use super::descriptor::{MemoryType, Permit};
use super::invalidate::Invalidation;
use super::judge;
use super::ram::Ram;
use super::rng::{Rng, Stream};
use super::store_order::StoreOrder;
use super::tlb::{Cached, Key, Tlbs};
use super::walker::Walker;
use crate::pte_mem::PteSlot;
use crate::tlb::Asid;
use crate::user::{TagCheckMode, TagControl};
use crate::user_mem::{Access, FaultCause, MemFault};

/// A table and the ASID its translations carry: TTBR0_EL1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Space {
    pub(super) root: Pfn,
    pub(super) asid: Asid,
}

/// One CPU's registers that matter to an access.
#[derive(Debug, Default)]
pub(super) struct CpuMmu {
    pub(super) space: Option<Space>,
    /// Invalidations started and not completed.
    pub(super) pending: Vec<Invalidation>,
    pub(super) tag_control: TagControl,
    /// TFSRE0_EL1.TF0.
    pub(super) async_tag_fault: bool,
}

/// What the translation hardware did so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MmuCounts {
    /// Barriers before invalidations ([`Tlb::before`](crate::Tlb::before)).
    pub befores: u64,
    /// Invalidations started.
    pub invalidations: u64,
    /// Barriers after invalidations ([`Tlb::complete`](crate::Tlb::complete)).
    pub completions: u64,
    /// Walks, those included that no instruction asked for.
    pub walks: u64,
    /// Access flags set by walks.
    pub access_flags_set: u64,
    /// Entries made dirty by stores.
    pub entries_made_dirty: u64,
}

/// Whether an access compares tags (instructions that access tags do not, Arm ARM D10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TagRule {
    Checked,
    Unchecked,
}

/// Where an access goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Located {
    pub(super) addr: PhysAddr,
    pub(super) memory: MemoryType,
}

/// The translation hardware of the machine.
#[derive(Debug)]
pub(super) struct Mmu {
    pub(super) cpus: Vec<CpuMmu>,
    pub(super) tlbs: Tlbs,
    pub(super) order: StoreOrder,
    pub(super) rng: Rng,
    pub(super) counts: MmuCounts,
    pub(super) adversary: Adversary,
    pub(super) hw_access_flag: bool,
    pub(super) hw_dirty: bool,
    pub(super) judges_new_mappings: bool,
    pub(super) judges_plain_stores: bool,
    pub(super) judges_unmapped_stores: bool,
}

impl Mmu {
    pub(super) fn new(config: &SimConfig) -> Self {
        Self {
            cpus: (0..config.nr_cpus).map(|_| CpuMmu::default()).collect(),
            tlbs: Tlbs::default(),
            order: StoreOrder::default(),
            rng: Rng::new(config.seed, Stream::Mmu),
            counts: MmuCounts::default(),
            adversary: config.adversary,
            hw_access_flag: config.hw_access_flag,
            hw_dirty: config.hw_dirty,
            judges_new_mappings: config.judges_new_mappings,
            judges_plain_stores: config.judges_plain_stores,
            judges_unmapped_stores: config.judges_unmapped_stores,
        }
    }

    /// Does all of an access from EL0 but the data: translates, sets flags, compares tags.
    pub(super) fn access(
        &mut self,
        ram: &Ram,
        cpu: CpuId,
        va: VirtAddr,
        access: Access,
        rule: TagRule,
    ) -> Result<Located, MemFault> {
        let fault = |cause| MemFault { addr: va, access, cause, esr: 0 };
        let untagged = va.untagged();
        if !untagged.is_user() {
            return Err(fault(FaultCause::Translation));
        }
        if self.rng.one_in(self.adversary.speculation) {
            let near = Vpn::new(untagged.page().get() ^ self.rng.below(16) as u64);
            self.speculate(ram, cpu, near);
        }
        let (key, cached) = self.translate(ram, cpu, untagged.page(), access).map_err(fault)?;
        let offset = untagged.page().get() - key.pages().start.get();
        let addr = cached.target.add(offset as u32).at(untagged.page_offset());
        let memory = judge::memory_type(&cached);
        let located = Located { addr, memory };
        let tag = va.logical_tag();
        let is_checked = memory == MemoryType::Tagged && rule == TagRule::Checked;
        if is_checked && !self.check_tag(ram, cpu, tag, access, addr) {
            return Err(fault(FaultCause::TagCheck));
        }
        Ok(located)
    }

    /// Returns the translation that serves an access, from the cache if it can be.
    fn translate(
        &mut self,
        ram: &Ram,
        cpu: CpuId,
        page: Vpn,
        access: Access,
    ) -> Result<(Key, Cached), FaultCause> {
        let space = self.cpus[cpu.get()].space.ok_or(FaultCause::Translation)?;
        if let Some((key, cached)) = self.tlbs.lookup(cpu, space.asid, page) {
            judge::assert_same_root(key, &cached, space);
            match cached.leaf().permits(cached.limits, access, self.hw_dirty) {
                Permit::Yes => return Ok((key, cached)),
                Permit::No => return Err(FaultCause::Permission),
                // Writable and clean: the entry in memory must be made dirty, if it still is one.
                Permit::OnceDirty => {}
            }
        }
        Walker::new(self, ram, cpu, space, page).walk(access)
    }

    /// Translates an address that no instruction asked for, as hardware may at any moment for the
    /// active table. Never makes an entry dirty and faults nobody.
    pub(super) fn speculate(&mut self, ram: &Ram, cpu: CpuId, page: Vpn) {
        let Some(space) = self.cpus[cpu.get()].space else { return };
        if page < Vpn::END {
            Walker::new(self, ram, cpu, space, page).speculate();
        }
    }

    /// Lets some CPU whose walks reach `slot` translate through it, now and then.
    pub(super) fn speculate_at(&mut self, ram: &Ram, slot: PteSlot) {
        if !self.rng.one_in(self.adversary.speculation) {
            return;
        }
        let walks = self.tlbs.walks_into(slot.table);
        let keys: Vec<Key> =
            walks.filter(|(key, walk)| self.is_active(*key, walk)).map(|(key, _)| key).collect();
        if keys.is_empty() {
            return;
        }
        let key = keys[self.rng.below(keys.len())];
        let shift = 9 * (2 - u32::from(key.shape().level()));
        let page = key.pages().start.add(u64::from(slot.index) << shift);
        self.speculate(ram, key.cpu(), page);
    }

    /// Compares tags as the CPU is told to; `false` is a fault.
    fn check_tag(&mut self, ram: &Ram, cpu: CpuId, tag: u8, access: Access, at: PhysAddr) -> bool {
        let cpu = &mut self.cpus[cpu.get()];
        let faults = match (cpu.tag_control.mode, access) {
            (TagCheckMode::None, _) | (_, Access::Execute) => return true,
            (TagCheckMode::Sync, _) | (TagCheckMode::Asymmetric, Access::Read) => true,
            (TagCheckMode::Async, _) | (TagCheckMode::Asymmetric, Access::Write) => false,
        };
        let (frame, offset) = ram.at(at);
        let agree = frame.tag(offset / GRANULE_SIZE) == tag;
        cpu.async_tag_fault |= !agree && !faults;
        agree || !faults
    }
}
