// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the front of the simulated machine: what it guarantees, and what it does to you.
//!
//! [`SimMachine`] implements every port of this crate with host memory, for tests on the host. It
//! does what hardware and disks *may* do, as soon or as late as they may, so that code which is
//! right only by luck fails here, every time. What it chooses comes from a seed.
//!
//! # What it guarantees
//!
//! Equal seed and equal schedule give equal runs: no host clock, no host randomness, no iteration
//! order of hash tables. Under `--cfg shuttle` the schedule comes from a seed too ([`fn@explore`]);
//! every port method and every simulated access is then a point where threads may switch.
//!
//! ```
//! use base::percpu::CpuId;
//! use hal::sim::{SimConfig, explore};
//! use hal::PhysMem;
//!
//! explore(0..10, |seed| {
//!     let machine = SimConfig { nr_cpus: 4, seed, ..SimConfig::default() }.build();
//!     let other = machine.clone();
//!     let zeroed = machine.spawn_on(CpuId::new(1), move || {
//!         let frame = other.managed_frames()[0].start;
//!         other.zero_frame(frame);
//!         other.is_zero_frame(frame)
//!     });
//!     assert!(zeroed.join().unwrap());
//!     machine.assert_quiescent();
//! });
//! ```
//!
//! # What it does to you
//!
//! | part | the machine | so it finds | file |
//! |---|---|---|---|
//! | RAM | starts with arbitrary bytes and tags; may have holes; refuses frames that are not managed | missing zeroing | `ram.rs`, `phys_mem.rs` |
//! | TLB | keeps every translation and every table pointer it ever used until an invalidation of it is *complete*; keeps what was cached after the invalidation was started | missing, late, too narrow, wrong-ASID, leaf-only invalidation; completion by the wrong CPU | `tlb.rs`, `invalidate.rs` |
//! | barriers | an invalidation overtakes entry stores that have no barrier after them; walks see such stores late | missing `before`; faults that are not retried | `store_order.rs` |
//! | walker | walks at any moment, for no reason; sets access flags just before an exchange; caches a contiguous run whole or page by page, with the permissions of any of its entries, and sets dirty state in any of them | compare-exchange without retry; flags of one entry taken for a run's | `walker.rs` |
//! | stores | through a translation cached as writable and dirty go straight to memory; through a clean one make the entry dirty first, if it still is that entry | dirty state lost by read-then-clear | `mmu.rs` |
//! | judges | panic on a frame that is reused or mapped anew while some CPU still uses it, a plain store over an entry that hardware may make dirty, a write-out that a store can overtake, a break-before-make violation, a reused ASID, a sleep before an invalidation is complete, an entry that makes no sense | what no access has run into yet | `judge.rs` |
//! | disks | complete requests in any order, move data late and in pieces, fail on demand; frames of a request must be left alone | torn and lost pages, early mapping, leaked requests | `disk/` |
//! | devices with memory | copy in any order, in pieces, and fail on demand; frames that no walk may reach | copies that a store overtakes, frames mapped too early, lost pages | `device_mem.rs` |
//! | allocations | fail on demand | error paths | `alloc_faults.rs` |
//!
//! A stale translation that only tightens is no sin and gets no panic, but it stays: a store
//! through a cached read-only entry faults for ever, until somebody invalidates it.
//!
//! # What it does not model
//!
//! Data accesses are sequentially consistent, but for whole-frame operations, which are torn; the
//! data of a page is never seen older than its entry. There is one I-cache bit per frame, not an
//! I-cache. A barrier of one CPU makes the entry stores of *all* CPUs visible to walks, because the
//! model does not track who has observed what. Threads stay on their CPU when they sleep; a thread
//! that sleeps before its invalidations are complete is judged instead, since it might not.
//!
//! # Threads
//!
//! A host thread becomes a CPU with [`SimMachine::run_on`] or [`SimMachine::spawn_on`]. Tests of a
//! scheduler make contexts (`threads.rs`), play user code (`user.rs`), and install a yield hook
//! (`wait.rs`). The machine's own locks are the host's and take no part in the kernel's lock order.

mod alloc_faults;
mod clock;
mod config;
mod cpu;
mod descriptor;
mod device_mem;
mod devices;
mod disk;
mod explore;
mod host;
mod interrupt;
mod invalidate;
mod judge;
mod mmu;
mod phys_mem;
mod pte;
mod ram;
mod rng;
mod stops;
mod store_order;
#[cfg(test)]
mod tests;
mod threads;
mod tlb;
mod trace;
mod user;
mod user_mem;
mod wait;
mod walker;

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::MutexGuard;

use base::percpu::CpuId;
use base::{Order, PageRange};

pub use config::{Adversary, Bank, SimConfig};
pub use descriptor::MemoryType;
pub use devices::Stopped;
pub use disk::{DiskCounts, IoFault};
pub use explore::explore;
pub use mmu::MmuCounts;
pub use pte::SimTable;
pub use stops::{Leg, explore_stops, replay_stops};
pub use threads::SimContext;

use crate::tlb::Asid;
use alloc_faults::AllocFaults;
use clock::VirtualClock;
use device_mem::Devices;
use devices::Board;
use disk::Disks;
use host::State;
use interrupt::Interrupts;
use mmu::Mmu;
use ram::Ram;
use rng::{Rng, Stream};
use threads::Crew;
use user::UserSide;
use wait::Sleepers;

/// A machine made of host memory. Clones are handles of one machine.
#[derive(Clone)]
pub struct SimMachine(Arc<Parts>);

/// Every port is there.
const _: fn() = || {
    fn is_platform<P: crate::Platform>() {}
    is_platform::<SimMachine>();
};

struct Parts {
    config: SimConfig,
    ram: Ram,
    mmu: State<Mmu>,
    disks: Disks,
    devices: Devices,
    alloc_faults: AllocFaults,
    heap_blocks_left: AtomicU32,
    /// What the kernel's own heap has free.
    heap_room: AtomicUsize,
    /// Questions about that which are answered with nothing.
    heap_lows: AtomicUsize,
    dice: State<Rng>,
    sleepers: Sleepers,
    clock: VirtualClock,
    board: Board,
    user: UserSide,
    interrupts: Interrupts,
    crew: Crew,
    trace: trace::TraceLog,
}

impl SimMachine {
    fn new(config: SimConfig) -> Self {
        assert!(config.nr_cpus > 0, "a machine has a CPU");
        let _ = CpuId::new(config.nr_cpus - 1);
        assert!(
            !config.hw_dirty || config.hw_access_flag,
            "dirty state by hardware needs AF by it"
        );
        assert!(config.queue_depth > 0, "a queue holds a request");
        Self(Arc::new(Parts {
            ram: Ram::new(&config.banks, config.seed),
            mmu: State::new(Mmu::new(&config)),
            disks: Disks::new(&config),
            devices: Devices::new(&config),
            alloc_faults: AllocFaults::new(config.seed),
            heap_blocks_left: AtomicU32::new(config.nr_heap_blocks),
            heap_room: AtomicUsize::new(usize::MAX >> 1),
            heap_lows: AtomicUsize::new(0),
            dice: State::new(Rng::new(config.seed, Stream::Ram)),
            sleepers: Sleepers::new(),
            clock: VirtualClock::default(),
            board: Board::new(config.seed),
            user: UserSide::new(config.nr_cpus),
            interrupts: Interrupts::new(config.nr_cpus),
            crew: Crew::default(),
            trace: trace::TraceLog::default(),
            config,
        }))
    }

    /// Returns what the machine was built from.
    pub fn config(&self) -> &SimConfig {
        &self.0.config
    }

    /// Returns what the translation hardware did so far.
    pub fn mmu_counts(&self) -> MmuCounts {
        self.mmu().counts
    }

    /// Folds the bytes and tags of every frame ever used into one number: equal runs, equal
    /// digests.
    pub fn ram_digest(&self) -> u64 {
        self.ram().digest()
    }

    /// Judges that nothing is left undone: every disk request and every copy was waited for, every invalidation
    /// that was started was completed.
    ///
    /// # Panics
    ///
    /// Naming the first thing left.
    pub fn assert_quiescent(&self) {
        self.assert_no_request_leaked();
        self.assert_no_copy_leaked();
        let mmu = self.mmu();
        for (cpu, state) in mmu.cpus.iter().enumerate() {
            if let Some(invalidation) = state.pending.first() {
                panic!("cpu {cpu} never completed {invalidation:?}");
            }
        }
    }

    /// Judges that a CPU has no translation of `pages` cached that its entry in memory does not
    /// give any more: another frame, none at all, or fewer permissions.
    ///
    /// # Panics
    ///
    /// Naming the first such translation.
    pub fn assert_no_stale(&self, cpu: CpuId, asid: Asid, pages: PageRange) {
        self.mmu().assert_no_stale(self.ram(), cpu, asid, pages);
    }

    /// Says how many bytes the kernel's own heap has free from now on: blocks add to it, allocations,
    /// which are the host's, take nothing away. At first they are more than anybody needs.
    pub fn set_kernel_heap_room(&self, bytes: usize) {
        self.0.heap_room.store(bytes, Relaxed);
    }

    /// Answers the next `nr_questions` about free bytes of the heap with none: as if others had taken
    /// them all, and given back after that.
    pub fn hide_kernel_heap(&self, nr_questions: usize) {
        self.0.heap_lows.store(nr_questions, Relaxed);
    }

    fn ram(&self) -> &Ram {
        &self.0.ram
    }

    fn trace_log(&self) -> &trace::TraceLog {
        &self.0.trace
    }

    fn mmu(&self) -> MutexGuard<'_, Mmu> {
        self.0.mmu.lock()
    }

    fn disks(&self) -> &Disks {
        &self.0.disks
    }

    fn devices(&self) -> &Devices {
        &self.0.devices
    }

    fn alloc_faults(&self) -> &AllocFaults {
        &self.0.alloc_faults
    }

    fn sleepers(&self) -> &Sleepers {
        &self.0.sleepers
    }

    fn clock(&self) -> &VirtualClock {
        &self.0.clock
    }

    fn board(&self) -> &Board {
        &self.0.board
    }

    fn user_side(&self) -> &UserSide {
        &self.0.user
    }

    fn interrupts(&self) -> &Interrupts {
        &self.0.interrupts
    }

    fn crew(&self) -> &Crew {
        &self.0.crew
    }

    fn dice(&self) -> MutexGuard<'_, Rng> {
        self.0.dice.lock()
    }

    /// Draws where an operation on `len` items is interrupted.
    fn draw_cut(&self, len: usize) -> usize {
        self.dice().below(len + 1)
    }

    fn heap_room(&self) -> usize {
        let is_hidden =
            self.0.heap_lows.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        if is_hidden { 0 } else { self.0.heap_room.load(Relaxed) }
    }

    /// Accepts one more block for the kernel's heap, if the machine still does.
    fn take_heap_block(&self) -> bool {
        let left = &self.0.heap_blocks_left;
        let is_taken = left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        if is_taken {
            self.0.heap_room.fetch_add(Order::BLOCK.bytes(), Relaxed);
        }
        is_taken
    }
}
