// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the code that handlers return to when the program names no place (SA_RESTORER):
//! Linux has it in the vDSO. Every program has the page mapped, read-only.

use alloc::sync::Arc;

use abi::{Errno, number};
use base::PAGE_SIZE;
use base::sync::OnceCell;
use hal::Platform;
use mm::Shmem;

use crate::kernel::Kernel;

/// MOV X8, #number (Arm ARM C6.2.250, MOVZ).
const MOV_X8: u32 = 0xd280_0008 | (number::RT_SIGRETURN as u32) << 5;
/// SVC #0 (Arm ARM C6.2.365).
const SVC_0: u32 = 0xd400_0001;

/// The page with the code, once somebody has needed it.
pub(crate) struct Trampoline<P: Platform>(OnceCell<Arc<Shmem<P>>>);

impl<P: Platform> Trampoline<P> {
    pub fn new() -> Self {
        Self(OnceCell::new())
    }

    /// Returns the page.
    ///
    /// # Errors
    ///
    /// ENOMEM.
    pub fn page(&self, kernel: &Kernel<P>) -> Result<&Arc<Shmem<P>>, Errno> {
        if let Some(page) = self.0.get() {
            return Ok(page);
        }
        let page =
            Shmem::new(kernel.system(), PAGE_SIZE as u64, None).map_err(|_| Errno::ENOMEM)?;
        let code: [u8; 8] = abi_bytes([MOV_X8, SVC_0]);
        page.write_page(0, |pfn| kernel.machine().write_bytes(pfn.at(0), &code))
            .map_err(|_| Errno::ENOMEM)?;
        // Two programs may start at the same time; one page is enough.
        self.0.set_once(page);
        self.0.get().ok_or(Errno::ENOMEM)
    }
}

fn abi_bytes(words: [u32; 2]) -> [u8; 8] {
    let mut bytes = [0; 8];
    abi::Layout::put(&words, &mut bytes);
    bytes
}
