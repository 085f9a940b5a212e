// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads from the device tree what the kernel needs to know about its machine.
//!
//! Nothing else in the kernel knows an address or an interrupt number of a device.

use arrayvec::ArrayVec;
use base::PhysAddr;
use base::percpu::MAX_CPUS;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};

use crate::memory_layout::{MAX_RANGES, PhysRange};

mod pci;
#[cfg(test)]
mod tests;

pub use pci::PciHost;

/// A device: its registers and its interrupt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Registers.
    pub registers: PhysRange,
    /// Interrupt number (INTID), if it has one.
    pub interrupt: Option<u32>,
}

/// The interrupt controller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterruptController {
    /// Registers of the distributor.
    pub distributor: PhysRange,
    /// Registers of the first region of redistributors.
    pub redistributors: PhysRange,
}

/// How firmware is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Firmware {
    /// HVC.
    Hvc = 1,
    /// SMC.
    Smc = 2,
}

/// The machine, as its device tree describes it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DeviceTree<'a> {
    /// RAM.
    pub memory: ArrayVec<PhysRange, MAX_RANGES>,
    /// Parts of RAM that are somebody else's.
    pub reserved: ArrayVec<PhysRange, MAX_RANGES>,
    /// Affinity of each CPU (MPIDR_EL1), at most [`MAX_CPUS`].
    pub cpus: ArrayVec<u64, MAX_CPUS>,
    /// The console, a PL011.
    pub console: Option<Device>,
    /// The real-time clock, a PL031.
    pub clock: Option<Device>,
    /// The GICv3.
    pub interrupt_controller: Option<InterruptController>,
    /// Interrupt number of the virtual timer.
    pub timer: Option<u32>,
    /// PSCI.
    pub firmware: Option<Firmware>,
    /// virtio-mmio transports, lowest address first, whether or not a device is behind them.
    pub virtio_mmio: ArrayVec<Device, 32>,
    /// The PCI host bridge.
    pub pci: Option<PciHost>,
    /// The initial ramdisk.
    pub initrd: Option<PhysRange>,
    /// The command line.
    pub command_line: &'a str,
    /// A seed for random numbers.
    pub random_seed: u64,
}

/// Reads a device tree. What is missing or malformed is left out; the caller decides what the kernel
/// cannot do without.
pub fn read(tree: Fdt<'_>) -> DeviceTree<'_> {
    let mut machine = DeviceTree::default();
    for entry in tree.memory_reservations() {
        push(&mut machine.reserved, phys_range(entry.address(), entry.size()));
    }
    let root = tree.root();
    for node in root.children().filter(|node| is_enabled(*node)) {
        match node.name_without_address() {
            "chosen" => read_chosen(&mut machine, node),
            "cpus" => read_cpus(&mut machine, node),
            "reserved-memory" => {
                let ranges = node.children().flat_map(registers);
                ranges.for_each(|range| push(&mut machine.reserved, range));
            }
            _ => read_device(&mut machine, node),
        }
    }
    if let Some(node) = stdout(tree) {
        machine.console = device(node);
    }
    machine.virtio_mmio.sort_unstable_by_key(|device| device.registers.start);
    machine
}

fn read_chosen<'a>(machine: &mut DeviceTree<'a>, node: FdtNode<'a>) {
    machine.command_line = string(node, "bootargs").unwrap_or_default();
    let ends = (integer(node, "linux,initrd-start"), integer(node, "linux,initrd-end"));
    if let (Some(start), Some(end)) = ends
        && start < end
    {
        machine.initrd = Some(PhysAddr::new(start)..PhysAddr::new(end));
    }
    let seed = bytes(node, "rng-seed").and_then(|seed| seed.first_chunk().copied());
    machine.random_seed = seed.map_or(0, u64::from_le_bytes);
}

fn read_cpus(machine: &mut DeviceTree<'_>, node: FdtNode<'_>) {
    let is_cpu = |cpu: &FdtNode<'_>| string(*cpu, "device_type") == Some("cpu");
    let affinity = |cpu: FdtNode<'_>| integer(cpu, "reg");
    let cpus = node.children().filter(|cpu| is_enabled(*cpu)).filter(is_cpu);
    machine.cpus = cpus.filter_map(affinity).take(MAX_CPUS).collect();
}

fn read_device<'a>(machine: &mut DeviceTree<'a>, node: FdtNode<'a>) {
    if string(node, "device_type") == Some("memory") {
        registers(node).for_each(|range| push(&mut machine.memory, range));
        return;
    }
    let Some(compatible) = node.compatible() else { return };
    for name in compatible {
        match name {
            "arm,pl011" => machine.console = machine.console.take().or_else(|| device(node)),
            "arm,pl031" => machine.clock = device(node),
            "arm,gic-v3" => machine.interrupt_controller = interrupt_controller(node),
            // Secure physical, physical, virtual, hypervisor.
            "arm,armv8-timer" => machine.timer = interrupt(node, 2),
            "arm,psci-0.2" | "arm,psci-1.0" => machine.firmware = firmware(node),
            "virtio,mmio" => {
                device(node).into_iter().for_each(|d| push(&mut machine.virtio_mmio, d))
            }
            "pci-host-ecam-generic" => machine.pci = pci::read(node),
            _ => continue,
        }
        return;
    }
}

/// Returns the node of the console: /chosen/stdout-path, directly or through an alias.
fn stdout(tree: Fdt<'_>) -> Option<FdtNode<'_>> {
    let path = string(tree.find_node("/chosen")?, "stdout-path")?;
    let name = path.split(':').next()?;
    let path = match name.starts_with('/') {
        true => name,
        false => string(tree.find_node("/aliases")?, name)?,
    };
    let is_pl011 =
        |node: &FdtNode<'_>| node.compatible().is_some_and(|mut c| c.any(|c| c == "arm,pl011"));
    tree.find_node(path).filter(is_pl011)
}

fn device(node: FdtNode<'_>) -> Option<Device> {
    Some(Device { registers: registers(node).next()?, interrupt: interrupt(node, 0) })
}

fn interrupt_controller(node: FdtNode<'_>) -> Option<InterruptController> {
    let mut regions = registers(node);
    Some(InterruptController { distributor: regions.next()?, redistributors: regions.next()? })
}

fn firmware(node: FdtNode<'_>) -> Option<Firmware> {
    match string(node, "method")? {
        "hvc" => Some(Firmware::Hvc),
        "smc" => Some(Firmware::Smc),
        _ => None,
    }
}

/// Returns the number of a node's interrupt.
fn interrupt(node: FdtNode<'_>, index: usize) -> Option<u32> {
    let mut cells = property_cells(node, "interrupts").skip(3 * index);
    gic_interrupt(cells.next()?, cells.next()?)
}

/// Returns the INTID of a GIC interrupt specifier (Linux
/// Documentation/devicetree/bindings/interrupt-controller/arm,gic-v3.yaml).
fn gic_interrupt(kind: u32, number: u32) -> Option<u32> {
    match kind {
        0 => Some(32 + number),
        1 => Some(16 + number),
        _ => None,
    }
}

/// Iterates over a node's `reg` ranges.
fn registers(node: FdtNode<'_>) -> impl Iterator<Item = PhysRange> {
    let ranges = node.reg().ok().flatten().into_iter().flatten();
    ranges.filter_map(|reg| Some(phys_range(reg.address().ok()?, reg.size().ok()?)))
}

fn is_enabled(node: FdtNode<'_>) -> bool {
    string(node, "status").is_none_or(|status| matches!(status, "okay" | "ok"))
}

fn bytes<'a>(node: FdtNode<'a>, name: &str) -> Option<&'a [u8]> {
    node.property(name)?.value_as().ok()
}

fn string<'a>(node: FdtNode<'a>, name: &str) -> Option<&'a str> {
    let value = bytes(node, name)?;
    core::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok()
}

/// Returns a property of one or two cells.
fn integer(node: FdtNode<'_>, name: &str) -> Option<u64> {
    matches!(bytes(node, name)?.len(), 4 | 8).then(|| number(property_cells(node, name)))
}

/// Iterates over the cells of a property; there are none when it is missing.
fn property_cells<'a>(node: FdtNode<'a>, name: &str) -> impl Iterator<Item = u32> + use<'a> {
    let value = bytes(node, name).unwrap_or_default();
    value.as_chunks().0.iter().map(|cell| u32::from_be_bytes(*cell))
}

/// Puts cells together to one number, the most significant first.
fn number(cells: impl Iterator<Item = u32>) -> u64 {
    cells.fold(0, |high, low| high << 32 | u64::from(low))
}

fn phys_range(start: u64, len_bytes: u64) -> PhysRange {
    PhysAddr::new(start)..PhysAddr::new(start.saturating_add(len_bytes))
}

/// Keeps an element if there is room: a machine with more has the rest ignored.
fn push<T, const N: usize>(list: &mut ArrayVec<T, N>, element: T) {
    let _full = list.try_push(element);
}
