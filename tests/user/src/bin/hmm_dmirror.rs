// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program has a device mirror its memory, and moves pages to the device and back.
//!
//! Its machine has an ivshmem function, whose memory is the devices'. On Linux it takes test_hmm.

use std::thread;

use user_tests::dmirror::*;
use user_tests::memory::{self, Mapping, PAGE};
use user_tests::trial::Skip;
use user_tests::{process, tags};

user_tests::tests!(
    a_device_reads_and_writes_as_its_program_does,
    a_device_may_not_write_what_its_program_may_not,
    a_page_that_is_copied_on_write_leaves_the_devices_table,
    pages_move_to_the_device_and_come_home_when_touched,
    pages_come_home_when_asked_for,
    holes_move_as_zeroes,
    tags_travel,
    a_store_outlives_a_migration_that_fails,
    what_a_device_writes_outlives_reclaim,
    a_large_folio_moves_whole_and_without_a_run_page_by_page,
    a_child_shares_pages_on_a_device,
    munmap_mremap_and_mprotect_reach_the_device,
    a_snapshot_tells_what_the_device_would_find,
    devices_do_not_touch_each_others_pages,
    released_memory_comes_home,
    a_closed_device_gives_everything_back,
    bad_requests_are_refused,
    four_threads_write_what_goes_round,
);

const NR: usize = 64;

fn a_device_reads_and_writes_as_its_program_does() -> Result<(), Skip> {
    let device = Dmirror::open(0)?;
    let mapping = filled(NR);
    let mut seen = vec![0; mapping.len_bytes()];
    let read = device.read(mapping.range(), &mut seen).expect("a read");
    assert_eq!((read.cpages, read.faults), (NR as u64, 1), "one round of faults");
    assert_eq!(seen, bytes(&mapping));
    let again = device.read(mapping.range(), &mut seen).expect("a read");
    assert_eq!(again.faults, 0, "the device knows the pages");
    let new: Vec<u8> = seen.iter().map(|byte| !byte).collect();
    let fresh = Mapping::anonymous(NR * PAGE);
    let written = device.write(fresh.range(), &new).expect("a write");
    assert_eq!((written.cpages, written.faults), (NR as u64, 1));
    assert_eq!(bytes(&fresh), new);
    check(&mapping);
    Ok(())
}

fn a_device_may_not_write_what_its_program_may_not() -> Result<(), Skip> {
    let device = Dmirror::open(0)?;
    let mapping = filled(4);
    memory::mprotect(mapping.start(), mapping.len_bytes(), libc::PROT_READ).expect("mprotect");
    let new = vec![1; mapping.len_bytes()];
    assert_eq!(device.write(mapping.range(), &new).err(), Some(libc::EPERM));
    check(&mapping);
    memory::mprotect(mapping.start(), mapping.len_bytes(), libc::PROT_NONE).expect("mprotect");
    let mut seen = vec![0; mapping.len_bytes()];
    assert_eq!(device.read(mapping.range(), &mut seen).err(), Some(libc::EFAULT));
    Ok(())
}

fn a_page_that_is_copied_on_write_leaves_the_devices_table() -> Result<(), Skip> {
    let device = Dmirror::open(0)?;
    let mapping = filled(4);
    let mut before = vec![0; mapping.len_bytes()];
    device.read(mapping.range(), &mut before).expect("a read");
    let child = process::fork(|| {
        process::alarm(30);
        // The descriptor goes on mirroring the parent.
        loop {
            thread::yield_now();
        }
    });
    memory::store(mapping.start(), 4711);
    let mut seen = vec![0; mapping.len_bytes()];
    device.read(mapping.range(), &mut seen).expect("a read");
    assert_eq!(seen, bytes(&mapping), "the device sees the copy");
    let new = vec![9; mapping.len_bytes()];
    device.write(mapping.range(), &new).expect("a write");
    assert_eq!(bytes(&mapping), new);
    child.kill(libc::SIGKILL);
    child.wait();
    Ok(())
}

fn pages_move_to_the_device_and_come_home_when_touched() -> Result<(), Skip> {
    let device = Dmirror::open(0)?;
    let mapping = filled(NR);
    let expected = bytes(&mapping);
    assert_eq!(device.migrate_to_device(mapping.range()), Ok(expected.clone()));
    let local = vec![PROT_LOCAL | PROT_WRITE; NR];
    assert_eq!(device.snapshot(mapping.range()), Ok(local));
    // The device writes to its own memory.
    let new: Vec<u8> = expected.iter().map(|byte| byte.wrapping_add(1)).collect();
    assert_eq!(device.write(mapping.range(), &new).expect("a write").faults, 0);
    assert_eq!(bytes(&mapping), new, "pages come home as they are touched");
    assert_eq!(device.snapshot(mapping.range()), Ok(vec![PROT_WRITE; NR]));
    Ok(())
}

fn pages_come_home_when_asked_for() -> Result<(), Skip> {
    let device = Dmirror::open(0)?;
    let mapping = filled(NR);
    device.migrate_to_device(mapping.range()).expect("room");
    assert_eq!(device.migrate_to_system(mapping.range()), Ok(NR as u64));
    assert_eq!(device.migrate_to_system(mapping.range()), Ok(0));
    check(&mapping);
    Ok(())
}

fn holes_move_as_zeroes() -> Result<(), Skip> {
    let device = Dmirror::open(0)?;
    let mapping = Mapping::anonymous(NR * PAGE);
    memory::touch(mapping.page(1));
    memory::store(mapping.page(2), 5);
    let seen = device.migrate_to_device(mapping.range()).expect("room");
    assert!(seen.iter().enumerate().all(|(at, byte)| *byte == if at == 2 * PAGE { 5 } else { 0 }));
    assert_eq!(bytes(&mapping), seen);
    Ok(())
}

fn tags_travel() -> Result<(), Skip> {
    tags::needed_per_granule()?;
    let device = Dmirror::open(0)?;
    tags::check_at_once();
    let mapping = Mapping::tagged(NR * PAGE);
    mapping.pages().for_each(|page| tags::fill_page(page, page as u64));
    for round in 0..3 {
        device.migrate_to_device(mapping.range()).expect("room");
        assert_eq!(device.snapshot(mapping.range()), Ok(vec![PROT_LOCAL | PROT_WRITE; NR]));
        for page in mapping.pages() {
            assert_eq!(tags::first_difference(page, page as u64), None, "round {round}");
        }
    }
    Ok(())
}

/// Pages that their program has given up: that they are stored to again, their entries alone know.
fn given_up(nr_pages: usize) -> Mapping {
    let mapping = Mapping::anonymous(nr_pages * PAGE);
    mapping.pages().for_each(|page| memory::store(page, 1));
    memory::madvise(mapping.start(), mapping.len_bytes(), libc::MADV_FREE).expect("madvise");
    mapping
}

fn page_out(mapping: &Mapping) {
    memory::madvise(mapping.start(), mapping.len_bytes(), libc::MADV_PAGEOUT).expect("madvise");
}

fn a_store_outlives_a_migration_that_fails() -> Result<(), Skip> {
    let device = Dmirror::open(0)?;
    let mapping = given_up(1);
    memory::store(mapping.start(), 4711);
    device.set_flags(FAIL_ALLOC);
    // It stays, and the device does not know it.
    assert_eq!(device.migrate_to_device(mapping.range()).err(), Some(libc::ENOENT));
    page_out(&mapping);
    assert_eq!(memory::load(mapping.start()), 4711);
    Ok(())
}

fn what_a_device_writes_outlives_reclaim() -> Result<(), Skip> {
    let device = Dmirror::open(0)?;
    let mapping = given_up(8);
    device.migrate_to_device(mapping.range()).expect("room");
    let new = vec![7; mapping.len_bytes()];
    device.write(mapping.range(), &new).expect("its own pages");
    assert_eq!(device.migrate_to_system(mapping.range()), Ok(8));
    page_out(&mapping);
    assert_eq!(bytes(&mapping), new);
    Ok(())
}

fn a_large_folio_moves_whole_and_without_a_run_page_by_page() -> Result<(), Skip> {
    const BLOCK: usize = 2 << 20;
    let device = Dmirror::open(0)?;
    let mapping = Mapping::aligned(BLOCK, BLOCK, memory::RW).expect("mmap");
    memory::madvise(mapping.start(), BLOCK, libc::MADV_HUGEPAGE).expect("madvise");
    mapping.pages().for_each(|page| memory::store_pattern(page, page as u64));
    let expected = bytes(&mapping);
    for fails in [false, true] {
        if fails {
            device.set_flags(FAIL_ALLOC);
        }
        assert_eq!(device.migrate_to_device(mapping.range()), Ok(expected.clone()), "{fails}");
        check(&mapping);
    }
    device.migrate_to_device(mapping.range()).expect("room");
    device.set_flags(FAIL_ALLOC);
    assert_eq!(device.migrate_to_system(mapping.range()), Err(libc::ENOMEM));
    check(&mapping);
    Ok(())
}

fn a_child_shares_pages_on_a_device() -> Result<(), Skip> {
    let device = Dmirror::open(0)?;
    let mapping = filled(8);
    device.migrate_to_device(mapping.range()).expect("room");
    process::in_child(|| {
        check(&mapping);
        mapping.pages().for_each(|page| memory::store(page, 1));
    });
    check(&mapping);
    Ok(())
}

fn munmap_mremap_and_mprotect_reach_the_device() -> Result<(), Skip> {
    let device = Dmirror::open(0)?;
    let mapping = filled(8);
    let expected = bytes(&mapping);
    device.migrate_to_device(mapping.range()).expect("room");
    memory::mprotect(mapping.start(), mapping.len_bytes(), libc::PROT_READ).expect("mprotect");
    assert_eq!(device.snapshot(mapping.range()), Ok(vec![PROT_LOCAL | PROT_READ; 8]));
    let new = vec![1; mapping.len_bytes()];
    assert_eq!(device.write(mapping.range(), &new).err(), Some(libc::EPERM));
    let elsewhere = Mapping::anonymous(mapping.len_bytes());
    memory::remap(mapping.start(), mapping.len_bytes(), elsewhere.start()).expect("mremap");
    let mut seen = vec![0; expected.len()];
    assert_eq!(device.read(mapping.range(), &mut seen).err(), Some(libc::EFAULT));
    device.read(elsewhere.range(), &mut seen).expect("a read");
    assert_eq!(seen, expected);
    assert_eq!(bytes(&elsewhere), expected);
    Ok(())
}

fn a_snapshot_tells_what_the_device_would_find() -> Result<(), Skip> {
    let device = Dmirror::open(0)?;
    let mapping = Mapping::anonymous(6 * PAGE);
    memory::touch(mapping.page(1));
    [2, 3, 4].iter().for_each(|index| memory::store(mapping.page(*index), 1));
    memory::mprotect(mapping.page(3), PAGE, libc::PROT_READ).expect("mprotect");
    memory::mprotect(mapping.page(5), PAGE, libc::PROT_NONE).expect("mprotect");
    device.migrate_to_device(mapping.page(4)..mapping.page(5)).expect("room");
    let expected = [
        PROT_NONE,
        PROT_ZERO | PROT_READ,
        PROT_WRITE,
        PROT_READ,
        PROT_LOCAL | PROT_WRITE,
        PROT_ERROR,
    ];
    assert_eq!(device.snapshot(mapping.range()), Ok(expected.to_vec()));
    Ok(())
}

fn devices_do_not_touch_each_others_pages() -> Result<(), Skip> {
    let (one, two) = (Dmirror::open(0)?, Dmirror::open(1)?);
    let mapping = filled(8);
    one.migrate_to_device(mapping.range()).expect("room");
    assert_eq!(two.snapshot(mapping.range()), Ok(vec![PROT_NONE; 8]));
    assert_eq!(two.migrate_to_system(mapping.range()), Ok(0));
    assert_eq!(one.snapshot(mapping.range()), Ok(vec![PROT_LOCAL | PROT_WRITE; 8]));
    let mut seen = vec![0; mapping.len_bytes()];
    two.read(mapping.range(), &mut seen).expect("a read brings them home");
    assert_eq!(one.snapshot(mapping.range()), Ok(vec![PROT_WRITE; 8]));
    assert_eq!(seen, bytes(&mapping));
    Ok(())
}

fn released_memory_comes_home() -> Result<(), Skip> {
    let device = Dmirror::open(0)?;
    let mapping = filled(NR);
    device.migrate_to_device(mapping.range()).expect("room");
    device.release(mapping.range()).expect("memory for what comes home");
    assert_eq!(device.snapshot(mapping.range()), Ok(vec![PROT_WRITE; NR]));
    check(&mapping);
    Ok(())
}

fn a_closed_device_gives_everything_back() -> Result<(), Skip> {
    let device = Dmirror::open(0)?;
    let mapping = filled(NR);
    device.migrate_to_device(mapping.range()).expect("room");
    drop(device);
    check(&mapping);
    Ok(())
}

fn bad_requests_are_refused() -> Result<(), Skip> {
    let device = Dmirror::open(0)?;
    let mapping = filled(2);
    let good = Command { addr: mapping.start() as u64, npages: 2, ..Command::default() };
    for number in 0..=8 {
        for bad in [
            Command { addr: good.addr + 1, ..good },
            Command { npages: 0, ..good },
            Command { npages: u64::MAX / 4096, ..good },
            Command { npages: u64::MAX, ..good },
        ] {
            let refused = device.ioctl(number, &mut { bad });
            assert_eq!(refused, Err(libc::EINVAL), "{number}: {bad:?}");
        }
    }
    assert_eq!(device.ioctl(99, &mut { good }), Err(libc::EINVAL), "no such request");
    // No buffer; no area; half a hole.
    assert_eq!(device.ioctl(0, &mut { good }), Err(libc::EFAULT));
    let nowhere = Command { addr: 0, ..good };
    assert_eq!(device.ioctl(0, &mut { nowhere }), Err(libc::EFAULT));
    assert_eq!(device.ioctl(2, &mut { nowhere }), Err(libc::EINVAL));
    memory::munmap(mapping.page(1), PAGE).expect("munmap");
    assert_eq!(device.ioctl(3, &mut { good }), Err(libc::EINVAL));
    check_first(&mapping);
    Ok(())
}

fn check_first(mapping: &Mapping) {
    let page = mapping.page(0);
    assert_eq!(memory::first_difference(page, page as u64), None);
}

/// Four CPUs write while pages go round: 64 MiB in all. Each thread counts in every page of its own,
/// and nothing is lost on the way.
fn four_threads_write_what_goes_round() -> Result<(), Skip> {
    const THREADS: usize = 4;
    const PAGES: usize = 512;
    const ROUNDS: u64 = 8;
    let device = Dmirror::open(0)?;
    let mappings: Vec<Mapping> = (0..THREADS).map(|_| Mapping::anonymous(PAGES * PAGE)).collect();
    if tags::has_mte() {
        for mapping in &mappings {
            let tagged = memory::RW | memory::PROT_MTE;
            memory::mprotect(mapping.start(), mapping.len_bytes(), tagged).expect("PROT_MTE");
        }
    }
    thread::scope(|scope| {
        for mapping in &mappings {
            let device = &device;
            scope.spawn(move || write_and_move(device, mapping, ROUNDS));
        }
        // Somebody else's migrations take pages from under them.
        for mapping in mappings.iter().cycle().take(THREADS * 4) {
            let _ = device.migrate_to_device(mapping.range());
            let _ = device.migrate_to_system(mapping.range());
        }
    });
    for page in mappings.iter().flat_map(Mapping::pages) {
        assert_eq!(memory::load(page), ROUNDS);
        assert_eq!(memory::load(page + 4088), page as u64 + ROUNDS);
    }
    Ok(())
}

fn write_and_move(device: &Dmirror, mapping: &Mapping, rounds: u64) {
    for round in 1..=rounds {
        for page in mapping.pages() {
            memory::atomic(page).fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            memory::store(page + 4088, page as u64 + round);
            if tags::has_mte() {
                tags::store(tags::with_tag(page + 2048, round as u8));
            }
        }
        // What a page faulted home meanwhile leaves behind is not what this is about.
        let _ = device.migrate_to_device(mapping.range());
        for page in mapping.pages() {
            assert_eq!(memory::load(page), round, "{page:#x}");
            if tags::has_mte() {
                assert_eq!(u64::from(tags::load(page + 2048)), round % 16);
            }
        }
    }
}
