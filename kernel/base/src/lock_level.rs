// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the one lock order, and checks it while the kernel runs with debug assertions.
//!
//! Every lock carries a [`LockLevel`] in its type. A lock may be taken only when every spin lock
//! already held ranks *lower*; two locks of one rank are taken with
//! [`SpinLock::lock_nested`](crate::sync::SpinLock::lock_nested), whose caller says in which order.
//! Ranks grow inwards: the outermost lock has the smallest number. `docs/LOCKING.md` tells why the
//! order is this one.
//!
//! What is tracked is *spin* locks, per CPU: Granule's kernel never leaves a CPU while it holds
//! one, so the set held by a CPU is the set held by the running thread. A sleeping lock is checked
//! against that set (it must be empty) and is not entered in it.

macro_rules! levels {
    ($( $(#[$doc:meta])* $name:ident = $rank:literal ),* $(,)?) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            pub enum $name {}
            impl LockLevel for $name {
                const RANK: u8 = $rank;
                const NAME: &'static str = stringify!($name);
            }
        )*

        /// Every level with its rank, outermost first: the order as data.
        pub const ORDER: &[(&str, u8)] = &[$((stringify!($name), $rank)),*];
    };
}

/// Ranks are below this.
pub const NR_RANKS: usize = 40;

/// The place of a lock in the one order.
pub trait LockLevel: 'static {
    /// Smaller ranks are taken first. Below [`NR_RANKS`].
    const RANK: u8;
    /// Name for the message that reports a violation.
    const NAME: &'static str;
}

levels! {
    /// What is freed when TLBs have forgotten it.
    TlbWaiting = 0,
    /// Making processes, against signalling all of a group.
    Fork = 1,
    /// Process tree, thread lists, file tables: everything `task` guards with a spin lock.
    Task = 2,
    /// Signal state of one process.
    Signal = 3,
    /// Directory and file state of the file systems.
    Inode = 4,
    /// Metadata of one inode: mode, owner, times, link count.
    InodeAttr = 5,
    /// The set of live address spaces (id to `Mm`).
    MmTable = 6,
    /// ASIDs, and where an address space is known.
    Asids = 7,
    /// Existence of an address space's table pages, against reverse-map walkers.
    TableTree = 8,
    /// One page-table page: Linux's split page-table lock.
    PageTable = 9,
    /// The devices that mirror one address space.
    Mirrors = 10,
    /// What one device has of an address space that it mirrors.
    Mirror = 11,
    /// Blocks on their way to the kernel's heap.
    HeapGrowth = 12,
    /// The index-to-folio map of one shared-memory object.
    Mapping = 13,
    /// Who maps one folio, and where.
    Rmap = 14,
    /// Reverse-map entries beyond the two in the descriptor, of all folios.
    RmapSpill = 15,
    /// The list of swap areas.
    SwapAreas = 16,
    /// One cluster of 512 swap slots.
    Cluster = 17,
    /// The free lists of clusters of one swap area.
    ClusterLists = 18,
    /// Frames that hold the allocation tags of swapped pages.
    TagStore = 19,
    /// Folios that are to be split when memory is short.
    DeferredSplit = 20,
    /// One shard of the active and inactive lists.
    Lru = 21,
    /// A CPU's cache of free folio descriptors.
    FolioCache = 22,
    /// Free folio descriptors.
    FolioArena = 23,
    /// A CPU's cache of free frames.
    FrameCache = 24,
    /// Small-order frames inside 2 MiB blocks.
    FrameBlocks = 25,
    /// Whole free 2 MiB blocks.
    FrameBig = 26,
    /// A device's request queue.
    Device = 27,
    /// One bucket of sleeping threads.
    WaitQueue = 28,
    /// A CPU's run queue.
    RunQueue = 29,
    /// Deadlines of sleeping threads.
    Timers = 30,
    /// The kernel's own mappings: first the free stacks, then its translation tables.
    KernelMap = 31,
    /// The kernel heap.
    Heap = 32,
    /// The console: may be taken while anything else is held.
    Console = 33,
}

/// Records that the running CPU takes a lock of level `L`.
///
/// # Panics
///
/// With debug assertions, when a lock of the same or a higher rank is held (`nested` permits the
/// same rank).
#[inline(always)]
pub(crate) fn acquire<L: LockLevel>(nested: bool) {
    if cfg!(debug_assertions) {
        held::enter(L::RANK, L::NAME, nested);
    }
}

/// Records that the running CPU took a lock of level `L` without waiting for it: a lock that is
/// only tried cannot be part of a deadlock, so any lock may be held.
#[inline(always)]
pub(crate) fn acquired_without_waiting<L: LockLevel>() {
    if cfg!(debug_assertions) {
        held::add(L::RANK);
    }
}

/// Records that the running CPU has let go of a lock of level `L`.
#[inline(always)]
pub(crate) fn release<L: LockLevel>() {
    if cfg!(debug_assertions) {
        held::leave(L::RANK);
    }
}

/// Takes part in the order for a lock that is not one of [`crate::sync`]'s, such as a bit in a
/// frame's word.
#[must_use = "the level is left when the token is dropped"]
#[derive(Debug)]
pub struct LevelToken<L: LockLevel>(core::marker::PhantomData<L>);

impl<L: LockLevel> LevelToken<L> {
    /// Enters level `L`.
    ///
    /// # Panics
    ///
    /// With debug assertions, on an order violation.
    #[inline(always)]
    pub fn enter() -> Self {
        acquire::<L>(false);
        Self(core::marker::PhantomData)
    }

    /// Enters level `L` while another lock of that level is held; the caller's own rule says which
    /// of the two comes first.
    ///
    /// # Panics
    ///
    /// With debug assertions, on an order violation.
    #[inline(always)]
    pub fn enter_nested() -> Self {
        acquire::<L>(true);
        Self(core::marker::PhantomData)
    }

    /// Enters level `L` after the lock was taken without waiting.
    #[inline(always)]
    pub fn entered_without_waiting() -> Self {
        acquired_without_waiting::<L>();
        Self(core::marker::PhantomData)
    }
}

impl<L: LockLevel> Drop for LevelToken<L> {
    #[inline(always)]
    fn drop(&mut self) {
        release::<L>();
    }
}

/// Checks that the running CPU holds no spin lock: it is about to sleep or to do block I/O.
///
/// # Panics
///
/// With debug assertions, when it does.
#[inline(always)]
#[track_caller]
pub fn assert_may_sleep() {
    if cfg!(debug_assertions) {
        held::assert_none();
    }
}

/// Names of the levels in `mask`, for a message.
fn name_of(rank: u8) -> &'static str {
    ORDER.iter().find(|(_, r)| *r == rank).map_or("?", |(name, _)| name)
}

/// The decision, free of any storage: may `rank` be taken with `counts` held?
fn violation(counts: &[u8; NR_RANKS], rank: u8, nested: bool) -> Option<u8> {
    let first_forbidden = if nested { rank + 1 } else { rank };
    (first_forbidden..NR_RANKS as u8).find(|held| counts[*held as usize] > 0)
}

#[cfg(target_os = "none")]
mod held {
    //! Counts per CPU, filed under the number that the kernel keeps in TPIDR_EL1.

    use super::{NR_RANKS, name_of, violation};
    use crate::percpu::MAX_CPUS;
    use aarch64_cpu::registers::{Readable, TPIDR_EL1};
    use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

    static COUNTS: [[AtomicU8; NR_RANKS]; MAX_CPUS] =
        [const { [const { AtomicU8::new(0) }; NR_RANKS] }; MAX_CPUS];

    fn mine() -> &'static [AtomicU8; NR_RANKS] {
        &COUNTS[TPIDR_EL1.get() as usize % MAX_CPUS]
    }

    fn snapshot() -> [u8; NR_RANKS] {
        core::array::from_fn(|rank| mine()[rank].load(Relaxed))
    }

    pub fn enter(rank: u8, name: &str, nested: bool) {
        if let Some(held) = violation(&snapshot(), rank, nested) {
            panic!("lock order: {name} ({rank}) taken under {} ({held})", name_of(held));
        }
        add(rank);
    }

    pub fn add(rank: u8) {
        mine()[rank as usize].fetch_add(1, Relaxed);
    }

    pub fn leave(rank: u8) {
        mine()[rank as usize].fetch_sub(1, Relaxed);
    }

    #[track_caller]
    pub fn assert_none() {
        if let Some(held) = violation(&snapshot(), 0, false) {
            panic!("lock order: sleeping while {} ({held}) is held", name_of(held));
        }
    }
}

#[cfg(not(target_os = "none"))]
mod held {
    //! Counts per thread: a host thread stands for a CPU.

    use super::{NR_RANKS, name_of, violation};
    use core::cell::RefCell;

    // The model checker runs its threads as coroutines of one OS thread.
    #[cfg(shuttle)]
    use shuttle::thread_local;
    #[cfg(not(shuttle))]
    use std::thread_local;

    thread_local! {
        #[allow(clippy::missing_const_for_thread_local, reason = "shuttle's macro takes no const")]
        static COUNTS: RefCell<[u8; NR_RANKS]> = RefCell::new([0; NR_RANKS]);
    }

    pub fn enter(rank: u8, name: &str, nested: bool) {
        COUNTS.with(|counts| {
            if let Some(held) = violation(&counts.borrow(), rank, nested) {
                panic!("lock order: {name} ({rank}) taken under {} ({held})", name_of(held));
            }
        });
        add(rank);
    }

    pub fn add(rank: u8) {
        COUNTS.with(|counts| counts.borrow_mut()[rank as usize] += 1);
    }

    pub fn leave(rank: u8) {
        COUNTS.with(|counts| counts.borrow_mut()[rank as usize] -= 1);
    }

    #[track_caller]
    pub fn assert_none() {
        COUNTS.with(|counts| {
            if let Some(held) = violation(&counts.borrow(), 0, false) {
                panic!("lock order: sleeping while {} ({held}) is held", name_of(held));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_grow_strictly_inwards() {
        assert!(ORDER.windows(2).all(|pair| pair[0].1 < pair[1].1));
        assert!(ORDER.iter().all(|(_, rank)| usize::from(*rank) < NR_RANKS));
    }

    #[test]
    fn violation_names_the_lowest_offender() {
        let mut counts = [0; NR_RANKS];
        counts[Lru::RANK as usize] = 1;
        assert_eq!(violation(&counts, FrameCache::RANK, false), None);
        assert_eq!(violation(&counts, Cluster::RANK, false), Some(Lru::RANK));
        assert_eq!(violation(&counts, Lru::RANK, false), Some(Lru::RANK));
        assert_eq!(violation(&counts, Lru::RANK, true), None);
    }
}
