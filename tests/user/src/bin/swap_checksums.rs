// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program changes bytes on the swap disk behind the kernel's back: whoever touches such a page
//! gets SIGBUS, and nobody sees the bytes.
//!
//! Linux keeps no checksums of swapped pages; neither do other machines than this program's.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use user_tests::fault::{self, BUS_ADRERR, Fault};
use user_tests::memory::{self, Mapping, PAGE};
use user_tests::pageout::{self, page_out, swap_slot};
use user_tests::trial::Skip;
use user_tests::vmstat::Counters;

user_tests::tests!(a_changed_page_is_sigbus, a_page_in_the_place_of_another_is_sigbus);

const DISK: &str = "/dev/vda";
const NR_PAGES: usize = 64;

/// Returns pages on the disk. Their folios have one page each.
fn paged_out() -> Result<Mapping, Skip> {
    pageout::needed()?;
    if !std::fs::read_to_string("/proc/cmdline").is_ok_and(|line| line.contains("swap.checksum=on"))
    {
        return Err(Skip("swap keeps no checksums"));
    }
    let mapping = Mapping::anonymous(NR_PAGES * PAGE);
    memory::madvise(mapping.start(), mapping.len_bytes(), libc::MADV_NOHUGEPAGE).expect("madvise");
    mapping.pages().for_each(|page| memory::store_pattern(page, page as u64));
    page_out(mapping.range());
    Ok(mapping)
}

fn at_disk(page: usize) -> u64 {
    swap_slot(page).expect("it is paged out") * PAGE as u64
}

/// Expects that `lost` are lost, counted once each, and all other pages intact.
fn expect_lost(mapping: &Mapping, lost: &[usize], before: &Counters) -> Result<(), Skip> {
    // Each page is read when it is touched, and no other time.
    let _alone = pageout::without_read_ahead()?;
    for page in mapping.pages() {
        if lost.contains(&page) {
            let expected = Fault { signal: libc::SIGBUS, code: BUS_ADRERR, address: page };
            assert_eq!(fault::catch(|| memory::touch(page)), Some(expected), "{page:#x}");
        } else {
            assert_eq!(memory::first_difference(page, page as u64), None, "{page:#x}");
        }
    }
    let errors = Counters::read().since(before, "swap_checksum_error");
    assert_eq!(errors, Some(lost.len() as u64));
    Ok(())
}

fn a_changed_page_is_sigbus() -> Result<(), Skip> {
    let mapping = paged_out()?;
    let before = Counters::read();
    let page = mapping.page(7);
    let disk = OpenOptions::new().read(true).write(true).open(DISK).expect("the disk");
    let mut bytes = [0; PAGE];
    disk.read_exact_at(&mut bytes, at_disk(page)).expect("read");
    bytes[PAGE - 1] ^= 1;
    disk.write_all_at(&bytes, at_disk(page)).expect("write");
    expect_lost(&mapping, &[page], &before)
}

fn a_page_in_the_place_of_another_is_sigbus() -> Result<(), Skip> {
    let mapping = paged_out()?;
    let before = Counters::read();
    let (page, other) = (mapping.page(3), mapping.page(40));
    let disk = OpenOptions::new().read(true).write(true).open(DISK).expect("the disk");
    let mut bytes = [0; PAGE];
    disk.read_exact_at(&mut bytes, at_disk(page)).expect("read");
    disk.write_all_at(&bytes, at_disk(other)).expect("write");
    expect_lost(&mapping, &[other], &before)
}
