// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file defines the order of a folio: log2 of its number of pages.

use crate::addr::PAGE_SIZE;

/// log2 of a number of pages; 0 is one page, [`Order::BLOCK`] is 2 MiB.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Order(u8);

impl Order {
    /// One page.
    pub const PAGE: Order = Order(0);
    /// Sixteen pages: what one contiguous-bit run covers with 4 KiB pages.
    pub const CONT: Order = Order(4);
    /// 512 pages: what one L2 block entry maps, and the largest folio.
    pub const BLOCK: Order = Order(9);

    /// Wraps a raw order.
    ///
    /// # Panics
    ///
    /// Above [`Order::BLOCK`].
    pub const fn new(raw: u8) -> Self {
        assert!(raw <= Self::BLOCK.0, "order above BLOCK");
        Self(raw)
    }

    /// Returns the raw order.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Returns the number of pages.
    pub const fn nr_pages(self) -> u32 {
        1 << self.0
    }

    /// Returns the number of bytes.
    pub const fn bytes(self) -> usize {
        PAGE_SIZE << self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_order_is_two_mebibytes() {
        assert_eq!(Order::BLOCK.bytes(), 2 << 20);
        assert_eq!(Order::CONT.nr_pages(), 16);
        assert_eq!(Order::PAGE.bytes(), PAGE_SIZE);
    }
}
