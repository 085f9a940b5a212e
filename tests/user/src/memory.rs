// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file maps memory and touches it one instruction at a time.

#![expect(unsafe_code, reason = "loads and stores at any address")]

use core::arch::asm;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicU32, AtomicU64};

use crate::sys::{self, Errno};

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// `PROT_MTE` (asm/mman.h), which the libc crate lacks.
pub const PROT_MTE: i32 = 0x20;

/// Readable and writable.
pub const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// Anonymous and private.
pub const ANON: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

/// A mapping of this process, unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    address: usize,
    len_bytes: usize,
}

impl Mapping {
    /// Maps `len_bytes` of memory without a file.
    ///
    /// # Errors
    ///
    /// What mmap says.
    pub fn new(len_bytes: usize, protection: i32, flags: i32) -> Result<Self, Errno> {
        let address = mmap(0, len_bytes, protection, flags | libc::MAP_ANONYMOUS, -1, 0)?;
        Ok(Self { address, len_bytes })
    }

    /// Maps `len_bytes` of the file `fd` from its start.
    ///
    /// # Errors
    ///
    /// What mmap says.
    pub fn of_file(len_bytes: usize, protection: i32, flags: i32, fd: i32) -> Result<Self, Errno> {
        let address = mmap(0, len_bytes, protection, flags, fd, 0)?;
        Ok(Self { address, len_bytes })
    }

    /// Maps private memory whose address is a multiple of `alignment`.
    ///
    /// # Errors
    ///
    /// What mmap says.
    pub fn aligned(len_bytes: usize, alignment: usize, protection: i32) -> Result<Self, Errno> {
        let reserved = mmap(0, len_bytes + alignment, libc::PROT_NONE, ANON, -1, 0)?;
        let address = reserved.next_multiple_of(alignment);
        munmap(reserved, len_bytes + alignment)?;
        let flags = ANON | libc::MAP_FIXED;
        Ok(Self { address: mmap(address, len_bytes, protection, flags, -1, 0)?, len_bytes })
    }

    /// Maps private memory that can be read and written.
    ///
    /// # Panics
    ///
    /// When mmap fails.
    pub fn anonymous(len_bytes: usize) -> Self {
        Self::new(len_bytes, RW, ANON).expect("mmap")
    }

    /// Maps private memory with tags.
    ///
    /// # Panics
    ///
    /// When mmap fails.
    pub fn tagged(len_bytes: usize) -> Self {
        Self::new(len_bytes, RW | PROT_MTE, ANON).expect("mmap of PROT_MTE memory")
    }

    /// Returns its first address.
    pub fn start(&self) -> usize {
        self.address
    }

    /// Returns the address behind it.
    pub fn end(&self) -> usize {
        self.address + self.len_bytes
    }

    /// Returns its size.
    pub fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// Returns the address of page `index`.
    pub fn page(&self, index: usize) -> usize {
        self.address + index * PAGE
    }

    /// Returns the addresses of its pages.
    pub fn pages(&self) -> impl DoubleEndedIterator<Item = usize> + use<> {
        (self.start()..self.end()).step_by(PAGE)
    }

    /// Returns its addresses.
    pub fn range(&self) -> Range<usize> {
        self.start()..self.end()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        munmap(self.address, self.len_bytes).expect("munmap");
    }
}

/// Calls mmap.
///
/// # Errors
///
/// The call's.
pub fn mmap(
    address: usize,
    len_bytes: usize,
    protection: i32,
    flags: i32,
    fd: i32,
    offset: usize,
) -> Result<usize, Errno> {
    let arguments = [address, len_bytes, protection as usize, flags as usize, fd as usize, offset];
    sys::call(libc::SYS_mmap, arguments)
}

/// Calls munmap.
///
/// # Errors
///
/// The call's.
pub fn munmap(address: usize, len_bytes: usize) -> Result<(), Errno> {
    sys::call(libc::SYS_munmap, [address, len_bytes]).map(drop)
}

/// Calls mprotect.
///
/// # Errors
///
/// The call's.
pub fn mprotect(address: usize, len_bytes: usize, protection: i32) -> Result<(), Errno> {
    sys::call(libc::SYS_mprotect, [address, len_bytes, protection as usize]).map(drop)
}

/// Calls madvise.
///
/// # Errors
///
/// The call's.
pub fn madvise(address: usize, len_bytes: usize, advice: i32) -> Result<(), Errno> {
    sys::call(libc::SYS_madvise, [address, len_bytes, advice as usize]).map(drop)
}

/// Moves a mapping to `to` (mremap).
///
/// # Errors
///
/// The call's.
pub fn remap(address: usize, len_bytes: usize, to: usize) -> Result<(), Errno> {
    let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as usize;
    sys::call(libc::SYS_mremap, [address, len_bytes, len_bytes, flags, to]).map(drop)
}

/// Loads a word with one instruction.
#[inline]
pub fn load(address: usize) -> u64 {
    let word;
    // SAFETY: a load changes nothing; an address that is wrong is the test's business.
    unsafe {
        asm!("ldr {word}, [{address}]", address = in(reg) address, word = lateout(reg) word,
            options(nostack, readonly));
    }
    word
}

/// Loads a word, whatever it is.
#[inline]
pub fn touch(address: usize) {
    let _ = load(address);
}

/// Stores a word with one instruction.
#[inline]
pub fn store(address: usize, word: u64) {
    // SAFETY: the address is in a mapping that the test made for this, or is wrong on purpose.
    unsafe {
        asm!("str {word}, [{address}]", address = in(reg) address, word = in(reg) word,
            options(nostack));
    }
}

/// Loads a byte with one instruction.
#[inline]
pub fn load_byte(address: usize) -> u8 {
    let byte: u32;
    // SAFETY: a load changes nothing; an address that is wrong is the test's business.
    unsafe {
        asm!("ldrb {byte:w}, [{address}]", address = in(reg) address, byte = lateout(reg) byte,
            options(nostack, readonly));
    }
    byte as u8
}

/// Stores a byte with one instruction.
#[inline]
pub fn store_byte(address: usize, byte: u8) {
    // SAFETY: as for `store`.
    unsafe {
        asm!("strb {byte:w}, [{address}]", address = in(reg) address,
            byte = in(reg) u32::from(byte), options(nostack));
    }
}

/// Loads two words with one instruction.
#[inline]
pub fn load_pair(address: usize) -> [u64; 2] {
    let (low, high);
    // SAFETY: a load changes nothing; an address that is wrong is the test's business.
    unsafe {
        asm!("ldp {low}, {high}, [{address}]", address = in(reg) address, low = out(reg) low,
            high = lateout(reg) high, options(nostack, readonly));
    }
    [low, high]
}

/// Stores two words with one instruction.
#[inline]
pub fn store_pair(address: usize, [low, high]: [u64; 2]) {
    // SAFETY: as for `store`.
    unsafe {
        asm!("stp {low}, {high}, [{address}]", address = in(reg) address, low = in(reg) low,
            high = in(reg) high, options(nostack));
    }
}

/// Returns the word at `address`, which stays mapped, as an atomic.
pub fn atomic(address: usize) -> &'static AtomicU64 {
    // SAFETY: the address is in a mapping that the test keeps and accesses by atomics or assembly.
    unsafe { AtomicU64::from_ptr(ptr::with_exposed_provenance_mut(address)) }
}

/// Returns the half word at `address`, which stays mapped, as an atomic.
pub fn atomic_u32(address: usize) -> &'static AtomicU32 {
    // SAFETY: as for `atomic`.
    unsafe { AtomicU32::from_ptr(ptr::with_exposed_provenance_mut(address)) }
}

/// The instruction that returns.
pub const RET: u32 = 0xd65f_03c0;

/// Writes instructions, so that they can be executed once the page permits it.
pub fn write_code(address: usize, code: &[u32]) {
    for (index, instruction) in code.iter().enumerate() {
        let at = address + index * size_of::<u32>();
        for (offset, byte) in instruction.to_le_bytes().into_iter().enumerate() {
            store_byte(at + offset, byte);
        }
        // SAFETY: cache maintenance changes no byte.
        unsafe {
            asm!("dc cvau, {at}", "dsb ish", "ic ivau, {at}", "dsb ish", "isb", at = in(reg) at,
                options(nostack));
        }
    }
}

/// Calls the code at `address` and returns what it leaves in X0.
pub fn call_code(address: usize) -> u64 {
    let result;
    // SAFETY: the code is the test's; it keeps to the procedure call standard.
    unsafe {
        asm!("blr {address}", address = in(reg) address, lateout("x0") result, clobber_abi("C"));
    }
    result
}

/// Fills the page at `address` with words made from `seed`.
pub fn store_pattern(address: usize, seed: u64) {
    for index in 0..WORDS_PER_PAGE {
        store(address + index * size_of::<u64>(), pattern(seed, index));
    }
}

/// Returns the first word of the page at `address` that is not what [`store_pattern`] wrote.
pub fn first_difference(address: usize, seed: u64) -> Option<usize> {
    (0..WORDS_PER_PAGE)
        .find(|index| load(address + index * size_of::<u64>()) != pattern(seed, *index))
}

const WORDS_PER_PAGE: usize = PAGE / size_of::<u64>();

fn pattern(seed: u64, index: usize) -> u64 {
    let mixed = (index as u64 ^ seed << 10).wrapping_mul(0xd129_0dba_85d2_d6a5);
    mixed ^ mixed >> 31
}
