// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file races hardware and other CPUs for entries that are being changed, under every schedule of
//! the stop points: R6, R9 and R14 of the race catalogue. What goes wrong is switched on, and is caught.

mod world;

use std::sync::Arc;

use base::percpu::CpuId;
use base::sync::stop_point;
use base::{PageRange, Vpn};
use hal::sim::{Adversary, SimConfig, explore_stops};
use mm::lab::{Fault, TlbFault};
use mm::{Advice, Placement, Prot};
use world::folios::{one, roomy};
use world::process::{Process, RW};
use world::{CPU0, CPU1, World};

const CPU2: CpuId = CpuId::new(2);
const START: Vpn = Vpn::new(0x10_0000);

fn world(judges_plain_stores: bool) -> World {
    let calm = SimConfig { adversary: Adversary::CALM, nr_cpus: 4, ..roomy(7) };
    let config = SimConfig { hw_access_flag: true, hw_dirty: true, ..calm };
    World::new(SimConfig { judges_new_mappings: false, judges_plain_stores, ..config })
}

/// Another thread of the process.
fn thread_of(p: &Process, cpu: CpuId) -> Process {
    let (world, mm) = (p.world.clone(), Arc::clone(&p.mm));
    Process { world, mm, cpu, oracle: Default::default() }
}

/// A CPU stores to a page while its entry, or the run of 16 it is in, is taken away or taken apart. The
/// entry alone knows of the store: the page was given up by MADV_FREE.
fn stored_meanwhile(order: u8, fault: Option<Fault>, change: fn(&mut Process, PageRange)) {
    // The judge would object to the plain store before anything is lost.
    let world = world(fault.is_none());
    fault.into_iter().for_each(|fault| world.system.commit(fault));
    world.allow_order(order);
    let mut p = world.process(CPU0);
    let pages = p.new_folios(order, 1, RW);
    p.advise(pages, Advice::Free);
    let at = pages.start.add(pages.nr_pages() / 2).base();
    let writer = thread_of(&p, CPU1);
    let store = world.machine.spawn_on(CPU1, move || writer.store(at, 4711).unwrap());
    stop_point("about to change the entries");
    change(&mut p, pages);
    store.join().unwrap();
    p.call(|mm| mm.advise(pages, Advice::PageOut)).unwrap();
    assert_eq!(p.load(at), Ok(4711), "a store after MADV_FREE is kept");
    p.oracle.pages.clear();
    p.exit();
    world.audit();
}

fn page_out(p: &mut Process, pages: PageRange) {
    p.call(|mm| mm.advise(pages, Advice::PageOut)).unwrap();
}

/// The run is unfolded because one of its pages gets other rights.
fn protect_one(p: &mut Process, pages: PageRange) {
    p.call(|mm| mm.protect(one(pages.start), Prot::READ, false)).unwrap();
}

#[test]
fn race_r06_a_store_while_its_page_is_reclaimed_is_kept() {
    explore_stops(2, || stored_meanwhile(0, None, page_out));
}

#[test]
fn race_r14_a_store_while_its_run_is_unfolded_is_kept() {
    explore_stops(2, || stored_meanwhile(4, None, protect_one));
}

/// Reclaim has unmapped pages and not waited for the TLBs; another CPU changes the range and returns. CPU 2
/// still has a page in its TLB until then.
fn changed_under_a_batch(fault: Option<TlbFault>, change: fn(&mut Process, PageRange)) {
    let world = world(true);
    fault.into_iter().for_each(|fault| world.system.weaken(fault));
    let mut p = world.process(CPU0);
    let pages = p.map_at(Placement::Fixed(START), 2, RW);
    pages.pages().for_each(|page| p.write(page, 0, page.get()));
    let (reclaimer, reader) = (thread_of(&p, CPU1), thread_of(&p, CPU2));
    pages.pages().for_each(|page| reader.store(page.base(), 1).unwrap());
    let reclaim = world.machine.spawn_on(CPU1, move || {
        reclaimer.call(|mm| {
            // `None`: it is gone already.
            let Some(batch) = mm.begin_page_out(START) else { return };
            stop_point("a batch is open");
            batch.finish();
        });
    });
    stop_point("about to change the entries");
    change(&mut p, pages);
    world.assert_no_stale(&p.mm);
    reclaim.join().unwrap();
    p.oracle.pages.clear();
    [CPU1, CPU2].iter().for_each(|cpu| world.on(*cpu, || world.system.deactivate()));
    p.exit();
    world.audit();
}

fn unmap(p: &mut Process, pages: PageRange) {
    p.call(|mm| mm.unmap(pages)).unwrap();
}

fn protect(p: &mut Process, pages: PageRange) {
    p.call(|mm| mm.protect(pages, Prot::READ, false)).unwrap();
}

#[test]
fn race_r09_a_range_changed_under_a_batch_is_in_no_tlb() {
    explore_stops(2, || changed_under_a_batch(None, unmap));
    explore_stops(2, || changed_under_a_batch(None, protect));
}

/// The same with what goes wrong.
#[cfg(shuttle)]
mod caught {
    use super::*;
    use world::caught::what_is_said;

    #[test]
    fn race_r06_dirty_state_read_before_it_is_cleared_is_caught() {
        let fault = Some(Fault::ReadThenClear);
        let run = || _ = explore_stops(2, move || stored_meanwhile(0, fault, page_out));
        assert!(what_is_said(run).expect("a lost store").contains("is kept"));
    }

    #[test]
    fn race_r14_dirty_state_of_a_run_read_before_it_is_cleared_is_caught() {
        let fault = Some(Fault::ReadThenClear);
        let run = || _ = explore_stops(2, move || stored_meanwhile(4, fault, protect_one));
        assert!(what_is_said(run).expect("a lost store").contains("is kept"));
    }

    #[test]
    fn race_r09_a_batch_that_nobody_knows_of_or_waits_for_is_caught() {
        let changes: [(&str, fn(&mut Process, PageRange)); 2] =
            [("munmap", unmap), ("mprotect", protect)];
        for fault in [TlbFault::BatchUnannounced, TlbFault::RemoteDsbOnly] {
            for (name, change) in changes {
                let run =
                    || _ = explore_stops(2, move || changed_under_a_batch(Some(fault), change));
                let said = what_is_said(run);
                let said = said.unwrap_or_else(|| panic!("{fault:?}, {name}: not caught"));
                assert!(said.contains("stale"), "{fault:?}, {name}: {said}");
            }
        }
    }
}
