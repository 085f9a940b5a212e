// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file hands out a host bridge's window of addresses, from its start upwards, for good.

use core::ops::Range;

/// What is left of a window.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Window(Range<u64>);

impl Window {
    /// Builds a window of free addresses. Address 0 is not among them: it says "none".
    pub fn new(addresses: Range<u64>) -> Self {
        Self(addresses.start.max(1)..addresses.end)
    }

    /// Takes a range of a size that is a power of two, aligned to its size and to pages: two devices
    /// do not share one.
    pub fn take(&mut self, size: u64) -> Option<u64> {
        let align = size.max(base::PAGE_SIZE as u64);
        if !size.is_power_of_two() {
            return None;
        }
        let start = self.0.start.checked_next_multiple_of(align)?;
        let end = start.checked_add(align)?;
        (end <= self.0.end).then(|| {
            self.0.start = end;
            start
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_aligned_to_their_size_and_do_not_meet() {
        let mut window = Window::new(0x1000_0000..0x1002_0000);
        assert_eq!(window.take(0x1000), Some(0x1000_0000));
        assert_eq!(window.take(0x4000), Some(0x1000_4000), "aligned to 16 KiB");
        assert_eq!(window.take(0x20), Some(0x1000_8000));
        assert_eq!(window.take(0x1000), Some(0x1000_9000), "a page of its own");
        assert_eq!(window.take(0x1_0000), Some(0x1001_0000), "the last 64 KiB");
        assert_eq!(window.take(1), None, "full");
    }

    #[test]
    fn sizes_that_no_register_has_are_refused() {
        let mut window = Window::new(0..u64::MAX);
        assert_eq!(window.take(0), None);
        assert_eq!(window.take(0x3000), None);
        assert_eq!(window.take(1 << 62), Some(1 << 62), "not 0");
        assert_eq!(window.take(1 << 62), Some(2 << 62));
        assert_eq!(window.take(1 << 62), None, "past the end");
    }
}
