// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file keeps the settings of large folios.
//!
//! Each is one word that is read whole, so a fault needs no lock; a change holds for the faults
//! that read it.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

use base::Order;

use super::OrderSet;

/// Which areas get large folios.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Enabled {
    /// All but those that do not want them.
    Always,
    /// Those that want them.
    Madvise,
    /// None.
    Never,
}

/// Which areas get folios of one size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum SizeEnabled {
    /// All but those that do not want large folios.
    Always,
    /// Those that the setting for all sizes says.
    Inherit,
    /// Those that want large folios.
    Madvise,
    /// None.
    Never,
}

/// What is done for a large folio when no run of frames is free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Defrag {
    /// The faulting thread reclaims.
    Always,
    /// The background thread reclaims.
    Defer,
    /// The faulting thread reclaims for areas that want large folios, the background thread for
    /// others.
    DeferOrMadvise,
    /// The faulting thread reclaims for areas that want large folios.
    Madvise,
    /// Nothing.
    Never,
}

impl Enabled {
    /// All values, in the order in which sysfs shows them.
    pub const ALL: [Self; 3] = [Self::Always, Self::Madvise, Self::Never];
}

impl SizeEnabled {
    /// All values, in the order in which sysfs shows them.
    pub const ALL: [Self; 4] = [Self::Always, Self::Inherit, Self::Madvise, Self::Never];
}

impl Defrag {
    /// All values, in the order in which sysfs shows them.
    pub const ALL: [Self; 5] =
        [Self::Always, Self::Defer, Self::DeferOrMadvise, Self::Madvise, Self::Never];
}

/// The settings of all sizes. A size is in one set at most; in none it is [`SizeEnabled::Never`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SizeSettings {
    pub(super) always: OrderSet,
    pub(super) inherit: OrderSet,
    pub(super) madvise: OrderSet,
}

/// As Linux boots: 2 MiB as the setting for all sizes says, smaller ones never.
impl Default for SizeSettings {
    fn default() -> Self {
        Self { inherit: OrderSet::of(Order::BLOCK), ..Self::NEVER }
    }
}

impl SizeSettings {
    /// No size at all.
    pub const NEVER: Self =
        Self { always: OrderSet::EMPTY, inherit: OrderSet::EMPTY, madvise: OrderSet::EMPTY };

    /// Returns the setting of `order`.
    pub fn get(&self, order: Order) -> SizeEnabled {
        match order {
            _ if self.always.contains(order) => SizeEnabled::Always,
            _ if self.inherit.contains(order) => SizeEnabled::Inherit,
            _ if self.madvise.contains(order) => SizeEnabled::Madvise,
            _ => SizeEnabled::Never,
        }
    }

    /// Sets those of `orders` that large folios can have.
    pub fn set(&mut self, orders: OrderSet, to: SizeEnabled) {
        let orders = orders.intersect(OrderSet::LARGE);
        let sets = [
            (SizeEnabled::Always, &mut self.always),
            (SizeEnabled::Inherit, &mut self.inherit),
            (SizeEnabled::Madvise, &mut self.madvise),
        ];
        for (meaning, set) in sets {
            *set = if meaning == to { set.union(orders) } else { set.minus(orders) };
        }
    }

    fn to_bits(self) -> u64 {
        let word = |set: OrderSet| set.bits() as u64;
        word(self.always) | word(self.inherit) << 16 | word(self.madvise) << 32
    }

    fn from_bits(bits: u64) -> Self {
        Self {
            always: OrderSet::from_bits(bits as u16),
            inherit: OrderSet::from_bits((bits >> 16) as u16),
            madvise: OrderSet::from_bits((bits >> 32) as u16),
        }
    }
}

/// The settings.
pub struct Settings {
    enabled: AtomicU8,
    defrag: AtomicU8,
    use_zero_page: AtomicBool,
    sizes: AtomicU64,
}

/// As Linux boots with CONFIG_TRANSPARENT_HUGEPAGE_MADVISE.
impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: AtomicU8::new(Enabled::Madvise as u8),
            defrag: AtomicU8::new(Defrag::Madvise as u8),
            use_zero_page: AtomicBool::new(true),
            sizes: AtomicU64::new(SizeSettings::default().to_bits()),
        }
    }
}

impl Settings {
    /// Returns the setting for all sizes.
    #[inline]
    pub fn enabled(&self) -> Enabled {
        Enabled::ALL[self.enabled.load(Relaxed) as usize]
    }

    /// Changes the setting for all sizes.
    pub fn set_enabled(&self, to: Enabled) {
        self.enabled.store(to as u8, Relaxed);
    }

    /// Returns what is done when no run of frames is free.
    #[inline]
    pub fn defrag(&self) -> Defrag {
        Defrag::ALL[self.defrag.load(Relaxed) as usize]
    }

    /// Changes what is done when no run of frames is free.
    pub fn set_defrag(&self, to: Defrag) {
        self.defrag.store(to as u8, Relaxed);
    }

    /// Tells whether a load may map 2 MiB of zeroes.
    #[inline]
    pub fn use_zero_page(&self) -> bool {
        self.use_zero_page.load(Relaxed)
    }

    /// Says whether a load may map 2 MiB of zeroes.
    pub fn set_use_zero_page(&self, to: bool) {
        self.use_zero_page.store(to, Relaxed);
    }

    /// Returns the settings of each size.
    #[inline]
    pub fn sizes(&self) -> SizeSettings {
        SizeSettings::from_bits(self.sizes.load(Relaxed))
    }

    /// Changes the settings of all sizes.
    pub fn set_sizes(&self, to: SizeSettings) {
        self.sizes.store(to.to_bits(), Relaxed);
    }

    /// Changes the setting of one size.
    pub fn set_size(&self, order: Order, to: SizeEnabled) {
        let changed = |bits| {
            let mut sizes = SizeSettings::from_bits(bits);
            sizes.set(OrderSet::of(order), to);
            Some(sizes.to_bits())
        };
        let result = self.sizes.fetch_update(Relaxed, Relaxed, changed);
        debug_assert!(result.is_ok(), "the change is never refused");
    }
}
