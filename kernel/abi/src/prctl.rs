// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds operations of prctl (include/uapi/linux/prctl.h).

macro_rules! constants {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        $(#[doc = $text] pub const $name: u64 = $number;)*
    };
}

constants! {
    PR_SET_PDEATHSIG = 1, "Sets the signal sent when the parent ends.";
    PR_GET_PDEATHSIG = 2, "Gets it.";
    PR_GET_DUMPABLE = 3, "Tells whether the process may be dumped and traced.";
    PR_SET_DUMPABLE = 4, "Sets it.";
    PR_GET_KEEPCAPS = 7, "Tells whether capabilities stay over setuid.";
    PR_SET_KEEPCAPS = 8, "Sets it.";
    PR_SET_NAME = 15, "Sets the thread's name.";
    PR_GET_NAME = 16, "Gets it.";
    PR_GET_SECCOMP = 21, "Gets the mode of seccomp.";
    PR_SET_SECCOMP = 22, "Sets it.";
    PR_CAPBSET_READ = 23, "Tells whether a capability can be had.";
    PR_CAPBSET_DROP = 24, "Drops it.";
    PR_GET_SECUREBITS = 27, "Gets the secure bits.";
    PR_SET_SECUREBITS = 28, "Sets them.";
    PR_SET_TIMERSLACK = 29, "Sets how late timers may be.";
    PR_GET_TIMERSLACK = 30, "Gets it.";
    PR_SET_MM = 35, "Sets a field of the address space.";
    PR_SET_CHILD_SUBREAPER = 36, "Makes the process parent of orphans below it.";
    PR_GET_CHILD_SUBREAPER = 37, "Tells whether it is.";
    PR_SET_NO_NEW_PRIVS = 38, "Forbids exec to add rights.";
    PR_GET_NO_NEW_PRIVS = 39, "Tells whether it is forbidden.";
    PR_SET_THP_DISABLE = 41, "Switches transparent large folios off.";
    PR_GET_THP_DISABLE = 42, "Tells whether they are off.";
    PR_THP_DISABLE_EXCEPT_ADVISED = 2, "Not where the program has said that it wants them.";
    PR_PAC_RESET_KEYS = 54, "Makes new pointer-authentication keys.";
    PR_SET_TAGGED_ADDR_CTRL = 55, "Sets the tagged-address ABI and tag checks.";
    PR_GET_TAGGED_ADDR_CTRL = 56, "Gets them.";
    PR_PAC_SET_ENABLED_KEYS = 60, "Enables pointer-authentication keys.";
    PR_PAC_GET_ENABLED_KEYS = 61, "Tells which are enabled.";
    PR_SET_MDWE = 65, "Denies writable and executable memory.";
    PR_GET_MDWE = 66, "Tells whether it is denied.";
    PR_SET_VMA = 0x5356_4d41, "Sets an attribute of an area.";
    PR_SET_VMA_ANON_NAME = 0, "That attribute: its name.";
    PR_SET_PTRACER = 0x5961_6d61, "Sets who may trace.";
    PR_TAGGED_ADDR_ENABLE = 1, "Tagged addresses are passed to system calls.";
    PR_MTE_TCF_MASK = 6, "Mask of the tag-check modes.";
    PR_MTE_TCF_NONE = 0, "Not checked.";
    PR_MTE_TCF_SYNC = 2, "Synchronous is acceptable.";
    PR_MTE_TCF_ASYNC = 4, "Asynchronous is acceptable.";
    PR_MTE_TAG_MASK = 0x7_fff8, "Mask of the tags that IRG may generate.";
    PR_MTE_STORE_ONLY = 0x8_0000, "Only stores are checked.";
}

/// Lowest bit of [`PR_MTE_TAG_MASK`].
pub const PR_MTE_TAG_SHIFT: u32 = 3;

/// Bytes of a thread's name, with the zero at its end.
pub const TASK_COMM_LEN: usize = 16;
