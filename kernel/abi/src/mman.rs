// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds constants of the memory calls (include/uapi/asm-generic/mman-common.h, mman.h;
//! include/uapi/linux/mman.h; arch/arm64/include/uapi/asm/mman.h).

/// Pages cannot be accessed.
pub const PROT_NONE: u64 = 0x0;
/// Pages can be read.
pub const PROT_READ: u64 = 0x1;
/// Pages can be written.
pub const PROT_WRITE: u64 = 0x2;
/// Pages can be executed.
pub const PROT_EXEC: u64 = 0x4;
/// Pages are guarded by BTI (arm64).
pub const PROT_BTI: u64 = 0x10;
/// Pages have allocation tags (arm64).
pub const PROT_MTE: u64 = 0x20;
/// mprotect: reaches down to the start of an area that grows down.
pub const PROT_GROWSDOWN: u64 = 0x0100_0000;
/// mprotect: reaches up to the end of an area that grows up.
pub const PROT_GROWSUP: u64 = 0x0200_0000;

/// Stores are seen by all who map the same.
pub const MAP_SHARED: u64 = 0x01;
/// Stores are this process's own.
pub const MAP_PRIVATE: u64 = 0x02;
/// As MAP_SHARED, and unknown flags are an error.
pub const MAP_SHARED_VALIDATE: u64 = 0x03;
/// Mask of the three kinds above.
pub const MAP_TYPE: u64 = 0x0f;
/// The address is not a wish.
pub const MAP_FIXED: u64 = 0x10;
/// No file.
pub const MAP_ANONYMOUS: u64 = 0x20;
/// The area is a stack.
pub const MAP_GROWSDOWN: u64 = 0x0100;
/// Ignored.
pub const MAP_DENYWRITE: u64 = 0x0800;
/// Ignored.
pub const MAP_EXECUTABLE: u64 = 0x1000;
/// Pages stay in memory.
pub const MAP_LOCKED: u64 = 0x2000;
/// Swap space is not reserved.
pub const MAP_NORESERVE: u64 = 0x4000;
/// Pages are faulted in at once.
pub const MAP_POPULATE: u64 = 0x8000;
/// With MAP_POPULATE: without I/O.
pub const MAP_NONBLOCK: u64 = 0x1_0000;
/// Ignored.
pub const MAP_STACK: u64 = 0x2_0000;
/// Huge pages of hugetlbfs.
pub const MAP_HUGETLB: u64 = 0x4_0000;
/// Persistent memory only.
pub const MAP_SYNC: u64 = 0x8_0000;
/// As MAP_FIXED, and nothing may be there.
pub const MAP_FIXED_NOREPLACE: u64 = 0x10_0000;

/// mremap: the mapping may go elsewhere.
pub const MREMAP_MAYMOVE: u64 = 1;
/// mremap: it goes to the given address.
pub const MREMAP_FIXED: u64 = 2;
/// mremap: the old place stays mapped, and empty.
pub const MREMAP_DONTUNMAP: u64 = 4;

/// msync: write soon.
pub const MS_ASYNC: u64 = 1;
/// msync: other mappings forget what they cached.
pub const MS_INVALIDATE: u64 = 2;
/// msync: write now.
pub const MS_SYNC: u64 = 4;

/// mlockall: what is mapped now.
pub const MCL_CURRENT: u64 = 1;
/// mlockall: what will be mapped.
pub const MCL_FUTURE: u64 = 2;
/// mlockall: once it is faulted in.
pub const MCL_ONFAULT: u64 = 4;
/// mlock2: once it is faulted in.
pub const MLOCK_ONFAULT: u64 = 1;

macro_rules! advices {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        $(#[doc = $text] pub const $name: u64 = $number;)*
    };
}

advices! {
    MADV_NORMAL = 0, "No advice.";
    MADV_RANDOM = 1, "No order is to be expected.";
    MADV_SEQUENTIAL = 2, "Ascending order.";
    MADV_WILLNEED = 3, "Will be used soon.";
    MADV_DONTNEED = 4, "Content may go now.";
    MADV_FREE = 8, "Content may go when memory is short.";
    MADV_REMOVE = 9, "Punches a hole into the file below.";
    MADV_DONTFORK = 10, "A child does not get it.";
    MADV_DOFORK = 11, "A child gets it.";
    MADV_MERGEABLE = 12, "Equal pages may be merged.";
    MADV_UNMERGEABLE = 13, "They may not.";
    MADV_HUGEPAGE = 14, "Large folios are welcome.";
    MADV_NOHUGEPAGE = 15, "They are not.";
    MADV_DONTDUMP = 16, "Not in a core dump.";
    MADV_DODUMP = 17, "In a core dump.";
    MADV_WIPEONFORK = 18, "A child finds zeroes.";
    MADV_KEEPONFORK = 19, "A child finds the content.";
    MADV_COLD = 20, "Not used soon.";
    MADV_PAGEOUT = 21, "To be written to swap now.";
    MADV_POPULATE_READ = 22, "Faulted in as by a load.";
    MADV_POPULATE_WRITE = 23, "Faulted in as by a store.";
    MADV_DONTNEED_LOCKED = 24, "As MADV_DONTNEED, locked pages too.";
    MADV_COLLAPSE = 25, "To be made one large folio now.";
    MADV_HWPOISON = 100, "As if the memory had failed.";
    MADV_SOFT_OFFLINE = 101, "As if the memory was about to fail.";
    MADV_GUARD_INSTALL = 102, "Accesses fault from now on.";
    MADV_GUARD_REMOVE = 103, "They no longer do.";
}
