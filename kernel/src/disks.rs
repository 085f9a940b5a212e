// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file finds the machine's disks and hands requests and interrupts to their driver.

#![expect(unsafe_code, reason = "hands mapped registers and page frames to the driver")]

use alloc::vec::Vec;
use core::ops::Range;
use core::ptr::{NonNull, with_exposed_provenance_mut};

use arch::{cpu, kernel_map, linear_map};
use arrayvec::ArrayVec;
use base::PhysAddr;
use base::counter::Counters;
use base::percpu::MAX_CPUS;
use drivers::BlockEvent;
use drivers::gicv3::Gicv3;
use drivers::pci::{self, Bus, Window};
use drivers::virtio::{self, MAX_SEGMENTS, Platform, SomeTransport, StartError};
use hal::block_dev::SECTORS_PER_PAGE;
use hal::{BlockOp, Cpus, DiskId, IoError, IoTicket, Segment};

use crate::device_tree::{Device, DeviceTree, PciHost};
use crate::host_disk::HostDisk;
use crate::machine::Granule;

/// How the driver's memory is addressed on this machine.
pub struct LinearMemory;

// SAFETY: heap and page frames are in the linear map, at a constant distance from their physical
// addresses; QEMU's devices are coherent.
unsafe impl Platform for LinearMemory {
    fn phys_of(va: usize) -> PhysAddr {
        linear_map::phys_of(va)
    }

    fn map_registers(registers: Range<PhysAddr>) -> Option<NonNull<u8>> {
        let at = kernel_map::map_device(registers).ok()?;
        NonNull::new(with_exposed_provenance_mut(at))
    }
}

/// Returns the first bus of the PCI host bridge that the device tree names. Called once.
pub fn pci_bus(tree: &DeviceTree<'_>) -> Option<Bus> {
    let host = tree.pci.as_ref()?;
    let ecam = host.ecam.start..host.ecam.end.min(host.ecam.start.add(pci::ECAM_BYTES as u64));
    if ecam.end.get() - ecam.start.get() < pci::ECAM_BYTES as u64 {
        log::error!("PCI: the configuration space {ecam:x?} holds no bus");
        return None;
    }
    let at = LinearMemory::map_registers(ecam)?;
    let [memory32, memory64] = host.shared_windows().map(Window::new);
    // SAFETY: the device tree says that this is the bridge's configuration space, and which windows
    // are its; it has just been mapped, and only this driver gets it.
    Some(unsafe { Bus::new(at, memory32, memory64) })
}

type Disk = virtio::Disk<LinearMemory, SomeTransport<'static>>;

/// A disk and the number of its interrupt.
struct Attached {
    disk: Disk,
    interrupt: u32,
}

/// The machine's disks, in the order of their names: vda, vdb.
pub struct Disks {
    disks: Vec<Attached>,
    /// Files of the emulator's host, behind those.
    files: Vec<HostDisk>,
    /// What they did.
    pub counters: Counters<BlockEvent>,
}

/// Tickets carry the disk's number above the driver's.
const TICKET_BITS: u32 = 16;

/// Tickets of a file of the host: the request has ended before it gets one.
const DONE: u16 = 0;
const FAILED: u16 = 1;

/// The most disks: their names are vda to vdz.
const MAX_DISKS: usize = 26;

impl Disks {
    /// Finds and starts the disks that the device tree leads to. A device that cannot be used is
    /// logged.
    pub fn find(tree: &DeviceTree<'_>, bus: Option<&mut Bus>) -> Self {
        let mut found =
            Self { disks: Vec::new(), files: Vec::new(), counters: Counters::new(MAX_CPUS) };
        // QEMU's first -device gets the transport with the highest address.
        for transport in tree.virtio_mmio.iter().rev() {
            found.add_mmio(transport);
        }
        if let (Some(host), Some(bus)) = (&tree.pci, bus) {
            found.add_pci(host, bus);
        }
        found
    }

    fn add_mmio(&mut self, device: &Device) {
        let (Device { registers, .. }, Some(interrupt)) = (device, device.interrupt) else {
            return;
        };
        let len_bytes = (registers.end.get() - registers.start.get()) as usize;
        let Some(at) = LinearMemory::map_registers(registers.clone()) else { return };
        // SAFETY: the device tree says that these are a virtio-mmio transport's registers; they have
        // just been mapped, and only this driver gets them.
        match unsafe { virtio::mmio_transport(NonNull::slice_from_raw_parts(at, len_bytes)) } {
            Ok(Some(transport)) => self.start(transport, interrupt, "mmio"),
            Ok(None) => {}
            Err(error) => log::error!("virtio-mmio at {registers:x?}: {error}"),
        }
    }

    fn add_pci(&mut self, host: &PciHost, bus: &mut Bus) {
        for function in bus.virtio_functions::<LinearMemory>() {
            let pin = function.pin.and_then(|pin| host.interrupt_of(function.device, pin));
            match pin {
                Some(interrupt) => self.start(function.transport.into(), interrupt, "pci"),
                None => log::error!("PCI device {}: no interrupt", function.device),
            }
        }
    }

    fn start(&mut self, transport: SomeTransport<'static>, interrupt: u32, bus: &str) {
        if self.disks.len() == MAX_DISKS {
            return log::error!("virtio-{bus}: one disk too many");
        }
        match Disk::start(transport) {
            Ok(disk) => {
                log::info!(
                    "vd{}: {} MiB, virtio-{bus}, {} descriptors, interrupt {interrupt}",
                    char::from(b'a' + self.disks.len() as u8),
                    disk.nr_sectors() >> 11,
                    disk.queue_size(),
                );
                self.disks.push(Attached { disk, interrupt });
            }
            Err(StartError::NotADisk(what)) => log::warn!("virtio-{bus}: no driver for {what:?}"),
            Err(error) => log::error!("virtio-{bus}: the disk cannot be used: {error:?}"),
        }
    }

    /// Adds a file of the emulator's host.
    pub fn add_file(&mut self, name: &str) {
        match HostDisk::open(name) {
            Ok(disk) if self.len() < MAX_DISKS => {
                let letter = char::from(b'a' + self.len() as u8);
                log::info!("vd{letter}: {} MiB, a file of the host", disk.nr_sectors() >> 11);
                self.files.push(disk);
            }
            Ok(_) => log::error!("disk.host={name}: one disk too many"),
            Err(error) => log::error!("disk.host={name}: {error:?}"),
        }
    }

    /// Lets the disks' interrupts through to the running CPU.
    pub fn enable_interrupts(&self, gic: &Gicv3) {
        for attached in &self.disks {
            if let Err(error) = gic.enable_shared(attached.interrupt, cpu::affinity()) {
                log::error!("disk interrupt {}: {error:?}", attached.interrupt);
            }
        }
    }

    /// Returns how many there are.
    pub const fn len(&self) -> usize {
        self.disks.len() + self.files.len()
    }

    /// Returns the size of a disk in sectors, 0 when there is no such disk.
    pub fn nr_sectors(&self, disk: DiskId) -> u64 {
        let file = self.file(disk).map(HostDisk::nr_sectors);
        file.or(self.disk(disk).map(Disk::nr_sectors)).unwrap_or(0)
    }

    /// Returns the most requests that a disk ever had at once.
    #[cfg(feature = "ktest")]
    pub fn most_in_flight(&self, disk: DiskId) -> usize {
        self.disk(disk).map_or(0, Disk::most_in_flight)
    }

    /// Returns the number of descriptors in a disk's queue.
    #[cfg(feature = "ktest")]
    pub fn queue_size(&self, disk: DiskId) -> usize {
        self.disk(disk).map_or(0, Disk::queue_size)
    }

    fn disk(&self, disk: DiskId) -> Option<&Disk> {
        self.disks.get(usize::from(disk.0)).map(|attached| &attached.disk)
    }

    fn file(&self, disk: DiskId) -> Option<&HostDisk> {
        self.files.get(usize::from(disk.0).checked_sub(self.disks.len())?)
    }

    /// Starts a request.
    ///
    /// # Errors
    ///
    /// [`IoError::OutOfRange`], [`IoError::Unsupported`]; nothing is started then.
    ///
    /// # Panics
    ///
    /// When the memory manager does not own a frame of the request.
    pub fn submit(
        &self,
        machine: &Granule,
        disk: DiskId,
        op: BlockOp,
        sector: u64,
        segments: &[Segment],
    ) -> Result<IoTicket, IoError> {
        if segments.len() > MAX_SEGMENTS {
            return Err(IoError::Unsupported);
        }
        let memory = |s: &Segment| machine.linear_map.frames(s.first, s.nr_frames);
        // Filled where it is: what `collect` returns is copied, with all the room that it has.
        let mut buffers = ArrayVec::<_, MAX_SEGMENTS>::new();
        buffers.extend(segments.iter().map(memory));
        // SAFETY, both: these are frames of the memory manager: mapped for ever, without Rust
        // objects. It gives away no block with a request in flight.
        let ticket = if let Some(file) = self.file(disk) {
            // SAFETY: see above.
            let outcome = unsafe { file.run(op, sector, &buffers) }?;
            if outcome.is_ok() { DONE } else { FAILED }
        } else {
            let driver = self.disk(disk).ok_or(IoError::OutOfRange)?;
            // SAFETY: see above.
            unsafe { driver.submit(machine, op, sector, &buffers) }?
        };
        let nr_sectors = segments.iter().map(|s| u64::from(s.nr_frames) * SECTORS_PER_PAGE).sum();
        self.count_start(machine, op, nr_sectors);
        Ok(IoTicket::new(u32::from(disk.0) << TICKET_BITS | u32::from(ticket)))
    }

    fn count_start(&self, machine: &Granule, op: BlockOp, nr_sectors: u64) {
        let (requests, sectors) = match op {
            BlockOp::Read => (BlockEvent::Read, Some(BlockEvent::SectorsRead)),
            BlockOp::Write => (BlockEvent::Write, Some(BlockEvent::SectorsWritten)),
            BlockOp::Flush => (BlockEvent::Flush, None),
            BlockOp::Discard { .. } => (BlockEvent::Discard, None),
        };
        self.counters.add(machine.cpu(), requests, 1);
        if let Some(sectors) = sectors {
            self.counters.add(machine.cpu(), sectors, nr_sectors);
        }
    }

    /// Sleeps until a request is done and retires it.
    ///
    /// # Errors
    ///
    /// [`IoError::Device`], [`IoError::Unsupported`].
    ///
    /// # Panics
    ///
    /// When the ticket is no disk's, or was waited for already.
    pub fn wait(&self, machine: &Granule, ticket: IoTicket) -> Result<(), IoError> {
        let disk = DiskId((ticket.raw() >> TICKET_BITS) as u8);
        let ticket = ticket.raw() as u16;
        let outcome = if self.file(disk).is_some() {
            if ticket == DONE { Ok(()) } else { Err(IoError::Device) }
        } else {
            self.disk(disk).expect("the ticket of a disk").wait(machine, ticket)
        };
        self.counters.add(machine.cpu(), BlockEvent::Retired, 1);
        if outcome.is_err() {
            self.counters.add(machine.cpu(), BlockEvent::Failed, 1);
        }
        outcome
    }

    /// Takes completions of the disks that raise an interrupt, and returns one of them. PCI devices
    /// may share one.
    pub fn complete(&self, machine: &Granule, interrupt: u32) -> Option<DiskId> {
        let mut first = None;
        for (number, attached) in (0..).zip(&self.disks) {
            if attached.interrupt == interrupt {
                attached.disk.complete(machine);
                first = first.or(Some(DiskId(number)));
            }
        }
        if first.is_some() {
            self.counters.add(machine.cpu(), BlockEvent::Interrupt, 1);
        }
        first
    }
}
