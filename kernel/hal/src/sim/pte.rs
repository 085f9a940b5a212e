// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the kernel's side of the translation tables in simulated RAM.
//!
//! Each access to an entry is a moment at which a walker may get in first: it sets the access flag
//! just before an exchange, or caches an entry just after a store.

use core::ops::Range;

use base::Pfn;
use base::percpu::CpuId;
use base::sync::schedule_point;

use super::SimMachine;
use super::descriptor;
use super::mmu::Mmu;
use super::ram::Ram;
use crate::cpu::Cpus;
use crate::pte_mem::{PteCell, PteMem, PteSlot, PteTable};

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

/// A table page of simulated RAM.
#[derive(Clone, Copy)]
pub struct SimTable<'m> {
    machine: &'m SimMachine,
    table: Pfn,
}

/// An entry of a table page of simulated RAM.
#[derive(Clone, Copy)]
pub struct SimCell<'m> {
    machine: &'m SimMachine,
    slot: PteSlot,
}

impl<'m> PteTable for SimTable<'m> {
    type Cell = SimCell<'m>;

    fn cell(self, index: usize) -> SimCell<'m> {
        SimCell { machine: self.machine, slot: PteSlot::new(self.table, index) }
    }

    fn cells(self, indices: Range<usize>) -> impl Iterator<Item = SimCell<'m>> {
        indices.map(move |index| self.cell(index))
    }
}

impl PteCell for SimCell<'_> {
    fn load(self) -> u64 {
        schedule_point();
        self.machine.mmu().speculate_at(self.machine.ram(), self.slot);
        self.machine.ram().entry(self.slot)
    }

    fn store(self, value: u64) {
        let machine = self.machine;
        schedule_point();
        machine.assert_no_read_in_flight(value);
        machine.mmu().store(machine.ram(), machine.cpu(), self.slot, value);
    }

    fn exchange(self, value: u64) -> u64 {
        let machine = self.machine;
        schedule_point();
        machine.assert_no_read_in_flight(value);
        machine.mmu().exchange(machine.ram(), machine.cpu(), self.slot, value)
    }

    fn compare_exchange(self, current: u64, new: u64) -> Result<(), u64> {
        let machine = self.machine;
        schedule_point();
        machine.assert_no_read_in_flight(new);
        machine.mmu().compare_exchange(machine.ram(), machine.cpu(), self.slot, current, new)
    }
}

impl PteMem for SimMachine {
    type Table<'m> = SimTable<'m>;

    fn table(&self, table: Pfn) -> SimTable<'_> {
        SimTable { machine: self, table }
    }

    fn publish(&self) {
        schedule_point();
        self.mmu().order.barrier(self.cpu());
    }
}
