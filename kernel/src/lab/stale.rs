// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the oracle of stale translations in a lab kernel: what each CPU may still have in its
//! TLB of entries that are gone. A frame that gets new contents while one leads to it is a panic with
//! its name.
//!
//! Nothing can be asked of the TLBs of the machine, so the worst is assumed: every CPU that has run an
//! address space since its last complete invalidation has every entry of it. The hooks are in the ports
//! (`kernel/src/machine.rs`), below the memory manager: entries that are stored, TLBIs, barriers, TTBR0.
//! `SimMachine` has the same oracle as hardware (`hal::sim`), where it is exact.

use alloc::vec::Vec;

use arch::descriptor;
use base::lock_level::Console;
use base::percpu::{CpuId, MAX_CPUS};
use base::sync::{OnceCell, SpinLock};
use base::{PageRange, Pfn, Vpn};
use hal::{Asid, Invalidate, LeafLevel, PteSlot, Reach};

/// The most entries that can be gone and not forgotten: none is watched beyond.
const MAX_STALE: usize = 1 << 14;
/// The most invalidations of whole address spaces that a CPU has started and not waited for.
const MAX_WHOLE: usize = 64;

/// An entry that is gone.
#[derive(Clone, Copy, Debug)]
struct Stale {
    asid: Asid,
    pages: PageRange,
    /// What it led to: as many frames as it mapped pages, or one table.
    first: Pfn,
    is_table: bool,
    /// CPUs that may have it, a bit each.
    cpus: u32,
    /// CPUs that have started a TLBI for it and not waited: for all, for themselves.
    broadcast_by: u32,
    local_by: u32,
}

impl Stale {
    fn nr_frames(&self) -> u64 {
        if self.is_table { 1 } else { self.pages.nr_pages() }
    }

    fn leads_to(&self, frame: Pfn) -> bool {
        u64::from(frame.get()).wrapping_sub(self.first.get().into()) < self.nr_frames()
    }

    /// Tells whether a TLBI is about it.
    fn falls_to(&self, what: Invalidate) -> bool {
        match what {
            Invalidate::All => true,
            Invalidate::Asid(asid) => asid == self.asid,
            Invalidate::Walks { asid, pages } => {
                asid == self.asid && !pages.intersect(self.pages).is_empty()
            }
            Invalidate::Leaves { asid, pages, level } => {
                let is_block = self.pages.nr_pages() > 1;
                let is_named = match level {
                    LeafLevel::Any => true,
                    LeafLevel::Pages => !is_block,
                    LeafLevel::Blocks => is_block,
                };
                let meets = !pages.intersect(self.pages).is_empty();
                asid == self.asid && !self.is_table && is_named && meets
            }
        }
    }
}

/// What is known of a frame that is, or was, a table.
#[derive(Clone, Copy, Default)]
struct TableUse {
    /// The entry that leads to it.
    parent: Option<PteSlot>,
    /// Of a root: its ASID, and the CPUs that may have translations from it.
    asid: u16,
    cpus: u32,
}

/// All that is watched.
struct Oracle {
    first: Pfn,
    tables: Vec<TableUse>,
    stale: Vec<Stale>,
    active: [Option<Pfn>; MAX_CPUS],
    /// Whole address spaces that a CPU is making everybody forget.
    whole: [Vec<Whole>; MAX_CPUS],
}

/// A whole address space that is being forgotten, or all of them.
#[derive(Clone, Copy)]
struct Whole {
    asid: Option<Asid>,
    reach: Reach,
    /// Nobody has used it since this was started: no TLB gets more of it, so what is cleared from here
    /// on is forgotten as well. The teardown of a dead address space relies on that.
    is_idle: bool,
}

impl Whole {
    fn is_of(&self, asid: u16) -> bool {
        self.asid.is_none_or(|own| own.0 == asid)
    }
}

/// The oracle. Its lock is like the console's: taken under any other, and nothing is taken under it.
static ORACLE: OnceCell<SpinLock<Oracle, Console>> = OnceCell::new();

fn with<R: Default>(f: impl FnOnce(&mut Oracle) -> R) -> R {
    ORACLE.get().map(|oracle| f(&mut oracle.lock())).unwrap_or_default()
}

/// Begins to watch frames from `first` on. Nothing has run at EL0 yet.
pub fn watch(first: Pfn, nr_frames: usize) {
    ORACLE.set(SpinLock::new(Oracle {
        first,
        tables: alloc::vec![TableUse::default(); nr_frames],
        stale: Vec::with_capacity(MAX_STALE),
        active: [None; MAX_CPUS],
        whole: core::array::from_fn(|_| Vec::with_capacity(MAX_WHOLE)),
    }));
}

impl Oracle {
    fn table(&mut self, table: Pfn) -> Option<&mut TableUse> {
        self.tables.get_mut(table.get().checked_sub(self.first.get())? as usize)
    }

    /// Returns the root above a table, the table's level, and the first page of its entry `index`.
    fn place_of(&mut self, slot: PteSlot) -> Option<(Pfn, u32, Vpn)> {
        let (mut table, mut level) = (slot.table, 0);
        let mut indices = [slot.index, 0, 0, 0];
        while let Some(parent) = self.table(table)?.parent {
            level += 1;
            *indices.get_mut(level as usize)? = parent.index;
            table = parent.table;
        }
        // The lowest index first, of a table at `level`.
        let page = (0..=level)
            .fold(0, |page, at| page | u64::from(indices[at as usize]) << (9 * (3 - level + at)));
        Some((table, level, Vpn::new(page)))
    }

    fn stored(&mut self, slot: PteSlot, old: u64, new: u64) {
        let is_table = |entry: u64, level| entry & 0b11 == 0b11 && level < 3;
        let Some((root, level, page)) = self.place_of(slot) else { return };
        if is_table(new, level) {
            let table = descriptor::output(new).pfn();
            self.table(table).into_iter().for_each(|below| below.parent = Some(slot));
        }
        let is_same = descriptor::output(old) == descriptor::output(new) && new & 1 != 0;
        if old & 1 == 0 || is_same {
            return;
        }
        let first = descriptor::output(old).pfn();
        let is_table = is_table(old, level);
        if is_table {
            self.table(first).into_iter().for_each(|below| below.parent = None);
        }
        let Some(&mut TableUse { asid, cpus, .. }) = self.table(root) else { return };
        if cpus == 0 || self.stale.len() == MAX_STALE {
            return;
        }
        let pages = PageRange::of_len(page, 1 << (9 * (3 - level)));
        let started_by = |reach| {
            let is_covered =
                |whole: &Whole| whole.is_idle && whole.is_of(asid) && whole.reach == reach;
            let by = (0..MAX_CPUS).filter(|cpu| self.whole[*cpu].iter().any(is_covered));
            by.fold(0, |bits, cpu| bits | 1 << cpu)
        };
        let (broadcast_by, local_by) = (started_by(Reach::Broadcast), started_by(Reach::Local));
        let asid = Asid(asid);
        self.stale.push(Stale { asid, pages, first, is_table, cpus, broadcast_by, local_by });
    }

    fn started(&mut self, cpu: CpuId, what: Invalidate, reach: Reach) {
        for stale in self.stale.iter_mut().filter(|stale| stale.falls_to(what)) {
            match reach {
                Reach::Broadcast => stale.broadcast_by |= 1 << cpu.get(),
                Reach::Local => stale.local_by |= 1 << cpu.get(),
            }
        }
        let asid = match what {
            Invalidate::Asid(asid) => Some(asid),
            Invalidate::All => None,
            Invalidate::Leaves { .. } | Invalidate::Walks { .. } => return,
        };
        let is_idle = asid.is_some_and(|asid| !self.is_used(asid));
        let whole = &mut self.whole[cpu.get()];
        if whole.len() < MAX_WHOLE {
            whole.push(Whole { asid, reach, is_idle });
        }
    }

    /// Tells whether a CPU translates with an ASID.
    fn is_used(&mut self, asid: Asid) -> bool {
        let roots = self.active;
        roots.into_iter().flatten().any(|root| self.table(root).is_some_and(|t| t.asid == asid.0))
    }

    fn completed(&mut self, cpu: CpuId, reach: Reach) {
        let bit = 1 << cpu.get();
        self.stale.retain_mut(|stale| {
            if stale.broadcast_by & bit != 0 && reach == Reach::Broadcast {
                return false;
            }
            if stale.local_by & bit != 0 {
                stale.cpus &= !bit;
            }
            stale.cpus != 0
        });
        let mut done = core::mem::take(&mut self.whole[cpu.get()]);
        done.retain(|whole| {
            if whole.reach == Reach::Broadcast && reach == Reach::Local {
                return true;
            }
            let forgotten = if whole.reach == Reach::Broadcast { u32::MAX } else { bit };
            let active = self.active;
            for (index, table) in self.tables.iter_mut().enumerate().filter(|(_, t)| t.cpus != 0) {
                if whole.is_of(table.asid) {
                    let root = Pfn::new(self.first.get() + index as u32);
                    let runs = (0..MAX_CPUS).filter(|cpu| active[*cpu] == Some(root));
                    let running = runs.fold(0, |bits, cpu| bits | 1 << cpu);
                    table.cpus &= !forgotten | running;
                }
            }
            false
        });
        self.whole[cpu.get()] = done;
    }

    fn activated(&mut self, cpu: CpuId, root: Pfn, asid: Asid) {
        self.active[cpu.get()] = Some(root);
        let all = self.whole.iter_mut().flatten();
        all.filter(|whole| whole.is_of(asid.0)).for_each(|whole| whole.is_idle = false);
        if let Some(table) = self.table(root) {
            (table.asid, table.cpus) = (asid.0, table.cpus | 1 << cpu.get());
        }
    }

    /// Returns a stale translation to one of the frames, which get new contents.
    fn reused(&mut self, first: Pfn, nr: u32) -> Option<(Pfn, Stale)> {
        for frame in (0..nr).map(|n| first.add(n)) {
            if let Some(stale) = self.stale.iter().find(|stale| stale.leads_to(frame)) {
                return Some((frame, *stale));
            }
            // If it was a table, it is none any more.
            self.table(frame).into_iter().for_each(|table| *table = TableUse::default());
        }
        None
    }
}

/// Notes that an entry was stored over another.
pub fn stored(slot: PteSlot, old: u64, new: u64) {
    with(|oracle| oracle.stored(slot, old, new));
}

/// Notes that a CPU has started an invalidation.
pub fn started(cpu: CpuId, what: Invalidate, reach: Reach) {
    with(|oracle| oracle.started(cpu, what, reach));
}

/// Notes that a CPU has waited for what it started.
pub fn completed(cpu: CpuId, reach: Reach) {
    with(|oracle| oracle.completed(cpu, reach));
}

/// Notes what a CPU translates with from now on.
pub fn activated(cpu: CpuId, root: Pfn, asid: Asid) {
    with(|oracle| oracle.activated(cpu, root, asid));
}

/// Notes that a CPU translates no user address from now on.
pub fn deactivated(cpu: CpuId) {
    with(|oracle| oracle.active[cpu.get()] = None);
}

/// Judges frames that are about to get new contents.
///
/// # Panics
///
/// When a CPU may still reach one of them through an entry that is gone.
pub fn reused(first: Pfn, nr_frames: u32) {
    if let Some((frame, stale)) = with(|oracle| oracle.reused(first, nr_frames)) {
        panic!("stale translation to {frame:?}: {stale:?}");
    }
}
