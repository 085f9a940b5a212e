// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes every single allocation fail once, and every disk request, while large folios are
//! swapped out and in. `large_folio_failures.rs` does that for all else.

mod world;

use base::{PageRange, Vpn};
use mm::{Advice, FaultError, MmEvent, ThpStat};
use world::World;
use world::failing::{
    ORDERS, What, fail_each, first_folio, inner, ran_out, swapped, with_long_records,
};
use world::folios::nr_pages;
use world::process::{AccessError, Process};

#[test]
fn swap_out() {
    for order in ORDERS {
        let resident = |world: &World| with_long_records(world, order);
        let act = |p: &mut Process| {
            let pages = first_folio(p, order);
            p.advise(pages, Advice::PageOut);
            let nr_out = pages.pages().filter(|page| p.is_swapped(*page)).count() as u64;
            assert!(nr_out == 0 || nr_out == pages.nr_pages(), "{nr_out} are out: all or nothing");
            // A folio that could not be written is swapped for its entries, and in the cache.
            let is_out = p.world.stat(ThpStat::Swpout, order) == 1;
            is_out && nr_out > 0
        };
        // What cannot be written together is written alone.
        assert_eq!(fail_each(What::Request, order, resident, act), 0);
        let fell_short = fail_each(What::Allocation, order, resident, |p| {
            let is_out = act(p);
            let nr_bytes = p.world.system.tag_bytes_stored();
            assert_eq!(is_out, nr_bytes > 0, "{nr_bytes} bytes of tags are kept");
            is_out
        });
        assert!(fell_short > 0);
    }
}

#[test]
fn swap_in_as_a_whole() {
    for order in ORDERS {
        let out = |world: &World| swapped(world, order);
        let load = |p: &mut Process| p.load(inner(p, order).start.base()).map(drop);
        let fell_short = fail_each(What::Allocation, order, out, |p| {
            let loaded = ran_out(load(p));
            let fallbacks = p.world.stat(ThpStat::SwpinFallback, order);
            let expected = [nr_pages(order), 1][fallbacks as usize];
            let resident = p.nr_present(first_folio(p, order)) as u64;
            assert_eq!(resident, if loaded { expected } else { 0 });
            loaded
        });
        assert_eq!(fell_short, 0, "a single page is enough");
        let fell_short = fail_each(What::Request, order, out, |p| {
            let errors = p.world.count(MmEvent::SwpInError);
            let loaded = load(p).is_ok();
            assert_eq!(errors, p.world.count(MmEvent::SwpInError), "single pages are readable");
            loaded
        });
        assert_eq!(fell_short, 0, "what cannot be read together is read alone");
    }
}

/// One page of the folio is gone, so it comes back in parts.
#[test]
fn swap_in_in_parts() {
    for order in ORDERS {
        let out = |world: &World| {
            let mut all = swapped(world, order);
            let p = &mut all[0];
            let last = first_folio(p, order).end.sub(1);
            p.advise(PageRange::of_len(last, 1), Advice::DontNeed);
            (2..order).for_each(|order| world.allow_order(order));
            all
        };
        let failures = [
            (What::Allocation, FaultError::OutOfMemory),
            // A page that is read alone.
            (What::Request, FaultError::NoContent),
        ];
        for (what, why) in failures {
            fail_each(what, order, out, |p| {
                let failed = |page: &Vpn| p.load(page.base()).err();
                let failed: Vec<_> =
                    first_folio(p, order).pages().filter_map(|page| failed(&page)).collect();
                assert!(failed.iter().all(|found| *found == AccessError::Fault(why)), "{failed:?}");
                assert!(failed.len() <= 1, "what one failure costs");
                failed.is_empty()
            });
        }
    }
}
