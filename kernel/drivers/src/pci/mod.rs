// SPDX-License-Identifier: MIT OR Apache-2.0
//! This module finds virtio functions on the first bus of a PCI host bridge and sets them up.
//!
//! Nothing does that before a kernel that is loaded without firmware: base address registers are 0
//! and decoding is off. Interrupts are the four pins (INTx), which the device tree maps.

mod ecam;
mod window;

use alloc::vec::Vec;
use core::ops::Range;
use core::ptr::NonNull;

use base::PhysAddr;
use virtio_drivers::transport::pci::bus::{
    BarInfo, Command, DeviceFunction, DeviceFunctionInfo, MemoryBarType, PciError, PciRoot,
};
use virtio_drivers::transport::pci::{PciTransport, VirtioPciError, virtio_device_type};

use crate::virtio::{Dma, Platform};
pub use ecam::ECAM_BYTES;
use ecam::Ecam;
pub use window::Window;

/// A virtio function that is ready for its driver.
pub struct Function {
    /// The device's number on the bus.
    pub device: u8,
    /// The pin with which it raises its interrupt, 1 to 4, if it has one.
    pub pin: Option<u8>,
    /// Its registers.
    pub transport: PciTransport,
}

/// Why a function cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FunctionError {
    /// One of its registers is not what PCI allows.
    Pci(PciError),
    /// No window has room for its registers.
    NoRoom,
    /// Its registers could not be mapped.
    NotMapped,
    /// It is not the virtio device that it says it is.
    Virtio(VirtioPciError),
}

/// The first bus of a host bridge.
pub struct Bus {
    root: PciRoot<Ecam>,
    /// The configuration space once more: `PciRoot` keeps it to itself, but for reads of read-only
    /// registers a second way there is fine.
    config: Ecam,
    memory32: Window,
    memory64: Window,
}

impl Bus {
    /// Builds a bus whose functions get their registers in two windows of addresses, one below and
    /// one above 4 GiB, where CPU and bus agree on addresses.
    ///
    /// # Safety
    ///
    /// `ecam` is a mapping of the first [`ECAM_BYTES`] of the bridge's configuration space, as device
    /// memory, for ever; no other driver uses it. Nothing else is at the windows' addresses.
    #[expect(unsafe_code, reason = "device registers")]
    pub unsafe fn new(ecam: NonNull<u8>, memory32: Window, memory64: Window) -> Self {
        // SAFETY: the caller's promise.
        let access = unsafe { Ecam::new(ecam) };
        // SAFETY: as above; this one only reads.
        let config = unsafe { Ecam::new(ecam) };
        Self { root: PciRoot::new(access), config, memory32, memory64 }
    }

    /// Sets up every virtio function of the bus, lowest device first, and returns those that could
    /// be; others are logged.
    pub fn virtio_functions<P: Platform>(&mut self) -> Vec<Function> {
        let found: Vec<_> = self.root.enumerate_bus(0).collect();
        let is_virtio = found.into_iter().filter(|(_, info)| virtio_device_type(info).is_some());
        let set_up = |(at, _)| match self.set_up::<P>(at) {
            Ok(function) => Some(function),
            Err(error) => {
                log::error!("PCI {at}: {error:?}");
                None
            }
        };
        is_virtio.filter_map(set_up).collect()
    }

    /// Returns where the memory of the first ivshmem function is: its BAR 2 (QEMU docs/specs/ivshmem-spec),
    /// in whole blocks of 2 MiB.
    pub fn shared_memory(&mut self) -> Option<Range<PhysAddr>> {
        const VENDOR: u16 = 0x1af4;
        const DEVICE: u16 = 0x1110;
        const MEMORY_BAR: u8 = 2;
        let mut found = self.root.enumerate_bus(0);
        let is_it = |id: &DeviceFunctionInfo| (id.vendor_id, id.device_id) == (VENDOR, DEVICE);
        let (at, _) = found.find(|(_, info)| is_it(info))?;
        let bars = self.root.bars(at).ok()?;
        let memory = bars.get(usize::from(MEMORY_BAR))?.clone()?;
        let BarInfo::Memory { address_type, address, size, .. } = memory else { return None };
        let address = match address {
            0 => self.assign(at, MEMORY_BAR, address_type, size)?,
            assigned => assigned,
        };
        self.root.set_command(at, Command::MEMORY_SPACE);
        let start = PhysAddr::new(address);
        (size >= 2 << 20).then(|| start..start.add(size))
    }

    fn set_up<P: Platform>(&mut self, at: DeviceFunction) -> Result<Function, FunctionError> {
        self.assign_addresses::<P>(at)?;
        // INTERRUPT_DISABLE is clear in this: the function may raise its pin.
        self.root.set_command(at, Command::MEMORY_SPACE | Command::BUS_MASTER);
        let transport =
            PciTransport::new::<Dma<P>, _>(&mut self.root, at).map_err(FunctionError::Virtio)?;
        let pin = self.config.interrupt_pin(at);
        Ok(Function { device: at.device, pin, transport })
    }

    /// Gives an address to each range of memory registers that has none, and maps it.
    fn assign_addresses<P: Platform>(&mut self, at: DeviceFunction) -> Result<(), FunctionError> {
        for (index, bar) in (0..).zip(self.root.bars(at).map_err(FunctionError::Pci)?) {
            let Some(BarInfo::Memory { address_type, address, size, .. }) = bar else { continue };
            let address = match address {
                0 => self.assign(at, index, address_type, size).ok_or(FunctionError::NoRoom)?,
                assigned => assigned,
            };
            let start = PhysAddr::new(address);
            P::map_registers(start..start.add(size)).ok_or(FunctionError::NotMapped)?;
        }
        Ok(())
    }

    fn assign(
        &mut self,
        at: DeviceFunction,
        index: u8,
        address_type: MemoryBarType,
        size: u64,
    ) -> Option<u64> {
        if address_type == MemoryBarType::Width64 {
            let address = self.memory64.take(size).or_else(|| self.memory32.take(size))?;
            self.root.set_bar_64(at, index, address);
            return Some(address);
        }
        let address = self.memory32.take(size)?;
        self.root.set_bar_32(at, index, u32::try_from(address).ok()?);
        Some(address)
    }
}
