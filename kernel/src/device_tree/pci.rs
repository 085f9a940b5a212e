// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads the node of a PCI host bridge (IEEE 1275 PCI bus binding).

use core::ops::Range;

use arrayvec::ArrayVec;
use dtoolkit::fdt::FdtNode;

use super::{gic_interrupt, number, phys_range, property_cells, push, registers};
use crate::memory_layout::PhysRange;

/// A PCI host bridge with an enhanced configuration space.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PciHost {
    /// Configuration space.
    pub ecam: PhysRange,
    /// Non-prefetchable memory below 4 GiB.
    pub memory32: Option<PciWindow>,
    /// Memory above 4 GiB.
    pub memory64: Option<PciWindow>,
    /// Which interrupt a device on bus 0 raises.
    pub interrupts: ArrayVec<PciInterrupt, 32>,
    /// Which bits of a device's address select its row in `interrupts`.
    pub device_mask: u32,
}

/// A window through which the CPU reaches PCI memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PciWindow {
    /// Where the CPU sees it.
    pub cpu: PhysRange,
    /// Where the bus sees its start.
    pub bus_start: u64,
}

/// One row of a PCI host's interrupt map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PciInterrupt {
    /// Device number in bits 15:11, after masking.
    pub device: u32,
    /// Pin, 1 to 4.
    pub pin: u32,
    /// Interrupt number (INTID).
    pub interrupt: u32,
}

impl PciHost {
    /// Returns the addresses of both memory windows, as far as bus and CPU agree on them: below and
    /// above 4 GiB. A window that is missing, or moved, is empty.
    pub fn shared_windows(&self) -> [Range<u64>; 2] {
        [&self.memory32, &self.memory64].map(|window| match window {
            Some(PciWindow { cpu, bus_start }) if cpu.start.get() == *bus_start => {
                *bus_start..cpu.end.get()
            }
            _ => 0..0,
        })
    }

    /// Returns the number of the interrupt that a device on bus 0 raises with a pin.
    pub fn interrupt_of(&self, device: u8, pin: u8) -> Option<u32> {
        let device = u32::from(device) << 11 & self.device_mask;
        let mut rows = self.interrupts.iter();
        let row = rows.find(|row| row.device == device && row.pin == u32::from(pin));
        row.map(|row| row.interrupt)
    }
}

/// Bits 25:24 of a PCI address's first cell.
const SPACE_MEMORY32: u32 = 2;
const SPACE_MEMORY64: u32 = 3;
/// Cells in one row of `ranges`: PCI address (3), CPU address (2), size (2).
const RANGE_CELLS: usize = 7;
/// Cells in one row of `interrupt-map`: device (3), pin, parent, its address (2), GIC specifier (3).
const INTERRUPT_CELLS: usize = 10;

/// Reads a host bridge. `None` when it has no configuration space.
pub fn read(node: FdtNode<'_>) -> Option<PciHost> {
    let mut host = PciHost {
        ecam: registers(node).next()?,
        memory32: None,
        memory64: None,
        interrupts: ArrayVec::new(),
        device_mask: property_cells(node, "interrupt-map-mask").next().unwrap_or(0),
    };
    for row in rows::<RANGE_CELLS>(node, "ranges") {
        let [space, bus_high, bus_low, cpu_high, cpu_low, size_high, size_low] = row;
        let pair = |high, low| number([high, low].into_iter());
        let window = PciWindow {
            cpu: phys_range(pair(cpu_high, cpu_low), pair(size_high, size_low)),
            bus_start: pair(bus_high, bus_low),
        };
        match space >> 24 & 3 {
            SPACE_MEMORY32 => host.memory32 = Some(window),
            SPACE_MEMORY64 => host.memory64 = Some(window),
            _ => {}
        }
    }
    for row in rows::<INTERRUPT_CELLS>(node, "interrupt-map") {
        let [device, _, _, pin, _, _, _, kind, line, _] = row;
        if let Some(interrupt) = gic_interrupt(kind, line) {
            push(&mut host.interrupts, PciInterrupt { device, pin, interrupt });
        }
    }
    Some(host)
}

/// Splits a property into rows of `N` cells.
fn rows<'a, const N: usize>(
    node: FdtNode<'a>,
    name: &str,
) -> impl Iterator<Item = [u32; N]> + use<'a, N> {
    let mut cells = property_cells(node, name);
    core::iter::from_fn(move || {
        let mut row = [0; N];
        for cell in &mut row {
            *cell = cells.next()?;
        }
        Some(row)
    })
}
