// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file decides how a CPU checks the tags of the thread that it runs.
//!
//! A thread says which ways it accepts; which of them is cheap depends on the CPU, so each CPU has a
//! way that it prefers (`/sys/devices/system/cpu/cpu*/mte_tcf_preferred`). The rule is Linux's
//! (arch/arm64/kernel/mte.c, mte_update_sctlr_user()), and so is its moment: when a thread comes to
//! a CPU, or says anew what it accepts.

use base::percpu::{CpuId, PerCpu};
use base::sync::atomic::{AtomicU8, Ordering};
use hal::{Platform, TagCheckMode, TagControl};

bitflags::bitflags! {
    /// Ways of checking tags.
    #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
    pub struct TagChecks: u8 {
        /// Accesses fault.
        const SYNC = 1 << 0;
        /// Accesses go through and are reported later.
        const ASYNC = 1 << 1;
        /// Loads fault, stores are reported later.
        const ASYMMETRIC = 1 << 2;
    }
}

/// What a thread wants.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TagWish {
    /// The ways that it accepts; none: its tags are not checked.
    pub accepted: TagChecks,
    /// Bit n set: IRG may generate tag n.
    pub include: u16,
}

impl TagWish {
    /// Returns what a CPU with a preference does for the thread.
    pub fn on(self, preferred: TagChecks) -> TagControl {
        // A CPU that prefers what is not accepted goes by what is.
        let ways = self.accepted & preferred;
        let ways = if ways.is_empty() { self.accepted } else { ways };
        let mode = match ways {
            _ if ways.contains(TagChecks::ASYMMETRIC) => TagCheckMode::Asymmetric,
            _ if ways.contains(TagChecks::ASYNC) => TagCheckMode::Async,
            _ if ways.contains(TagChecks::SYNC) => TagCheckMode::Sync,
            _ => TagCheckMode::None,
        };
        TagControl { mode, include: self.include }
    }
}

/// HWCAP2_MTE3 (arch/arm64/include/uapi/asm/hwcap.h): asymmetric checking.
const HWCAP2_MTE3: u64 = 1 << 22;

/// The way that each CPU prefers: at first, as on Linux, the asynchronous one.
pub struct TagPreferences {
    preferred: PerCpu<AtomicU8>,
    /// The ways that there are.
    available: TagChecks,
}

impl TagPreferences {
    /// Makes them for the CPUs of a machine.
    pub fn new(machine: &impl Platform) -> Self {
        let mut available = TagChecks::empty();
        available.set(TagChecks::SYNC | TagChecks::ASYNC, machine.has_tags());
        available.set(TagChecks::ASYMMETRIC, machine.hwcaps().1 & HWCAP2_MTE3 != 0);
        let first = |_| AtomicU8::new(TagChecks::ASYNC.bits());
        Self { preferred: PerCpu::new(machine.nr_cpus(), first), available }
    }

    /// Returns the ways that the CPUs have.
    pub fn available(&self) -> TagChecks {
        self.available
    }

    /// Returns what a CPU prefers.
    pub fn of(&self, cpu: CpuId) -> TagChecks {
        TagChecks::from_bits_retain(self.preferred.of(cpu).load(Ordering::Relaxed))
    }

    /// Sets what a CPU prefers.
    pub fn set(&self, cpu: CpuId, preferred: TagChecks) {
        self.preferred.of(cpu).store(preferred.bits(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(accepted: TagChecks, preferred: TagChecks) -> TagCheckMode {
        TagWish { accepted, include: 0 }.on(preferred).mode
    }

    #[test]
    fn a_preference_counts_where_it_is_accepted() {
        let (sync, later, both) = (TagChecks::SYNC, TagChecks::ASYNC, TagChecks::all());
        assert_eq!(mode(both, sync), TagCheckMode::Sync);
        assert_eq!(mode(both, later), TagCheckMode::Async);
        assert_eq!(mode(both, TagChecks::ASYMMETRIC), TagCheckMode::Asymmetric);
        for preferred in [sync, later, TagChecks::ASYMMETRIC] {
            assert_eq!(mode(sync, preferred), TagCheckMode::Sync);
            assert_eq!(mode(later, preferred), TagCheckMode::Async);
            assert_eq!(mode(TagChecks::empty(), preferred), TagCheckMode::None);
        }
    }

    #[test]
    fn without_the_asymmetric_way_both_are_checked_later() {
        let both = TagChecks::SYNC | TagChecks::ASYNC;
        assert_eq!(mode(both, TagChecks::ASYMMETRIC), TagCheckMode::Async);
    }
}
