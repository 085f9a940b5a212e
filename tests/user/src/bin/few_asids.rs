// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program runs more processes than there are ASIDs, on its machine: each has other memory at the
//! same addresses, and sees its own.

use user_tests::memory::{self, Mapping, PAGE};
use user_tests::process::{self, Ended};
use user_tests::vmstat::Counters;

user_tests::tests!(processes_that_share_asids_keep_apart, what_is_unmapped_is_gone_under_any_asid,);

const NR_PROCESSES: u64 = 40;
const NR_PAGES: usize = 8;
const ROUNDS: u64 = 60;

/// Expects that all ASIDs were given out, where there are few.
fn expect_rollovers(before: &Counters) {
    let has_few =
        std::fs::read_to_string("/proc/cmdline").is_ok_and(|all| all.contains("tlb.asids="));
    let rollovers = Counters::read().since(before, "asid_rollover");
    assert!(!has_few || rollovers > Some(1), "{rollovers:?} rollovers");
}

fn processes_that_share_asids_keep_apart() {
    let before = Counters::read();
    let mapping = Mapping::anonymous(NR_PAGES * PAGE);
    mapping.pages().for_each(|page| memory::store_pattern(page, 0));
    let children: Vec<_> = (1..=NR_PROCESSES)
        .map(|own| {
            process::fork(|| {
                mapping.pages().for_each(|page| memory::store_pattern(page, own));
                for round in 1..=ROUNDS {
                    std::thread::yield_now();
                    let seed = own + (round - 1) * 1000 * u64::from(round > 1);
                    let is_own = |page| memory::first_difference(page, seed).is_none();
                    if !mapping.pages().all(is_own) {
                        return 1;
                    }
                    mapping
                        .pages()
                        .for_each(|page| memory::store_pattern(page, own + round * 1000));
                }
                0
            })
        })
        .collect();
    for child in children {
        assert_eq!(child.wait(), Ended::Exited(0));
    }
    mapping.pages().for_each(|page| assert_eq!(memory::first_difference(page, 0), None));
    expect_rollovers(&before);
}

fn what_is_unmapped_is_gone_under_any_asid() {
    let before = Counters::read();
    let children: Vec<_> = (1..=NR_PROCESSES)
        .map(|own| {
            process::fork(|| {
                for round in 0..ROUNDS {
                    // At the same address as before: what the TLB knew of it must be gone.
                    let mapping = Mapping::anonymous(NR_PAGES * PAGE);
                    if mapping.pages().any(|page| memory::load(page) != 0) {
                        return 1;
                    }
                    mapping.pages().for_each(|page| memory::store(page, own << 32 | round));
                    std::thread::yield_now();
                    if mapping.pages().any(|page| memory::load(page) != own << 32 | round) {
                        return 2;
                    }
                }
                0
            })
        })
        .collect();
    for child in children {
        assert_eq!(child.wait(), Ended::Exited(0));
    }
    expect_rollovers(&before);
}
