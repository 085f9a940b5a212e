// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file knows where the kernel image is: its sections (from linker.ld) and its load address.

#![expect(unsafe_code, reason = "declares linker symbols")]

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use base::PhysAddr;

use crate::layout::{IMAGE_BASE, STACK_SLOT_SIZE};

/// Declares symbols of linker.ld or boot/ and a function for each that returns its address.
macro_rules! symbols {
    ($($(#[$doc:meta])* $name:ident = $symbol:ident;)*) => {
        mod symbol {
            unsafe extern "C" {
                // Only their addresses mean anything.
                $(pub(super) static $symbol: u8;)*
            }
        }
        $(
            $(#[$doc])*
            pub fn $name() -> usize {
                (&raw const symbol::$symbol).addr()
            }
        )*
    };
}

symbols! {
    /// Returns the first address of the image.
    start = _image_start;
    /// Returns the end of code, where constants start.
    text_end = _text_end;
    /// Returns the end of constants, where writable data start.
    rodata_end = _rodata_end;
    /// Returns the end of the image.
    end = _image_end;
    /// Returns the top of the boot CPU's stack.
    boot_stack_top = _boot_stack_top;
    /// Returns the start of the boot CPU's stack slot.
    boot_stack_slot = _boot_stack_guard;
    /// Returns the L0 table of the kernel's half.
    kernel_l0 = kernel_l0;
    /// Returns the table of an empty user half.
    empty_user_table = empty_user_table;
    /// Returns where PSCI starts a CPU (boot/head.S), as an image address.
    secondary_entry = secondary_entry;
}

/// Where the loader put the image.
static LOAD_ADDRESS: AtomicU64 = AtomicU64::new(0);

/// Records where the loader put the image. Called once, before any translation below.
pub fn set_load_address(start_of_image: PhysAddr) {
    debug_assert_eq!(boot_stack_slot() % STACK_SLOT_SIZE, 0);
    LOAD_ADDRESS.store(start_of_image.get(), Relaxed);
}

/// Returns the physical address of an image address.
///
/// # Panics
///
/// When `va` is not in the image.
pub fn phys(va: usize) -> PhysAddr {
    assert!((start()..=end()).contains(&va), "not an image address: {va:#x}");
    PhysAddr::new(LOAD_ADDRESS.load(Relaxed) + (va - IMAGE_BASE) as u64)
}

/// Returns the image address of a physical address, if it is in the image.
pub fn virt(phys: PhysAddr) -> Option<usize> {
    let offset = phys.get().checked_sub(LOAD_ADDRESS.load(Relaxed))?;
    let va = IMAGE_BASE.checked_add(offset as usize)?;
    (va < end()).then_some(va)
}

/// Returns the physical range of the whole image.
pub fn phys_range() -> Range<PhysAddr> {
    phys(start())..phys(end())
}

/// Returns the physical range of code and constants: nobody writes there.
pub fn phys_read_only() -> Range<PhysAddr> {
    phys(start())..phys(rodata_end())
}

/// Returns whether an address is in the kernel's code.
pub fn is_text(va: u64) -> bool {
    (start() as u64..text_end() as u64).contains(&va)
}
