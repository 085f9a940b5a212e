// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads the kernel command line: `key=value` words for the kernel, then ` -- `, then
//! arguments for init.
//!
//! Double quotes keep spaces in a word, as in Linux's (lib/cmdline.c, next_arg), and are not part
//! of it. The last of several words with the same key counts.

/// A command line.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CommandLine<'a> {
    whole: &'a str,
    kernel: &'a str,
    init: &'a str,
}

impl<'a> CommandLine<'a> {
    /// Splits the kernel's part from init's.
    pub fn new(line: &'a str) -> Self {
        let mut rest = line;
        while let Some((word, after)) = next_word(rest) {
            if word == "--" {
                let kernel = &line[..line.len() - rest.len()];
                return Self { whole: line, kernel, init: after };
            }
            rest = after;
        }
        Self { whole: line, kernel: line, init: "" }
    }

    /// Returns the line as it stands.
    pub fn whole(&self) -> &'a str {
        self.whole
    }

    /// Returns the value of the last `key=value` word.
    pub fn value(&self, key: &str) -> Option<&'a str> {
        let value_of = |word: &'a str| word.strip_prefix(key)?.strip_prefix('=');
        self.options().filter_map(value_of).last().map(unquoted)
    }

    /// Tells whether an option has a value.
    pub fn is(&self, key: &str, value: &str) -> bool {
        self.value(key) == Some(value)
    }

    /// Returns the words for the kernel, as they stand.
    pub fn options(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        words(self.kernel)
    }

    /// Returns the arguments for init.
    pub fn init_args(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        words(self.init).map(unquoted)
    }
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    core::iter::from_fn(move || {
        let (word, after) = next_word(rest)?;
        rest = after;
        Some(word)
    })
}

/// Returns the first word, quotes included, and what follows it.
fn next_word(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_ascii_start();
    let mut in_quotes = false;
    let end = line.find(|c: char| {
        in_quotes ^= c == '"';
        c.is_ascii_whitespace() && !in_quotes
    });
    let (word, after) = line.split_at(end.unwrap_or(line.len()));
    (!word.is_empty()).then_some((word, after))
}

/// Drops a pair of quotes around a word.
fn unquoted(word: &str) -> &str {
    word.strip_prefix('"').and_then(|word| word.strip_suffix('"')).unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn init_args(line: &str) -> Vec<&str> {
        CommandLine::new(line).init_args().collect()
    }

    #[test]
    fn value_is_that_of_the_last_word_with_the_key() {
        let line = CommandLine::new("mm.af=hw exit=semihosting  mm.af=sw");
        assert_eq!(line.value("mm.af"), Some("sw"));
        assert!(line.is("exit", "semihosting"));
        assert_eq!(line.value("mm"), None, "a key is matched whole");
        assert_eq!(line.value("xit"), None);
    }

    #[test]
    fn words_after_the_dashes_belong_to_init() {
        let line = CommandLine::new("a=1 -- b=2 --  -c \"d e\"");
        assert_eq!(line.value("b"), None);
        assert_eq!(init_args("a=1 -- b=2 --  -c \"d e\""), ["b=2", "--", "-c", "d e"]);
        assert_eq!(init_args("a=1 --verbose"), [] as [&str; 0], "only a word of its own counts");
    }

    #[test]
    fn quotes_keep_spaces_in_a_value() {
        let line = CommandLine::new("ktest=\"tlb mte\" x=\"unclosed one");
        assert_eq!(line.value("ktest"), Some("tlb mte"));
        assert_eq!(line.value("x"), Some("\"unclosed one"));
    }

    #[test]
    fn empty_line_has_nothing() {
        assert_eq!(CommandLine::new("  \n").options().count(), 0);
        assert_eq!(init_args(" --"), [] as [&str; 0]);
    }
}
