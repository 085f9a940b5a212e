// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests which folio a first store gets, and how it is counted.

use user_tests::memory::{self, ANON, Mapping, PAGE, PROT_MTE, RW};
use user_tests::pageout::{self, Place};
use user_tests::sys;
use user_tests::thp::{self, SIZES_KIB, Setting};
use user_tests::trial::Skip;
use user_tests::vmstat::Counters;
use user_tests::{meminfo, tags};

user_tests::tests!(
    a_first_store_gets_the_size_that_is_allowed,
    tagged_memory_gets_the_size_that_is_allowed,
    a_load_gets_no_folio,
    memory_that_does_not_want_large_folios_gets_single_pages,
    a_process_that_does_not_want_large_folios_gets_single_pages,
    shared_memory_gets_single_pages,
    a_folio_fits_into_its_area,
    a_folio_leaves_pages_alone_that_are_there,
    anon_huge_pages_are_what_blocks_map,
    a_block_of_which_part_changes_is_mapped_by_pages,
);

const BLOCK: usize = 2 << 20;

/// Memory of two aligned blocks that wants large folios.
fn wanting(protection: i32) -> Mapping {
    let mapping = Mapping::new(2 * BLOCK, protection, ANON).unwrap();
    assert_eq!(mapping.start() % BLOCK, 0);
    memory::madvise(mapping.start(), 2 * BLOCK, libc::MADV_HUGEPAGE).unwrap();
    mapping
}

/// Returns how many pages are in memory.
fn nr_present(mapping: &Mapping) -> usize {
    let places = pageout::places(mapping.range());
    places.into_iter().filter(|place| *place == Place::Memory).count()
}

/// Allows all sizes for memory that wants them, or none.
fn all_sizes(word: &str) -> Result<Vec<Setting>, Skip> {
    SIZES_KIB.iter().map(|size| Ok(Setting::of_size(*size)?.to(word))).collect()
}

fn stores_get_each_size(protection: i32) -> Result<(), Skip> {
    for size in SIZES_KIB {
        let _sizes = thp::only(size, "madvise")?;
        let mapping = wanting(protection);
        let stat = |name| thp::stat(size, name).unwrap();
        let before = ["anon_fault_alloc", "anon_fault_fallback", "nr_anon"].map(stat);
        let events = Counters::read();
        // In the middle of the second folio of this size.
        let nr_pages = size * 1024 / PAGE;
        memory::store(mapping.page(nr_pages + nr_pages / 2), 1);
        let after = ["anon_fault_alloc", "anon_fault_fallback", "nr_anon"].map(stat);
        assert_eq!(after, [before[0] + 1, before[1], before[2] + 1], "{size} kB");
        let blocks = Counters::read().since(&events, "thp_fault_alloc");
        assert_eq!(blocks, Some(u64::from(size * 1024 == BLOCK)), "{size} kB");
        assert_eq!(nr_present(&mapping), nr_pages, "{size} kB");
        let folio = mapping.page(nr_pages)..mapping.page(2 * nr_pages);
        assert!(pageout::places(folio).into_iter().all(|place| place == Place::Memory));
    }
    Ok(())
}

fn a_first_store_gets_the_size_that_is_allowed() -> Result<(), Skip> {
    stores_get_each_size(RW)
}

fn tagged_memory_gets_the_size_that_is_allowed() -> Result<(), Skip> {
    tags::needed()?;
    stores_get_each_size(RW | PROT_MTE)
}

fn a_load_gets_no_folio() -> Result<(), Skip> {
    let _sizes = thp::only(64, "madvise")?;
    let mapping = wanting(RW);
    let before = thp::stat(64, "nr_anon");
    assert_eq!(memory::load(mapping.start()), 0);
    assert_eq!(thp::stat(64, "nr_anon"), before);
    Ok(())
}

fn memory_that_does_not_want_large_folios_gets_single_pages() -> Result<(), Skip> {
    let _enabled = Setting::open("enabled")?.to("always");
    let _sizes = thp::only(2048, "inherit")?;
    let mapping = wanting(RW);
    memory::madvise(mapping.start(), 2 * BLOCK, libc::MADV_NOHUGEPAGE).unwrap();
    memory::store(mapping.start(), 1);
    assert_eq!(nr_present(&mapping), 1);
    Ok(())
}

fn a_process_that_does_not_want_large_folios_gets_single_pages() -> Result<(), Skip> {
    let _sizes = thp::only(64, "always")?;
    let switch = |wish: usize| {
        sys::call(libc::SYS_prctl, [libc::PR_SET_THP_DISABLE as usize, wish]).unwrap();
    };
    let mapping = wanting(RW);
    switch(1);
    memory::store(mapping.start(), 1);
    assert_eq!(nr_present(&mapping), 1);
    switch(0);
    memory::store(mapping.page(16), 1);
    assert_eq!(nr_present(&mapping), 17);
    Ok(())
}

fn shared_memory_gets_single_pages() -> Result<(), Skip> {
    let _shmem = Setting::open("shmem_enabled")?.to("never");
    let _enabled = Setting::open("enabled")?.to("always");
    let _sizes = all_sizes("always")?;
    let mapping = Mapping::new(BLOCK, RW, libc::MAP_SHARED).unwrap();
    memory::madvise(mapping.start(), BLOCK, libc::MADV_HUGEPAGE).unwrap();
    memory::store(mapping.start(), 1);
    assert_eq!(nr_present(&mapping), 1);
    Ok(())
}

fn a_folio_fits_into_its_area() -> Result<(), Skip> {
    let _sizes = all_sizes("madvise")?;
    let reserve = Mapping::new(2 * BLOCK, libc::PROT_NONE, ANON).unwrap();
    let area = reserve.page(1)..reserve.page(64);
    memory::mprotect(area.start, area.len(), RW).unwrap();
    memory::madvise(area.start, area.len(), libc::MADV_HUGEPAGE).unwrap();
    let mut nr = 0;
    //  page, and pages that its folio has: the aligned range has to lie in pages 1..64
    for (page, expected) in [(40, 32), (31, 16), (8, 8), (5, 4), (1, 1), (2, 1), (3, 1)] {
        memory::store(reserve.page(page), 1);
        let now = nr_present(&reserve);
        assert_eq!(now - nr, expected, "page {page}");
        nr = now;
    }
    Ok(())
}

fn a_folio_leaves_pages_alone_that_are_there() -> Result<(), Skip> {
    let sizes = all_sizes("never")?;
    let mapping = wanting(RW);
    memory::store(mapping.start(), 7);
    assert_eq!(nr_present(&mapping), 1);
    sizes.iter().for_each(|size| assert!(size.write("madvise").is_ok()));
    memory::store(mapping.page(16), 8);
    assert_eq!(nr_present(&mapping), 17, "the largest aligned range without page 0");
    memory::store(mapping.page(15), 9);
    assert_eq!(nr_present(&mapping), 25, "pages 8 to 15");
    assert_eq!(memory::load(mapping.start()), 7);
    Ok(())
}

fn anon_huge_pages_are_what_blocks_map() -> Result<(), Skip> {
    let _sizes = thp::only(2048, "madvise")?;
    let reserve = Mapping::new(4 * BLOCK, libc::PROT_NONE, ANON).unwrap();
    let start = reserve.start() + BLOCK;
    memory::mprotect(start, 2 * BLOCK, RW).unwrap();
    memory::madvise(start, 2 * BLOCK, libc::MADV_HUGEPAGE).unwrap();
    let before = meminfo::read("AnonHugePages").unwrap();
    for blocks in 1..=2 {
        memory::store(start + (blocks - 1) * BLOCK, 1);
        assert_eq!(thp::anon_huge_kib(start), blocks * 2048);
        let now = meminfo::read("AnonHugePages").unwrap();
        assert_eq!(now - before, (blocks * BLOCK) as u64);
    }
    // Pages of a smaller size are not counted, for historical reasons.
    let _smaller = thp::only(64, "madvise")?;
    memory::madvise(start, BLOCK, libc::MADV_DONTNEED).unwrap();
    memory::store(start, 1);
    assert_eq!(thp::anon_huge_kib(start), 2048);
    drop(reserve);
    assert_eq!(meminfo::read("AnonHugePages").unwrap(), before);
    Ok(())
}

fn a_block_of_which_part_changes_is_mapped_by_pages() -> Result<(), Skip> {
    let _sizes = thp::only(2048, "madvise")?;
    let mapping = wanting(RW);
    memory::store(mapping.start(), 1);
    memory::store(mapping.start() + BLOCK, 2);
    assert_eq!(thp::anon_huge_kib(mapping.start()), 4096);
    let before = Counters::read();
    memory::mprotect(mapping.page(3), PAGE, libc::PROT_READ).unwrap();
    assert_eq!(Counters::read().since(&before, "thp_split_pmd"), Some(1));
    assert_eq!(thp::anon_huge_kib(mapping.start()), 0);
    assert_eq!(thp::anon_huge_kib(mapping.page(4)), 2048, "the second block is as it was");
    assert_eq!(nr_present(&mapping), 1024, "the folios are as they were");
    Ok(())
}
