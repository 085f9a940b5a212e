// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes system calls with any number and any arguments.

#![expect(unsafe_code, reason = "SVC")]

use core::arch::asm;
use core::ffi::c_long;

/// An error number, as in `libc::EINVAL`.
pub type Errno = i32;

/// Error numbers end here: a result above `-MAX_ERRNO` as a signed number is one.
const MAX_ERRNO: usize = 4095;

/// Makes a system call; missing arguments are zero.
///
/// # Errors
///
/// The error number that the kernel returned.
#[inline]
pub fn call<const N: usize>(number: c_long, arguments: [usize; N]) -> Result<usize, Errno> {
    let [mut x0, mut x1, mut x2, mut x3, mut x4, mut x5] = [0; 6];
    for (register, argument) in
        [&mut x0, &mut x1, &mut x2, &mut x3, &mut x4, &mut x5].into_iter().zip(arguments)
    {
        *register = argument;
    }
    let result: usize;
    // SAFETY: the kernel keeps every register but x0. What the call does to this process's memory
    // is the test's business, as the crate's documentation says.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") x0 => result,
            in("x1") x1,
            in("x2") x2,
            in("x3") x3,
            in("x4") x4,
            in("x5") x5,
            options(nostack),
        );
    }
    if result > usize::MAX - MAX_ERRNO { Err(result.wrapping_neg() as Errno) } else { Ok(result) }
}
