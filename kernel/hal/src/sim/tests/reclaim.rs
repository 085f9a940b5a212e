// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file swaps pages with a pager of a few lines, right and in each historical wrong way.
//!
//! Two CPUs count in words of their own on shared pages while a third takes the pages away, writes
//! dirty ones to disk and gives their frames to whoever faults next. The right pager passes under
//! every schedule. Each wrong one fails under some, by a judge or by a count that went back; that
//! part needs schedules that replay, so it runs under the model checker.

use alloc::sync::Arc;
use alloc::vec::Vec;

use base::percpu::CpuId;
use base::{PAGE_SIZE, Pfn};

use super::rig::{CPU0, CPU1, PAGE, READ_ONLY, Rig, clean, leaves};
use crate::block_dev::{BlockDevs, BlockOp, DiskId, SECTORS_PER_PAGE, Segment};
use crate::cpu::Cpus;
use crate::phys_mem::PhysMem;
use crate::pte_mem::{PteMem, PteSlot};
use crate::sim::{SimConfig, SimMachine, explore};
use crate::sleep_lock::SleepLock;
use crate::tlb::{Reach, Tlb};
use crate::wait::Wait;

const NR_PAGES: u64 = 3;
const ROUNDS: u64 = 6;
const RECLAIMER: CpuId = CpuId::new(2);

/// What the pager does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(shuttle), expect(dead_code, reason = "only the model checker finds them all"))]
enum Sin {
    None,
    /// The entry is read, then cleared.
    ReadThenClear,
    NoInvalidation,
    NoBefore,
    NoComplete,
    /// Another CPU completes what this one has started.
    RemoteComplete,
    /// The page is written out before CPUs are kept from storing to it.
    WriteBeforeInvalidation,
    /// The page is reclaimed with its lock released before the invalidation.
    InvalidateAfterUnlock,
    /// The page is mapped before its contents have arrived.
    MapBeforeRead,
    DirtyIgnored,
}

/// A page and where its contents are.
struct Page {
    number: u64,
    slot: PteSlot,
    frame: Option<Pfn>,
}

struct Pager {
    machine: SimMachine,
    pages: Vec<SleepLock<Page>>,
    free: SleepLock<Vec<Pfn>>,
    sin: Sin,
}

impl Pager {
    fn new(seed: u64, sin: Sin) -> Arc<Self> {
        let disks = [NR_PAGES * SECTORS_PER_PAGE].into();
        let rig = Rig::new(SimConfig { nr_cpus: 3, disks, seed, ..SimConfig::default() });
        let page = |number: u64| {
            rig.write_medium(DiskId(0), number * SECTORS_PER_PAGE, &[0; PAGE_SIZE]);
            let slot = rig.map(PAGE.add(number), 0);
            SleepLock::new(Page { number, slot, frame: None })
        };
        let pages = (0..NR_PAGES).map(page).collect();
        let free = SleepLock::new((0..NR_PAGES).map(|_| rig.frame()).collect());
        Arc::new(Self { machine: rig.machine, pages, free, sin })
    }

    fn transfer(&self, page: &Page, op: BlockOp, frame: Pfn) {
        let sector = page.number * SECTORS_PER_PAGE;
        self.machine.transfer(DiskId(0), op, sector, &[Segment::one(frame)]).unwrap();
    }

    /// Brings a page in, unless somebody else has.
    fn resolve(&self, number: u64) {
        let m = &self.machine;
        let mut page = self.pages[number as usize].lock(m);
        if page.frame.is_some() {
            return;
        }
        let frame = self.free.lock(m).pop().expect("as many frames as pages");
        m.zero_frame(frame);
        if self.sin == Sin::MapBeforeRead {
            PteMem::store(m, page.slot, clean(frame));
        }
        self.transfer(&page, BlockOp::Read, frame);
        PteMem::store(m, page.slot, clean(frame));
        page.frame = Some(frame);
    }

    /// Takes a page away, if it is there.
    fn reclaim(&self, number: u64) {
        let m = &self.machine;
        let mut page = self.pages[number as usize].lock(m);
        let Some(frame) = page.frame.take() else { return };
        let entry = match self.sin {
            Sin::ReadThenClear => {
                let entry = PteMem::load(m, page.slot);
                PteMem::store(m, page.slot, 0);
                entry
            }
            _ => m.exchange(page.slot, 0),
        };
        let is_dirty = entry & READ_ONLY == 0 && self.sin != Sin::DirtyIgnored;
        if self.sin == Sin::InvalidateAfterUnlock {
            // Stands for a gather that outlives the lock that protects the entry.
            drop(page);
            m.cond_resched();
            page = self.pages[number as usize].lock(m);
        }
        if is_dirty && self.sin == Sin::WriteBeforeInvalidation {
            self.transfer(&page, BlockOp::Write, frame);
        }
        self.invalidate(number);
        if is_dirty && self.sin != Sin::WriteBeforeInvalidation {
            self.transfer(&page, BlockOp::Write, frame);
        }
        self.free.lock(m).push(frame);
    }

    fn invalidate(&self, number: u64) {
        let m = &self.machine;
        if self.sin == Sin::NoInvalidation {
            return;
        }
        if self.sin != Sin::NoBefore {
            m.before();
        }
        m.invalidate(leaves(PAGE.add(number), 1), Reach::Broadcast);
        match self.sin {
            Sin::NoComplete => {}
            Sin::RemoteComplete => m.run_on(CPU0, || m.complete(Reach::Broadcast)),
            _ => m.complete(Reach::Broadcast),
        }
    }

    /// Counts in this CPU's word of every page and checks that no count is ever lost.
    fn count(&self) {
        let m = &self.machine;
        let cpu = m.cpu();
        for round in 0..ROUNDS {
            for number in 0..NR_PAGES {
                let at = PAGE.add(number).base().wrapping_add(8 * cpu.get() as u64 + 2048);
                let seen = loop {
                    match m.load(cpu, at) {
                        Ok(seen) => break seen,
                        Err(_) => self.resolve(number),
                    }
                };
                assert_eq!(seen, round, "a store to page {number} was lost");
                while m.store(cpu, at, round + 1).is_err() {
                    self.resolve(number);
                }
            }
        }
    }
}

fn swap_with(seed: u64, sin: Sin) {
    let pager = Pager::new(seed, sin);
    let spawn = |cpu: CpuId, work: fn(&Pager)| {
        let shared = Arc::clone(&pager);
        pager.machine.spawn_on(cpu, move || work(&shared))
    };
    let reclaim = |pager: &Pager| (0..4 * NR_PAGES).for_each(|n| pager.reclaim(n % NR_PAGES));
    let threads = [spawn(CPU0, Pager::count), spawn(CPU1, Pager::count), spawn(RECLAIMER, reclaim)];
    for thread in threads {
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
    pager.machine.assert_quiescent();
}

#[test]
fn right_pager_loses_nothing() {
    explore(0..200, |seed| swap_with(seed, Sin::None));
}

#[cfg(shuttle)]
#[test]
fn each_wrong_pager_is_caught_within_100_schedules() {
    use std::panic::catch_unwind;

    let sins = [
        Sin::ReadThenClear,
        Sin::NoInvalidation,
        Sin::NoBefore,
        Sin::NoComplete,
        Sin::RemoteComplete,
        Sin::WriteBeforeInvalidation,
        Sin::InvalidateAfterUnlock,
        Sin::MapBeforeRead,
        Sin::DirtyIgnored,
    ];
    for sin in sins {
        let fails = |seed: &u64| {
            let seed = *seed;
            catch_unwind(|| explore(seed..seed + 1, move |seed| swap_with(seed, sin))).is_err()
        };
        let first = (0..100).find(fails);
        std::println!("{sin:?}: caught by seed {first:?}");
        assert!(first.is_some(), "{sin:?} passes 100 schedules");
    }
}
