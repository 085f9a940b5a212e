// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests madvise: what advice does to pages, to children, and what is refused.

use std::os::fd::AsRawFd;

use user_tests::fault::{self, SEGV_MAPERR};
use user_tests::memory::{self, ANON, Mapping, PAGE, PROT_MTE, RW, madvise, munmap};
use user_tests::pageout::{self, Place, place};
use user_tests::process::{self, Ended};
use user_tests::sys::{self, Errno};
use user_tests::tags;
use user_tests::trial::Skip;

user_tests::tests!(
    free_keeps_a_page_whole_or_drops_it,
    freed_pages_go_without_swap,
    a_store_after_free_stays,
    free_in_a_child_leaves_the_parent_its_pages,
    free_drops_a_page_that_is_in_swap,
    free_is_for_private_anonymous_memory,
    cold_pages_keep_bytes_and_tags,
    cold_pages_come_back_from_swap,
    populate_read_maps_pages,
    populate_write_leaves_nothing_to_fault,
    populate_write_breaks_sharing_for_the_caller_alone,
    populate_refuses_what_the_access_would,
    populate_stops_at_a_hole,
    populate_stops_behind_the_end_of_a_file,
    dontfork_memory_is_not_in_the_child,
    dofork_gives_it_to_children_again,
    wipeonfork_memory_is_zero_in_children_of_children,
    wipeonfork_zeroes_tags_in_the_child,
    keeponfork_gives_content_to_children_again,
    wipeonfork_is_for_private_anonymous_memory,
    advice_skips_holes_and_says_so,
    bad_arguments_are_refused_in_linux_order,
);

const NR_PAGES: usize = 16;

/// How often pages that are busy elsewhere are pushed again.
const NR_TRIES: usize = 1000;

fn patterned(nr_pages: usize) -> Mapping {
    let mapping = Mapping::anonymous(nr_pages * PAGE);
    mapping.pages().for_each(|page| memory::store_pattern(page, page as u64));
    mapping
}

fn has_pattern(page: usize) -> bool {
    memory::first_difference(page, page as u64).is_none()
}

fn is_zero(page: usize) -> bool {
    (page..page + PAGE).step_by(8).all(|word| memory::load(word) == 0)
}

fn advise(mapping: &Mapping, advice: i32) -> Result<(), Errno> {
    madvise(mapping.start(), mapping.len_bytes(), advice)
}

fn free_keeps_a_page_whole_or_drops_it() {
    let mapping = patterned(NR_PAGES);
    advise(&mapping, libc::MADV_FREE).expect("MADV_FREE");
    assert!(mapping.pages().all(|page| has_pattern(page) || is_zero(page)));
    advise(&mapping, libc::MADV_PAGEOUT).expect("MADV_PAGEOUT");
    assert!(mapping.pages().all(|page| has_pattern(page) || is_zero(page)));
}

fn freed_pages_go_without_swap() -> Result<(), Skip> {
    pageout::needed()?;
    let mapping = patterned(NR_PAGES);
    advise(&mapping, libc::MADV_FREE).expect("MADV_FREE");
    for _ in 0..NR_TRIES {
        advise(&mapping, libc::MADV_PAGEOUT).expect("MADV_PAGEOUT");
        let places: Vec<Place> = mapping.pages().map(place).collect();
        assert!(!places.contains(&Place::Swap), "{places:?}");
        if places.iter().all(|place| *place == Place::Nowhere) {
            assert!(mapping.pages().all(is_zero));
            return Ok(());
        }
        std::thread::yield_now();
    }
    panic!("pages that were given up do not go");
}

fn a_store_after_free_stays() -> Result<(), Skip> {
    pageout::needed()?;
    let mapping = patterned(NR_PAGES);
    advise(&mapping, libc::MADV_FREE).expect("MADV_FREE");
    mapping.pages().for_each(|page| memory::store_pattern(page, 1));
    pageout::page_out(mapping.range());
    for page in mapping.pages() {
        assert_eq!(memory::first_difference(page, 1), None, "{page:#x}");
    }
    Ok(())
}

fn free_in_a_child_leaves_the_parent_its_pages() {
    let mapping = patterned(NR_PAGES);
    process::in_child(|| {
        advise(&mapping, libc::MADV_FREE).expect("MADV_FREE");
        advise(&mapping, libc::MADV_PAGEOUT).expect("MADV_PAGEOUT");
    });
    advise(&mapping, libc::MADV_PAGEOUT).expect("MADV_PAGEOUT");
    assert!(mapping.pages().all(has_pattern));
}

fn free_drops_a_page_that_is_in_swap() -> Result<(), Skip> {
    pageout::needed()?;
    let mapping = patterned(NR_PAGES);
    pageout::page_out(mapping.range());
    advise(&mapping, libc::MADV_FREE).expect("MADV_FREE");
    assert!(mapping.pages().all(|page| place(page) == Place::Nowhere));
    assert!(mapping.pages().all(is_zero));
    Ok(())
}

/// Returns a mapping of each kind that is not private anonymous memory.
fn other_kinds() -> [Mapping; 2] {
    let shared = Mapping::new(PAGE, RW, libc::MAP_SHARED).expect("mmap");
    let file = std::fs::File::open("/proc/self/exe").expect("/proc/self/exe");
    let of_file = Mapping::of_file(PAGE, RW, libc::MAP_PRIVATE, file.as_raw_fd()).expect("mmap");
    [shared, of_file]
}

fn free_is_for_private_anonymous_memory() {
    for mapping in other_kinds() {
        let before = memory::load(mapping.start());
        assert_eq!(advise(&mapping, libc::MADV_FREE), Err(libc::EINVAL));
        assert_eq!(memory::load(mapping.start()), before);
    }
}

fn cold_pages_keep_bytes_and_tags() {
    let prot = if tags::has_mte() { RW | PROT_MTE } else { RW };
    let mapping = Mapping::new(NR_PAGES * PAGE, prot, ANON).expect("mmap");
    let has_granules = tags::has_mte() && tags::are_per_granule();
    for page in mapping.pages() {
        memory::store_pattern(page, page as u64);
        if has_granules {
            tags::fill_page(page, page as u64);
        }
    }
    for _ in 0..3 {
        advise(&mapping, libc::MADV_COLD).expect("MADV_COLD");
        for page in mapping.pages() {
            assert!(has_pattern(page), "{page:#x}");
            let has_tags = || tags::first_difference(page, page as u64).is_none();
            assert!(!has_granules || has_tags(), "tags of {page:#x}");
        }
    }
    // Pages that were never touched stay so.
    let fresh = Mapping::anonymous(NR_PAGES * PAGE);
    advise(&fresh, libc::MADV_COLD).expect("MADV_COLD");
    assert!(fresh.pages().all(|page| place(page) == Place::Nowhere));
}

fn cold_pages_come_back_from_swap() -> Result<(), Skip> {
    pageout::needed()?;
    let mapping = patterned(NR_PAGES);
    pageout::page_out(mapping.range());
    advise(&mapping, libc::MADV_COLD).expect("MADV_COLD");
    assert!(mapping.pages().all(|page| place(page) == Place::Swap), "advice reads nothing back");
    assert!(mapping.pages().all(has_pattern));
    Ok(())
}

fn populate_read_maps_pages() {
    let mapping = Mapping::anonymous(NR_PAGES * PAGE);
    memory::store(mapping.page(3), 3);
    advise(&mapping, libc::MADV_POPULATE_READ).expect("MADV_POPULATE_READ");
    assert!(mapping.pages().all(|page| place(page) == Place::Memory));
    for (index, page) in mapping.pages().enumerate() {
        assert_eq!(memory::load(page), if index == 3 { 3 } else { 0 });
    }
}

fn populate_write_leaves_nothing_to_fault() {
    let mapping = Mapping::anonymous(NR_PAGES * PAGE);
    // Stack and code of the two calls are there from here on.
    let before = process::nr_faults();
    memory::store(mapping.start(), 0);
    assert!(process::nr_faults() > before, "a first touch is a fault that is counted");
    advise(&mapping, libc::MADV_POPULATE_WRITE).expect("MADV_POPULATE_WRITE");
    let before = process::nr_faults();
    mapping.pages().for_each(|page| memory::store(page, 1));
    assert_eq!(process::nr_faults(), before);
}

fn populate_write_breaks_sharing_for_the_caller_alone() {
    let mapping = patterned(NR_PAGES);
    process::in_child(|| {
        advise(&mapping, libc::MADV_POPULATE_WRITE).expect("MADV_POPULATE_WRITE");
        let before = process::nr_faults();
        assert!(mapping.pages().all(has_pattern));
        mapping.pages().for_each(|page| memory::store(page, 1));
        assert_eq!(process::nr_faults(), before);
    });
    assert!(mapping.pages().all(has_pattern));
}

fn populate_refuses_what_the_access_would() {
    let read_only = Mapping::new(PAGE, libc::PROT_READ, ANON).expect("mmap");
    assert_eq!(advise(&read_only, libc::MADV_POPULATE_WRITE), Err(libc::EINVAL));
    assert_eq!(advise(&read_only, libc::MADV_POPULATE_READ), Ok(()));
    let nothing = Mapping::new(PAGE, libc::PROT_NONE, ANON).expect("mmap");
    assert_eq!(advise(&nothing, libc::MADV_POPULATE_READ), Err(libc::EINVAL));
    assert_eq!(advise(&nothing, libc::MADV_POPULATE_WRITE), Err(libc::EINVAL));
    assert_eq!(place(nothing.start()), Place::Nowhere);
}

fn populate_stops_at_a_hole() {
    let mapping = Mapping::anonymous(4 * PAGE);
    munmap(mapping.page(2), PAGE).expect("munmap");
    assert_eq!(advise(&mapping, libc::MADV_POPULATE_WRITE), Err(libc::ENOMEM));
    let places: Vec<Place> = mapping.pages().map(place).collect();
    use Place::{Memory, Nowhere};
    assert_eq!(places, [Memory, Memory, Nowhere, Nowhere]);
}

fn populate_stops_behind_the_end_of_a_file() {
    let fd = sys::call(libc::SYS_memfd_create, [c"advice".as_ptr() as usize, 0]).expect("memfd");
    sys::call(libc::SYS_ftruncate, [fd, PAGE]).expect("ftruncate");
    let mapping = Mapping::of_file(2 * PAGE, RW, libc::MAP_SHARED, fd as i32).expect("mmap");
    for advice in [libc::MADV_POPULATE_READ, libc::MADV_POPULATE_WRITE] {
        assert_eq!(madvise(mapping.start(), PAGE, advice), Ok(()));
        assert_eq!(advise(&mapping, advice), Err(libc::EFAULT));
    }
}

fn dontfork_memory_is_not_in_the_child() {
    let mapping = patterned(4);
    madvise(mapping.page(1), PAGE, libc::MADV_DONTFORK).expect("MADV_DONTFORK");
    process::in_child(|| {
        let hole = mapping.page(1);
        let fault = fault::catch(|| {
            memory::load(hole);
        });
        let fault = fault.map(|fault| (fault.signal, fault.code, fault.address));
        assert_eq!(fault, Some((libc::SIGSEGV, SEGV_MAPERR, hole)));
        assert!([0, 2, 3].map(|index| mapping.page(index)).into_iter().all(has_pattern));
        // The place is free: something else fits there.
        let flags = ANON | libc::MAP_FIXED_NOREPLACE;
        assert_eq!(memory::mmap(hole, PAGE, RW, flags, -1, 0), Ok(hole));
    });
    assert!(mapping.pages().all(has_pattern));
}

fn dofork_gives_it_to_children_again() {
    let mapping = patterned(4);
    advise(&mapping, libc::MADV_DONTFORK).expect("MADV_DONTFORK");
    advise(&mapping, libc::MADV_DOFORK).expect("MADV_DOFORK");
    process::in_child(|| assert!(mapping.pages().all(has_pattern)));
}

fn wipeonfork_memory_is_zero_in_children_of_children() {
    let mapping = patterned(4);
    madvise(mapping.page(1), 2 * PAGE, libc::MADV_WIPEONFORK).expect("MADV_WIPEONFORK");
    process::in_child(|| {
        assert!([0, 3].map(|index| mapping.page(index)).into_iter().all(has_pattern));
        for page in [1, 2].map(|index| mapping.page(index)) {
            assert!(is_zero(page), "{page:#x}");
            memory::store_pattern(page, page as u64);
        }
        process::in_child(|| assert!(is_zero(mapping.page(1)), "the advice is inherited"));
    });
    assert!(mapping.pages().all(has_pattern));
}

fn wipeonfork_zeroes_tags_in_the_child() -> Result<(), Skip> {
    tags::needed()?;
    let mapping = Mapping::tagged(4 * PAGE);
    mapping.pages().for_each(|page| tags::store(tags::with_tag(page, 5)));
    advise(&mapping, libc::MADV_WIPEONFORK).expect("MADV_WIPEONFORK");
    process::in_child(|| assert!(mapping.pages().all(|page| tags::page_is(page, 0))));
    assert!(mapping.pages().all(|page| tags::load(page) == 5));
    Ok(())
}

fn keeponfork_gives_content_to_children_again() {
    let mapping = patterned(4);
    advise(&mapping, libc::MADV_WIPEONFORK).expect("MADV_WIPEONFORK");
    advise(&mapping, libc::MADV_KEEPONFORK).expect("MADV_KEEPONFORK");
    process::in_child(|| assert!(mapping.pages().all(has_pattern)));
}

fn wipeonfork_is_for_private_anonymous_memory() {
    for mapping in other_kinds() {
        assert_eq!(advise(&mapping, libc::MADV_WIPEONFORK), Err(libc::EINVAL));
        assert_eq!(advise(&mapping, libc::MADV_KEEPONFORK), Ok(()));
        let before = memory::load(mapping.start());
        process::in_child(|| assert_eq!(memory::load(mapping.start()), before));
    }
}

fn advice_skips_holes_and_says_so() {
    let all = [
        libc::MADV_NORMAL,
        libc::MADV_DONTNEED,
        libc::MADV_FREE,
        libc::MADV_COLD,
        libc::MADV_PAGEOUT,
        libc::MADV_DONTFORK,
        libc::MADV_DOFORK,
        libc::MADV_WIPEONFORK,
        libc::MADV_KEEPONFORK,
    ];
    for advice in all {
        let mapping = patterned(3);
        munmap(mapping.page(1), PAGE).expect("munmap");
        assert_eq!(advise(&mapping, advice), Err(libc::ENOMEM), "advice {advice}");
    }
    // What lies behind the hole was advised all the same.
    let mapping = patterned(3);
    munmap(mapping.page(1), PAGE).expect("munmap");
    assert_eq!(advise(&mapping, libc::MADV_DONTNEED), Err(libc::ENOMEM));
    assert!(is_zero(mapping.page(0)) && is_zero(mapping.page(2)));
    assert_eq!(advise(&mapping, libc::MADV_WIPEONFORK), Err(libc::ENOMEM));
    memory::store(mapping.page(2), 1);
    let child = process::fork(|| memory::load(mapping.page(2)) as i32);
    assert_eq!(child.wait(), Ended::Exited(0));
}

fn bad_arguments_are_refused_in_linux_order() {
    let mapping = patterned(2);
    let (start, wrong) = (mapping.start(), mapping.start() + 1);
    let hole = {
        let mapping = Mapping::anonymous(PAGE);
        mapping.start()
    };
    let advices = [
        libc::MADV_DONTNEED,
        libc::MADV_FREE,
        libc::MADV_COLD,
        libc::MADV_POPULATE_READ,
        libc::MADV_POPULATE_WRITE,
        libc::MADV_DONTFORK,
        libc::MADV_WIPEONFORK,
    ];
    for advice in advices {
        let cases = [
            (wrong, PAGE, Err(libc::EINVAL)),
            (wrong, 0, Err(libc::EINVAL)),
            (start, usize::MAX, Err(libc::EINVAL)),
            (start, usize::MAX - 2 * PAGE, Err(libc::EINVAL)),
            (start, 0, Ok(())),
            (hole, 0, Ok(())),
            (hole, PAGE, Err(libc::ENOMEM)),
        ];
        for (address, len_bytes, expected) in cases {
            let result = madvise(address, len_bytes, advice);
            assert_eq!(result, expected, "advice {advice}, {address:#x}, {len_bytes:#x}");
        }
    }
    // Unknown advice is refused before the length is looked at.
    for advice in [-1, 5, 7, 26, 99, 1 << 20] {
        assert_eq!(madvise(start, 0, advice), Err(libc::EINVAL), "advice {advice}");
        assert_eq!(madvise(start, PAGE, advice), Err(libc::EINVAL), "advice {advice}");
    }
    assert!(mapping.pages().all(has_pattern), "what is refused does nothing");
    // A length is rounded up.
    assert_eq!(madvise(start, 1, libc::MADV_DONTNEED), Ok(()));
    assert!(is_zero(start) && has_pattern(mapping.page(1)));
}
