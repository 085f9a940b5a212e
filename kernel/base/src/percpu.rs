// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds one value per CPU, each on its own cache lines.

use alloc::boxed::Box;

/// The most CPUs Granule runs on (the QEMU `virt` machine with a GICv3 redistributor each).
pub const MAX_CPUS: usize = 8;

/// The index of a CPU, counted from the boot CPU, below [`MAX_CPUS`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CpuId(u8);

impl CpuId {
    /// The CPU that booted the kernel.
    pub const BOOT: CpuId = CpuId(0);

    /// Wraps a raw index.
    ///
    /// # Panics
    ///
    /// At or above [`MAX_CPUS`].
    pub const fn new(raw: usize) -> Self {
        assert!(raw < MAX_CPUS, "CPU index above MAX_CPUS");
        Self(raw as u8)
    }

    /// Returns the raw index.
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// Keeps a value alone on its cache lines: 128 bytes cover the line pairs that cores prefetch.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CacheAligned<T>(pub T);

/// One `T` per CPU, shared: a CPU mostly uses its own, and may look at the others'.
#[derive(Debug)]
pub struct PerCpu<T> {
    slots: Box<[CacheAligned<T>]>,
}

impl<T> PerCpu<T> {
    /// Builds one value for each of `nr_cpus` CPUs with `init`.
    pub fn new(nr_cpus: usize, mut init: impl FnMut(CpuId) -> T) -> Self {
        Self { slots: (0..nr_cpus).map(|cpu| CacheAligned(init(CpuId::new(cpu)))).collect() }
    }

    /// Returns the value of `cpu`.
    ///
    /// # Panics
    ///
    /// When the machine has no such CPU.
    pub fn of(&self, cpu: CpuId) -> &T {
        &self.slots[cpu.get()].0
    }

    /// Iterates over the values of all CPUs.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().map(|slot| &slot.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cpu_has_its_own_cache_lines() {
        let values = PerCpu::new(3, |cpu| cpu.get() as u32);
        assert_eq!(values.iter().copied().sum::<u32>(), 3);
        let distance = core::ptr::from_ref(values.of(CpuId::new(1))) as usize
            - core::ptr::from_ref(values.of(CpuId::new(0))) as usize;
        assert_eq!(distance, 128);
    }
}
