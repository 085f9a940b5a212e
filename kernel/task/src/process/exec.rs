// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file replaces the program of a process: execve.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;
use hal::{Platform, UserRegs};

use super::Thread;
use crate::kernel::Kernel;

/// What execve was called with.
pub(crate) struct ExecRequest {
    pub path: Vec<u8>,
    pub args: Vec<Vec<u8>>,
    pub env: Vec<Vec<u8>>,
}

impl ExecRequest {
    pub fn new(path: &[u8], args: &[&[u8]], env: &[&[u8]]) -> Self {
        let owned = |strings: &[&[u8]]| strings.iter().map(|string| string.to_vec()).collect();
        Self { path: path.to_vec(), args: owned(args), env: owned(env) }
    }
}

impl<P: Platform> Kernel<P> {
    /// Replaces the program of the running thread's process.
    ///
    /// # Errors
    ///
    /// Linux's errno, and the file that is at fault; the old program goes on.
    pub(crate) fn exec(
        &'static self,
        _thread: &Arc<Thread<P>>,
        _regs: &mut UserRegs,
        request: ExecRequest,
    ) -> Result<(), (Errno, Vec<u8>)> {
        Err((Errno::ENOSYS, request.path))
    }
}
