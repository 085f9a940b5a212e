// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is what user code on a simulated CPU can do to memory, and which CPU a thread runs on.
//!
//! Addresses carry their logical tag. Tags are compared as [`RunUser::load_tag_control`] has told
//! the CPU.
//!
//! [`RunUser::load_tag_control`]: crate::RunUser::load_tag_control

use core::cell::Cell;

use base::VirtAddr;
use base::addr::GRANULE_SIZE;
use base::percpu::CpuId;
use base::sync::schedule_point;

use super::SimMachine;
use super::descriptor::MemoryType;
use super::host::{thread, thread_local};
use super::mmu::{Located, TagRule};
use crate::cpu::Cpus;
use crate::user::TagControl;
use crate::user_mem::{Access, FaultCause, MemFault};

thread_local! {
    #[allow(clippy::missing_const_for_thread_local, reason = "shuttle's macro takes no const")]
    static CURRENT: Cell<Option<CpuId>> = Cell::new(None);
}

/// Binds the calling thread to a CPU until dropped.
pub(super) struct OnCpu(Option<CpuId>);

impl OnCpu {
    pub(super) fn bind(cpu: CpuId) -> Self {
        Self(CURRENT.with(|current| current.replace(Some(cpu))))
    }

    /// Binds the calling thread to a CPU until it is bound to another.
    pub(super) fn move_to(cpu: CpuId) {
        CURRENT.with(|current| current.set(Some(cpu)));
    }
}

impl Drop for OnCpu {
    fn drop(&mut self) {
        CURRENT.with(|current| current.set(self.0));
    }
}

impl Cpus for SimMachine {
    fn cpu(&self) -> CpuId {
        self.bound_cpu().expect("this thread runs on no CPU: wrap it in SimMachine::run_on")
    }

    fn nr_cpus(&self) -> usize {
        self.config().nr_cpus
    }
}

impl SimMachine {
    /// Returns the CPU that the calling thread runs on, if it is bound to one.
    pub(super) fn bound_cpu(&self) -> Option<CpuId> {
        CURRENT.with(Cell::get)
    }

    /// Runs `f` as what CPU `cpu` does. That no other thread runs on that CPU at the same time is
    /// the caller's business.
    pub fn run_on<R>(&self, cpu: CpuId, f: impl FnOnce() -> R) -> R {
        assert!(cpu.get() < self.nr_cpus(), "the machine has no {cpu:?}");
        let _bound = OnCpu::bind(cpu);
        f()
    }

    /// Starts a host thread (shuttle's, under the model checker) that runs `f` on CPU `cpu`.
    pub fn spawn_on<R: Send + 'static>(
        &self,
        cpu: CpuId,
        f: impl FnOnce() -> R + Send + 'static,
    ) -> thread::JoinHandle<R> {
        let machine = self.clone();
        thread::spawn(move || machine.run_on(cpu, f))
    }

    /// Loads 8 bytes.
    ///
    /// # Errors
    ///
    /// The fault that hardware would take.
    pub fn load(&self, cpu: CpuId, at: VirtAddr) -> Result<u64, MemFault> {
        self.aligned(at, 8, Access::Read)?;
        self.access(cpu, at, Access::Read, TagRule::Checked, |machine, to| {
            let (frame, offset) = machine.ram().at(to.addr);
            frame.word(offset / 8)
        })
    }

    /// Stores 8 bytes.
    ///
    /// # Errors
    ///
    /// The fault that hardware would take.
    pub fn store(&self, cpu: CpuId, at: VirtAddr, value: u64) -> Result<(), MemFault> {
        self.aligned(at, 8, Access::Write)?;
        self.access(cpu, at, Access::Write, TagRule::Checked, |machine, to| {
            let (frame, offset) = machine.ram().at(to.addr);
            frame.set_word(offset / 8, value);
        })
    }

    /// Fetches an instruction.
    ///
    /// # Errors
    ///
    /// The fault that hardware would take.
    ///
    /// # Panics
    ///
    /// When the kernel has written to the page and not made that visible to instruction fetch.
    pub fn fetch(&self, cpu: CpuId, at: VirtAddr) -> Result<u32, MemFault> {
        self.aligned(at, 4, Access::Execute)?;
        self.access(cpu, at, Access::Execute, TagRule::Unchecked, |machine, to| {
            let (frame, offset) = machine.ram().at(to.addr);
            assert!(frame.is_synced(), "fetch from {:?}, not synchronised", to.addr.pfn());
            (frame.word(offset / 8) >> (offset % 8 * 8)) as u32
        })
    }

    /// Loads the allocation tag of a granule (LDG); 0 where memory is not tagged.
    ///
    /// # Errors
    ///
    /// The fault that hardware would take.
    pub fn load_tag(&self, cpu: CpuId, at: VirtAddr) -> Result<u8, MemFault> {
        self.access(cpu, at, Access::Read, TagRule::Unchecked, |machine, to| {
            let (frame, offset) = machine.ram().at(to.addr);
            let is_tagged = machine.is_tagged(to);
            if is_tagged { frame.tag(offset / GRANULE_SIZE) } else { 0 }
        })
    }

    /// Stores the allocation tag of a granule (STG): a store to permissions and dirty state.
    /// Ignored where memory is not tagged.
    ///
    /// # Errors
    ///
    /// The fault that hardware would take.
    pub fn store_tag(&self, cpu: CpuId, at: VirtAddr, tag: u8) -> Result<(), MemFault> {
        self.aligned(at, GRANULE_SIZE as u64, Access::Write)?;
        self.access(cpu, at, Access::Write, TagRule::Unchecked, |machine, to| {
            let (frame, offset) = machine.ram().at(to.addr);
            if machine.is_tagged(to) {
                frame.set_tag(offset / GRANULE_SIZE, tag);
            }
        })
    }

    /// Tells CPU `cpu` how to check tags from now on.
    pub fn set_tag_control(&self, cpu: CpuId, control: TagControl) {
        self.mmu().cpus[cpu.get()].tag_control = control;
    }

    /// Locates the address and runs `act` in the same step, so that an invalidation completed
    /// after the translation was used is completed after the data moved, too.
    pub(super) fn access<R>(
        &self,
        cpu: CpuId,
        at: VirtAddr,
        access: Access,
        rule: TagRule,
        act: impl FnOnce(&Self, Located) -> R,
    ) -> Result<R, MemFault> {
        schedule_point();
        let mut mmu = self.mmu();
        let to = mmu.access(self.ram(), cpu, at, access, rule)?;
        Ok(act(self, to))
    }

    fn is_tagged(&self, to: Located) -> bool {
        self.config().has_tags && to.memory == MemoryType::Tagged
    }

    fn aligned(&self, addr: VirtAddr, size: u64, access: Access) -> Result<(), MemFault> {
        let cause = FaultCause::Alignment;
        let fault = MemFault { addr, access, cause, esr: 0 };
        if addr.get().is_multiple_of(size) { Ok(()) } else { Err(fault) }
    }
}
