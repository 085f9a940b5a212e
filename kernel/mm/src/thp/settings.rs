// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file keeps the settings of large folios.
//!
//! All are one word, so a fault needs no lock and one load; a change holds for the faults that load
//! it afterwards. What follows from several of them, which a fault asks for, is worked out when one
//! changes, and kept in the same word.
//!
//! | bits | field |
//! |---|---|
//! | 15:0 | orders that areas may have which say nothing |
//! | 31:16 | orders that areas may have which want large folios |
//! | 39:32 | sizes that are `always`, from order 2 on |
//! | 47:40 | sizes that are `inherit` |
//! | 55:48 | sizes that are `madvise` |
//! | 57:56 | the setting for all sizes |
//! | 60:58 | defrag |
//! | 61 | use_zero_page |

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
}

/// All settings, unpacked.
#[derive(Clone, Copy)]
struct Values {
    enabled: Enabled,
    defrag: Defrag,
    use_zero_page: bool,
    sizes: SizeSettings,
}

const WANTED_SHIFT: u32 = 16;
const ALWAYS_SHIFT: u32 = 32;
const INHERIT_SHIFT: u32 = 40;
const MADVISE_SHIFT: u32 = 48;
const ENABLED_SHIFT: u32 = 56;
const DEFRAG_SHIFT: u32 = 58;
const USE_ZERO_PAGE: u64 = 1 << 61;
/// The lowest order of a size; it has the lowest bit of its field.
const LOWEST: u32 = 2;

impl Values {
    /// Returns the orders that areas may have, by whether they want large folios.
    fn allowed(&self, wants: bool) -> OrderSet {
        let SizeSettings { mut always, inherit, madvise } = self.sizes;
        if wants {
            always = always.union(madvise);
        }
        match self.enabled {
            Enabled::Always => always.union(inherit),
            Enabled::Madvise if wants => always.union(inherit),
            Enabled::Madvise | Enabled::Never => always,
        }
    }

    fn pack(self) -> u64 {
        let sizes = |set: OrderSet, shift: u32| u64::from(set.bits() >> LOWEST) << shift;
        u64::from(self.allowed(false).bits())
            | u64::from(self.allowed(true).bits()) << WANTED_SHIFT
            | sizes(self.sizes.always, ALWAYS_SHIFT)
            | sizes(self.sizes.inherit, INHERIT_SHIFT)
            | sizes(self.sizes.madvise, MADVISE_SHIFT)
            | (self.enabled as u64) << ENABLED_SHIFT
            | (self.defrag as u64) << DEFRAG_SHIFT
            | if self.use_zero_page { USE_ZERO_PAGE } else { 0 }
    }

    #[inline(always)]
    fn unpack(word: u64) -> Self {
        let sizes = |shift: u32| OrderSet::from_bits(((word >> shift) as u16 & 0xff) << LOWEST);
        Self {
            enabled: Enabled::ALL[(word >> ENABLED_SHIFT & 0b11) as usize],
            defrag: Defrag::ALL[(word >> DEFRAG_SHIFT & 0b111) as usize],
            use_zero_page: word & USE_ZERO_PAGE != 0,
            sizes: SizeSettings {
                always: sizes(ALWAYS_SHIFT),
                inherit: sizes(INHERIT_SHIFT),
                madvise: sizes(MADVISE_SHIFT),
            },
        }
    }
}

/// The settings.
pub struct Settings(AtomicU64);

/// As Linux boots with CONFIG_TRANSPARENT_HUGEPAGE_MADVISE.
impl Default for Settings {
    fn default() -> Self {
        let values = Values {
            enabled: Enabled::Madvise,
            defrag: Defrag::Madvise,
            use_zero_page: true,
            sizes: SizeSettings::default(),
        };
        Self(AtomicU64::new(values.pack()))
    }
}

impl Settings {
    /// Returns the orders that areas may have, by whether they want large folios.
    #[inline(always)]
    pub(super) fn orders(&self, wants: bool) -> OrderSet {
        let word = self.0.load(Relaxed);
        OrderSet::from_bits(if wants { word >> WANTED_SHIFT } else { word } as u16)
    }

    /// Returns the setting for all sizes.
    pub fn enabled(&self) -> Enabled {
        self.values().enabled
    }

    /// Changes the setting for all sizes.
    pub fn set_enabled(&self, to: Enabled) {
        self.change(|values| values.enabled = to);
    }

    /// Returns what is done when no run of frames is free.
    #[inline]
    pub fn defrag(&self) -> Defrag {
        self.values().defrag
    }

    /// Changes what is done when no run of frames is free.
    pub fn set_defrag(&self, to: Defrag) {
        self.change(|values| values.defrag = to);
    }

    /// Tells whether a load may map 2 MiB of zeroes.
    #[inline]
    pub fn use_zero_page(&self) -> bool {
        self.values().use_zero_page
    }

    /// Says whether a load may map 2 MiB of zeroes.
    pub fn set_use_zero_page(&self, to: bool) {
        self.change(|values| values.use_zero_page = to);
    }

    /// Returns the settings of each size.
    pub fn sizes(&self) -> SizeSettings {
        self.values().sizes
    }

    /// Changes the settings of all sizes.
    pub fn set_sizes(&self, to: SizeSettings) {
        self.change(|values| values.sizes = to);
    }

    /// Changes the setting of one size.
    pub fn set_size(&self, order: Order, to: SizeEnabled) {
        self.change(|values| values.sizes.set(OrderSet::of(order), to));
    }

    #[inline]
    fn values(&self) -> Values {
        Values::unpack(self.0.load(Relaxed))
    }

    fn change(&self, change: impl Fn(&mut Values)) {
        let changed = |word| {
            let mut values = Values::unpack(word);
            change(&mut values);
            Some(values.pack())
        };
        let result = self.0.fetch_update(Relaxed, Relaxed, changed);
        debug_assert!(result.is_ok(), "the change is never refused");
    }
}
