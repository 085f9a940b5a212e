// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the two barriers that order memory against a device's registers and flags. Those
//! inside the rings are the queue's: release and acquire of the two indices.

/// Orders what this CPU stored to memory, the index of the available ring last, before
///
/// - its load of the used ring's flags: the device stores there that it wants to be notified and
///   then loads the index once more (virtio 1.2, 2.7.13.4). One of the two sees the other's store;
///   release and acquire alone would let both miss, because a load may overtake a store-release
///   made to another location (Arm ARM B2.3.8, with LDAPR);
/// - its store to the doorbell: a register is not memory, and nothing else orders the two.
pub fn before_doorbell() {
    #[cfg(target_os = "none")]
    aarch64_cpu::asm::barrier::dmb(aarch64_cpu::asm::barrier::OSH);
    #[cfg(not(target_os = "none"))]
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
}

/// Orders this CPU's load of the interrupt status before its load of the used ring's index. The
/// device stores the index first and raises the status then: who has seen the status down sees
/// every index that an earlier interrupt was raised for.
pub fn after_acknowledge() {
    #[cfg(target_os = "none")]
    aarch64_cpu::asm::barrier::dmb(aarch64_cpu::asm::barrier::OSHLD);
    #[cfg(not(target_os = "none"))]
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
}
