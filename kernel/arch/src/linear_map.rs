// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file maps all RAM at a constant offset, and decides who may reach a frame through it.
//!
//! RAM is owned in blocks of 2 MiB: by the kernel (image, heap, initial files), where Rust objects
//! live, or by the memory manager, where none do. The safe ports of `hal` take any frame number;
//! what makes them sound is [`LinearMap::frame`], which hands out a [`Frame`] only inside a block
//! that the memory manager owns: one load and one comparison an access.

#![expect(unsafe_code, reason = "turns frame numbers into pointers")]

extern crate alloc;

use alloc::boxed::Box;
use core::marker::PhantomData;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use base::{Order, PAGE_SIZE, Pfn, PhysAddr};
use hal::{PteCell, PteTable};

use crate::descriptor::{MemoryType, Protection};
use crate::image;
use crate::kernel_map::{self, MapError, Mapping};
use crate::layout::{BLOCK_SIZE, LINEAR_BASE, PHYS_BITS};

/// Returns the linear-map address of a physical address.
pub(crate) const fn virt_of(phys: PhysAddr) -> usize {
    LINEAR_BASE + phys.get() as usize
}

/// Returns where a range of RAM is in the linear map.
pub fn virt_range(ram: &Range<PhysAddr>) -> Range<usize> {
    virt_of(ram.start)..virt_of(ram.end)
}

/// Returns the physical address of a linear-map address, where the heap is.
///
/// # Panics
///
/// When `va` is not in the linear map.
pub fn phys_of(va: usize) -> PhysAddr {
    let offset = va.wrapping_sub(LINEAR_BASE);
    assert!(offset < 1 << PHYS_BITS, "not a linear-map address: {va:#x}");
    PhysAddr::new(offset as u64)
}

/// Maps a range of RAM: writable, with tags on a machine that has them; but code and constants of
/// the image read-only, because their alias must not be writable either.
///
/// # Errors
///
/// [`MapError`].
pub fn map_ram(ram: Range<PhysAddr>) -> Result<(), MapError> {
    let constant = image::phys_read_only();
    let image = image::phys_range();
    let pieces = [
        (ram.start..image.start, Protection::ReadWrite, MemoryType::NormalTagged),
        (constant.clone(), Protection::Read, MemoryType::Normal),
        (constant.end..image.end, Protection::ReadWrite, MemoryType::Normal),
        (image.end..ram.end, Protection::ReadWrite, MemoryType::NormalTagged),
    ];
    for (piece, protection, memory_type) in pieces {
        let start = piece.start.max(ram.start);
        let end = piece.end.min(ram.end);
        if start < end {
            kernel_map::map(&Mapping {
                at: virt_of(start),
                to: start,
                len_bytes: (end.get() - start.get()) as usize,
                protection,
                memory_type,
            })?;
        }
    }
    Ok(())
}

/// Maps memory of a device that is like RAM (an ivshmem function's), without tags.
///
/// # Errors
///
/// [`MapError`].
pub fn map_device_memory(memory: Range<PhysAddr>) -> Result<(), MapError> {
    kernel_map::map(&Mapping {
        at: virt_of(memory.start),
        to: memory.start,
        len_bytes: (memory.end.get() - memory.start.get()) as usize,
        protection: Protection::ReadWrite,
        memory_type: MemoryType::Normal,
    })
}

/// Who may touch the frames of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Owner {
    /// The kernel: image, heap, initial files. Rust objects live there. Also what is no RAM.
    Kernel = 0,
    /// The memory manager. No Rust object lives there.
    MemoryManager = 1,
}

/// The owners of all RAM.
pub struct LinearMap {
    first_block: u32,
    owners: Box<[AtomicU8]>,
    /// Memory of devices: mapped, and nobody's Rust objects.
    devices: Range<Pfn>,
}

/// A frame of the memory manager, checked. It is 4 KiB of mapped RAM that holds no Rust object, so
/// any byte may be stored there at any time, also by user programs and devices.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    at: NonNull<u8>,
    map: PhantomData<&'a LinearMap>,
}

impl Frame<'_> {
    /// Returns the address of the first byte.
    pub(crate) const fn as_ptr(self) -> *mut u8 {
        self.at.as_ptr()
    }
}

/// Adjacent frames of the memory manager, checked as [`Frame`] is.
#[derive(Clone, Copy)]
pub struct FrameRun<'a> {
    first: Frame<'a>,
    len_bytes: usize,
}

impl FrameRun<'_> {
    /// Returns the address of the first byte.
    pub(crate) const fn as_ptr(self) -> *mut u8 {
        self.first.as_ptr()
    }

    /// Returns how many bytes there are: whole frames, at least one.
    pub(crate) const fn len_bytes(self) -> usize {
        self.len_bytes
    }
}

impl<'a> From<Frame<'a>> for FrameRun<'a> {
    #[inline(always)]
    fn from(frame: Frame<'a>) -> Self {
        Self { first: frame, len_bytes: PAGE_SIZE }
    }
}

/// A table page of the memory manager, checked as [`Frame`] is.
#[derive(Clone, Copy)]
pub struct Table<'a>(&'a [AtomicU64; PAGE_SIZE / 8]);

/// An entry of a table page.
#[derive(Clone, Copy)]
pub struct Cell<'a>(&'a AtomicU64);

impl<'a> PteTable for Table<'a> {
    type Cell = Cell<'a>;

    #[inline(always)]
    fn cell(self, index: usize) -> Cell<'a> {
        Cell(&self.0[index])
    }

    #[inline(always)]
    fn cells(self, indices: Range<usize>) -> impl Iterator<Item = Cell<'a>> {
        self.0[indices].iter().map(Cell)
    }
}

impl PteCell for Cell<'_> {
    #[inline(always)]
    fn load(self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    #[inline(always)]
    fn store(self, value: u64) {
        self.0.store(value, Ordering::Release);
    }

    #[inline(always)]
    fn exchange(self, value: u64) -> u64 {
        self.0.swap(value, Ordering::AcqRel)
    }

    #[inline(always)]
    fn compare_exchange(self, current: u64, new: u64) -> Result<(), u64> {
        self.0.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire).map(|_| ())
    }
}

const fn block_of(pfn: Pfn) -> u32 {
    pfn.get() >> Order::BLOCK.get()
}

impl LinearMap {
    /// Builds the owner table for RAM up to `end`, with the blocks of `managed` (2 MiB aligned) for
    /// the memory manager and all others for the kernel. The ranges are ascending and mapped.
    /// `devices` is memory of devices, mapped as well.
    pub fn new(ram: Range<PhysAddr>, managed: &[Range<Pfn>], devices: Range<Pfn>) -> Self {
        let first_block = block_of(ram.start.pfn());
        let nr_blocks = (ram.end.get().div_ceil(BLOCK_SIZE as u64) as u32) - first_block;
        let owner_of = |block: u32| {
            let first = Pfn::new(block << Order::BLOCK.get());
            match managed.iter().any(|range| range.contains(&first)) {
                true => Owner::MemoryManager,
                false => Owner::Kernel,
            }
        };
        let owners = (0..nr_blocks)
            .map(|index| AtomicU8::new(owner_of(first_block + index) as u8))
            .collect();
        Self { first_block, owners, devices }
    }

    fn owner(&self, pfn: Pfn) -> Option<&AtomicU8> {
        self.owners.get(block_of(pfn).wrapping_sub(self.first_block) as usize)
    }

    /// Returns a frame of the memory manager.
    ///
    /// # Panics
    ///
    /// When the memory manager does not own it.
    #[inline(always)]
    pub fn frame(&self, pfn: Pfn) -> Frame<'_> {
        match self.owner(pfn) {
            Some(owner) if owner.load(Ordering::Relaxed) == Owner::MemoryManager as u8 => {}
            _ if self.devices.contains(&pfn) => {}
            _ => not_managed(pfn),
        }
        let at = core::ptr::with_exposed_provenance_mut(virt_of(pfn.base()));
        // SAFETY: linear-map addresses are not 0.
        Frame { at: unsafe { NonNull::new_unchecked(at) }, map: PhantomData }
    }

    /// Returns adjacent frames of the memory manager.
    ///
    /// # Panics
    ///
    /// When the memory manager does not own one of them, or there are none.
    #[inline]
    pub fn run(&self, first: Pfn, nr_frames: u32) -> FrameRun<'_> {
        assert!(nr_frames > 0, "no frames from {first:?}");
        let last = first.get().checked_add(nr_frames - 1).unwrap_or_else(|| not_managed(first));
        // One frame of each block speaks for the block.
        for block in block_of(first) + 1..=last >> Order::BLOCK.get() {
            self.frame(Pfn::new(block << Order::BLOCK.get()));
        }
        FrameRun { first: self.frame(first), len_bytes: nr_frames as usize * PAGE_SIZE }
    }

    /// Returns the memory of adjacent frames, for a device to read or write.
    ///
    /// # Panics
    ///
    /// When the memory manager does not own one of them, or there are none.
    pub fn frames(&self, first: Pfn, nr_frames: u32) -> NonNull<[u8]> {
        let run = self.run(first, nr_frames);
        NonNull::slice_from_raw_parts(run.first.at, run.len_bytes)
    }

    /// Returns the entries of a table page.
    ///
    /// # Panics
    ///
    /// When the memory manager does not own the page.
    #[inline(always)]
    pub fn table(&self, table: Pfn) -> Table<'_> {
        Table(self.words(table))
    }

    /// Returns the 64-bit words of a frame.
    ///
    /// # Panics
    ///
    /// When the memory manager does not own the frame.
    #[inline(always)]
    pub fn words(&self, pfn: Pfn) -> &[AtomicU64; PAGE_SIZE / 8] {
        let words = self.frame(pfn).as_ptr().cast::<[AtomicU64; PAGE_SIZE / 8]>();
        // SAFETY: a `Frame` is 4096 bytes of mapped RAM without Rust objects, aligned to its size.
        // Atomics may be shared with a hardware walker and with every other access made to the
        // frame, which are atomics or assembly.
        unsafe { &*words }
    }

    /// Returns the frame and offset of a run of bytes that stays within one frame.
    ///
    /// # Panics
    ///
    /// When it does not, or the memory manager does not own the frame.
    #[inline(always)]
    pub(crate) fn bytes(&self, at: PhysAddr, len_bytes: usize) -> *mut u8 {
        let offset = at.page_offset();
        assert!(len_bytes <= PAGE_SIZE - offset, "{len_bytes} bytes from {at:?} leave the frame");
        self.frame(at.pfn()).as_ptr().wrapping_add(offset)
    }

    /// Makes the kernel the owner of the 2 MiB from `first` and returns their address.
    ///
    /// Rust objects may live there afterwards. That no other thread is still inside an access to
    /// one of these frames is the memory manager's promise: the only one that the type does not
    /// check.
    ///
    /// # Panics
    ///
    /// When `first` is not the first frame of a block that the memory manager owns.
    pub fn take_block(&self, first: Pfn) -> NonNull<u8> {
        assert!(first.get() & (Order::BLOCK.nr_pages() - 1) == 0, "{first:?} is not a block");
        let frame = self.frame(first);
        let owner = self.owner(first).expect("frame() found it");
        let taken = owner.swap(Owner::Kernel as u8, Ordering::AcqRel);
        assert!(taken == Owner::MemoryManager as u8, "{first:?} adopted twice");
        frame.at
    }
}

#[cold]
#[inline(never)]
fn not_managed(pfn: Pfn) -> ! {
    panic!("{pfn:?} is not a frame of the memory manager");
}
