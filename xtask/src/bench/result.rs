// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads what the benchmark prints, and keeps it as JSON.
//!
//! The guest's lines are described in `tests/user/src/bin/bench/report.rs`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What was measured on one kernel.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// What /proc/version says.
    pub kernel: String,
    /// What a number counts: instructions or nanoseconds.
    pub unit: String,
    /// What was found, by name.
    pub values: BTreeMap<String, Value>,
}

/// One number, and what was counted beside it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Value {
    /// The number.
    pub value: f64,
    /// TLB invalidations in all, where the kernel counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tlbis: Option<u64>,
    /// Requests to the disk in all, where the kernel counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
}

/// A run of the benchmark: on Granule, and perhaps on another kernel.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// The command that made it.
    pub command: String,
    /// The version of QEMU.
    pub qemu: String,
    /// The commit of Granule.
    #[serde(default)]
    pub commit: String,
    /// Granule's numbers.
    pub granule: Measured,
    /// The other kernel's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linux: Option<Measured>,
}

/// A line of the guest's report.
#[derive(Clone, PartialEq, Debug)]
enum Line<'a> {
    Fact(&'a str, &'a str),
    Value(&'a str, Value),
}

impl Measured {
    /// Takes a line of the guest's output; returns whether it is one of the report.
    pub fn take(&mut self, line: &str) -> bool {
        match parse(line) {
            Some(Line::Fact("kernel", kernel)) => self.kernel = kernel.to_owned(),
            Some(Line::Fact("unit", unit)) => self.unit = unit.to_owned(),
            Some(Line::Fact(..)) => {}
            Some(Line::Value(name, value)) => {
                self.values.insert(name.to_owned(), value);
            }
            None => return false,
        }
        true
    }

    /// Returns the short name of the kernel: `Linux 7.2.13`, or what the line starts with.
    pub fn name(&self) -> String {
        let mut words = self.kernel.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("Linux"), Some("version"), Some(release)) => {
                let end = release.find(|c: char| !c.is_ascii_digit() && c != '.');
                format!("Linux {}", &release[..end.unwrap_or(release.len())])
            }
            (Some(first), ..) => first.to_owned(),
            _ => String::from("?"),
        }
    }

    /// Returns a number.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.values.get(name).map(|value| value.value)
    }
}

/// Returns whether a line is the report's last.
pub fn is_end(line: &str) -> bool {
    parse(line) == Some(Line::Fact("end", "1"))
}

fn parse(line: &str) -> Option<Line<'_>> {
    let line = line.strip_prefix("bench: ")?;
    let (name, rest) = match line.split_once(' ') {
        Some((name, rest)) if !name.contains('=') => (name, rest),
        _ => return line.split_once('=').map(|(name, value)| Line::Fact(name, value)),
    };
    let mut words = rest.split(' ');
    let value = words.next()?.parse().ok()?;
    let mut value = Value { value, tlbis: None, requests: None };
    for word in words {
        match word.split_once('=')? {
            ("tlbis", number) => value.tlbis = Some(number.parse().ok()?),
            ("requests", number) => value.requests = Some(number.parse().ok()?),
            _ => return None,
        }
    }
    Some(Line::Value(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_and_values_are_read() {
        let mut measured = Measured::default();
        for line in [
            "bench: unit=instructions",
            "bench: kernel=Linux version 7.2.13+deb14-cloud-arm64 (debian) #1 SMP",
            "bench: null_call 148",
            "bench: fault/64K+mte 107 tlbis=2 requests=0",
            "bench: bytes_per_slot_in_use 8.25",
        ] {
            assert!(measured.take(line), "{line}");
        }
        assert_eq!(
            (measured.unit.as_str(), measured.name().as_str()),
            ("instructions", "Linux 7.2.13")
        );
        assert_eq!(measured.value("bytes_per_slot_in_use"), Some(8.25));
        let fault = Value { value: 107.0, tlbis: Some(2), requests: Some(0) };
        assert_eq!(measured.values["fault/64K+mte"], fault);
    }

    #[test]
    fn other_lines_are_not_taken() {
        let mut measured = Measured::default();
        for line in ["", "boot: fault 1", "bench: fault", "bench: fault x", "bench: fault 1 a=2"] {
            assert!(!measured.take(line), "{line}");
        }
        assert_eq!(measured, Measured::default());
        assert!(is_end("bench: end=1") && !is_end("bench: null_call 148"));
    }

    #[test]
    fn json_reads_back() {
        let mut granule = Measured::default();
        granule.take("bench: fault/4K 799 tlbis=2");
        let [command, qemu, commit] = ["c", "10.0.2", "0"].map(String::from);
        let comparison = Comparison { command, qemu, commit, granule, linux: None };
        let text = serde_json::to_string(&comparison).expect("JSON");
        assert!(!text.contains("requests") && !text.contains("linux"), "{text}");
        assert_eq!(serde_json::from_str::<Comparison>(&text).expect("a comparison"), comparison);
    }
}
