// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file sets up a simulated machine with swap, for tests of the memory manager.
#![allow(dead_code, reason = "each test file uses a part of this")]

pub mod actor;
pub mod caught;
pub mod device;
pub mod dice;
pub mod failing;
pub mod folios;
pub mod oracle;
pub mod out;
pub mod process;
pub mod races;
pub mod scene;
pub mod sharing;
pub mod tlb;
pub mod weakened;
pub mod zeroes;

use std::sync::Arc;

use base::percpu::CpuId;
use hal::DiskId;
use hal::sim::{Bank, SimConfig, SimMachine};
use mm::{MmEvent, System, TlbPolicy};

#[allow(unused_imports, reason = "each test file uses a part of this")]
pub use dice::Dice;
pub use process::Process;

pub const CPU0: CpuId = CpuId::new(0);
pub const CPU1: CpuId = CpuId::new(1);
pub const SWAP: DiskId = DiskId(0);

/// A simulated machine and the memory manager on it.
#[derive(Clone)]
pub struct World {
    pub machine: SimMachine,
    pub system: Arc<System<SimMachine>>,
    /// Whether accesses that fail for want of memory, or by the disk, are tried again.
    pub is_patient: bool,
}

/// Returns the configuration most tests start from: 2 MiB of RAM, 8 MiB of swap, two CPUs.
pub fn config(seed: u64) -> SimConfig {
    let first = SimConfig::default().banks[0].first;
    SimConfig {
        banks: vec![Bank { first, nr_blocks: 1 }],
        disks: vec![8 * 256 * 8],
        seed,
        ..SimConfig::default()
    }
}

/// Returns the seeds to run: those asked for, or `default`.
pub fn seeds(default: u64) -> std::ops::Range<u64> {
    match std::env::var("GRANULE_SEEDS") {
        Err(_) => 0..default,
        Ok(range) => {
            let (from, to) = range.split_once("..").expect("GRANULE_SEEDS=first..end");
            from.parse().expect("a number")..to.parse().expect("a number")
        }
    }
}

/// Returns how a seed invalidates, or what `GRANULE_TLB` says.
pub fn tlb_policy_of(seed: u64) -> TlbPolicy {
    match std::env::var("GRANULE_TLB").as_deref() {
        Err(_) => TlbPolicy::ALL[(seed / 3 % 3) as usize],
        Ok("page") => TlbPolicy::Page,
        Ok("batch") => TlbPolicy::Batch,
        Ok("generation") => TlbPolicy::Generation,
        Ok(other) => panic!("GRANULE_TLB={other}: page, batch or generation"),
    }
}

impl World {
    /// Builds the machine and puts its first disk, if any, into service as swap.
    pub fn new(config: SimConfig) -> Self {
        let has_disk = !config.disks.is_empty();
        let machine = config.build();
        machine.clone().run_on(CPU0, || {
            let system = System::new(machine.clone());
            let world = Self { machine, system, is_patient: false };
            if has_disk {
                world.make_swap(SWAP);
                world.system.swap_on(SWAP, None).expect("a fresh swap area");
            }
            world
        })
    }

    /// Lets accesses be tried again when memory or the disk failed them.
    pub fn patient(self) -> Self {
        Self { is_patient: true, ..self }
    }

    /// Lets all private anonymous memory have folios of an order.
    pub fn allow_order(&self, order: u8) {
        let settings = self.system.thp().settings();
        settings.set_size(base::Order::new(order), mm::SizeEnabled::Always);
    }

    /// Writes the header of a swap area that fills the disk, as mkswap does.
    pub fn make_swap(&self, disk: DiskId) {
        use hal::BlockDevs;
        let pages = self.machine.nr_sectors(disk) / 8;
        let mut header = vec![0u8; 4096];
        header[1024..1028].copy_from_slice(&1u32.to_le_bytes());
        header[1028..1032].copy_from_slice(&(pages as u32 - 1).to_le_bytes());
        header[4086..].copy_from_slice(b"SWAPSPACE2");
        self.machine.write_medium(disk, 0, &header);
    }

    /// Makes a process with an empty address space that runs on `cpu`.
    pub fn process(&self, cpu: CpuId) -> Process {
        Process::new(self.clone(), cpu)
    }

    /// Runs `f` on `cpu`.
    pub fn on<R>(&self, cpu: CpuId, f: impl FnOnce() -> R) -> R {
        self.machine.run_on(cpu, f)
    }

    pub fn count(&self, event: MmEvent) -> u64 {
        self.system.counters().total(event)
    }

    /// Recomputes every count of the memory manager, and asks the machine whether anything was left
    /// undone.
    pub fn audit(&self) {
        for cpu in 0..self.machine.config().nr_cpus {
            self.on(CpuId::new(cpu), || self.system.settle_tlb_of_cpu());
        }
        self.on(CPU0, || self.system.audit());
        self.machine.assert_quiescent();
    }

    /// Checks that no CPU holds a stale translation of an address space.
    pub fn assert_no_stale(&self, mm: &mm::Mm<SimMachine>) {
        let Some(asid) = mm.asid() else { return };
        let all = base::PageRange::new(base::Vpn::new(0), base::Vpn::END);
        for cpu in 0..self.machine.config().nr_cpus {
            self.machine.assert_no_stale(CpuId::new(cpu), asid, all);
        }
    }

    /// Returns the numbers that must be the same again when everything is unmapped.
    pub fn footprint(&self) -> Footprint {
        self.on(CPU0, || {
            // Kept for the next load, and nobody's.
            self.system.shrink_huge_zero_page();
            self.system.settle_tlb();
            let info = self.system.meminfo();
            Footprint {
                free: info.free,
                swap_free: info.swap_free,
                swap_metadata: info.swap_metadata,
                tag_bytes: self.system.tag_bytes_stored(),
            }
        })
    }
}

/// What a test must give back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Footprint {
    pub free: u64,
    pub swap_free: u64,
    pub swap_metadata: u64,
    pub tag_bytes: u64,
}
