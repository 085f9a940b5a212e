// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file measures the disk that is the swap area, past swap: what one request costs that a program
//! makes, with no cache between it and the disk.

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use user_tests::{swap, sys};

use crate::cost::{Cost, measured};
use crate::region::Region;

/// Measures writes, of a folio's size each.
pub fn write(region: &Region) -> Option<Cost> {
    requests(region, libc::SYS_pwrite64)
}

/// Measures reads likewise.
pub fn read(region: &Region) -> Option<Cost> {
    requests(region, libc::SYS_pread64)
}

/// Measures a system call for each folio. The area is out of service meanwhile; its header, in the
/// first page, is left alone.
fn requests(region: &Region, call: libc::c_long) -> Option<Cost> {
    if region.is_tagged {
        return None;
    }
    let area = swap::first_area()?;
    swap::off(&area).expect("swapoff");
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_DIRECT);
    let disk = options.open(&area).expect("the disk");
    let mapping = region.populated();
    let cost = measured(region.nr_pages(), 0, || {
        for start in mapping.range().step_by(region.folio_bytes) {
            let at = start - mapping.start() + region.folio_bytes;
            let arguments = [disk.as_raw_fd() as usize, start, region.folio_bytes, at];
            assert_eq!(sys::call(call, arguments), Ok(region.folio_bytes), "a whole request");
        }
    });
    swap::on(&area, 0).expect("swapon");
    Some(cost)
}
