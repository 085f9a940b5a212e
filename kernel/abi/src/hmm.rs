// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the requests of the dmirror devices (lib/test_hmm_uapi.h).

use crate::Layout;

/// Reads a range through the device's table.
pub const HMM_DMIRROR_READ: u32 = 0xc028_4800;
/// Writes a range through the device's table.
pub const HMM_DMIRROR_WRITE: u32 = 0xc028_4801;
/// Moves a range to the device's memory, and reads what the device has then.
pub const HMM_DMIRROR_MIGRATE_TO_DEV: u32 = 0xc028_4802;
/// Moves a range back.
pub const HMM_DMIRROR_MIGRATE_TO_SYS: u32 = 0xc028_4803;
/// Tells what the device would find, a byte a page.
pub const HMM_DMIRROR_SNAPSHOT: u32 = 0xc028_4804;
/// Takes each page of a range for the device alone, and reads what the device has then.
pub const HMM_DMIRROR_EXCLUSIVE: u32 = 0xc028_4805;
/// Tells whether the device has any page of a range for itself: EPERM.
pub const HMM_DMIRROR_CHECK_EXCLUSIVE: u32 = 0xc028_4806;
/// Moves everything off the device.
pub const HMM_DMIRROR_RELEASE: u32 = 0xc028_4807;
/// Sets the flags of the open file.
pub const HMM_DMIRROR_FLAGS: u32 = 0xc028_4808;

/// Flag: the next allocation of a migration's target fails.
pub const HMM_DMIRROR_FLAG_FAIL_ALLOC: u64 = 1 << 0;

/// Snapshot: no valid entry.
pub const HMM_DMIRROR_PROT_ERROR: u8 = 0xff;
/// Snapshot: not populated, or no access.
pub const HMM_DMIRROR_PROT_NONE: u8 = 0x00;
/// Snapshot: readable only.
pub const HMM_DMIRROR_PROT_READ: u8 = 0x01;
/// Snapshot: writable.
pub const HMM_DMIRROR_PROT_WRITE: u8 = 0x02;
/// Snapshot, added: mapped by a block.
pub const HMM_DMIRROR_PROT_PMD: u8 = 0x04;
/// Snapshot, added: the page of zeroes.
pub const HMM_DMIRROR_PROT_ZERO: u8 = 0x10;
/// Snapshot, added: in this device's memory.
pub const HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL: u8 = 0x20;

/// `struct hmm_dmirror_cmd`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DmirrorCommand {
    /// Where the range starts that the device works on.
    pub addr: u64,
    /// The caller's buffer.
    pub ptr: u64,
    /// Pages of the range.
    pub npages: u64,
    /// Pages done.
    pub cpages: u64,
    /// Rounds of faults that the device took.
    pub faults: u64,
}

impl DmirrorCommand {
    /// Bytes of the structure.
    pub const SIZE: usize = <[u64; 5]>::SIZE;

    /// Reads it.
    pub fn get(bytes: &[u8]) -> Self {
        let [addr, ptr, npages, cpages, faults] = <[u64; 5]>::get(bytes);
        Self { addr, ptr, npages, cpages, faults }
    }

    /// Returns its bytes.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        [self.addr, self.ptr, self.npages, self.cpages, self.faults].put(&mut bytes);
        bytes
    }
}
