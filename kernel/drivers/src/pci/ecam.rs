// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads and writes the configuration space of the first bus (PCI Express Base
//! Specification, 7.2.2: 4 KiB a function).

#![expect(unsafe_code, reason = "device registers")]

use core::ptr::NonNull;

use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction};

/// Bytes of the first bus: 32 devices of 8 functions.
pub const ECAM_BYTES: usize = 32 * 8 * 4096;

/// What the bus answers for a function that is not there.
const NOT_THERE: u32 = !0;
/// Offset of the word with the interrupt pin in bits 15:8.
const INTERRUPT: u8 = 0x3c;

/// Configuration space of bus 0.
pub struct Ecam(NonNull<u8>);

// SAFETY: the registers are the same from every CPU.
unsafe impl Send for Ecam {}

impl Ecam {
    /// Builds access to the space.
    ///
    /// # Safety
    ///
    /// `base` is a mapping of [`ECAM_BYTES`] of configuration space, as device memory, for ever.
    pub const unsafe fn new(base: NonNull<u8>) -> Self {
        Self(base)
    }

    /// Returns the pin with which a function raises its interrupt.
    pub fn interrupt_pin(&self, function: DeviceFunction) -> Option<u8> {
        let pin = (self.read_word(function, INTERRUPT) >> 8) as u8;
        (1..=4).contains(&pin).then_some(pin)
    }

    fn register(&self, at: DeviceFunction, offset: u8) -> Option<NonNull<u32>> {
        let is_there = at.bus == 0 && at.valid() && offset.is_multiple_of(4);
        let function = usize::from(at.device) << 3 | usize::from(at.function);
        let offset = function << 12 | usize::from(offset);
        // SAFETY: 32 devices of 8 functions of 4 KiB are within the space.
        is_there.then(|| unsafe { self.0.add(offset) }.cast())
    }
}

impl ConfigurationAccess for Ecam {
    fn read_word(&self, function: DeviceFunction, offset: u8) -> u32 {
        let Some(register) = self.register(function, offset) else { return NOT_THERE };
        // SAFETY: a mapped register; reading configuration space has no side effect.
        u32::from_le(unsafe { register.read_volatile() })
    }

    fn write_word(&mut self, function: DeviceFunction, offset: u8, data: u32) {
        let Some(register) = self.register(function, offset) else { return };
        // SAFETY: a mapped register. What a device does then can only endanger memory once it is
        // told of any, which is its driver's business.
        unsafe { register.write_volatile(data.to_le()) };
    }

    unsafe fn unsafe_clone(&self) -> Self {
        Self(self.0)
    }
}
