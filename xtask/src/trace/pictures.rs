// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file draws a trace: a timeline with a lane for each thread, and a flame graph.

use std::collections::BTreeMap;

use super::log::{Event, Log};
use super::stacks::Stacks;
use super::svg::{Place, Svg, color_of};

const WIDTH: f64 = 1600.0;
const ROW: f64 = 16.0;

/// What a span takes at least, in pixels; closer ones are drawn as one.
const LEAST: f64 = 0.5;

/// Room for the names of lanes.
const MARGIN: f64 = 130.0;

/// Draws the spans of each thread over time, within each other downwards; marks are thin lines.
pub fn timeline(log: &Log) -> String {
    let (first, last) = log.span_ns();
    let scale = (WIDTH - MARGIN) / (last - first).max(1) as f64;
    let mut svg = Svg::new(WIDTH);
    let ms = |ns: u64| ns as f64 / 1e6;
    let title = format!("{:.3} ms to {:.3} ms, {} events", ms(first), ms(last), log.events.len());
    svg.text(4.0, 12.0, &title);
    let mut top = 1.5 * ROW;
    for (lane, name) in &log.lanes {
        svg.text(4.0, top + ROW - 4.0, &format!("{name} {lane}"));
        let mut rows = Rows::default();
        for event in log.events.iter().filter(|event| event.lane == *lane) {
            let depth = rows.depth_of(event);
            let x = MARGIN + (event.start_ns - first) as f64 * scale;
            let width = (event.duration_ns as f64 * scale).max(LEAST);
            if rows.is_drawn(depth, x + width, event) {
                let place = Place { x, y: top + depth as f64 * ROW, width, height: ROW - 1.0 };
                svg.rectangle(place, &color_of(&event.name), &event.name, &tip(event));
            }
        }
        top += rows.nr_used() as f64 * ROW + 6.0;
    }
    svg.finish(top)
}

/// The rows of a lane.
#[derive(Default)]
struct Rows {
    /// End of the span that is in a row at the moment, in ns.
    ends: Vec<u64>,
    /// The pixel that was drawn last in a row, and what it is of.
    drawn: BTreeMap<usize, (f64, String)>,
}

impl Rows {
    /// Returns how many spans enclose an event, and enters it. Events come in the order of their
    /// begins.
    fn depth_of(&mut self, event: &Event) -> usize {
        let is_over = |end: &u64| *end <= event.start_ns;
        let depth = self.ends.iter().position(is_over).unwrap_or(self.ends.len());
        self.ends.truncate(depth);
        self.ends.push(event.end_ns());
        depth
    }

    /// Returns whether an event adds to the picture: it is not within the pixel that one of its kind
    /// was drawn on last.
    fn is_drawn(&mut self, depth: usize, right: f64, event: &Event) -> bool {
        let is_new = self
            .drawn
            .get(&depth)
            .is_none_or(|(last, name)| right >= last + LEAST || *name != event.name);
        if is_new {
            self.drawn.insert(depth, (right, event.name.clone()));
        }
        is_new
    }

    /// Returns the number of rows ever used.
    fn nr_used(&self) -> usize {
        self.drawn.keys().last().map_or(1, |deepest| deepest + 1)
    }
}

fn tip(event: &Event) -> String {
    let args: Vec<String> =
        event.args.iter().map(|(name, value)| format!("{name}={value:#x}")).collect();
    format!(
        "{} at {} ns, {} ns, cpu {}, {}",
        event.name,
        event.start_ns,
        event.duration_ns,
        event.cpu,
        args.join(" ")
    )
}

/// A frame of a flame graph, with what is within it.
#[derive(Default)]
struct Flame {
    total_ns: u64,
    within: BTreeMap<String, Flame>,
}

impl Flame {
    fn of(stacks: &Stacks) -> Self {
        let mut root = Self::default();
        for (stack, ns) in &stacks.0 {
            root.total_ns += ns;
            let mut frame = &mut root;
            for name in stack {
                frame = frame.within.entry(name.clone()).or_default();
                frame.total_ns += ns;
            }
        }
        root
    }

    fn depth(&self) -> usize {
        self.within.values().map(|frame| 1 + frame.depth()).max().unwrap_or(0)
    }

    /// Draws what is within, from `x` on, its lower edge at `bottom`.
    fn draw(&self, svg: &mut Svg, mut x: f64, bottom: f64, scale: f64, all_ns: u64) {
        for (name, frame) in &self.within {
            let width = frame.total_ns as f64 * scale;
            if width >= LEAST {
                let share = 100.0 * frame.total_ns as f64 / all_ns.max(1) as f64;
                let tip = format!("{name}: {} ns, {share:.1} %", frame.total_ns);
                let place = Place { x, y: bottom - ROW, width, height: ROW - 1.0 };
                svg.rectangle(place, &color_of(name), name, &tip);
                frame.draw(svg, x, bottom - ROW, scale, all_ns);
            }
            x += width;
        }
    }
}

/// Draws how much time was spent within what: threads at the bottom.
pub fn flame_graph(stacks: &Stacks) -> String {
    let root = Flame::of(stacks);
    let mut svg = Svg::new(WIDTH);
    svg.text(4.0, 12.0, &format!("{:.3} ms within spans", root.total_ns as f64 / 1e6));
    let height = (root.depth() as f64 + 1.5) * ROW;
    root.draw(&mut svg, 0.0, height, WIDTH / root.total_ns.max(1) as f64, root.total_ns);
    svg.finish(height)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::log::tests::sample;

    #[test]
    fn the_timeline_has_each_event_in_its_lane() {
        let svg = timeline(&sample());
        for name in ["demo 7", "sh 9", "kernel thread 3 100003"] {
            assert!(svg.contains(&format!(">{name}</text>")), "{svg}");
        }
        assert_eq!(svg.matches("<title>").count(), 6);
        // The wait is within two spans: its row is the third one.
        let wait = svg.lines().find(|line| line.contains("<title>block_wait")).expect("a wait");
        assert!(wait.contains("y=\"56.0\""), "{wait}");
    }

    #[test]
    fn events_within_a_pixel_are_drawn_once() {
        let mut log = sample();
        let fault = log.events[4].clone();
        log.events =
            (0..1000).map(|n| Event { start_ns: n, duration_ns: 1, ..fault.clone() }).collect();
        log.events.push(Event { start_ns: 1_000_000_000, ..fault });
        assert_eq!(timeline(&log).matches("<title>").count(), 2);
    }

    #[test]
    fn frames_are_as_wide_as_what_is_within_them() {
        let svg = flame_graph(&Stacks::of(&sample()));
        let width = |name: &str| {
            let line = svg.lines().find(|line| line.contains(&format!("<title>{name}: ")));
            let text = line.and_then(|line| line.split("width=\"").nth(1)).expect("a rectangle");
            text.split('"').next().and_then(|text| text.parse::<f64>().ok()).expect("a number")
        };
        assert_eq!((width("demo"), width("swap_in"), width("sh")), (1500.0, 900.0, 100.0));
    }
}
