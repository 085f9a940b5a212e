// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads the boot options of large folios, with Linux's grammar
//! (Documentation/admin-guide/mm/transhuge.rst):
//!
//! - `transparent_hugepage=always`, `madvise` or `never`, for all sizes;
//! - `thp_anon=16K,64K:always;128K-512K:inherit;2M:never`, for some sizes. Those that are not named
//!   are `never` then.
//!
//! What is not understood is left out as a whole.

use base::Order;
use mm::{Enabled, OrderSet, SizeEnabled, SizeSettings};

/// Reads the value of `transparent_hugepage`.
pub fn enabled(value: &str) -> Option<Enabled> {
    match value {
        "always" => Some(Enabled::Always),
        "madvise" => Some(Enabled::Madvise),
        "never" => Some(Enabled::Never),
        _ => None,
    }
}

/// Reads the value of `thp_anon`. Of two settings for one size, the later counts.
pub fn sizes(value: &str) -> Option<SizeSettings> {
    let mut settings = SizeSettings::NEVER;
    for part in value.split(';') {
        let (sizes, policy) = part.split_once(':')?;
        let policy = size_enabled(policy)?;
        for size in sizes.split(',') {
            settings.set(orders(size)?, policy);
        }
    }
    Some(settings)
}

fn size_enabled(word: &str) -> Option<SizeEnabled> {
    match word {
        "always" => Some(SizeEnabled::Always),
        "inherit" => Some(SizeEnabled::Inherit),
        "madvise" => Some(SizeEnabled::Madvise),
        "never" => Some(SizeEnabled::Never),
        _ => None,
    }
}

/// Reads `64K` or `16K-64K`.
fn orders(text: &str) -> Option<OrderSet> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (order(low)?, order(high)?);
    let orders = OrderSet::LARGE.intersect(OrderSet::up_to(high));
    (low <= high).then(|| orders.minus(OrderSet::up_to(low)).union(OrderSet::of(low)))
}

/// Reads a size that a large folio can have.
fn order(text: &str) -> Option<Order> {
    let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        _ => return None,
    };
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let bytes = digits.parse::<u64>().ok().filter(|_| is_number)?.checked_mul(1 << shift)?;
    OrderSet::LARGE.iter().find(|order| order.bytes() as u64 == bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    /// Shows the settings of orders 2 to 9 as their initials.
    fn shown(value: &str) -> Option<String> {
        let settings = sizes(value)?;
        let initial = |order| match settings.get(Order::new(order)) {
            SizeEnabled::Always => 'a',
            SizeEnabled::Inherit => 'i',
            SizeEnabled::Madvise => 'm',
            SizeEnabled::Never => '-',
        };
        Some((2..=9).map(initial).collect())
    }

    #[test]
    fn sizes_lists_and_ranges_get_their_words() {
        //        16K 32K 64K 128K 256K 512K 1M 2M
        let rows = [
            ("64K:always", "--a-----"),
            ("16K-64K:always;2M:inherit", "aaa----i"),
            ("16k,65536,1m:madvise", "m-m---m-"),
            ("16K-2M:always;32K,128K-256K:never", "a-a--aaa"),
            ("2048K-2M:inherit", "-------i"),
            ("16K-2M:never", "--------"),
        ];
        for (value, expected) in rows {
            assert_eq!(shown(value).as_deref(), Some(expected), "{value}");
        }
    }

    #[test]
    fn a_value_with_a_mistake_is_left_out_as_a_whole() {
        for bad in [
            "",
            ";",
            ":",
            "64K",
            "64K:",
            ":always",
            "64K:sometimes",
            "64K:always;",
            ";64K:always",
            "64K:always;128K",
            "64K:always:never",
            "4K:always",
            "8K:always",
            "4M:always",
            "48K:always",
            "1G:always",
            "64K-16K:always",
            "16K-:always",
            "-64K:always",
            "16K-64K-1M:always",
            "64KB:always",
            "K:always",
            "+64K:always",
            "64 K:always",
            "0:always",
            "18446744073709551616:always",
            "18446744073709551615K:always",
        ] {
            assert_eq!(shown(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_setting_for_all_sizes_is_one_of_three_words() {
        assert_eq!(enabled("always"), Some(Enabled::Always));
        assert_eq!(enabled("madvise"), Some(Enabled::Madvise));
        assert_eq!(enabled("never"), Some(Enabled::Never));
        for bad in ["", "Always", "inherit", "always "] {
            assert_eq!(enabled(bad), None, "{bad:?}");
        }
    }
}
