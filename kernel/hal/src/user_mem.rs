// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the port to user memory, and says what can be wrong with an access.
//!
//! The kernel reaches user memory through the user's own translations and permissions (LDTR, STTR;
//! tag checks as the thread has set them). An access that cannot be done stops and returns a
//! [`UserFault`]; it never handles the fault inside the copy. The caller resolves it as if user
//! code had faulted, and goes on where the copy stopped.

use base::{PhysAddr, VirtAddr};

/// What an access does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// A load.
    Read,
    /// A store, or an instruction that stores tags.
    Write,
    /// An instruction fetch.
    Execute,
}

/// Why an access could not be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultCause {
    /// No valid entry.
    Translation,
    /// A valid entry with its access flag clear, and no hardware that sets it.
    AccessFlag,
    /// A valid entry that does not permit the access.
    Permission,
    /// Logical and allocation tag differ.
    TagCheck,
    /// The address is misaligned for the instruction.
    Alignment,
    /// The memory system failed, or the address is not memory at all.
    External,
}

/// An access that could not be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemFault {
    /// The address, with the tag bits that the machine reports.
    pub addr: VirtAddr,
    /// What the access does.
    pub access: Access,
    /// Why it could not be done.
    pub cause: FaultCause,
    /// ESR_EL1, for the signal frame; 0 on a simulated machine.
    pub esr: u64,
}

/// A copy that stopped at a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UserFault {
    /// Bytes copied before it.
    pub done: usize,
    /// The access that stopped it.
    pub fault: MemFault,
}

/// User memory of the address space that is active on the calling CPU.
///
/// Addresses may carry tags. An address outside the user half faults with
/// [`FaultCause::Translation`]; nothing outside user memory is ever touched.
pub trait UserMem {
    /// Copies from user memory.
    ///
    /// # Errors
    ///
    /// At the first byte that cannot be read.
    fn read_user(&self, from: VirtAddr, buf: &mut [u8]) -> Result<(), UserFault>;

    /// Copies to user memory.
    ///
    /// # Errors
    ///
    /// At the first byte that cannot be written.
    fn write_user(&self, to: VirtAddr, buf: &[u8]) -> Result<(), UserFault>;

    /// Copies from user memory to part of one frame.
    ///
    /// # Errors
    ///
    /// At the first byte that cannot be read.
    fn read_user_to_frame(
        &self,
        from: VirtAddr,
        to: PhysAddr,
        len_bytes: usize,
    ) -> Result<(), UserFault>;

    /// Copies part of one frame to user memory.
    ///
    /// # Errors
    ///
    /// At the first byte that cannot be written.
    fn write_user_from_frame(
        &self,
        to: VirtAddr,
        from: PhysAddr,
        len_bytes: usize,
    ) -> Result<(), UserFault>;

    /// Fills user memory with zero bytes.
    ///
    /// # Errors
    ///
    /// At the first byte that cannot be written.
    fn zero_user(&self, at: VirtAddr, len_bytes: usize) -> Result<(), UserFault>;

    /// Loads a 32-bit word in one atomic step.
    ///
    /// # Errors
    ///
    /// When it cannot be read; a misaligned address is [`FaultCause::Alignment`].
    fn load_user_u32(&self, at: VirtAddr) -> Result<u32, UserFault>;

    /// Replaces a 32-bit word if it is `current`, in one atomic step, and returns what it was.
    ///
    /// # Errors
    ///
    /// When it cannot be written; a misaligned address is [`FaultCause::Alignment`].
    fn compare_exchange_user_u32(
        &self,
        at: VirtAddr,
        current: u32,
        new: u32,
    ) -> Result<u32, UserFault>;
}
