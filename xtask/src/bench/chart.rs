// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file draws the bar chart of the benchmark, as SVG.

use std::fmt::Write;

use super::result::{Comparison, Measured};
use super::rows::{Per, Row, SECTIONS, SIZES};

/// Sizes of the parts, in pixels.
const TITLES: f64 = 190.0;
const PANEL: f64 = 250.0;
const GAP: f64 = 50.0;
const TOP: f64 = 84.0;
const BAR: f64 = 11.0;
const ROW: f64 = 2.0 * BAR + 12.0;

/// The numbers that the ends of the logarithmic axis stand for.
const LEAST: f64 = 1.0;
const MOST: f64 = 20_000.0;

const GRANULE: &str = "#1b7f79";
const LINUX: &str = "#b9bfc7";
const AIM: &str = "#c2410c";

/// Draws what operations on memory cost, without tags: a panel for each size of folios.
pub fn draw(comparison: &Comparison) -> String {
    let rows = rows(&comparison.granule);
    let width = TITLES + SIZES.len() as f64 * (PANEL + GAP);
    let height = TOP + rows.len() as f64 * ROW + 20.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    heading(&mut svg, comparison);
    for (index, row) in rows.iter().enumerate() {
        let y = TOP + index as f64 * ROW + BAR + 4.0;
        text(&mut svg, TITLES - 10.0, y, "end", row.title);
    }
    for (index, size) in SIZES.iter().enumerate() {
        panel(&mut svg, TITLES + index as f64 * (PANEL + GAP), size, index, &rows, comparison);
    }
    svg + "</svg>\n"
}

/// Returns the rows that have numbers for each size.
fn rows(granule: &Measured) -> Vec<&'static Row> {
    let rows = SECTIONS.iter().filter(|section| section.cpus.is_none());
    let rows = rows.flat_map(|section| section.rows).filter(|row| row.per == Per::Page);
    let rows = rows.filter(|row| !row.name.starts_with("bytes"));
    rows.filter(|row| granule.value(&name(row, SIZES[0])).is_some()).collect()
}

fn name(row: &Row, size: &str) -> String {
    format!("{}/{size}", row.name)
}

fn heading(svg: &mut String, Comparison { granule, linux, qemu, .. }: &Comparison) {
    let _ = writeln!(
        svg,
        "<text x=\"{TITLES}\" y=\"22\" font-size=\"15\" font-weight=\"bold\">{} per page of 4 KiB, \
         QEMU {}</text>",
        capitalised(&granule.unit),
        escaped(qemu)
    );
    let others = linux.as_ref().map(|linux| (LINUX, linux.name()));
    let keys = [(GRANULE, String::from("Granule"))].into_iter().chain(others);
    let mut x = TITLES;
    for (colour, label) in keys.chain([(AIM, String::from("aim"))]) {
        let width = if colour == AIM { 2.0 } else { 12.0 };
        bar(svg, x, 34.0, width, colour);
        text(svg, x + 17.0, 44.0, "start", &label);
        x += 110.0;
    }
}

fn panel(
    svg: &mut String,
    x: f64,
    size: &str,
    index: usize,
    rows: &[&Row],
    comparison: &Comparison,
) {
    text(svg, x, TOP - 18.0, "start", &format!("folios of {}", unit_of(size)));
    let bottom = TOP + rows.len() as f64 * ROW;
    for decade in [1.0, 10.0, 100.0, 1000.0, 10_000.0] {
        let at = x + length(decade);
        let _ =
            writeln!(svg, "<path d=\"M{at:.1} {:.1}V{bottom:.1}\" stroke=\"#e5e7eb\"/>", TOP - 6.0);
        small(svg, at, bottom + 12.0, "middle", &format!("{decade}"));
    }
    for (line, row) in rows.iter().enumerate() {
        let y = TOP + line as f64 * ROW;
        let bars = [(Some(&comparison.granule), GRANULE), (comparison.linux.as_ref(), LINUX)];
        for (lane, (measured, colour)) in bars.into_iter().enumerate() {
            let Some(value) = measured.and_then(|it| it.value(&name(row, size))) else { continue };
            let y = y + lane as f64 * BAR;
            bar(svg, x, y, length(value), colour);
            small(svg, x + length(value) + 3.0, y + BAR - 2.0, "start", &format!("{value:.0}"));
        }
        if let Some(aim) = row.aim {
            bar(svg, x + length(f64::from(aim[index])) - 1.0, y, 2.0, AIM);
        }
    }
}

/// Returns how long a bar is.
fn length(value: f64) -> f64 {
    let share = (value.max(LEAST) / LEAST).log10() / (MOST / LEAST).log10();
    // Nothing at all is seen too.
    (share * PANEL).max(1.0)
}

fn unit_of(size: &str) -> String {
    size.replace('K', " KiB").replace('M', " MiB")
}

fn bar(svg: &mut String, x: f64, y: f64, width: f64, colour: &str) {
    let height = BAR - 1.0;
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\" fill=\"{colour}\"/>"
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, content: &str) {
    let content = escaped(content);
    let _ =
        writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{content}</text>");
}

fn small(svg: &mut String, x: f64, y: f64, anchor: &str, content: &str) {
    let content = escaped(content);
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"9\" \
         fill=\"#4b5563\">{content}</text>"
    );
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(granule: &[&str]) -> Comparison {
        let mut measured = Measured::default();
        granule.iter().for_each(|line| assert!(measured.take(line), "{line}"));
        let [command, qemu, commit] = ["c", "10.0.2", "0"].map(String::from);
        Comparison { command, qemu, commit, granule: measured, linux: None }
    }

    #[test]
    fn bars_are_as_long_as_the_logarithm_and_their_numbers_stand_behind() {
        let svg = draw(&comparison(&["bench: fault/4K 10", "bench: fault/2M 100"]));
        let tenth = length(10.0);
        assert!(svg.contains(&format!("width=\"{tenth:.1}\"")), "{svg}");
        assert!((length(100.0) - 2.0 * tenth).abs() < 1e-9);
        assert!(svg.contains(">100</text>") && svg.contains(">anonymous fault</text>"), "{svg}");
        assert!(!svg.contains(">munmap</text>"), "a row without numbers");
    }

    #[test]
    fn elements_are_closed_and_text_is_escaped() {
        let mut odd = comparison(&["bench: fault/4K 10"]);
        odd.qemu = String::from("<&>");
        let svg = draw(&odd);
        assert!(svg.contains("QEMU &lt;&amp;>"), "{svg}");
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }
}
