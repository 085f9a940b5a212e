// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file writes a trace in the format of Chrome's about:tracing, which Perfetto opens as well.
//!
//! A span is a complete event (`X`) of its thread, a mark an instant (`i`). A request to a disk is an
//! asynchronous pair (`b`, `e`): it begins when it is started and ends when it was waited for,
//! perhaps by another thread.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::log::{Event, Log};

/// What a viewer shows as one process.
const PID: u32 = 1;

/// Returns the JSON.
pub fn json(log: &Log) -> String {
    let mut items = vec![process_name()];
    items.extend(log.lanes.iter().map(|(lane, name)| thread_name(*lane, name)));
    items.extend(log.events.iter().map(|own| event(log, own)));
    items.extend(requests(log));
    format!("{{\"displayTimeUnit\": \"ns\", \"traceEvents\": [\n{}\n]}}\n", items.join(",\n"))
}

fn process_name() -> String {
    format!(r#"{{"ph": "M", "name": "process_name", "pid": {PID}, "args": {{"name": "granule"}}}}"#)
}

fn thread_name(lane: u32, name: &str) -> String {
    let name = quoted(name);
    format!(
        r#"{{"ph": "M", "name": "thread_name", "pid": {PID}, "tid": {lane}, "args": {{"name": {name}}}}}"#
    )
}

fn event(log: &Log, event: &Event) -> String {
    let Event { lane, start_ns, duration_ns, .. } = event;
    let mut text = match duration_ns {
        0 => String::from(r#"{"ph": "i", "s": "t""#),
        ns => format!(r#"{{"ph": "X", "dur": {}"#, microseconds(*ns)),
    };
    let (name, category) = (quoted(&event.name), quoted(&event.category));
    let ts = microseconds(*start_ns);
    let _ = write!(
        text,
        r#", "name": {name}, "cat": {category}, "pid": {PID}, "tid": {lane}, "ts": {ts}"#
    );
    let _ = write!(text, r#", "args": {{"cpu": {}"#, event.cpu);
    for (name, value) in &event.args {
        let _ = write!(text, ", {}: {}", quoted(name), shown(log, name, *value));
    }
    text + "}}"
}

/// Returns the pairs of requests. A start whose end was not kept has none, and the other way round.
fn requests(log: &Log) -> Vec<String> {
    let mut blocks: Vec<&Event> =
        log.events.iter().filter(|event| event.name.starts_with("block_")).collect();
    blocks.sort_by_key(|event| event.end_ns());
    let mut in_flight = BTreeMap::new();
    let mut pairs = Vec::new();
    for event in blocks {
        let Some(ticket) = event.arg("ticket") else { continue };
        if event.name == "block_start" {
            in_flight.insert(ticket, event);
        } else if let Some(start) = in_flight.remove(&ticket) {
            pairs.push(edge("b", start, start.start_ns, pairs.len() / 2));
            pairs.push(edge("e", start, event.end_ns(), pairs.len() / 2));
        }
    }
    pairs
}

fn edge(ph: &str, start: &Event, ns: u64, id: usize) -> String {
    let name = match start.arg("operation") {
        Some(0) => "read",
        Some(1) => "write",
        Some(2) => "flush",
        _ => "discard",
    };
    let (lane, ts) = (start.lane, microseconds(ns));
    format!(
        r#"{{"ph": "{ph}", "name": "{name}", "cat": "request", "id": {id}, "pid": {PID}, "tid": {lane}, "ts": {ts}}}"#
    )
}

/// Addresses are easier to read, and to find again, as text in hexadecimal; levels by their names.
fn shown(log: &Log, name: &str, value: u64) -> String {
    match (name, log.levels.get(&value)) {
        ("addr", _) => format!("\"{value:#x}\""),
        ("level", Some(level)) => quoted(level),
        _ => value.to_string(),
    }
}

/// Times are in microseconds, with three digits behind the point: exact.
fn microseconds(ns: u64) -> String {
    format!("{}.{:03}", ns / 1000, ns % 1000)
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::log::tests::sample;

    #[test]
    fn spans_marks_names_and_requests_are_what_a_viewer_expects() {
        let value: serde_json::Value = serde_json::from_str(&json(&sample())).expect("JSON");
        let events = value["traceEvents"].as_array().expect("an array");
        let of = |ph: &str| events.iter().filter(|event| event["ph"] == ph).collect::<Vec<_>>();
        assert_eq!(of("M").len(), 1 + 3);
        let spans = of("X");
        assert_eq!(spans.len(), 4);
        assert_eq!((&spans[0]["name"], &spans[0]["tid"]), (&"fault".into(), &7.into()));
        assert_eq!((&spans[0]["ts"], &spans[0]["dur"]), (&1.0.into(), &1.5.into()));
        assert_eq!(spans[0]["args"]["addr"], "0x7f0000");
        assert_eq!(of("i").len(), 2);
        let (begin, end) = (of("b"), of("e"));
        assert_eq!((begin.len(), end.len()), (1, 1));
        assert_eq!((&begin[0]["name"], &begin[0]["ts"]), (&"read".into(), &1.3.into()));
        assert_eq!((&end[0]["id"], &end[0]["ts"]), (&begin[0]["id"], &1.9.into()));
    }

    #[test]
    fn a_place_in_the_lock_order_is_shown_by_its_name() {
        let lines = [
            "kind spin_wait lock addr level",
            "level 9 PageTable",
            "spin_wait 2000 100 5 0x40097 0x9",
            "spin_wait 3000 100 5 0x40097 0x8",
        ];
        let text = json(&Log::of_lines(&lines.map(str::to_owned)));
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let events = value["traceEvents"].as_array().expect("an array");
        let args: Vec<_> = events.iter().filter(|e| e["ph"] == "X").map(|e| &e["args"]).collect();
        assert_eq!((&args[0]["level"], &args[0]["addr"]), (&"PageTable".into(), &"0x40097".into()));
        assert_eq!(args[1]["level"], 8);
    }
}
