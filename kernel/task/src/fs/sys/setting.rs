// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows settings of sysfs and reads what is written to them.
//!
//! What was written counts up to the first zero byte, as in a C string. What is not understood
//! leaves a setting as it was. A write of no bytes at all does nothing and succeeds, as Linux's
//! (fs/sysfs/file.c, sysfs_kf_write()).

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;
use base::sync::atomic::{AtomicUsize, Ordering};

use crate::fs::synthetic::Spec;

/// A setting with one of several words, shown as `a [b] c`. `get` and `set` go by position.
pub fn choice(
    words: &'static [&'static str],
    get: impl Fn() -> usize + Send + Sync + 'static,
    set: impl Fn(usize) -> Result<(), Errno> + Send + Sync + 'static,
) -> Spec {
    let show = move || Ok(brackets(words, get()));
    let store = move |bytes: &[u8]| {
        let found = words.iter().position(|word| is_word(bytes, word));
        set(found.ok_or(Errno::EINVAL)?)
    };
    setting(show, store)
}

/// A choice that nothing but its own file asks about, and that takes only the words of `takes`.
pub fn kept_choice(
    words: &'static [&'static str],
    takes: &'static [&'static str],
    start: &'static str,
) -> Spec {
    let start = words.iter().position(|word| *word == start).expect("a setting starts as a word");
    let chosen = Arc::new(AtomicUsize::new(start));
    let written = Arc::clone(&chosen);
    let set = move |index: usize| {
        if !takes.contains(&words[index]) {
            return Err(Errno::EINVAL);
        }
        written.store(index, Ordering::Relaxed);
        Ok(())
    };
    choice(words, move || chosen.load(Ordering::Relaxed), set)
}

/// A setting that is a number.
pub fn number(
    get: impl Fn() -> u64 + Send + Sync + 'static,
    set: impl Fn(u64) -> Result<(), Errno> + Send + Sync + 'static,
) -> Spec {
    let show = move || Ok(format!("{}\n", get()).into_bytes());
    setting(show, move |bytes: &[u8]| set(parse_number(bytes)?))
}

fn setting(
    show: impl Fn() -> Result<Vec<u8>, Errno> + Send + Sync + 'static,
    store: impl Fn(&[u8]) -> Result<(), Errno> + Send + Sync + 'static,
) -> Spec {
    let store = move |bytes: &[u8]| if bytes.is_empty() { Ok(()) } else { store(bytes) };
    Spec::Setting(Box::new(show), Box::new(store))
}

/// Shows the word that is chosen in brackets.
fn brackets(words: &[&str], chosen: usize) -> Vec<u8> {
    let shown = words.iter().enumerate().map(|(index, word)| match index == chosen {
        true => format!("[{word}]"),
        false => String::from(*word),
    });
    let mut text = shown.collect::<Vec<_>>().join(" ");
    text.push('\n');
    text.into_bytes()
}

fn c_string(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or(bytes)
}

fn without_newline(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\n").unwrap_or(text)
}

/// Compares as Linux's sysfs_streq(): one newline at the end does not count, and nothing else is
/// forgiven.
pub(super) fn is_word(bytes: &[u8], word: &str) -> bool {
    without_newline(c_string(bytes)) == word.as_bytes()
}

/// Reads a decimal number as Linux's kstrtoul(): perhaps a plus sign, digits, perhaps a newline.
fn parse_number(bytes: &[u8]) -> Result<u64, Errno> {
    let text = c_string(bytes);
    let text = without_newline(text.strip_prefix(b"+").unwrap_or(text));
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(Errno::EINVAL);
    }
    text.iter().try_fold(0u64, |value, digit| {
        value
            .checked_mul(10)
            .and_then(|value| value.checked_add(u64::from(digit - b'0')))
            .ok_or(Errno::ERANGE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_may_end_in_one_newline_and_in_nothing_else() {
        for same in ["never", "never\n", "never\0", "never\n\0", "never\0x"] {
            assert!(is_word(same.as_bytes(), "never"), "{same:?}");
        }
        for other in ["", "\n", "neve", "never ", " never", "never\n\n", "Never", "nevers", "\0"] {
            assert!(!is_word(other.as_bytes(), "never"), "{other:?}");
        }
    }

    #[test]
    fn a_number_is_decimal_digits_and_fits_in_64_bits() {
        let number = |text: &str| parse_number(text.as_bytes());
        assert_eq!(number("0"), Ok(0));
        assert_eq!(number("+017\n"), Ok(17));
        assert_eq!(number("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(number("18446744073709551616"), Err(Errno::ERANGE));
        assert_eq!(number("99999999999999999999"), Err(Errno::ERANGE));
        for bad in ["", "\n", "+", "-1", "1 ", " 1", "1\n\n", "0x1", "1k", "++1"] {
            assert_eq!(number(bad), Err(Errno::EINVAL), "{bad:?}");
        }
    }

    #[test]
    fn the_chosen_word_is_in_brackets() {
        assert_eq!(brackets(&["always", "madvise", "never"], 1), b"always [madvise] never\n");
        assert_eq!(brackets(&["a", "b"], 1), b"a [b]\n");
    }
}
