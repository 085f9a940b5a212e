// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the keys of the auxiliary vector (include/uapi/linux/auxvec.h,
//! arch/arm64/include/uapi/asm/auxvec.h).

macro_rules! keys {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        $(#[doc = $text] pub const $name: u64 = $number;)*
    };
}

keys! {
    AT_NULL = 0, "End of the vector.";
    AT_IGNORE = 1, "To be skipped.";
    AT_EXECFD = 2, "The program's file descriptor.";
    AT_PHDR = 3, "Where the program headers are.";
    AT_PHENT = 4, "Bytes of a program header.";
    AT_PHNUM = 5, "Number of program headers.";
    AT_PAGESZ = 6, "Bytes of a page.";
    AT_BASE = 7, "Where the interpreter is.";
    AT_FLAGS = 8, "Flags: 0.";
    AT_ENTRY = 9, "Where the program starts.";
    AT_UID = 11, "Real user.";
    AT_EUID = 12, "Effective user.";
    AT_GID = 13, "Real group.";
    AT_EGID = 14, "Effective group.";
    AT_PLATFORM = 15, "Name of the architecture.";
    AT_HWCAP = 16, "What the CPU has, first word.";
    AT_CLKTCK = 17, "Ticks a second of times(2).";
    AT_SECURE = 23, "1: the program has more rights than its caller.";
    AT_BASE_PLATFORM = 24, "Name of the real architecture.";
    AT_RANDOM = 25, "16 random bytes.";
    AT_HWCAP2 = 26, "What the CPU has, second word.";
    AT_RSEQ_FEATURE_SIZE = 27, "Bytes of rseq that the kernel knows.";
    AT_RSEQ_ALIGN = 28, "Their alignment.";
    AT_HWCAP3 = 29, "What the CPU has, third word.";
    AT_HWCAP4 = 30, "What the CPU has, fourth word.";
    AT_EXECFN = 31, "Name by which the program was executed.";
    AT_SYSINFO_EHDR = 33, "Where the vDSO is.";
    AT_MINSIGSTKSZ = 51, "Least bytes of a signal stack.";
}
