// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests the reading of device trees: one like QEMU's, and broken ones.

use super::*;
use dtoolkit::model::{DeviceTree as Model, DeviceTreeNode, DeviceTreeProperty};
use std::vec::Vec;

/// A node from its name, its properties and its children.
fn node(
    name: &str,
    properties: &[(&str, Vec<u8>)],
    children: Vec<DeviceTreeNode>,
) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new(name).unwrap();
    for (name, value) in properties {
        node.add_property(DeviceTreeProperty::new(*name, &value[..]).unwrap());
    }
    children.into_iter().for_each(|child| node.add_child(child));
    node
}

fn cells(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

fn text(value: &str) -> Vec<u8> {
    [value.as_bytes(), &[0]].concat()
}

/// Reads a tree with these nodes below the root, 64-bit addresses and sizes.
fn machine(nodes: Vec<DeviceTreeNode>) -> DeviceTree<'static> {
    let mut model = Model::new();
    for name in ["#address-cells", "#size-cells"] {
        model.root.add_property(DeviceTreeProperty::new(name, 2_u32).unwrap());
    }
    nodes.into_iter().for_each(|node| model.root.add_child(node));
    let blob: &'static [u8] = model.to_dtb().leak();
    read(Fdt::new(blob).unwrap())
}

fn device_node(name: &str, compatible: &str, address: u32, line: u32) -> DeviceTreeNode {
    let properties = [
        ("compatible", text(compatible)),
        ("reg", cells(&[0, address, 0, 0x1000])),
        ("interrupts", cells(&[0, line, 4])),
    ];
    node(name, &properties, Vec::new())
}

fn memory(start: u32, len: u32) -> DeviceTreeNode {
    let properties = [("device_type", text("memory")), ("reg", cells(&[0, start, 0, len]))];
    node(&std::format!("memory@{start:x}"), &properties, Vec::new())
}

fn range(start: u64, len: u64) -> PhysRange {
    PhysAddr::new(start)..PhysAddr::new(start + len)
}

#[test]
fn memory_nodes_and_reservations_are_all_found() {
    let reserved = node("buffer@48000000", &[("reg", cells(&[0, 0x4800_0000, 0, 0x1000]))], vec![]);
    let properties = [("#address-cells", cells(&[2])), ("#size-cells", cells(&[2]))];
    let machine = machine(vec![
        memory(0x4000_0000, 0x1000_0000),
        memory(0x8000_0000, 0x2000_0000),
        node("reserved-memory", &properties, vec![reserved]),
    ]);
    let expected = [range(0x4000_0000, 0x1000_0000), range(0x8000_0000, 0x2000_0000)];
    assert_eq!(machine.memory[..], expected);
    assert_eq!(machine.reserved[..], [range(0x4800_0000, 0x1000)]);
}

#[test]
fn cpus_are_counted_by_device_type_up_to_the_limit() {
    let cpu = |id: u32| {
        let properties = [("device_type", text("cpu")), ("reg", cells(&[id]))];
        node(&std::format!("cpu@{id:x}"), &properties, vec![])
    };
    let cpus = |nr: u32| {
        let properties = [("#address-cells", cells(&[1])), ("#size-cells", cells(&[0]))];
        let children = (0..nr).map(|id| cpu(id * 0x100)).chain([node("cpu-map", &[], vec![])]);
        machine(vec![node("cpus", &properties, children.collect())]).cpus
    };
    assert_eq!(cpus(3)[..], [0, 0x100, 0x200]);
    assert_eq!(cpus(20).len(), MAX_CPUS);
}

#[test]
fn chosen_names_console_initrd_and_command_line() {
    let uarts = |stdout: &str| {
        let chosen = [
            ("stdout-path", text(stdout)),
            ("bootargs", text("exit=semihosting -- -v")),
            ("linux,initrd-start", cells(&[0x4800_0000])),
            ("linux,initrd-end", cells(&[0, 0x4810_0000])),
        ];
        machine(vec![
            device_node("pl011@9000000", "arm,pl011", 0x900_0000, 1),
            device_node("pl011@9040000", "arm,pl011", 0x904_0000, 8),
            node("aliases", &[("serial1", text("/pl011@9040000"))], vec![]),
            node("chosen", &chosen, vec![]),
        ])
    };
    let machine = uarts("/pl011@9040000");
    let second = Device { registers: range(0x904_0000, 0x1000), interrupt: Some(40) };
    assert_eq!(machine.console.as_ref(), Some(&second));
    assert_eq!(machine.command_line, "exit=semihosting -- -v");
    assert_eq!(machine.initrd, Some(range(0x4800_0000, 0x10_0000)));
    assert_eq!(uarts("serial1:115200n8").console, Some(second));
    assert_eq!(uarts("/nowhere").console.unwrap().interrupt, Some(33), "else the first one");
}

#[test]
fn timer_firmware_and_interrupt_controller_are_found() {
    let timer = [
        ("compatible", [text("arm,armv8-timer"), text("arm,armv7-timer")].concat()),
        ("interrupts", cells(&[1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4])),
    ];
    let psci = [
        ("compatible", [text("arm,psci-1.0"), text("arm,psci-0.2")].concat()),
        ("method", text("smc")),
    ];
    let gic = [
        ("compatible", text("arm,gic-v3")),
        ("reg", cells(&[0, 0x800_0000, 0, 0x1_0000, 0, 0x80a_0000, 0, 0xf6_0000])),
    ];
    let machine = machine(vec![
        node("timer", &timer, vec![]),
        node("psci", &psci, vec![]),
        node("intc@8000000", &gic, vec![]),
    ]);
    assert_eq!(machine.timer, Some(27));
    assert_eq!(machine.firmware, Some(Firmware::Smc));
    let gic = machine.interrupt_controller.unwrap();
    assert_eq!(gic.distributor, range(0x800_0000, 0x1_0000));
    assert_eq!(gic.redistributors, range(0x80a_0000, 0xf6_0000));
}

#[test]
fn virtio_transports_are_sorted_and_disabled_nodes_left_out() {
    let mut disabled = device_node("virtio_mmio@a000200", "virtio,mmio", 0xa00_0200, 17);
    disabled.add_property(DeviceTreeProperty::new("status", "disabled").unwrap());
    let machine = machine(vec![
        device_node("virtio_mmio@a000400", "virtio,mmio", 0xa00_0400, 18),
        disabled,
        device_node("virtio_mmio@a000000", "virtio,mmio", 0xa00_0000, 16),
    ]);
    let found: Vec<_> = machine.virtio_mmio.iter().map(|device| device.interrupt).collect();
    assert_eq!(found, [Some(48), Some(50)]);
}

#[test]
fn pci_host_has_windows_and_swizzled_interrupts() {
    #[rustfmt::skip]
    let properties = [
        ("compatible", text("pci-host-ecam-generic")),
        ("reg", cells(&[0x40, 0x1000_0000, 0, 0x1000_0000])),
        ("ranges", cells(&[
            0x0100_0000, 0, 0,           0, 0x3eff_0000, 0, 0x1_0000,
            0x0200_0000, 0, 0x1000_0000, 0, 0x1000_0000, 0, 0x2eff_0000,
            0x0300_0000, 0x80, 0,        0x80, 0,        0x80, 0,
        ])),
        ("interrupt-map-mask", cells(&[0x1800, 0, 0, 7])),
        ("interrupt-map", cells(&[
            0,     0, 0, 1, 0x8003, 0, 0, 0, 3, 4,
            0x800, 0, 0, 1, 0x8003, 0, 0, 0, 4, 4,
        ])),
    ];
    let host = machine(vec![node("pcie@10000000", &properties, vec![])]).pci.unwrap();
    assert_eq!(host.ecam, range(0x40_1000_0000, 0x1000_0000));
    assert_eq!(host.interrupt_of(4, 1), Some(35), "the mask leaves two bits of the device");
    assert_eq!(host.interrupt_of(5, 1), Some(36));
    assert_eq!(host.interrupt_of(5, 2), None);
    assert_eq!(host.shared_windows(), [0x1000_0000..0x3eff_0000, 1 << 39..2 << 39]);
    let mut moved = host.clone();
    moved.memory32.as_mut().unwrap().bus_start = 0;
    moved.memory64 = None;
    assert_eq!(moved.shared_windows(), [0..0, 0..0]);
    assert_eq!(host.memory32.unwrap().cpu, range(0x1000_0000, 0x2eff_0000));
    let window = host.memory64.unwrap();
    assert_eq!((window.cpu, window.bus_start), (range(1 << 39, 1 << 39), 1 << 39));
    let lines: Vec<_> = host.interrupts.iter().map(|row| (row.device, row.interrupt)).collect();
    assert_eq!(lines, [(0, 35), (0x800, 36)]);
    assert_eq!(host.device_mask, 0x1800);
}

#[test]
fn missing_and_short_properties_are_left_out() {
    let short = [("compatible", text("arm,armv8-timer")), ("interrupts", cells(&[1, 13, 4]))];
    let no_registers = [("compatible", text("arm,pl011")), ("reg", vec![0, 0, 1])];
    let machine = machine(vec![
        node("timer", &short, vec![]),
        node("pl011", &no_registers, vec![]),
        node("chosen", &[("linux,initrd-start", cells(&[1, 2, 3]))], vec![]),
    ]);
    assert_eq!(machine, DeviceTree::default());
}
