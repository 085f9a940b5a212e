// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds values that are set once and read by everybody afterwards.

use alloc::boxed::Box;

use super::backend;

/// A value that is set once and read by everybody afterwards.
pub struct OnceCell<T>(spin::once::Once<T, backend::EventRelax>);

impl<T> OnceCell<T> {
    /// Builds an empty cell.
    pub const fn new() -> Self {
        Self(spin::once::Once::new())
    }

    /// Returns the value once it is set.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.0.get()
    }

    /// Sets the value.
    ///
    /// # Panics
    ///
    /// When it is set already.
    pub fn set(&self, value: T) {
        assert!(self.set_once(value), "once cell: set twice");
    }

    /// Sets the value unless there is one, and tells whether it was set.
    pub fn set_once(&self, value: T) -> bool {
        let mut fresh = false;
        self.0.call_once(|| {
            fresh = true;
            value
        });
        fresh
    }
}

impl<T> Default for OnceCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Like [`OnceCell`], in a box: a pointer that is loaded and compared, for what is read all the time. The
/// model checker does not see its accesses.
pub struct OnceBox<T>(once_cell::race::OnceBox<T>);

impl<T> OnceBox<T> {
    /// Builds an empty cell.
    pub const fn new() -> Self {
        Self(once_cell::race::OnceBox::new())
    }

    /// Returns the value once it is set.
    #[inline(always)]
    pub fn get(&self) -> Option<&T> {
        self.0.get()
    }

    /// Sets the value.
    ///
    /// # Panics
    ///
    /// When it is set already.
    pub fn set(&self, value: Box<T>) {
        assert!(self.0.set(value).is_ok(), "once box: set twice");
    }
}

impl<T> Default for OnceBox<T> {
    fn default() -> Self {
        Self::new()
    }
}
