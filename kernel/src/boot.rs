// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the steps of booting; `kernel_main` (main.rs) lists them in order.

#![expect(unsafe_code, reason = "entered from assembly; reads the device tree by address")]

use core::ops::Range;
use core::ptr::{NonNull, with_exposed_provenance, with_exposed_provenance_mut};

use arch::control::{self, sctlr, tcr};
use arch::descriptor::{self, MemoryType, Protection, kernel_attributes};
use arch::entropy::Entropy;
use arch::features::{CpuFeatures, IdRegs, Mte};
use arch::kernel_map::{self, KernelMap, Mapping};
use arch::layout::DEVICE_TREE_BASE;
use arch::linear_map::{self, LinearMap};
use arch::timer::{self, Ticks};
use arch::{cpu, hwcaps, image, mte};
use base::{PAGE_SIZE, Pfn, PhysAddr};
use drivers::gicv3::Gicv3;
use drivers::pci::Bus;
use drivers::pl011::Pl011;
use drivers::pl031;
use dtoolkit::fdt::Fdt;

use crate::command_line::CommandLine;
use crate::device_memory::DeviceMemory;
use crate::device_tree::{self, DeviceTree};
use crate::disks::{self, Disks};
use crate::machine::{Granule, Interrupts};
use crate::memory_layout::{self, MemoryLayout, PhysRange};
use crate::{console, heap, panic, power, thp_options, tlb_options};

core::arch::global_asm!(
    include_str!("../../boot/head.S"),
    MAIR = const descriptor::MAIR,
    TCR = const tcr::EARLY,
    SCTLR = const sctlr::RUNNING,
    SCTLR_MMU_OFF = const sctlr::MMU_OFF,
    HCR_EL2 = const control::HCR_EL2,
);
core::arch::global_asm!(
    include_str!("../../boot/early_map.S"),
    TEXT_PAGE = const page_bits(Protection::ReadExecute),
    RODATA_PAGE = const page_bits(Protection::Read),
    DATA_PAGE = const page_bits(Protection::ReadWrite),
);

const fn page_bits(protection: Protection) -> u64 {
    descriptor::page(PhysAddr::new(0), kernel_attributes(protection, MemoryType::Normal))
}

/// The largest device tree (Linux Documentation/arch/arm64/booting.rst).
const MAX_DEVICE_TREE: usize = 2 << 20;

/// Maps the device tree and reads it.
///
/// # Panics
///
/// When there is none.
pub fn device_tree(at: PhysAddr) -> (DeviceTree<'static>, PhysRange) {
    let blob =
        map_device_tree(at, kernel_map::map).unwrap_or_else(|| panic!("no device tree at {at:?}"));
    let range = at..at.add(blob.len() as u64);
    let tree = Fdt::new(blob).unwrap_or_else(|error| panic!("bad device tree: {error}"));
    (device_tree::read(tree), range)
}

/// Maps the device tree read-only in its window, and returns its bytes.
fn map_device_tree(
    at: PhysAddr,
    mut map: impl FnMut(&Mapping) -> Result<(), kernel_map::MapError>,
) -> Option<&'static [u8]> {
    let offset = at.page_offset();
    let mut map_pages = |pages: Range<usize>| {
        let mapping = Mapping {
            at: DEVICE_TREE_BASE + pages.start * PAGE_SIZE,
            to: at.pfn().add(pages.start as u32).base(),
            len_bytes: pages.len() * PAGE_SIZE,
            protection: Protection::Read,
            memory_type: MemoryType::Normal,
        };
        map(&mapping).ok()
    };
    map_pages(0..1)?;
    let start: *const u8 = with_exposed_provenance(DEVICE_TREE_BASE + offset);
    if !at.get().is_multiple_of(8) {
        return None;
    }
    // SAFETY: the header's first two words are in the page just mapped: the tree is 8-byte
    // aligned.
    let [magic, size] = unsafe { start.cast::<[u32; 2]>().read() }.map(u32::from_be);
    let size = size as usize;
    if magic != 0xd00d_feed || size > MAX_DEVICE_TREE {
        return None;
    }
    let nr_pages = (offset + size).div_ceil(PAGE_SIZE);
    if nr_pages > 1 {
        map_pages(1..nr_pages)?;
    }
    // SAFETY: the pages are mapped, read-only, for ever, and nobody writes to the tree elsewhere:
    // its blocks are taken out of the memory manager's.
    Some(unsafe { core::slice::from_raw_parts(start, size) })
}

/// Starts the console that the device tree names; without one the kernel runs silently.
pub fn console(tree: &DeviceTree<'_>) {
    let Some(uart) = &tree.console else { return };
    if let Ok(registers) = kernel_map::map_device(uart.registers.clone()) {
        console::init(registers);
    }
}

/// Sets up the boot CPU, and returns what the kernel uses of its CPUs: what they have, without what
/// boot options switch off. Allocation tags are tried, because an emulator may have them wrong.
pub fn features(command_line: &CommandLine<'_>) -> CpuFeatures {
    let mut features = wanted_features(command_line);
    cpu::init(&features);
    if !features.has_tags() {
        log::warn!("no allocation tags (MTE) on this machine: programs run without them");
    }
    features.coarse_tags = features.has_tags() && !mte::granules_have_their_own_tags();
    if features.coarse_tags {
        log::warn!(
            "this machine keeps two allocation tags per page (a fault of QEMU before 8.0): \
             pages tagged as a whole work, granules tagged apart do not; mte=off hides them"
        );
    }
    features
}

fn wanted_features(command_line: &CommandLine<'_>) -> CpuFeatures {
    let id = IdRegs::read();
    log::debug!("{id:#x?}");
    let mut features = CpuFeatures::decode(&id);
    if command_line.is("mte", "off") {
        features.mte = Mte::None;
    }
    if command_line.is("mm.af", "sw") {
        // Dirty state by hardware builds on the access flag by hardware (Arm ARM D8.4.5).
        features.hw_access_flag = false;
        features.hw_dirty = false;
    }
    if command_line.is("mm.dbm", "sw") {
        features.hw_dirty = false;
    }
    if command_line.is("tlb.range", "off") {
        features.tlbi_range = false;
    }
    if command_line.is("mem.ops", "off") {
        features.mops = false;
    }
    features
}

/// Divides RAM, starts the heap and maps everything.
///
/// # Panics
///
/// When there is too little RAM.
pub fn memory(
    tree: &DeviceTree<'_>,
    device_tree: PhysRange,
    command_line: &CommandLine<'_>,
) -> MemoryLayout {
    let mut taken = tree.reserved.clone();
    for own in [Some(image::phys_range()), Some(device_tree), tree.initrd.clone()] {
        taken.extend(own);
    }
    let device_memory = set_aside(tree, &taken, command_line);
    taken.extend(device_memory.clone());
    let mut layout = memory_layout::divide(&tree.memory, &taken)
        .unwrap_or_else(|_| panic!("too little RAM: {:?}", tree.memory));
    layout.device_memory = device_memory;
    let map = |ram: PhysRange| {
        linear_map::map_ram(ram).unwrap_or_else(|error| panic!("linear map: {error:?}"));
    };
    // The heap first: the tables for the rest come from it.
    map(layout.heap.clone());
    let all = linear_map::virt_range(&all_ram(&layout));
    // SAFETY: called once; the layout gives these blocks to the heap alone, and they are mapped.
    unsafe { heap::init(linear_map::virt_range(&layout.heap), all) };
    for ram in &layout.ram {
        map(ram.start..ram.end.min(layout.heap.start).max(ram.start));
        map(ram.start.max(layout.heap.end).min(ram.end)..ram.end);
    }
    layout
}

/// Returns the part of RAM that boot option `device_mem=64M` gives to devices.
fn set_aside(
    tree: &DeviceTree<'_>,
    taken: &[PhysRange],
    command_line: &CommandLine<'_>,
) -> Option<PhysRange> {
    let wanted = command_line.value("device_mem")?;
    let mib: Option<u64> = wanted.strip_suffix('M').and_then(|mib| mib.parse().ok());
    let found = mib
        .and_then(|mib| memory_layout::last_blocks(&tree.memory, taken, mib.checked_mul(1 << 20)?));
    if found.is_none() {
        log::warn!("device_mem={wanted}: not to be had, left out");
    }
    found
}

/// Returns the initial ramdisk, if there is one in RAM.
pub fn initrd(tree: &DeviceTree<'_>, layout: &MemoryLayout) -> Option<&'static [u8]> {
    let initrd = tree.initrd.clone()?;
    if !layout.ram.iter().any(|ram| ram.start <= initrd.start && initrd.end <= ram.end) {
        log::warn!("the initial ramdisk at {initrd:?} is not in RAM");
        return None;
    }
    let bytes = linear_map::virt_range(&initrd);
    // SAFETY: in the linear map, and `memory` has kept its blocks from everybody else.
    Some(unsafe { core::slice::from_raw_parts(with_exposed_provenance(bytes.start), bytes.len()) })
}

/// Returns the range from the first byte of RAM to the last.
fn all_ram(layout: &MemoryLayout) -> PhysRange {
    let end = layout.ram.last().map(|ram| ram.end);
    layout.ram[0].start..end.expect("memory_layout::divide found RAM for the heap")
}

/// Sets which large folios there are, where boot options say so.
pub fn large_folios(command_line: &CommandLine<'_>, settings: &mm::Settings) {
    if let Some(value) = command_line.value("transparent_hugepage") {
        match thp_options::enabled(value) {
            Some(enabled) => settings.set_enabled(enabled),
            None => log::warn!("transparent_hugepage={value}: not understood, left out"),
        }
    }
    if let Some(value) = command_line.value("thp_anon") {
        match thp_options::sizes(value) {
            Some(sizes) => settings.set_sizes(sizes),
            None => log::warn!("thp_anon={value}: not understood, left out"),
        }
    }
}

/// Starts to keep the events that boot options ask for, in a kernel that can.
#[cfg_attr(
    not(feature = "trace"),
    expect(unused_variables, reason = "a kernel that keeps nothing needs no room")
)]
pub fn trace(command_line: &CommandLine<'_>, nr_cpus: usize) {
    let Some(value) = command_line.value("trace") else { return };
    #[cfg(feature = "trace")]
    crate::trace::init(value, command_line.value("trace.events"), nr_cpus);
    #[cfg(not(feature = "trace"))]
    log::warn!("trace={value}: this kernel was built without the feature `trace`, left out");
}

/// Chooses how invalidations are put together, where a boot option says so.
pub fn tlb_policy(command_line: &CommandLine<'_>, system: &mm::System<Granule>) {
    if let Some(value) = command_line.value("tlb") {
        match tlb_options::policy(value) {
            Some(policy) => system.set_tlb_policy(policy),
            None => log::warn!("tlb={value}: not understood, left out"),
        }
    }
}

/// Puts the machine together.
///
/// # Panics
///
/// When it has no GICv3, or no timer interrupt.
pub fn machine(
    tree: &DeviceTree<'_>,
    command_line: &CommandLine<'_>,
    features: CpuFeatures,
    layout: &MemoryLayout,
) -> Granule {
    let ticks = Ticks::read();
    let mut bus = disks::pci_bus(tree);
    let mut disks = Disks::find(tree, bus.as_mut());
    let files = command_line.options().filter_map(|word| word.strip_prefix("disk.host="));
    files.for_each(|name| disks.add_file(name));
    let device_memory = bus.as_mut().and_then(shared_memory).or(layout.device_memory.clone());
    let device_frames = device_memory
        .clone()
        .map_or(Pfn::new(0)..Pfn::new(0), |memory| memory.start.pfn()..memory.end.pfn());
    Granule {
        features,
        hwcaps: hwcaps::hwcaps(&IdRegs::read(), features.mte),
        nr_asids: tlb_options::nr_asids(command_line.value("tlb.asids"), features.asid16),
        linear_map: LinearMap::new(all_ram(layout), &layout.managed, device_frames),
        managed: layout.managed.to_vec(),
        nr_cpus: tree.cpus.len().max(1),
        ticks,
        has_tick: command_line.is("nohz", "off"),
        entropy: entropy(tree, command_line, &features),
        gic: interrupt_controller(tree),
        disks,
        device_memory: DeviceMemory::new(device_memory.as_ref()),
        interrupts: Interrupts {
            timer: tree.timer.expect("the device tree names a virtual timer"),
            console: tree.console.as_ref().and_then(|uart| uart.interrupt),
        },
        is_pmu_for_user: command_line.is("pmu.user", "on"),
        epoch_offset_ns: epoch_offset_ns(tree, ticks),
    }
}

/// Maps the memory of an ivshmem function, if the bus has one.
fn shared_memory(bus: &mut Bus) -> Option<PhysRange> {
    let memory = bus.shared_memory()?;
    match linear_map::map_device_memory(memory.clone()) {
        Ok(()) => Some(memory),
        Err(why) => {
            log::error!("ivshmem at {memory:x?}: {why:?}");
            None
        }
    }
}

fn interrupt_controller(tree: &DeviceTree<'_>) -> Gicv3 {
    let gic = tree.interrupt_controller.as_ref().expect("the device tree names a GICv3");
    let distributor = map_registers(gic.distributor.clone()).cast();
    let redistributors = map_registers(gic.redistributors.clone()).cast();
    // SAFETY: the device tree says that these are a GICv3's registers; they have just been mapped
    // whole, and only this driver gets them.
    unsafe { Gicv3::new(distributor, redistributors) }
        .unwrap_or_else(|error| panic!("GICv3: {error:?}"))
}

fn map_registers(registers: PhysRange) -> NonNull<u8> {
    let at = kernel_map::map_device(registers.clone())
        .unwrap_or_else(|error| panic!("registers at {registers:?}: {error:?}"));
    NonNull::new(with_exposed_provenance_mut(at)).expect("the device window is not at 0")
}

/// Chooses where random bytes come from. Boot option `seed=N` makes them repeat.
fn entropy(
    tree: &DeviceTree<'_>,
    command_line: &CommandLine<'_>,
    features: &CpuFeatures,
) -> Entropy {
    match command_line.value("seed").and_then(|seed| seed.parse().ok()) {
        Some(seed) => Entropy::seeded(seed),
        None if features.rndr => Entropy::Rndr,
        None => Entropy::seeded(tree.random_seed ^ timer::ticks()),
    }
}

fn epoch_offset_ns(tree: &DeviceTree<'_>, ticks: Ticks) -> u64 {
    let Some(clock) = &tree.clock else { return 0 };
    let registers = map_registers(clock.registers.clone()).cast();
    // SAFETY: the device tree says that this is a PL031.
    let seconds = unsafe { pl031::read_seconds(registers) };
    (u64::from(seconds) * 1_000_000_000).saturating_sub(ticks.now_ns())
}

/// Lets the console's interrupt through to the boot CPU.
pub fn console_input(machine: &Granule) {
    let Some(number) = machine.interrupts.console else { return };
    match machine.gic.enable_shared(number, cpu::affinity()) {
        Ok(()) => console::enable_input(),
        Err(error) => log::warn!("no console input: {error:?}"),
    }
}

/// Says why this CPU cannot run the kernel, and stops. Entered from boot/head.S instead of
/// `kernel_main`, on a CPU without FEAT_LSE: nothing here may take a lock, because a lock is taken
/// with an instruction that this CPU lacks.
#[unsafe(no_mangle)]
extern "C" fn refuse_cpu(device_tree: u64, image: u64) -> ! {
    image::set_load_address(PhysAddr::new(image));
    // SAFETY: nothing else has used the kernel's map, or ever will.
    let mut map = unsafe { KernelMap::without_lock() };
    let blob = map_device_tree(PhysAddr::new(device_tree), |mapping| map.map(mapping));
    let Some(tree) = blob.and_then(|blob| Fdt::new(blob).ok()) else { cpu::park() };
    let tree = device_tree::read(tree);
    power::init(&CommandLine::new(tree.command_line), tree.firmware);
    let registers = tree.console.and_then(|uart| map.map_device(uart.registers).ok());
    if let Some(uart) = registers.and_then(|at| NonNull::new(with_exposed_provenance_mut(at))) {
        // SAFETY: the device tree says that this is a PL011; nobody else uses it.
        let mut uart = unsafe { Pl011::new(uart) };
        uart.write(b"granule: PANIC on cpu 0: this CPU has no FEAT_LSE (Armv8.1 atomics)\r\n");
    }
    power::exit(panic::STATUS)
}
