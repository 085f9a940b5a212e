// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file drives the GICv3 (Arm IHI 0069) through the `arm-gic` crate.
//!
//! All interrupts are in group 1 with one priority: they are polled for (IAR1), not taken, so there
//! is nothing to preempt. A CPU finds its redistributor by affinity, not by position.

#![expect(unsafe_code, reason = "device registers")]

use core::ptr::NonNull;

use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{
    GicCpuInterface, GicDistributor, GicError, GicRedistributor, GicRedistributorIterator,
    SgiTarget, SgiTargetGroup,
};
use arm_gic::{IntId, InterruptGroup, UniqueMmioPointer};
use base::lock_level;
use base::sync::SpinLock;

/// The software-generated interrupt that asks a CPU to look around.
pub const KICK: u32 = 0;

/// Why the interrupt controller cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// No redistributor has the CPU's affinity.
    NoRedistributor,
    /// The interrupt number is not one that this controller has.
    BadInterrupt(u32),
    /// The registers are not those of a GICv3.
    NotAGicv3,
}

/// The interrupt controller. What a CPU does with its own interrupts needs no state and is in free
/// functions.
pub struct Gicv3 {
    distributor: SpinLock<GicDistributor<'static>, lock_level::Device>,
    redistributors: NonNull<GicrSgi>,
}

// SAFETY: the distributor is behind a lock; each CPU only touches its own redistributor.
unsafe impl Send for Gicv3 {}
// SAFETY: as above.
unsafe impl Sync for Gicv3 {}

impl Gicv3 {
    /// Builds a driver and sets up the distributor: every shared interrupt disabled, group 1,
    /// level-sensitive.
    ///
    /// # Errors
    ///
    /// [`Error::NotAGicv3`].
    ///
    /// # Safety
    ///
    /// `distributor` and `redistributors` are mappings of the controller's registers, as device
    /// memory, for ever; no other driver uses them. The redistributors' mapping reaches to the
    /// last one.
    pub unsafe fn new(
        distributor: NonNull<Gicd>,
        redistributors: NonNull<GicrSgi>,
    ) -> Result<Self, Error> {
        // SAFETY: the caller's promise.
        let registers = unsafe { UniqueMmioPointer::new(distributor) };
        let mut distributor = GicDistributor::new(registers);
        distributor.configure_default_settings();
        // SAFETY: the caller's promise. Only asks whether the register layout is known.
        unsafe { GicRedistributorIterator::new(redistributors) }.map_err(|_| Error::NotAGicv3)?;
        Ok(Self { distributor: SpinLock::new(distributor), redistributors })
    }

    /// Sets up the running CPU, whose affinity is given: its redistributor, its interface, the kick,
    /// and its own interrupt `timer`.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub fn init_cpu(&self, affinity: u64, timer: u32) -> Result<(), Error> {
        GicCpuInterface::enable_system_register_el1();
        let mut redistributor = self.redistributor(affinity)?;
        match redistributor.mark_core_awake() {
            Ok(()) | Err(GicError::AlreadyAwake) => {}
            Err(_) => return Err(Error::NoRedistributor),
        }
        redistributor.configure_default_settings();
        for own in [KICK, timer] {
            redistributor
                .enable_interrupt(interrupt_id(own)?, true)
                .map_err(|_| Error::BadInterrupt(own))?;
        }
        redistributor.wait_for_pending_write();
        GicCpuInterface::set_priority_mask(0xff);
        GicCpuInterface::enable_group1(true);
        Ok(())
    }

    fn redistributor(&self, affinity: u64) -> Result<GicRedistributor<'static>, Error> {
        // SAFETY: the promise of `new`. Each CPU keeps only its own, which is the one found here.
        let all = unsafe { GicRedistributorIterator::new(self.redistributors) };
        all.map_err(|_| Error::NotAGicv3)?
            .find(|redistributor| redistributor.typer().core_mpidr() == affinity)
            .ok_or(Error::NoRedistributor)
    }

    /// Lets a shared interrupt through to the CPU with the given affinity.
    ///
    /// # Errors
    ///
    /// [`Error::BadInterrupt`].
    pub fn enable_shared(&self, number: u32, affinity: u64) -> Result<(), Error> {
        let id = interrupt_id(number)?;
        let bad = |_| Error::BadInterrupt(number);
        let mut distributor = self.distributor.lock();
        distributor.set_routing(id, Some(affinity)).map_err(bad)?;
        distributor.enable_interrupt(id, true).map_err(bad)
    }
}

fn interrupt_id(number: u32) -> Result<IntId, Error> {
    match number {
        0..16 => Ok(IntId::sgi(number)),
        16..32 => Ok(IntId::ppi(number - 16)),
        32..1020 => Ok(IntId::spi(number - 32)),
        _ => Err(Error::BadInterrupt(number)),
    }
}

/// An interrupt that this CPU has acknowledged. Ending it lets it become pending again.
#[must_use = "an interrupt that is not ended never comes again"]
#[derive(Debug)]
pub struct Acknowledged(IntId);

impl Acknowledged {
    /// Returns the interrupt's number.
    pub fn number(&self) -> u32 {
        self.0.into()
    }

    /// Ends the interrupt: its source has been silenced.
    pub fn end(self) {
        GicCpuInterface::end_interrupt(self.0, InterruptGroup::Group1);
    }
}

/// Acknowledges one pending interrupt of this CPU, if there is one.
pub fn acknowledge() -> Option<Acknowledged> {
    GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1).map(Acknowledged)
}

/// Makes [`KICK`] pending on the CPU with the given affinity.
pub fn kick(affinity: u64) {
    let byte = |level: u32| (affinity >> level) as u8;
    let target = SgiTarget::List {
        affinity3: byte(32),
        affinity2: byte(16),
        affinity1: byte(8),
        target_list: 1 << (byte(0) & 0xf),
    };
    let sent = GicCpuInterface::send_sgi(IntId::sgi(KICK), target, SgiTargetGroup::CurrentGroup1);
    debug_assert!(sent.is_ok(), "KICK is a software-generated interrupt");
}
