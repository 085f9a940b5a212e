// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the word in which migration and its caller tell each other about one page: Linux's
//! `src` and `dst` arrays (include/linux/migrate.h), bit for bit.

use base::Pfn;

/// What is known of one page of a range that is being migrated. 0: it stays where it is.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct MigrateWord(u64);

/// Below the frame number.
const SHIFT: u32 = 6;

impl MigrateWord {
    /// The page stays, or has no destination.
    pub const NONE: Self = Self(0);
    /// The word names a frame. Without it, and with [`MigrateWord::MIGRATE`], there is none: a hole, or the
    /// page of zeroes.
    pub const VALID: Self = Self(1 << 0);
    /// The page is moving.
    pub const MIGRATE: Self = Self(1 << 1);
    /// The mapping permits stores.
    pub const WRITE: Self = Self(1 << 3);
    /// The word speaks for all pages of a folio; those after it are 0.
    pub const COMPOUND: Self = Self(1 << 4);

    /// Builds the word of a frame, without flags other than `VALID`.
    pub const fn of(pfn: Pfn) -> Self {
        Self((pfn.get() as u64) << SHIFT | Self::VALID.0)
    }

    /// Returns the word with more flags.
    #[must_use]
    pub const fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    /// Returns the word without some flags.
    #[must_use]
    pub const fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }

    /// Tells whether all of `flags` are set.
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Returns the frame, if the word names one.
    pub const fn pfn(self) -> Option<Pfn> {
        if self.has(Self::VALID) { Some(Pfn::new((self.0 >> SHIFT) as u32)) } else { None }
    }
}

impl core::fmt::Debug for MigrateWord {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let flag = |flag, text| if self.has(flag) { text } else { "-" };
        let [valid, migrate] = [flag(Self::VALID, "v"), flag(Self::MIGRATE, "m")];
        let [write, compound] = [flag(Self::WRITE, "w"), flag(Self::COMPOUND, "c")];
        write!(f, "MigrateWord({:?} {valid}{migrate}{write}{compound})", self.pfn())
    }
}
