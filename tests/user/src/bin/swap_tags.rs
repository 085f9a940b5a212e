// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests that swap keeps tags.
//!
//! The numbers in names are rows of a list of behaviours; docs/TESTING.md says which.

use user_tests::fault::{self, Fault, SEGV_MTESERR};
use user_tests::memory::{self, ANON, Mapping, PAGE, PROT_MTE, RW};
use user_tests::pageout::{self, Place, page_out, place};
use user_tests::process;
use user_tests::tags::{self, GRANULES_PER_PAGE};
use user_tests::trial::Skip;
use user_tests::vmstat::Counters;

user_tests::tests!(
    s000_r01_bytes_and_tags_come_back,
    s000_r01_tags_of_each_encoding_come_back,
    s000_r03_zero_page_with_tags_comes_back,
    s000_r04_untagged_page_saves_no_tags,
    s000_r10_tag_store_alone_makes_page_dirty,
    s000_r10_tag_store_to_read_only_page_faults,
    s000_r11_changed_tags_replace_saved_ones,
    s000_r12_unmapping_frees_saved_tags,
    s000_r12_exit_frees_saved_tags,
    s000_r13_fork_shares_tags_of_swapped_pages,
    s000_r16_threads_that_fault_at_once_see_tags,
    s000_r17_wrong_tag_faults_on_restored_page,
    s000_r19_discarded_swapped_pages_have_zero_tags,
    s000_r19_pageout_of_a_part_leaves_the_rest,
    saved_tags_are_counted_by_the_size_of_their_records,
);

const NR_PAGES: usize = 64;

/// Goes on only where there are tags and swap.
fn needed() -> Result<(), Skip> {
    tags::needed_per_granule()?;
    pageout::needed()
}

/// Writes words and tags made from `seed` to a page.
fn write_page(page: usize, seed: u64) {
    memory::store_pattern(page, seed);
    tags::fill_page(page, seed);
}

/// Gives each granule of a page its tag.
fn store_tags(page: usize, tag: impl Fn(usize) -> u8) {
    for granule in 0..GRANULES_PER_PAGE {
        tags::store(tags::with_tag(page + granule * tags::GRANULE, tag(granule)));
    }
}

/// Expects words and tags made from seeds in a page. The words are read through a pointer whose tag
/// is not checked: no thread here asks for checks, unless it says so.
fn assert_page(page: usize, words: u64, tags: u64) {
    assert_eq!(memory::first_difference(page, words), None, "the words of {page:#x}");
    assert_eq!(tags::first_difference(page, tags), None, "the tags of {page:#x}");
}

fn s000_r01_bytes_and_tags_come_back() -> Result<(), Skip> {
    needed()?;
    let mapping = Mapping::tagged(NR_PAGES * PAGE);
    for round in 0..4 {
        for page in mapping.pages() {
            write_page(page, page as u64 + round);
        }
        page_out(mapping.range());
        for page in mapping.pages() {
            assert_page(page, page as u64 + round, page as u64 + round);
        }
    }
    Ok(())
}

fn s000_r01_tags_of_each_encoding_come_back() -> Result<(), Skip> {
    needed()?;
    // Objects: from one in a page down to one in a granule. Half of them start with a header.
    let lens = [256, 255, 128, 64, 37, 32, 21, 16, 13, 8, 7, 5, 4, 3, 2, 1];
    let objects: Vec<_> = lens.into_iter().flat_map(|len| [(len, 0), (len, 1)]).collect();
    let mapping = Mapping::tagged(objects.len() * PAGE);
    let tag = |(len, header): (usize, usize), granule: usize| match granule % len < header {
        true => 0,
        false => tags::pseudo_random(5, granule / len),
    };
    for (page, object) in mapping.pages().zip(&objects) {
        memory::store_pattern(page, object.0 as u64);
        store_tags(page, |granule| tag(*object, granule));
    }
    page_out(mapping.range());
    for (page, object) in mapping.pages().zip(&objects) {
        assert_eq!(memory::first_difference(page, object.0 as u64), None);
        for granule in 0..GRANULES_PER_PAGE {
            let found = tags::load(page + granule * tags::GRANULE);
            assert_eq!(found, tag(*object, granule), "granule {granule} of {object:?}");
        }
    }
    Ok(())
}

fn saved_tags_are_counted_by_the_size_of_their_records() -> Result<(), Skip> {
    // Granules of an object, the counter of pages saved so, that of bytes in use, and what it adds.
    const BINS: [(usize, &str, &str, u64); 6] = [
        (256, "mte_tag_uniform", "", 0),
        (16, "mte_tag_inline", "mte_tag_inline_bytes", 8),
        (8, "mte_tag_16", "mte_tag_16_bytes", 16),
        (4, "mte_tag_32", "mte_tag_32_bytes", 32),
        (2, "mte_tag_64", "mte_tag_64_bytes", 64),
        (1, "mte_tag_raw", "mte_tag_raw_bytes", 128),
    ];
    needed()?;
    let before = Counters::read();
    if before.get(BINS[0].1).is_none() {
        return Err(Skip("not counted here"));
    }
    let mapping = Mapping::tagged(BINS.len() * PAGE);
    for (page, (len, ..)) in mapping.pages().zip(BINS) {
        store_tags(page, |granule| tags::pseudo_random(6, granule / len));
    }
    page_out(mapping.range());
    let after = Counters::read();
    assert_eq!(after.since(&before, "mte_tags_saved"), Some(BINS.len() as u64));
    for (_, pages, bytes, nr_bytes) in BINS {
        assert_eq!(after.since(&before, pages), Some(1), "{pages}");
        assert_eq!(after.since(&before, bytes).unwrap_or(0), nr_bytes, "{bytes}");
    }
    assert_eq!(after.since(&before, "mte_tag_bytes_stored"), Some(248));
    drop(mapping);
    let end = Counters::read();
    for (_, _, bytes, _) in &BINS[1..] {
        assert_eq!(end.since(&before, bytes), Some(0), "{bytes}");
    }
    Ok(())
}

fn s000_r03_zero_page_with_tags_comes_back() -> Result<(), Skip> {
    needed()?;
    let mapping = Mapping::tagged(PAGE);
    tags::fill_page(mapping.start(), 3);
    let before = Counters::read();
    page_out(mapping.range());
    // Not a counter of every kernel.
    if let Some(nr_out) = Counters::read().since(&before, "swpout_zero") {
        assert_eq!(nr_out, 1, "swpout_zero");
    }
    assert_eq!(tags::first_difference(mapping.start(), 3), None);
    assert!((0..PAGE / 8).all(|word| memory::load(mapping.start() + word * 8) == 0));
    Ok(())
}

fn s000_r04_untagged_page_saves_no_tags() -> Result<(), Skip> {
    needed()?;
    let mapping = Mapping::anonymous(NR_PAGES * PAGE);
    mapping.pages().for_each(|page| memory::store_pattern(page, 4));
    let before = Counters::read();
    page_out(mapping.range());
    assert!(mapping.pages().all(|page| memory::first_difference(page, 4).is_none()));
    let after = Counters::read();
    for name in ["mte_tags_saved", "mte_tags_restored"] {
        assert_eq!(after.since(&before, name).unwrap_or(0), 0, "{name}");
    }
    Ok(())
}

fn s000_r10_tag_store_alone_makes_page_dirty() -> Result<(), Skip> {
    needed()?;
    let mapping = Mapping::tagged(PAGE);
    let page = mapping.start();
    write_page(page, 10);
    for seed in 11..20 {
        page_out(mapping.range());
        // Reading first brings in a clean page.
        assert_page(page, 10, seed - 1);
        tags::fill_page(page, seed);
    }
    page_out(mapping.range());
    assert_page(page, 10, 19);
    Ok(())
}

fn s000_r10_tag_store_to_read_only_page_faults() -> Result<(), Skip> {
    needed()?;
    let mapping = Mapping::tagged(PAGE);
    let page = mapping.start();
    write_page(page, 10);
    page_out(mapping.range());
    memory::mprotect(page, PAGE, libc::PROT_READ | PROT_MTE).expect("mprotect");
    assert_page(page, 10, 10);
    let fault = fault::catch(|| tags::store(page)).expect("a fault");
    assert_eq!((fault.signal, fault.code), (libc::SIGSEGV, fault::SEGV_ACCERR));
    assert_eq!(fault.address, page);
    assert_page(page, 10, 10);
    Ok(())
}

fn s000_r11_changed_tags_replace_saved_ones() -> Result<(), Skip> {
    needed()?;
    let mapping = Mapping::tagged(PAGE);
    let page = mapping.start();
    let cycle = |seed| {
        write_page(page, seed);
        page_out(mapping.range());
        assert_page(page, seed, seed);
    };
    cycle(0);
    let stored = tags::stored_bytes();
    (1..1000).for_each(cycle);
    assert_eq!(tags::stored_bytes(), stored, "bytes of saved tags");
    Ok(())
}

fn s000_r12_unmapping_frees_saved_tags() -> Result<(), Skip> {
    needed()?;
    let stored = tags::stored_bytes();
    let mapping = Mapping::tagged(NR_PAGES * PAGE);
    mapping.pages().for_each(|page| write_page(page, page as u64));
    page_out(mapping.range());
    if let (Some(before), Some(after)) = (stored, tags::stored_bytes()) {
        assert!(before < after, "saved tags are somewhere");
    }
    drop(mapping);
    assert_eq!(tags::stored_bytes(), stored, "bytes of saved tags");
    Ok(())
}

fn s000_r12_exit_frees_saved_tags() -> Result<(), Skip> {
    needed()?;
    let stored = tags::stored_bytes();
    process::in_child(|| {
        let mapping = Mapping::tagged(NR_PAGES * PAGE);
        mapping.pages().for_each(|page| write_page(page, page as u64));
        page_out(mapping.range());
        std::mem::forget(mapping);
    });
    assert_eq!(tags::stored_bytes(), stored, "bytes of saved tags");
    Ok(())
}

fn s000_r13_fork_shares_tags_of_swapped_pages() -> Result<(), Skip> {
    needed()?;
    let mapping = Mapping::tagged(NR_PAGES * PAGE);
    mapping.pages().for_each(|page| write_page(page, page as u64));
    page_out(mapping.range());
    process::in_child(|| {
        for (index, page) in mapping.pages().enumerate() {
            let seed = page as u64;
            if index % 2 == 0 {
                assert_page(page, seed, seed);
            }
            // A word written, whose page is copied with its tags.
            memory::store(page, !seed);
            assert_eq!(tags::first_difference(page, seed), None);
            tags::fill_page(page, seed + 1);
        }
    });
    mapping.pages().for_each(|page| assert_page(page, page as u64, page as u64));
    Ok(())
}

fn s000_r16_threads_that_fault_at_once_see_tags() -> Result<(), Skip> {
    needed()?;
    const NR_THREADS: usize = 4;
    let mapping = Mapping::tagged(NR_PAGES * PAGE);
    for round in 0..8 {
        mapping.pages().for_each(|page| write_page(page, page as u64 + round));
        page_out(mapping.range());
        let before = Counters::read();
        let start = std::sync::Barrier::new(NR_THREADS);
        std::thread::scope(|scope| {
            for _ in 0..NR_THREADS {
                scope.spawn(|| {
                    start.wait();
                    for page in mapping.pages() {
                        let seed = page as u64 + round;
                        // The last granule first: a page seen too early would lack its tag.
                        let last = page + PAGE - tags::GRANULE;
                        let expected = tags::pseudo_random(seed, GRANULES_PER_PAGE - 1);
                        assert_eq!(tags::load(last), expected);
                        assert_page(page, seed, seed);
                    }
                });
            }
        });
        if let Some(nr_restored) = Counters::read().since(&before, "mte_tags_restored") {
            assert_eq!(nr_restored, NR_PAGES as u64, "each page once");
        }
    }
    Ok(())
}

fn s000_r17_wrong_tag_faults_on_restored_page() -> Result<(), Skip> {
    needed()?;
    let mapping = Mapping::tagged(PAGE);
    write_page(mapping.start(), 17);
    page_out(mapping.range());
    tags::check_at_once();
    for granule in 0..GRANULES_PER_PAGE {
        let address = mapping.start() + granule * tags::GRANULE;
        let tag = tags::pseudo_random(17, granule);
        let load = |tag| {
            fault::catch(|| {
                memory::load(tags::with_tag(address, tag));
            })
        };
        assert_eq!(load(tag), None, "the right tag");
        let expected = Fault { signal: libc::SIGSEGV, code: SEGV_MTESERR, address };
        assert_eq!(load(tag ^ 1).map(Fault::without_tag), Some(expected), "a wrong tag");
    }
    Ok(())
}

fn s000_r19_discarded_swapped_pages_have_zero_tags() -> Result<(), Skip> {
    needed()?;
    let mapping = Mapping::tagged(NR_PAGES * PAGE);
    mapping.pages().for_each(|page| write_page(page, 19));
    page_out(mapping.range());
    let len_bytes = mapping.len_bytes();
    memory::madvise(mapping.start(), len_bytes, libc::MADV_DONTNEED).expect("MADV_DONTNEED");
    for page in mapping.pages() {
        assert_eq!(place(page), Place::Nowhere);
        assert!(tags::page_is(page, 0));
        assert_eq!(memory::load(page), 0);
    }
    // The same for tags that were in memory, and for a mapping made where another one was.
    mapping.pages().for_each(|page| write_page(page, 20));
    let flags = ANON | libc::MAP_FIXED;
    memory::mmap(mapping.start(), len_bytes, RW | PROT_MTE, flags, -1, 0).expect("mmap");
    assert!(mapping.pages().all(|page| tags::page_is(page, 0)));
    Ok(())
}

fn s000_r19_pageout_of_a_part_leaves_the_rest() -> Result<(), Skip> {
    needed()?;
    let mapping = Mapping::tagged(NR_PAGES * PAGE);
    mapping.pages().for_each(|page| write_page(page, page as u64));
    page_out(mapping.page(3)..mapping.page(8));
    for (index, page) in mapping.pages().enumerate() {
        let expected = if (3..8).contains(&index) { Place::Swap } else { Place::Memory };
        assert_eq!(place(page), expected, "page {index}");
    }
    mapping.pages().for_each(|page| assert_page(page, page as u64, page as u64));
    Ok(())
}
