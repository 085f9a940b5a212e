// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the kernel's side of the translation tables in simulated RAM.
//!
//! Each access to an entry is a moment at which a walker may get in first: it sets the access flag
//! just before an exchange, or caches an entry just after a store.

use base::percpu::CpuId;
use base::sync::schedule_point;

use super::SimMachine;
use super::descriptor;
use super::mmu::Mmu;
use super::ram::Ram;
use crate::cpu::Cpus;
use crate::pte_mem::{PteMem, PteSlot};

impl Mmu {
    fn store(&mut self, ram: &Ram, cpu: CpuId, slot: PteSlot, value: u64) {
        self.assert_loses_no_dirty_state(slot, ram.entry(slot), value);
        self.exchange(ram, cpu, slot, value);
    }

    fn exchange(&mut self, ram: &Ram, cpu: CpuId, slot: PteSlot, value: u64) -> u64 {
        self.speculate_at(ram, slot);
        let old = ram.exchange_entry(slot, value);
        self.replaced(ram, cpu, slot, old, value);
        old
    }

    fn compare_exchange(
        &mut self,
        ram: &Ram,
        cpu: CpuId,
        slot: PteSlot,
        current: u64,
        new: u64,
    ) -> Result<(), u64> {
        self.speculate_at(ram, slot);
        ram.update_entry(slot, current, new)?;
        self.replaced(ram, cpu, slot, current, new);
        Ok(())
    }

    /// Takes note of a store, judges it, and lets walkers at it.
    fn replaced(&mut self, ram: &Ram, cpu: CpuId, slot: PteSlot, old: u64, new: u64) {
        self.order.record(cpu, slot, old);
        if descriptor::is_valid(new) {
            self.assert_broken_before_made(slot, new);
            self.assert_mappable(ram, old, new);
        }
        self.speculate_at(ram, slot);
    }
}

impl PteMem for SimMachine {
    fn load(&self, slot: PteSlot) -> u64 {
        schedule_point();
        self.mmu().speculate_at(self.ram(), slot);
        self.ram().entry(slot)
    }

    fn store(&self, slot: PteSlot, value: u64) {
        schedule_point();
        self.assert_no_read_in_flight(value);
        self.mmu().store(self.ram(), self.cpu(), slot, value);
    }

    fn exchange(&self, slot: PteSlot, value: u64) -> u64 {
        schedule_point();
        self.assert_no_read_in_flight(value);
        self.mmu().exchange(self.ram(), self.cpu(), slot, value)
    }

    fn compare_exchange(&self, slot: PteSlot, current: u64, new: u64) -> Result<(), u64> {
        schedule_point();
        self.assert_no_read_in_flight(new);
        self.mmu().compare_exchange(self.ram(), self.cpu(), slot, current, new)
    }

    fn publish(&self) {
        schedule_point();
        self.mmu().order.barrier(self.cpu());
    }
}
