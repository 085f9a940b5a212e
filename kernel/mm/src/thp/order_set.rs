// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file defines sets of folio orders.

use base::Order;

/// A set of orders, as bits.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct OrderSet(u16);

impl OrderSet {
    /// No order.
    pub const EMPTY: OrderSet = OrderSet(0);
    /// The orders of large anonymous folios, 2 to 9 (Linux: `THP_ORDERS_ALL_ANON`).
    pub const LARGE: OrderSet = OrderSet(0b11_1111_1100);

    /// Returns the set of one order.
    pub const fn of(order: Order) -> Self {
        Self(1 << order.get())
    }

    /// Returns the set of all orders up to and with `order`.
    pub const fn up_to(order: Order) -> Self {
        Self((2 << order.get()) - 1)
    }

    pub(super) const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u16 {
        self.0
    }

    /// Tells whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Tells whether `order` is in the set.
    pub const fn contains(self, order: Order) -> bool {
        self.0 & Self::of(order).0 != 0
    }

    /// Returns the orders that are in one of the sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the orders that are in both sets.
    #[must_use]
    pub const fn intersect(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns the orders that are not in `other`.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns the highest order.
    pub fn highest(self) -> Option<Order> {
        self.0.checked_ilog2().map(|order| Order::new(order as u8))
    }

    /// Returns the highest order below `order`.
    pub fn next_lower(self, order: Order) -> Option<Order> {
        Self(self.0 & (Self::of(order).0 - 1)).highest()
    }

    /// Iterates over the orders, highest first.
    pub fn iter(self) -> impl Iterator<Item = Order> {
        core::iter::successors(self.highest(), move |order| self.next_lower(*order))
    }
}
