// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows what simulated disks do to requests, and to frames that are not left alone.

use alloc::vec::Vec;

use base::{PAGE_SIZE, Pfn};

use super::rig::{CPU0, PAGE, Rig, assert_judged, writable};
use crate::block_dev::{BlockDevs, BlockOp, DiskId, IoError, IoTicket, SECTORS_PER_PAGE, Segment};
use crate::phys_mem::PhysMem;
use crate::sim::{Adversary, IoFault, SimConfig, explore};

const DISK: DiskId = DiskId(0);

fn rig(seed: u64, adversary: Adversary) -> Rig {
    let disks = [1024, 64].into();
    Rig::new(SimConfig { disks, seed, queue_depth: 4, adversary, ..SimConfig::default() })
}

/// Fills a fresh frame with one byte.
fn page_of(rig: &Rig, byte: u8) -> Pfn {
    let pfn = rig.frame();
    rig.write_bytes(pfn.base(), &[byte; PAGE_SIZE]);
    pfn
}

fn medium(rig: &Rig, sector: u64) -> [u8; PAGE_SIZE] {
    let mut bytes = [0; PAGE_SIZE];
    rig.read_medium(DISK, sector, &mut bytes);
    bytes
}

fn submit(rig: &Rig, op: BlockOp, page: u64, pfn: Pfn) -> IoTicket {
    rig.submit(DISK, op, page * SECTORS_PER_PAGE, &[Segment::one(pfn)]).unwrap()
}

#[test]
fn what_is_written_is_read_back() {
    explore(0..8, |seed| {
        let rig = rig(seed, Adversary::FULL);
        let from = [page_of(&rig, 1), page_of(&rig, 2), page_of(&rig, 3)];
        let segments = [Segment { first: from[0], nr_frames: 2 }, Segment::one(from[2])];
        rig.transfer(DISK, BlockOp::Write, 16, &segments).unwrap();
        assert_eq!(medium(&rig, 24), [2; PAGE_SIZE]);
        let to = rig.frame();
        rig.transfer(DISK, BlockOp::Read, 32, &[Segment::one(to)]).unwrap();
        let mut bytes = [0; PAGE_SIZE];
        rig.read_bytes(to.base(), &mut bytes);
        assert_eq!(bytes, [3; PAGE_SIZE]);
        rig.transfer(DISK, BlockOp::Flush, 0, &[]).unwrap();
        let counts = rig.disk_counts(DISK);
        assert_eq!((counts.reads, counts.writes, counts.flushes), (1, 1, 1));
        assert_eq!((counts.sectors_read, counts.sectors_written), (8, 24));
        rig.assert_quiescent();
    });
}

#[test]
fn unwritten_sectors_hold_anything_but_zeroes() {
    explore(0..1, |_| {
        let rig = rig(0, Adversary::CALM);
        assert_ne!(medium(&rig, 0), [0; PAGE_SIZE]);
        assert_judged("past the end", || medium(&rig, 1017));
    });
}

#[test]
fn discarded_sectors_hold_anything_else() {
    explore(0..4, |seed| {
        let rig = rig(seed, Adversary::FULL);
        let page = page_of(&rig, 1);
        for sector in [0, 8, 16] {
            rig.transfer(DISK, BlockOp::Write, sector, &[Segment::one(page)]).unwrap();
        }
        rig.transfer(DISK, BlockOp::Discard { nr_sectors: 8 }, 8, &[]).unwrap();
        assert_eq!([0, 16].map(|sector| medium(&rig, sector)), [[1; PAGE_SIZE]; 2]);
        assert!(medium(&rig, 8).iter().all(|byte| *byte != 1));
        let past_the_end = BlockOp::Discard { nr_sectors: 2 };
        let end = rig.nr_sectors(DISK);
        assert_eq!(rig.transfer(DISK, past_the_end, end - 1, &[]), Err(IoError::OutOfRange));
        rig.assert_quiescent();
    });
}

#[test]
fn requests_complete_in_any_order() {
    explore(0..1, |_| {
        // Four writes to one sector: whichever is done last stays.
        let survivor = |seed: u64| {
            let rig = rig(seed, Adversary::CALM);
            let pages: Vec<Pfn> = (1..=4).map(|byte| page_of(&rig, byte)).collect();
            let tickets: Vec<_> =
                pages.iter().map(|pfn| submit(&rig, BlockOp::Write, 0, *pfn)).collect();
            tickets.into_iter().for_each(|ticket| rig.wait(ticket).unwrap());
            medium(&rig, 0)[0]
        };
        let survivors: Vec<u8> = (0..32).map(survivor).collect();
        assert!((1..=4).all(|byte| survivors.contains(&byte)), "{survivors:?}");
    });
}

#[test]
fn write_takes_the_bytes_that_are_there_when_it_completes() {
    explore(0..8, |seed| {
        let rig = rig(seed, Adversary::CALM);
        let pfn = page_of(&rig, 1);
        let ticket = submit(&rig, BlockOp::Write, 0, pfn);
        rig.write_bytes(pfn.base(), &[2; PAGE_SIZE]);
        rig.wait(ticket).unwrap();
        assert_eq!(medium(&rig, 0), [2; PAGE_SIZE]);
    });
}

#[cfg(shuttle)]
#[test]
fn page_stored_to_while_it_is_written_out_is_torn_by_some_schedules() {
    use alloc::sync::Arc;
    use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

    let torn = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&torn);
    explore(0..200, move |seed| {
        let rig = rig(seed, Adversary::FULL);
        let pfn = page_of(&rig, 1);
        let machine = rig.machine.clone();
        let writer = rig.spawn_on(super::rig::CPU1, move || {
            machine.write_bytes(pfn.base(), &[2; PAGE_SIZE / 2]);
            machine.write_bytes(pfn.at(PAGE_SIZE / 2), &[2; PAGE_SIZE / 2]);
        });
        rig.transfer(DISK, BlockOp::Write, 0, &[Segment::one(pfn)]).unwrap();
        writer.join().unwrap();
        let bytes = medium(&rig, 0);
        count.fetch_add(u64::from(bytes.contains(&1) && bytes.contains(&2)), Relaxed);
    });
    assert!(torn.load(Relaxed) > 0);
}

#[test]
fn full_queue_makes_submitters_wait_and_not_fail() {
    explore(0..8, |seed| {
        let rig = rig(seed, Adversary::CALM);
        let pages: Vec<Pfn> = (0..16).map(|byte| page_of(&rig, byte)).collect();
        let tickets: Vec<_> =
            (0..).zip(&pages).map(|(n, pfn)| submit(&rig, BlockOp::Write, n, *pfn)).collect();
        tickets.into_iter().for_each(|ticket| rig.wait(ticket).unwrap());
        assert_eq!(rig.disk_counts(DISK).most_in_flight, 4);
        (0..16).for_each(|n| assert_eq!(medium(&rig, n * 8), [n as u8; PAGE_SIZE]));
    });
}

#[test]
fn request_never_waited_for_is_a_leak() {
    explore(0..4, |seed| {
        let rig = rig(seed, Adversary::FULL);
        let pfn = page_of(&rig, 1);
        let first = submit(&rig, BlockOp::Write, 0, pfn);
        let _second = submit(&rig, BlockOp::Write, 1, pfn);
        rig.wait(first).unwrap();
        assert_judged("request 1 was never waited for", || rig.assert_quiescent());
    });
}

#[test]
fn bad_requests_are_refused_before_they_start() {
    explore(0..1, |_| {
        let rig = rig(0, Adversary::CALM);
        let segments = [Segment::one(page_of(&rig, 1))];
        let ask = |disk: u8, sector: u64| {
            rig.submit(DiskId(disk), BlockOp::Write, sector, &segments)
                .map(|ticket| rig.wait(ticket))
        };
        assert_eq!(ask(2, 0), Err(IoError::OutOfRange));
        assert_eq!(ask(0, 1017), Err(IoError::OutOfRange));
        assert_eq!(ask(0, u64::MAX), Err(IoError::OutOfRange));
        assert_eq!(ask(0, 1016), Ok(Ok(())));
        let hole = [Segment::one(Pfn::new(1))];
        assert_judged("not managed", || rig.submit(DISK, BlockOp::Read, 0, &hole));
        rig.assert_quiescent();
    });
}

#[test]
fn faults_hit_what_they_name() {
    explore(0..4, |seed| {
        let rig = rig(seed, Adversary::FULL);
        let pfn = page_of(&rig, 1);
        let run = |op, page| rig.wait(submit(&rig, op, page, pfn));
        rig.fail_io(IoFault::any().of(BlockOp::Write).nth(2));
        assert_eq!(run(BlockOp::Write, 0), Ok(()));
        assert_eq!(run(BlockOp::Read, 0), Ok(()));
        assert_eq!(run(BlockOp::Write, 0), Err(IoError::Device));
        assert_eq!(run(BlockOp::Write, 0), Ok(()));
        rig.fail_io(IoFault::any().on(DISK).at(20..21));
        assert_eq!(run(BlockOp::Read, 1), Ok(()));
        assert_eq!(run(BlockOp::Read, 2), Err(IoError::Device));
        assert_eq!(run(BlockOp::Write, 2), Err(IoError::Device));
        rig.clear_io_faults();
        assert_eq!(run(BlockOp::Write, 2), Ok(()));
        assert_eq!(rig.disk_counts(DISK).failures, 3);
    });
}

#[test]
fn failed_read_may_leave_anything_in_its_frames() {
    explore(0..1, |_| {
        let rig = rig(0, Adversary::CALM);
        rig.write_medium(DISK, 0, &[7; PAGE_SIZE]);
        let mut seen = [false; 2];
        for _ in 0..16 {
            let pfn = page_of(&rig, 1);
            rig.fail_io(IoFault::any().nth(1));
            rig.wait(submit(&rig, BlockOp::Read, 0, pfn)).unwrap_err();
            let mut bytes = [0; PAGE_SIZE];
            rig.read_bytes(pfn.base(), &mut bytes);
            assert!(!bytes.contains(&7));
            seen[usize::from(bytes[0] == 1)] = true;
        }
        assert_eq!(seen, [true, true], "sometimes touched, sometimes not");
    });
}

#[test]
fn frames_of_a_request_must_be_left_alone() {
    explore(0..4, |seed| {
        let rig = rig(seed, Adversary::CALM);
        let (source, target) = (page_of(&rig, 1), rig.frame());
        let write = submit(&rig, BlockOp::Write, 0, source);
        let read = submit(&rig, BlockOp::Read, 1, target);
        assert_judged("(Write) is in flight", || rig.zero_frame(source));
        assert_judged("(Read) is in flight", || rig.copy_frame(target, source));
        assert_judged("is mapped while request", || rig.map(PAGE, writable(target)));
        rig.map(PAGE, writable(source));
        assert_judged("in flight", || submit(&rig, BlockOp::Read, 2, target));
        rig.wait(write).unwrap();
        rig.wait(read).unwrap();
        rig.map(PAGE.add(1), writable(target));
        rig.run_on(CPU0, || rig.zero_frame(source));
    });
}
