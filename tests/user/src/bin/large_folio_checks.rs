// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program checks that tags protect each page of a large folio that comes back from swap.

use user_tests::fault::{self, Fault, SEGV_MTEAERR, SEGV_MTESERR};
use user_tests::folios::{Folios, for_sizes};
use user_tests::memory::{self, PAGE};
use user_tests::pageout::{self, page_out};
use user_tests::sys;
use user_tests::tags::{self, ALL_BUT_ZERO, GRANULES_PER_PAGE, TAGGED_ADDR_ENABLE, TCF_ASYNC};
use user_tests::trial::Skip;

user_tests::tests!(
    s000_r17_a_wrong_tag_faults_at_once_on_each_page,
    s000_r17_a_store_by_a_wrong_tag_is_reported_later_on_each_page,
);

/// Maps and fills a folio and has it swapped out.
fn swapped(size_kib: usize) -> Result<Folios, Skip> {
    tags::needed_per_granule()?;
    pageout::needed()?;
    let folios = Folios::filled(size_kib, 1)?;
    page_out(folios.mapping.range());
    Ok(folios)
}

/// The last granule of each page and its tag.
fn last_granules(folios: &Folios) -> impl Iterator<Item = (usize, u8)> {
    let tag = |seed| tags::pseudo_random(seed, GRANULES_PER_PAGE - 1);
    let pages = folios.mapping.pages().zip(0..);
    pages.map(move |(page, seed)| (page + PAGE - tags::GRANULE, tag(seed)))
}

fn s000_r17_a_wrong_tag_faults_at_once_on_each_page() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        let folios = swapped(size_kib)?;
        tags::check_at_once();
        for (address, tag) in last_granules(&folios) {
            let load = |tag| fault::catch(|| memory::touch(tags::with_tag(address, tag)));
            assert_eq!(load(tag), None, "the right tag");
            let code = load(tag ^ 1).map(|fault| fault.code);
            assert_eq!(code, Some(SEGV_MTESERR), "a wrong tag");
        }
        tags::set_control(TAGGED_ADDR_ENABLE).expect("PR_SET_TAGGED_ADDR_CTRL");
        Ok(())
    })
}

/// The first store to the folio brings it back: the fault comes first, then the check.
fn s000_r17_a_store_by_a_wrong_tag_is_reported_later_on_each_page() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        let folios = swapped(size_kib)?;
        tags::set_control(TAGGED_ADDR_ENABLE | TCF_ASYNC | ALL_BUT_ZERO).expect("asynchronous");
        for (address, tag) in last_granules(&folios) {
            let store = |tag, value| {
                fault::catch(|| {
                    memory::store(tags::with_tag(address, tag), value);
                    sys::call(libc::SYS_getpid, []).expect("getpid");
                })
            };
            let late = Fault { signal: libc::SIGSEGV, code: SEGV_MTEAERR, address: 0 };
            assert_eq!(store(tag ^ 1, 5), Some(late), "{address:#x}");
            assert_eq!(fault::nr_faults(), 1, "once");
            assert_eq!(memory::load(tags::with_tag(address, tag)), 5, "the store was made");
            assert_eq!(store(tag, 6), None, "the right tag");
            assert_eq!(memory::load(tags::with_tag(address, tag)), 6);
        }
        tags::set_control(TAGGED_ADDR_ENABLE).expect("PR_SET_TAGGED_ADDR_CTRL");
        Ok(())
    })
}
