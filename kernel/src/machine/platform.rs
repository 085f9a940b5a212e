// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file binds the ports that processes need beyond the memory manager's: `hal::Platform`.

use alloc::boxed::Box;

use arch::context::{self, Context};
use arch::{cpu, fp, sysreg, user_copy, user_run};
use base::percpu::CpuId;
use base::{PhysAddr, VirtAddr};
use drivers::gicv3;
use hal::thread::OutOfKernelMemory;
use hal::{
    Clock, Devices, FpState, Interrupt, PowerAction, RunUser, TagControl, TagMem, Threads, Trap,
    UserFault, UserMem, UserRegs,
};
#[cfg(feature = "lab")]
use hal::{Cpus, Reach};

use super::{Granule, TICK_NS};
#[cfg(feature = "lab")]
use crate::lab::stale;
use crate::{console, panic, power, smp};

impl RunUser for Granule {
    fn run_user(&self, regs: &mut UserRegs) -> Trap {
        user_run::run_user(regs)
    }

    fn load_fp(&self, fp: &FpState) {
        fp::load(fp);
    }

    fn save_fp(&self, fp: &mut FpState) {
        fp::save(fp);
    }

    fn load_tls(&self, tls: u64) {
        user_run::load_tls(tls);
    }

    fn save_tls(&self) -> u64 {
        user_run::save_tls()
    }

    fn load_tag_control(&self, control: TagControl) {
        if self.features.has_tags() {
            user_run::load_tag_control(control);
        }
    }

    fn take_async_tag_fault(&self) -> bool {
        self.features.has_tags() && user_run::take_async_tag_fault()
    }

    fn hwcaps(&self) -> (u64, u64) {
        self.hwcaps
    }
}

impl UserMem for Granule {
    fn read_user(&self, from: VirtAddr, buf: &mut [u8]) -> Result<(), UserFault> {
        user_copy::read(self.has_tags(), from, buf)
    }

    fn write_user(&self, to: VirtAddr, buf: &[u8]) -> Result<(), UserFault> {
        user_copy::write(self.has_tags(), to, buf)
    }

    fn read_user_to_frame(
        &self,
        from: VirtAddr,
        to: PhysAddr,
        len_bytes: usize,
    ) -> Result<(), UserFault> {
        user_copy::read_to_frame(self.has_tags(), &self.linear_map, from, to, len_bytes)
    }

    fn write_user_from_frame(
        &self,
        to: VirtAddr,
        from: PhysAddr,
        len_bytes: usize,
    ) -> Result<(), UserFault> {
        user_copy::write_from_frame(self.has_tags(), &self.linear_map, to, from, len_bytes)
    }

    fn zero_user(&self, at: VirtAddr, len_bytes: usize) -> Result<(), UserFault> {
        user_copy::zero(self.has_tags(), at, len_bytes)
    }

    fn load_user_u32(&self, at: VirtAddr) -> Result<u32, UserFault> {
        user_copy::load_u32(self.has_tags(), at)
    }

    fn compare_exchange_user_u32(
        &self,
        at: VirtAddr,
        current: u32,
        new: u32,
    ) -> Result<u32, UserFault> {
        user_copy::compare_exchange_u32(self.has_tags(), at, current, new)
    }
}

impl Threads for Granule {
    type Context = Context;

    fn new_context(&self, entry: Box<dyn FnOnce() + Send>) -> Result<Context, OutOfKernelMemory> {
        Context::new(entry)
    }

    fn boot_context(&self) -> Context {
        Context::running()
    }

    fn switch(&self, from: &Context, to: &Context) {
        // It waits for what this CPU has started.
        #[cfg(feature = "lab")]
        stale::completed(self.cpu(), Reach::Broadcast);
        context::switch(from, to);
    }

    fn take_interrupt(&self) -> Option<Interrupt> {
        let taken = gicv3::acknowledge()?;
        let number = taken.number();
        let interrupt = if number == gicv3::KICK {
            panic::stop_if_panicking();
            Interrupt::Kick
        } else if number == self.interrupts.timer {
            self.set_timer(None);
            Interrupt::Timer
        } else if Some(number) == self.interrupts.console {
            console::take_input();
            Interrupt::Console
        } else if let Some(disk) = self.disks.complete(self, number) {
            Interrupt::Disk(disk)
        } else {
            Interrupt::Unexpected(number)
        };
        taken.end();
        Some(interrupt)
    }

    fn is_interrupt_pending(&self) -> bool {
        // Bit 7: an IRQ (Arm ARM D24.2.88).
        sysreg::isr_el1() & 1 << 7 != 0
    }

    fn wait_for_interrupt(&self) {
        cpu::wait_for_interrupt();
    }

    fn kick(&self, cpu: CpuId) {
        smp::kick(cpu);
    }

    fn set_timer(&self, deadline_ns: Option<u64>) {
        let tick = self.has_tick.then(|| self.now_ns() + TICK_NS);
        let first = [deadline_ns, tick].into_iter().flatten().min();
        self.ticks.set_timer(first);
    }
}

impl Devices for Granule {
    fn console_write(&self, bytes: &[u8]) {
        console::write(bytes);
    }

    fn console_read(&self, buf: &mut [u8]) -> usize {
        console::read(buf)
    }

    fn power(&self, action: PowerAction) -> ! {
        power::act(action)
    }

    fn entropy(&self, buf: &mut [u8]) {
        self.entropy.fill(buf);
    }

    fn epoch_offset_ns(&self) -> u64 {
        self.epoch_offset_ns
    }
}
