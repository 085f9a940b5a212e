// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows counters: as a table for people, as Prometheus text and as JSON for programs.

use std::fmt::Write;

use super::catalogue::Catalogue;
use super::sample::{Change, Sample};

/// Says what a table has of counters that are 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Zeroes {
    /// They are left out.
    Hidden,
    /// They are shown.
    Shown,
}

/// Returns a table with a part for each enum.
pub fn table(sample: &Sample, catalogue: &Catalogue, zeroes: Zeroes) -> String {
    let mut text = String::new();
    let mut title = "";
    for (name, value) in &sample.0 {
        if *value == 0 && zeroes == Zeroes::Hidden {
            continue;
        }
        let found = catalogue.find(name);
        let (own_title, meaning) = found.map_or(("Others", ""), |(section, entry)| {
            (section.about.as_str(), entry.meaning.as_str())
        });
        if own_title != title {
            let gap = if title.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}{own_title}");
            title = own_title;
        }
        let _ = writeln!(text, "{}", format!("{value:>14}  {name:<30} {meaning}").trim_end());
    }
    text
}

/// Returns a table of what differs between two runs.
pub fn changes_table(changes: &[Change], catalogue: &Catalogue) -> String {
    let mut text = format!("{:>14} {:>14} {:>15}  counter\n", "before", "after", "difference");
    for change in changes {
        let value = |value: Option<u64>| value.map_or(String::from("-"), |v| v.to_string());
        let difference = change.difference().map_or(String::from("-"), |d| format!("{d:+}"));
        let (before, after) = (value(change.before), value(change.after));
        let meaning = catalogue.find(&change.name).map_or("", |(_, entry)| &entry.meaning);
        let line =
            format!("{before:>14} {after:>14} {difference:>15}  {:<30} {meaning}", change.name);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Returns Prometheus text (exposition format 0.0.4).
pub fn prometheus(sample: &Sample, catalogue: &Catalogue) -> String {
    let mut text = String::new();
    for (name, value) in &sample.0 {
        let mut kind = "untyped";
        if let Some((section, entry)) = catalogue.find(name) {
            kind = if section.has_gauges() { "gauge" } else { "counter" };
            let help = entry.meaning.replace('\\', r"\\");
            let _ = writeln!(text, "# HELP granule_{name} {help}");
        }
        let _ = writeln!(text, "# TYPE granule_{name} {kind}\ngranule_{name} {value}");
    }
    text
}

/// Returns a JSON object with a member for each counter.
pub fn json(sample: &Sample) -> String {
    // Not a map of serde_json: that would sort the names.
    let member = |(name, value): &(String, u64)| format!("  {}: {value}", quoted(name));
    let members: Vec<String> = sample.0.iter().map(member).collect();
    format!("{{\n{}\n}}\n", members.join(",\n"))
}

/// Returns a JSON array with an object for each change.
pub fn changes_json(changes: &[Change]) -> String {
    let value = |value: Option<u64>| value.map_or(String::from("null"), |v| v.to_string());
    let object = |change: &Change| {
        let (name, before, after) =
            (quoted(&change.name), value(change.before), value(change.after));
        format!("  {{\"name\": {name}, \"before\": {before}, \"after\": {after}}}")
    };
    let objects: Vec<String> = changes.iter().map(object).collect();
    format!("[\n{}\n]\n", objects.join(",\n"))
}

fn quoted(name: &str) -> String {
    serde_json::Value::from(name).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::catalogue::{Entry, Section};

    fn catalogue() -> Catalogue {
        let section = |name: &str, about: &str, counter: &str, meaning: &str| Section {
            name: name.into(),
            about: about.into(),
            path: String::from("a.rs"),
            entries: vec![Entry { name: counter.into(), meaning: meaning.into() }],
        };
        let sections = vec![
            section("Gauge", "Gauges.", "nr_free_pages", "Free pages."),
            section("MmEvent", "Events.", "pgfault", "Page faults."),
        ];
        Catalogue { sections, zeroes: Vec::new() }
    }

    fn sample() -> Sample {
        Sample::parse("nr_free_pages 7\npgfault 12\nunknown 0\n")
    }

    #[test]
    fn a_table_has_a_part_for_each_enum_and_no_zeroes() {
        let text = table(&sample(), &catalogue(), Zeroes::Hidden);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Gauges.");
        assert!(lines[1].trim_start().starts_with("7  nr_free_pages"), "{text}");
        assert!(lines[1].ends_with(" Free pages."), "{text}");
        assert_eq!((lines[2], lines[3]), ("", "Events."));
        assert_eq!(lines.len(), 5, "{text}");
        assert!(
            table(&sample(), &catalogue(), Zeroes::Shown)
                .ends_with("Others\n             0  unknown\n")
        );
    }

    #[test]
    fn prometheus_text_has_help_and_type_of_what_is_known() {
        assert_eq!(
            prometheus(&sample(), &catalogue()),
            "# HELP granule_nr_free_pages Free pages.\n# TYPE granule_nr_free_pages gauge\n\
             granule_nr_free_pages 7\n# HELP granule_pgfault Page faults.\n\
             # TYPE granule_pgfault counter\ngranule_pgfault 12\n# TYPE granule_unknown untyped\n\
             granule_unknown 0\n"
        );
    }

    #[test]
    fn json_can_be_read_back() {
        let value: serde_json::Value = serde_json::from_str(&json(&sample())).expect("JSON");
        assert_eq!(value["pgfault"], 12);
        let changes = sample().changes(&Sample::parse("pgfault 20\n"));
        let value: serde_json::Value = serde_json::from_str(&changes_json(&changes)).expect("JSON");
        assert_eq!(value[0]["after"], 20);
        assert!(value[1]["after"].is_null());
    }

    #[test]
    fn a_difference_has_its_sign() {
        let changes = sample().changes(&Sample::parse("nr_free_pages 5\npgfault 20\nunknown 0\n"));
        let text = changes_table(&changes, &catalogue());
        assert!(text.contains("  7              5              -2  nr_free_pages "), "{text}");
        assert!(text.contains("  +8  pgfault "), "{text}");
        assert_eq!(text.lines().count(), 3);
    }
}
