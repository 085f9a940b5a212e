// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program has a device take pages for itself, and takes them back: HMM_DMIRROR_EXCLUSIVE and
//! HMM_DMIRROR_CHECK_EXCLUSIVE.
//!
//! Its machine has an ivshmem function, whose memory is the devices'. On Linux it takes test_hmm.

use std::sync::atomic::Ordering;
use std::thread;

use user_tests::dmirror::*;
use user_tests::memory::{self, ANON, Mapping, PAGE, RW};
use user_tests::trial::Skip;
use user_tests::{process, tags};

user_tests::tests!(
    each_page_is_the_devices_until_a_cpu_touches_it,
    a_write_by_the_device_ends_it,
    two_devices_take_from_each_other,
    mprotect_ends_it_and_rights_count,
    a_child_gets_what_the_device_had,
    munmap_and_mremap_take_it_away,
    a_closed_device_has_nothing,
    paged_out_it_is_no_devices,
    tags_stay,
    a_block_loses_one_page_to_the_device,
    pages_on_the_device_come_home_first,
    only_private_memory_that_can_be_written_is_given,
    four_threads_count_in_what_the_device_wants,
);

const NR: usize = 16;

fn each_page_is_the_devices_until_a_cpu_touches_it() -> Result<(), Skip> {
    let device = Dmirror::open(0)?;
    let mapping = filled(NR);
    let expected = bytes(&mapping);
    assert!(!device.has_exclusive(mapping.range()));
    assert_eq!(device.take_exclusive(mapping.range()), Ok(expected));
    for page in mapping.pages() {
        assert!(device.has_exclusive(page..page + PAGE), "{page:#x}");
        memory::atomic(page).fetch_add(1, Ordering::Relaxed);
        assert!(!device.has_exclusive(page..page + PAGE), "{page:#x} was touched");
        assert_eq!(device.has_exclusive(page..mapping.end()), page + PAGE < mapping.end());
    }
    mapping.pages().for_each(|page| _ = memory::atomic(page).fetch_sub(1, Ordering::Relaxed));
    check(&mapping);
    Ok(())
}

fn a_write_by_the_device_ends_it() -> Result<(), Skip> {
    let device = Dmirror::open(0)?;
    let mapping = filled(NR);
    device.take_exclusive(mapping.range()).expect("pages");
    assert_eq!(device.snapshot(mapping.range()), Ok(vec![PROT_NONE; NR]), "nobody else's");
    assert!(device.has_exclusive(mapping.range()), "a look takes nothing back");
    let mut seen = vec![0; mapping.len_bytes()];
    let read = device.read(mapping.range(), &mut seen).expect("a read");
    assert_eq!(read.faults, 0, "the device knows its pages");
    let new: Vec<u8> = seen.iter().map(|byte| !byte).collect();
    let written = device.write(mapping.range(), &new).expect("a write");
    assert_eq!(written.faults, 1, "they are not mapped to be written");
    assert!(!device.has_exclusive(mapping.range()));
    assert_eq!(bytes(&mapping), new);
    Ok(())
}

fn two_devices_take_from_each_other() -> Result<(), Skip> {
    let (one, two) = (Dmirror::open(0)?, Dmirror::open(1)?);
    let mapping = filled(NR);
    one.take_exclusive(mapping.range()).expect("pages");
    two.take_exclusive(mapping.page(0)..mapping.page(4)).expect("pages");
    assert!(!one.has_exclusive(mapping.page(0)..mapping.page(4)));
    assert!(one.has_exclusive(mapping.page(4)..mapping.end()));
    let mut seen = vec![0; mapping.len_bytes()];
    one.read(mapping.range(), &mut seen).expect("a read");
    assert!(!two.has_exclusive(mapping.range()), "a device's fault is like a CPU's");
    assert_eq!(seen, bytes(&mapping));
    Ok(())
}

fn mprotect_ends_it_and_rights_count() -> Result<(), Skip> {
    let device = Dmirror::open(0)?;
    let mapping = filled(NR);
    device.take_exclusive(mapping.range()).expect("pages");
    memory::mprotect(mapping.start(), mapping.len_bytes(), libc::PROT_READ).expect("mprotect");
    assert!(!device.has_exclusive(mapping.range()));
    let new = vec![1; mapping.len_bytes()];
    assert_eq!(device.write(mapping.range(), &new).err(), Some(libc::EPERM));
    assert_eq!(
        device.take_exclusive(mapping.range()).err(),
        Some(libc::EFAULT),
        "no store would do"
    );
    check(&mapping);
    Ok(())
}

fn a_child_gets_what_the_device_had() -> Result<(), Skip> {
    let device = Dmirror::open(0)?;
    let mapping = filled(NR);
    device.take_exclusive(mapping.range()).expect("pages");
    process::in_child(|| {
        check(&mapping);
        mapping.pages().for_each(|page| memory::store(page, 1));
    });
    assert!(!device.has_exclusive(mapping.range()));
    check(&mapping);
    device.take_exclusive(mapping.range()).expect("pages that were shared");
    check(&mapping);
    Ok(())
}

fn munmap_and_mremap_take_it_away() -> Result<(), Skip> {
    let device = Dmirror::open(0)?;
    let mapping = filled(NR);
    let expected = bytes(&mapping);
    device.take_exclusive(mapping.range()).expect("pages");
    let elsewhere = Mapping::anonymous(mapping.len_bytes());
    memory::remap(mapping.start(), mapping.len_bytes(), elsewhere.start()).expect("mremap");
    assert!(!device.has_exclusive(mapping.range()) && !device.has_exclusive(elsewhere.range()));
    assert_eq!(bytes(&elsewhere), expected);
    device.take_exclusive(elsewhere.range()).expect("pages");
    memory::munmap(elsewhere.start(), PAGE).expect("munmap");
    assert!(!device.has_exclusive(elsewhere.page(0)..elsewhere.page(1)));
    assert!(device.has_exclusive(elsewhere.page(1)..elsewhere.end()));
    memory::madvise(elsewhere.page(1), PAGE, libc::MADV_DONTNEED).expect("madvise");
    assert!(!device.has_exclusive(elsewhere.page(1)..elsewhere.page(2)));
    assert_eq!(memory::load(elsewhere.page(1)), 0);
    Ok(())
}

fn a_closed_device_has_nothing() -> Result<(), Skip> {
    let device = Dmirror::open(0)?;
    let mapping = filled(NR);
    device.take_exclusive(mapping.range()).expect("pages");
    drop(device);
    check(&mapping);
    Ok(())
}

fn paged_out_it_is_no_devices() -> Result<(), Skip> {
    let device = Dmirror::open(0)?;
    let mapping = filled(NR);
    device.take_exclusive(mapping.range()).expect("pages");
    memory::madvise(mapping.start(), mapping.len_bytes(), libc::MADV_PAGEOUT).expect("madvise");
    check(&mapping);
    assert!(!device.has_exclusive(mapping.range()));
    Ok(())
}

fn tags_stay() -> Result<(), Skip> {
    tags::needed_per_granule()?;
    let device = Dmirror::open(0)?;
    tags::check_at_once();
    let mapping = Mapping::tagged(NR * PAGE);
    mapping.pages().for_each(|page| tags::fill_page(page, page as u64));
    device.take_exclusive(mapping.range()).expect("pages");
    for page in mapping.pages() {
        assert_eq!(tags::first_difference(page, page as u64), None);
    }
    Ok(())
}

fn a_block_loses_one_page_to_the_device() -> Result<(), Skip> {
    const BLOCK: usize = 2 << 20;
    let device = Dmirror::open(0)?;
    let mapping = Mapping::aligned(BLOCK, BLOCK, RW).expect("mmap");
    memory::madvise(mapping.start(), BLOCK, libc::MADV_HUGEPAGE).expect("madvise");
    mapping.pages().for_each(|page| memory::store_pattern(page, page as u64));
    let page = mapping.page(100);
    device.take_exclusive(page..page + PAGE).expect("a page");
    memory::touch(mapping.page(99));
    memory::touch(mapping.page(101));
    assert!(device.has_exclusive(mapping.range()), "its neighbours are anybody's");
    check(&mapping);
    assert!(!device.has_exclusive(mapping.range()));
    Ok(())
}

fn pages_on_the_device_come_home_first() -> Result<(), Skip> {
    let device = Dmirror::open(0)?;
    let mapping = filled(NR);
    let expected = device.migrate_to_device(mapping.range()).expect("room");
    assert_eq!(device.take_exclusive(mapping.range()), Ok(expected));
    assert_eq!(device.migrate_to_system(mapping.range()), Ok(0), "nothing is on the device");
    assert!(device.has_exclusive(mapping.range()));
    check(&mapping);
    Ok(())
}

fn only_private_memory_that_can_be_written_is_given() -> Result<(), Skip> {
    let device = Dmirror::open(0)?;
    let shared = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let shared = Mapping::new(PAGE, RW, shared).expect("mmap");
    memory::store(shared.start(), 1);
    assert_eq!(device.take_exclusive(shared.range()).err(), Some(libc::EOPNOTSUPP));
    let read_only = Mapping::new(PAGE, libc::PROT_READ, ANON).expect("mmap");
    assert_eq!(device.take_exclusive(read_only.range()).err(), Some(libc::EFAULT));
    assert_eq!(device.take_exclusive(0..PAGE).err(), Some(libc::EFAULT), "no area");
    let hole = Mapping::anonymous(PAGE);
    assert_eq!(device.take_exclusive(hole.range()), Ok(vec![0; PAGE]), "a hole is filled");
    Ok(())
}

/// Threads count in pages that a device takes again and again: no count is lost.
fn four_threads_count_in_what_the_device_wants() -> Result<(), Skip> {
    const ROUNDS: u64 = 400;
    let device = Dmirror::open(0)?;
    let mapping = Mapping::anonymous(4 * PAGE);
    mapping.pages().for_each(|page| memory::store(page, 0));
    thread::scope(|scope| {
        let count = || {
            for page in (0..ROUNDS).flat_map(|_| mapping.pages()) {
                memory::atomic(page).fetch_add(1, Ordering::Relaxed);
            }
        };
        let counters: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
        while !counters.iter().all(thread::ScopedJoinHandle::is_finished) {
            match device.take_exclusive(mapping.range()) {
                // Taken back before the device has read it.
                Ok(_) | Err(libc::ENOENT) => {}
                Err(errno) => panic!("HMM_DMIRROR_EXCLUSIVE: {errno}"),
            }
        }
    });
    for page in mapping.pages() {
        assert_eq!(memory::load(page), 4 * ROUNDS);
    }
    assert!(!device.has_exclusive(mapping.range()));
    Ok(())
}
