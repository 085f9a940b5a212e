// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests swapon and swapoff: what they refuse, and that nothing is lost by them.
//!
//! Its machine has a second disk, where it makes areas.

use user_tests::memory::{self, Mapping, PAGE};
use user_tests::pageout;
use user_tests::swap::{self, DISCARD, DISCARD_ONCE, DISCARD_PAGES, Header, PREFER};
use user_tests::sys;
use user_tests::trial::Skip;

user_tests::tests!(
    a_disk_without_a_signature_is_refused,
    a_header_that_makes_no_sense_is_refused,
    an_area_in_service_is_busy,
    an_area_out_of_service_is_no_area,
    a_path_that_is_no_area_has_its_errno,
    unknown_flags_are_refused_before_the_path_is_looked_at,
    known_flags_are_taken,
    bad_pages_are_left_out_of_the_size,
    pages_come_back_at_swapoff,
);

const DISK: &str = "/dev/vdb";

/// Pages of the area that tests make.
const NR_PAGES: u32 = 1024;

const ALL_DISCARDS: usize = DISCARD | DISCARD_ONCE | DISCARD_PAGES;

/// Takes the disk, without an area on it.
fn blank_disk() -> Result<(), Skip> {
    let _ = swap::off(DISK);
    if !swap::is_ours(DISK) {
        return Err(Skip("no second disk, or one that is in use"));
    }
    swap::write_header(DISK, None);
    Ok(())
}

/// Takes the disk, with an area on it.
fn area_on_disk() -> Result<(), Skip> {
    blank_disk()?;
    swap::write_header(DISK, Some(&Header::of_pages(NR_PAGES)));
    Ok(())
}

fn a_disk_without_a_signature_is_refused() -> Result<(), Skip> {
    blank_disk()?;
    assert_eq!(swap::on(DISK, 0), Err(libc::EINVAL));
    assert_eq!(swap::area(DISK), None);
    Ok(())
}

fn a_header_that_makes_no_sense_is_refused() -> Result<(), Skip> {
    blank_disk()?;
    let good = Header::of_pages(NR_PAGES);
    let of_disk = std::fs::File::open(DISK).expect("a disk");
    let disk_bytes = std::io::Seek::seek(&mut &of_disk, std::io::SeekFrom::End(0)).expect("lseek");
    let disk_pages = (disk_bytes / PAGE as u64) as u32;
    let all: Vec<u32> = (1..3).collect();
    let cases = [
        ("version 2", Header { version: 2, ..good.clone() }),
        ("no page", Header { last_page: 0, ..good.clone() }),
        ("a page too many", Header { last_page: disk_pages, ..good.clone() }),
        ("too many bad pages", Header { nr_bad: 638, ..good.clone() }),
        ("the header is bad", good.clone().with_bad(&[0])),
        ("a bad page behind the end", good.clone().with_bad(&[NR_PAGES])),
        ("all pages are bad", Header::of_pages(3).with_bad(&all)),
    ];
    for (what, header) in cases {
        swap::write_header(DISK, Some(&header));
        assert_eq!(swap::on(DISK, 0), Err(libc::EINVAL), "{what}");
    }
    // As large as the disk is.
    swap::write_header(DISK, Some(&Header::of_pages(disk_pages)));
    assert_eq!(swap::on(DISK, 0), Ok(()));
    assert_eq!(swap::off(DISK), Ok(()));
    Ok(())
}

fn an_area_in_service_is_busy() -> Result<(), Skip> {
    area_on_disk()?;
    assert_eq!(swap::on(DISK, 0), Ok(()));
    let area = swap::area(DISK);
    assert!(area.is_some());
    for flags in [0, PREFER | 5] {
        assert_eq!(swap::on(DISK, flags), Err(libc::EBUSY));
    }
    assert_eq!(swap::area(DISK), area, "what is refused changes nothing");
    assert_eq!(swap::off(DISK), Ok(()));
    Ok(())
}

fn an_area_out_of_service_is_no_area() -> Result<(), Skip> {
    area_on_disk()?;
    assert_eq!(swap::off(DISK), Err(libc::EINVAL));
    for _ in 0..2 {
        assert_eq!(swap::on(DISK, 0), Ok(()));
        assert_eq!(swap::off(DISK), Ok(()));
        assert_eq!(swap::off(DISK), Err(libc::EINVAL));
        assert_eq!(swap::area(DISK), None);
    }
    Ok(())
}

fn a_path_that_is_no_area_has_its_errno() {
    let file = "/dev/shm/no_area";
    std::fs::write(file, [0; 2 * PAGE]).expect("a file");
    let long = "x".repeat(5000);
    let cases = [
        ("", libc::ENOENT),
        ("/none", libc::ENOENT),
        ("/dev/shm/no_area/x", libc::ENOTDIR),
        ("/dev", libc::EISDIR),
        ("/dev/null", libc::EINVAL),
        (file, libc::EINVAL),
        (&long, libc::ENAMETOOLONG),
    ];
    for (path, errno) in cases {
        assert_eq!(swap::on(path, 0), Err(errno), "swapon {path}");
        assert_eq!(swap::off(path), Err(errno), "swapoff {path}");
    }
    for bad in [0, 8, 0xffff_0000_0000_0000] {
        assert_eq!(sys::call(libc::SYS_swapon, [bad, 0]), Err(libc::EFAULT), "{bad:#x}");
        assert_eq!(sys::call(libc::SYS_swapoff, [bad]), Err(libc::EFAULT), "{bad:#x}");
    }
    std::fs::remove_file(file).expect("unlink");
}

fn unknown_flags_are_refused_before_the_path_is_looked_at() {
    for flags in [0x8_0000, 1 << 30, u32::MAX as usize] {
        assert_eq!(swap::on("/none", flags), Err(libc::EINVAL), "{flags:#x}");
        assert_eq!(sys::call(libc::SYS_swapon, [0, flags]), Err(libc::EINVAL), "{flags:#x}");
    }
}

fn known_flags_are_taken() -> Result<(), Skip> {
    area_on_disk()?;
    for (flags, priority) in [(PREFER | 7, Some(7)), (PREFER | 0x7fff, Some(0x7fff)), (7, None)] {
        for discard in [0, ALL_DISCARDS] {
            assert_eq!(swap::on(DISK, flags | discard), Ok(()), "{flags:#x}");
            let (_, used, own) = swap::area(DISK).expect("an area in service");
            assert_eq!(used, 0);
            match priority {
                Some(priority) => assert_eq!(own, priority),
                None => assert!(own < 0, "a number without the flag is no priority: {own}"),
            }
            assert_eq!(swap::off(DISK), Ok(()));
        }
    }
    Ok(())
}

fn bad_pages_are_left_out_of_the_size() -> Result<(), Skip> {
    blank_disk()?;
    swap::write_header(DISK, Some(&Header::of_pages(NR_PAGES).with_bad(&[1, 700, 1023])));
    assert_eq!(swap::on(DISK, 0), Ok(()));
    // The header is no slot either.
    let slots = u64::from(NR_PAGES) - 4;
    assert_eq!(swap::area(DISK).map(|area| area.0), Some(slots * PAGE as u64));
    assert_eq!(swap::off(DISK), Ok(()));
    Ok(())
}

fn pages_come_back_at_swapoff() -> Result<(), Skip> {
    area_on_disk()?;
    let mapping = Mapping::anonymous(256 * PAGE);
    mapping.pages().for_each(|page| memory::store_pattern(page, page as u64));
    assert_eq!(swap::on(DISK, PREFER | 0x7fff), Ok(()));
    pageout::page_out(mapping.range());
    let (_, used, _) = swap::area(DISK).expect("an area in service");
    assert_eq!(used, mapping.len_bytes() as u64, "the preferred area is used first");
    assert_eq!(swap::off(DISK), Ok(()));
    // Nothing refers to the disk any more.
    swap::write_header(DISK, None);
    for page in mapping.pages() {
        assert_eq!(memory::first_difference(page, page as u64), None, "{page:#x}");
    }
    Ok(())
}
