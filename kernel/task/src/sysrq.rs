// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file does what a magic key asks for: Ctrl-O and the key on the console, or the key written
//! to /proc/sysrq-trigger.
//!
//! Ctrl-O is what Linux's drivers/tty/hvc takes for the break that a line without breaks cannot
//! send. The keys are Linux's as well (Documentation/admin-guide/sysrq.rst), as far as they have a
//! meaning here.

use hal::Platform;

use crate::kernel::Kernel;

impl<P: Platform> Kernel<P> {
    /// Does what `key` stands for, or says which keys there are. Called with no lock held.
    pub(crate) fn sysrq(&self, key: u8) {
        match key {
            b'm' => self.print_counters(),
            b'z' => self.machine().write_trace(),
            _ => self.machine().console_write(b"sysrq: help: memory counters (m), trace (z)\n"),
        }
    }
}
