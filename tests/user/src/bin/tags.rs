// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests allocation tags: zero at first, kept, copied.

use std::fs::File;
use std::os::fd::AsRawFd;

use user_tests::fault;
use user_tests::memory::{self, ANON, Mapping, PAGE, PROT_MTE, RW};
use user_tests::process;
use user_tests::sys;
use user_tests::tags::{self, GRANULE};
use user_tests::trial::Skip;

user_tests::tests!(
    new_pages_have_zero_tags,
    reused_pages_have_zero_tags,
    untagged_memory_has_zero_tags,
    granules_keep_their_tags,
    fork_copies_tags,
    cow_in_the_parent_copies_tags,
    shared_memory_shares_tags,
    mremap_moves_tags,
    file_pages_have_zero_tags,
    store_to_read_only_memory_faults,
    s000_r18_mprotect_without_mte_keeps_tags,
    s000_r18_mprotect_adds_tags_of_zero,
    s000_r18_memory_without_tags_refuses_them,
);

const NR_PAGES: usize = 8;

fn new_pages_have_zero_tags() -> Result<(), Skip> {
    tags::needed()?;
    let mapping = Mapping::tagged(NR_PAGES * PAGE);
    // Read before written, and the other way round.
    for (index, page) in mapping.pages().enumerate() {
        if index % 2 == 0 {
            memory::store(page, 1);
        }
        assert!(tags::page_is(page, 0));
    }
    Ok(())
}

fn reused_pages_have_zero_tags() -> Result<(), Skip> {
    tags::needed()?;
    for _ in 0..8 {
        let mapping = Mapping::tagged(NR_PAGES * PAGE);
        assert!(mapping.pages().all(|page| tags::page_is(page, 0)));
        mapping.pages().for_each(|page| tags::fill_page(page, 7));
    }
    Ok(())
}

fn untagged_memory_has_zero_tags() -> Result<(), Skip> {
    tags::needed()?;
    let mapping = Mapping::anonymous(PAGE);
    memory::store(mapping.start(), 1);
    // Stores of tags are ignored where there are none.
    tags::fill_page(mapping.start(), 1);
    assert!(tags::page_is(mapping.start(), 0));
    assert_eq!(memory::load(mapping.start()), 1);
    Ok(())
}

fn granules_keep_their_tags() -> Result<(), Skip> {
    tags::needed_per_granule()?;
    let mapping = Mapping::tagged(NR_PAGES * PAGE);
    mapping.pages().for_each(|page| tags::fill_page(page, page as u64));
    mapping.pages().for_each(|page| memory::store_pattern(page, 1));
    for page in mapping.pages() {
        assert_eq!(tags::first_difference(page, page as u64), None);
        assert_eq!(memory::first_difference(page, 1), None);
    }
    Ok(())
}

/// A page of tags in parent and child, one of which changes it.
fn forked(child: impl FnOnce(usize), parent: impl FnOnce(usize)) {
    let mapping = Mapping::tagged(PAGE);
    let page = mapping.start();
    tags::fill_page(page, 1);
    memory::store_pattern(page, 1);
    let (reader, writer) = std::io::pipe().expect("pipe");
    let writer_fd = writer.as_raw_fd();
    let child = process::fork(|| {
        sys::call(libc::SYS_close, [writer_fd as usize]).expect("close");
        // Until the parent has made its changes and closes the pipe.
        assert!(std::io::read_to_string(&reader).expect("read").is_empty());
        child(page);
        0
    });
    parent(page);
    drop(writer);
    assert_eq!(child.wait(), process::Ended::Exited(0));
}

fn assert_page(page: usize, words: u64, tags: u64) {
    assert_eq!(memory::first_difference(page, words), None);
    assert_eq!(tags::first_difference(page, tags), None);
}

fn fork_copies_tags() -> Result<(), Skip> {
    tags::needed_per_granule()?;
    let mapping = Mapping::tagged(PAGE);
    let page = mapping.start();
    tags::fill_page(page, 1);
    memory::store_pattern(page, 1);
    process::in_child(|| {
        assert_page(page, 1, 1);
        // A word alone: the page is copied with its tags.
        memory::store_pattern(page, 2);
        assert_page(page, 2, 1);
        tags::fill_page(page, 2);
        assert_page(page, 2, 2);
    });
    assert_page(page, 1, 1);
    Ok(())
}

fn cow_in_the_parent_copies_tags() -> Result<(), Skip> {
    tags::needed_per_granule()?;
    forked(
        |page| assert_page(page, 1, 1),
        |page| {
            // A tag alone: the page is copied with its words.
            tags::fill_page(page, 3);
            assert_page(page, 1, 3);
        },
    );
    Ok(())
}

fn shared_memory_shares_tags() -> Result<(), Skip> {
    tags::needed_per_granule()?;
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let mapping = Mapping::new(NR_PAGES * PAGE, RW | PROT_MTE, flags).expect("mmap");
    tags::fill_page(mapping.page(0), 1);
    process::in_child(|| {
        assert_eq!(tags::first_difference(mapping.page(0), 1), None);
        mapping.pages().for_each(|page| tags::fill_page(page, 2));
    });
    assert!(mapping.pages().all(|page| tags::first_difference(page, 2).is_none()));
    Ok(())
}

fn mremap_moves_tags() -> Result<(), Skip> {
    tags::needed_per_granule()?;
    let (from, to) = (Mapping::tagged(NR_PAGES * PAGE), Mapping::anonymous(NR_PAGES * PAGE));
    for page in from.pages() {
        tags::fill_page(page, 4);
        memory::store_pattern(page, 4);
    }
    let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as usize;
    let arguments = [from.start(), from.len_bytes(), to.len_bytes(), flags, to.start()];
    assert_eq!(sys::call(libc::SYS_mremap, arguments), Ok(to.start()));
    to.pages().for_each(|page| assert_page(page, 4, 4));
    Ok(())
}

fn file_pages_have_zero_tags() -> Result<(), Skip> {
    tags::needed_per_granule()?;
    let path = "/dev/shm/file_pages_have_zero_tags";
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path);
    let file = file.expect("a file in /dev/shm");
    std::fs::remove_file(path).expect("unlink");
    file.set_len(PAGE as u64).expect("ftruncate");
    let map = |flags| Mapping::of_file(PAGE, RW | PROT_MTE, flags, file.as_raw_fd()).expect("mmap");
    let (shared, private) = (map(libc::MAP_SHARED), map(libc::MAP_PRIVATE));
    assert!(tags::page_is(shared.start(), 0) && tags::page_is(private.start(), 0));
    tags::fill_page(shared.start(), 1);
    assert_eq!(tags::first_difference(private.start(), 1), None, "not copied yet");
    tags::fill_page(private.start(), 2);
    assert_eq!(tags::first_difference(shared.start(), 1), None);
    Ok(())
}

fn store_to_read_only_memory_faults() -> Result<(), Skip> {
    tags::needed()?;
    let mapping = Mapping::tagged(PAGE);
    let page = mapping.start();
    tags::store(tags::with_tag(page, 5));
    memory::mprotect(page, PAGE, libc::PROT_READ | PROT_MTE).expect("mprotect");
    let fault = fault::catch(|| tags::store(page + GRANULE)).expect("a fault");
    assert_eq!((fault.signal, fault.code), (libc::SIGSEGV, fault::SEGV_ACCERR));
    assert_eq!(fault.address, page + GRANULE);
    assert_eq!(tags::load(page), 5);
    Ok(())
}

fn s000_r18_mprotect_without_mte_keeps_tags() -> Result<(), Skip> {
    tags::needed_per_granule()?;
    let mapping = Mapping::tagged(PAGE);
    let page = mapping.start();
    tags::fill_page(page, 18);
    memory::mprotect(page, PAGE, libc::PROT_READ).expect("mprotect");
    assert_eq!(tags::first_difference(page, 18), None);
    memory::mprotect(page, PAGE, RW).expect("mprotect");
    tags::fill_page(page, 19);
    assert_eq!(tags::first_difference(page, 19), None);
    Ok(())
}

fn s000_r18_mprotect_adds_tags_of_zero() -> Result<(), Skip> {
    tags::needed_per_granule()?;
    let mapping = Mapping::anonymous(NR_PAGES * PAGE);
    mapping.pages().step_by(2).for_each(|page| memory::store_pattern(page, 1));
    let add = |first: usize, nr_pages: usize| {
        memory::mprotect(mapping.page(first), nr_pages * PAGE, RW | PROT_MTE).expect("mprotect");
    };
    // Two pages first, to have memory that is tagged in part.
    add(3, 2);
    for page in [mapping.page(3), mapping.page(4)] {
        assert!(tags::page_is(page, 0));
        tags::fill_page(page, 18);
    }
    add(0, NR_PAGES);
    for (index, page) in mapping.pages().enumerate() {
        if (3..5).contains(&index) {
            assert_eq!(tags::first_difference(page, 18), None, "page {index}");
        } else {
            assert!(tags::page_is(page, 0), "page {index}");
        }
    }
    let words = |page| memory::first_difference(page, 1);
    assert!(mapping.pages().step_by(2).all(|page| words(page).is_none()));
    Ok(())
}

fn s000_r18_memory_without_tags_refuses_them() -> Result<(), Skip> {
    tags::needed()?;
    // A private mapping of a device is no anonymous memory (Linux: `VM_MTE_ALLOWED`).
    let zero = File::options().read(true).write(true).open("/dev/zero").expect("/dev/zero");
    let map = |protection| Mapping::of_file(PAGE, protection, libc::MAP_PRIVATE, zero.as_raw_fd());
    assert_eq!(map(RW | PROT_MTE).err(), Some(libc::EINVAL));
    let mapping = map(RW).expect("mmap of /dev/zero");
    let result = memory::mprotect(mapping.start(), PAGE, RW | PROT_MTE);
    assert_eq!(result, Err(libc::EINVAL));
    // Of two mappings the first may have tags and the second not: the first has them then.
    let mapping = Mapping::new(2 * PAGE, RW, ANON).expect("mmap");
    let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
    memory::mmap(mapping.page(1), PAGE, RW, flags, zero.as_raw_fd(), 0).expect("mmap");
    let result = memory::mprotect(mapping.start(), 2 * PAGE, RW | PROT_MTE);
    assert_eq!(result, Err(libc::EINVAL));
    tags::store(tags::with_tag(mapping.start(), 9));
    assert_eq!(tags::load(mapping.start()), 9);
    Ok(())
}
