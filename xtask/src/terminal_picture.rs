// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file draws what a guest has printed as a picture of a terminal, in SVG.

use std::collections::BTreeSet;
use std::fmt::Write;

/// Sizes in pixels, of a font of 13.
const CHAR: f64 = 7.83;
const LINE: f64 = 17.0;
const MARGIN: f64 = 16.0;
const BAR: f64 = 30.0;

/// Lines that are shown from the start and from the end of a long output.
const HEAD: usize = 36;
const TAIL: usize = 4;

/// Columns behind which a line is cut.
const COLUMNS: usize = 110;

const BACKGROUND: &str = "#0f172a";
const TEXT: &str = "#e2e8f0";
const FAINT: &str = "#64748b";
const COMMAND: &str = "#5eead4";

/// Draws a command and its output.
pub fn draw(command: &str, output: &[String]) -> String {
    let lines = shown(output);
    let widest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let columns = widest.max(command.len() + 2).clamp(60, COLUMNS);
    let width = columns as f64 * CHAR + 2.0 * MARGIN;
    let height = BAR + (lines.len() + 1) as f64 * LINE + 2.0 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"13\">\n\
         <rect width=\"{width:.0}\" height=\"{height:.0}\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n"
    );
    for (index, colour) in ["#f87171", "#fbbf24", "#34d399"].into_iter().enumerate() {
        let x = MARGIN + 4.0 + 18.0 * index as f64;
        let _ = writeln!(svg, "<circle cx=\"{x}\" cy=\"18\" r=\"5\" fill=\"{colour}\"/>");
    }
    let command = format!("$ {command}");
    for (index, line) in std::iter::once(&command).chain(&lines).enumerate() {
        let y = BAR + MARGIN + (index + 1) as f64 * LINE - 4.0;
        let colour = match index {
            0 => COMMAND,
            _ if line == CUT => FAINT,
            _ => TEXT,
        };
        let _ = writeln!(
            svg,
            "<text x=\"{MARGIN}\" y=\"{y}\" fill=\"{colour}\" xml:space=\"preserve\">{}</text>",
            escaped(line)
        );
    }
    svg + "</svg>\n"
}

/// What stands for lines that are left out.
const CUT: &str = "...";

fn shown(output: &[String]) -> Vec<String> {
    let output = last_of_kind(output);
    let cut = |line: &&String| -> String {
        line.chars().filter(|c| !c.is_control()).take(COLUMNS).collect()
    };
    if output.len() <= HEAD + TAIL {
        return output.iter().map(cut).collect();
    }
    let head = output[..HEAD].iter().map(cut);
    let tail = output[output.len() - TAIL..].iter().map(cut);
    head.chain([CUT.to_owned()]).chain(tail).collect()
}

/// Leaves out the lines after which another follows that differs in its numbers only: progress.
fn last_of_kind(output: &[String]) -> Vec<&String> {
    let mut seen = BTreeSet::new();
    let kind = |line: &str| line.replace(|c: char| c.is_ascii_digit(), "");
    let mut lines: Vec<_> = output.iter().rev().filter(|line| seen.insert(kind(line))).collect();
    lines.reverse();
    lines
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(nr: usize) -> Vec<String> {
        (0..nr).map(|n| format!("{} <&> line {n}", "x".repeat(n % 80))).collect()
    }

    #[test]
    fn command_and_lines_are_there_and_escaped() {
        let svg = draw("cargo xtask run", &lines(2));
        assert!(svg.contains(">$ cargo xtask run</text>"), "{svg}");
        assert!(svg.contains(">x &lt;&amp;> line 1</text>"), "{svg}");
        assert_eq!(svg.matches("<text").count(), 3);
    }

    #[test]
    fn the_middle_of_a_long_output_is_left_out_and_long_lines_are_cut() {
        let svg = draw("x", &lines(80));
        assert_eq!(svg.matches("<text").count(), 1 + HEAD + 1 + TAIL);
        assert!(svg.contains(">...</text>") && svg.contains(" line 79<"), "{svg}");
        assert_eq!(shown(&["y".repeat(500)])[0].len(), COLUMNS);
    }

    #[test]
    fn of_progress_the_last_line_is_shown() {
        let lines = ["a: 1 of 9", "b: 2 of 9", "a: 5 of 9", "done"].map(str::to_owned);
        assert_eq!(shown(&lines), ["b: 2 of 9", "a: 5 of 9", "done"]);
    }
}
