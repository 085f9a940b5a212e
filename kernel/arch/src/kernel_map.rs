// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file adds mappings to the kernel's half of the address space.
//!
//! boot/early_map.S made the tables and mapped the image; everything else comes from here and
//! stays: kernel mappings are never removed or changed, so no invalidation is ever due. Table
//! pages come from a small pool in the image until the heap exists, then from the heap.

#![expect(unsafe_code, reason = "turns addresses of table pages into references")]

extern crate alloc;

use alloc::alloc::{Layout, alloc_zeroed};
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use aarch64_cpu::asm::barrier;
use base::lock_level;
use base::sync::SpinLock;
use base::{PAGE_SIZE, PhysAddr};

use crate::descriptor::{self, MemoryType, Protection};
use crate::layout::{BLOCK_SIZE, DEVICE_BASE, IMAGE_BASE, LINEAR_BASE, PHYS_BITS};
use crate::{image, linear_map};

/// One page of entries. A hardware walker reads them at any moment.
#[repr(C, align(4096))]
struct Table([AtomicU64; descriptor::ENTRIES]);

impl Table {
    const fn empty() -> Self {
        Table([const { AtomicU64::new(0) }; descriptor::ENTRIES])
    }

    fn load(&self, index: usize) -> u64 {
        self.0[index].load(Ordering::Acquire)
    }

    /// Stores an entry after everything stored before, so that a walker that sees a table's
    /// descriptor also sees the table cleared.
    fn store(&self, index: usize, descriptor: u64) {
        self.0[index].store(descriptor, Ordering::Release);
    }
}

/// Tables for what must be mapped before there is a heap: device tree (4), console (3), the heap
/// itself (up to 4).
static BOOT_TABLES: [Table; 16] = [const { Table::empty() }; 16];

/// Why a mapping could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// No memory for a table.
    OutOfMemory,
    /// Something else is mapped there.
    Occupied,
    /// The physical address is above [`PHYS_BITS`], or the range is not page aligned.
    BadRange,
}

/// A mapping to make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// First virtual address.
    pub at: usize,
    /// First physical address.
    pub to: PhysAddr,
    /// Bytes, a multiple of the page size.
    pub len_bytes: usize,
    /// What may be done there.
    pub protection: Protection,
    /// What kind of memory it is.
    pub memory_type: MemoryType,
}

/// The right to change the kernel's tables, and the state of the pool of tables.
pub struct KernelMap {
    boot_tables_used: usize,
}

/// Taken last of its level: a new stack is mapped while the list of free stacks is locked.
static KERNEL_MAP: SpinLock<KernelMap, lock_level::KernelMap> = SpinLock::new(KernelMap::new());

/// Makes a mapping, with 2 MiB blocks as far as alignment allows.
///
/// # Errors
///
/// [`MapError`]; part of the range may be mapped then.
pub fn map(mapping: &Mapping) -> Result<(), MapError> {
    KERNEL_MAP.lock_nested().map(mapping)
}

/// Tells whether something is mapped at an address.
pub fn is_mapped(va: usize) -> bool {
    let _unchanging = KERNEL_MAP.lock_nested();
    let mut table = root();
    for level in 0..3 {
        match table.load(descriptor::index(va, level)) {
            0 => return false,
            entry if descriptor::is_table(entry) => table = table_at(descriptor::output(entry)),
            _ => return true,
        }
    }
    table.load(descriptor::index(va, 3)) != 0
}

/// Maps device registers and returns their address. Mapping a page twice is fine: two devices may
/// share one.
///
/// # Errors
///
/// [`MapError`].
pub fn map_device(registers: Range<PhysAddr>) -> Result<usize, MapError> {
    KERNEL_MAP.lock_nested().map_device(registers)
}

impl KernelMap {
    const fn new() -> Self {
        Self { boot_tables_used: 0 }
    }

    /// Returns a second right to change the tables, for a CPU that cannot take locks.
    ///
    /// # Safety
    ///
    /// Nothing else in this kernel uses its map, before or after: the CPU is being refused.
    pub const unsafe fn without_lock() -> Self {
        Self::new()
    }

    /// Does the work of [`map_device`].
    ///
    /// # Errors
    ///
    /// Those of [`map_device`].
    pub fn map_device(&mut self, registers: Range<PhysAddr>) -> Result<usize, MapError> {
        if registers.end.get() > 1 << PHYS_BITS {
            return Err(MapError::BadRange);
        }
        let first_page = registers.start.get() as usize & !(PAGE_SIZE - 1);
        let end = (registers.end.get() as usize).next_multiple_of(PAGE_SIZE);
        for page in (first_page..end).step_by(PAGE_SIZE) {
            let mapped = self.map(&Mapping {
                at: DEVICE_BASE + page,
                to: PhysAddr::new(page as u64),
                len_bytes: PAGE_SIZE,
                protection: Protection::ReadWrite,
                memory_type: MemoryType::Device,
            });
            match mapped {
                Ok(()) | Err(MapError::Occupied) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(DEVICE_BASE + registers.start.get() as usize)
    }

    /// Does the work of [`map`].
    ///
    /// # Errors
    ///
    /// Those of [`map`].
    pub fn map(&mut self, mapping: &Mapping) -> Result<(), MapError> {
        let Mapping { at, to, len_bytes, protection, memory_type } = *mapping;
        let end = to.get() + len_bytes as u64;
        if end > 1 << PHYS_BITS || !(at | to.get() as usize | len_bytes).is_multiple_of(PAGE_SIZE) {
            return Err(MapError::BadRange);
        }
        let attributes = descriptor::kernel_attributes(protection, memory_type);
        let mut done = 0;
        while done < len_bytes {
            let (va, pa) = (at + done, to.add(done as u64));
            let fits_block = (va | pa.get() as usize).is_multiple_of(BLOCK_SIZE)
                && len_bytes - done >= BLOCK_SIZE;
            let (level, descriptor) = if fits_block {
                (2, descriptor::block(pa, attributes))
            } else {
                (3, descriptor::page(pa, attributes))
            };
            self.store_leaf(va, level, descriptor)?;
            done += if fits_block { BLOCK_SIZE } else { PAGE_SIZE };
        }
        // The stores above reach the walkers of all CPUs, and this CPU's later accesses do not use
        // a walk made before them (Arm ARM D8.2.5).
        barrier::dsb(barrier::ISHST);
        barrier::isb(barrier::SY);
        Ok(())
    }

    /// Stores one leaf entry, with the tables above it.
    fn store_leaf(&mut self, va: usize, level: u32, descriptor: u64) -> Result<(), MapError> {
        let mut table = root();
        for above in 0..level {
            let index = descriptor::index(va, above);
            let entry = table.load(index);
            table = match entry {
                0 => {
                    let (new, phys) = self.new_table()?;
                    table.store(index, descriptor::table(phys));
                    new
                }
                _ if descriptor::is_table(entry) => table_at(descriptor::output(entry)),
                _ => return Err(MapError::Occupied),
            };
        }
        let index = descriptor::index(va, level);
        if table.load(index) != 0 {
            return Err(MapError::Occupied);
        }
        table.store(index, descriptor);
        Ok(())
    }

    /// Takes a cleared table that nobody uses, for good.
    fn new_table(&mut self) -> Result<(&'static Table, PhysAddr), MapError> {
        if let Some(table) = BOOT_TABLES.get(self.boot_tables_used) {
            self.boot_tables_used += 1;
            return Ok((table, image::phys(core::ptr::from_ref(table).addr())));
        }
        const LAYOUT: Layout = Layout::new::<Table>();
        // SAFETY: the layout is not of size zero.
        let page = unsafe { alloc_zeroed(LAYOUT) }.cast::<Table>();
        // SAFETY: a non-null result is valid for `LAYOUT`, zeroed (a valid Table), and leaked.
        let table: &'static Table = unsafe { page.as_ref() }.ok_or(MapError::OutOfMemory)?;
        Ok((table, linear_map::phys_of(page.addr())))
    }
}

fn root() -> &'static Table {
    // SAFETY: boot/early_map.S reserves a page for this symbol and nothing else uses it.
    unsafe { &*core::ptr::with_exposed_provenance(image::kernel_l0()) }
}

/// Returns the table at a physical address that a table descriptor points to.
fn table_at(phys: PhysAddr) -> &'static Table {
    let va = image::virt(phys).unwrap_or_else(|| linear_map::virt_of(phys));
    // SAFETY: descriptors in the kernel's tables point to tables of boot/early_map.S, of the pool,
    // or leaked from the heap: all valid for ever and only ever accessed as atomics.
    unsafe { &*core::ptr::with_exposed_provenance(va) }
}

/// A mapping that exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// First virtual address.
    pub va: usize,
    /// Bytes.
    pub len_bytes: usize,
    /// The descriptor.
    pub descriptor: u64,
}

/// Calls `visit` for every mapping of the kernel's half, lowest address first.
pub fn for_each_leaf(visit: &mut dyn FnMut(Leaf)) {
    let _unchanging = KERNEL_MAP.lock_nested();
    visit_table(root(), 0, LINEAR_BASE, visit);
}

fn visit_table(table: &Table, level: u32, base: usize, visit: &mut dyn FnMut(Leaf)) {
    for index in 0..descriptor::ENTRIES {
        let descriptor = table.load(index);
        let va = base + (index << descriptor::level_shift(level));
        if descriptor & descriptor::VALID == 0 {
            continue;
        }
        if level < 3 && descriptor::is_table(descriptor) {
            visit_table(table_at(descriptor::output(descriptor)), level + 1, va, visit);
        } else {
            visit(Leaf { va, len_bytes: 1 << descriptor::level_shift(level), descriptor });
        }
    }
}

const _: () = assert!(size_of::<Table>() == PAGE_SIZE);
// The walk above starts at the lowest kernel address, which is entry 0 of the root.
const _: () = assert!(LINEAR_BASE.trailing_zeros() >= 48 && IMAGE_BASE > LINEAR_BASE);
