// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file writes SVG: rectangles with a text, which viewers show in full when pointed at.

use std::fmt::Write;

/// A picture that grows downwards.
#[derive(Debug)]
pub struct Svg {
    width: f64,
    body: String,
}

/// Where a rectangle is, in pixels.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Place {
    /// Its left edge.
    pub x: f64,
    /// Its upper edge.
    pub y: f64,
    /// Its width.
    pub width: f64,
    /// Its height.
    pub height: f64,
}

/// Width of a letter of the font below.
const LETTER: f64 = 6.6;

impl Svg {
    /// Begins a picture of a width.
    pub fn new(width: f64) -> Self {
        Self { width, body: String::new() }
    }

    /// Draws a rectangle with `label` in it, as far as it fits, and `tip` for who points at it.
    pub fn rectangle(&mut self, place: Place, color: &str, label: &str, tip: &str) {
        let Place { x, y, width, height } = place;
        let _ = write!(
            self.body,
            "<g><title>{}</title><rect x=\"{x:.2}\" y=\"{y:.1}\" width=\"{width:.2}\" \
             height=\"{height:.1}\" fill=\"{color}\"/>",
            escaped(tip)
        );
        let fits = ((width - 4.0) / LETTER) as usize;
        if fits >= 3 {
            let text: String = label.chars().take(fits).collect();
            self.text(x + 2.0, y + height - 4.0, &text);
        }
        self.body.push_str("</g>\n");
    }

    /// Writes a text whose base line begins at a point.
    pub fn text(&mut self, x: f64, y: f64, text: &str) {
        let _ = write!(self.body, "<text x=\"{x:.2}\" y=\"{y:.1}\">{}</text>", escaped(text));
    }

    /// Returns the document, of a height.
    pub fn finish(self, height: f64) -> String {
        let Self { width, body } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"monospace\" font-size=\"11\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
        )
    }
}

/// Returns a colour that is always the same for a word.
pub fn color_of(word: &str) -> String {
    let hash =
        word.bytes().fold(7u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    format!("hsl({}, 65%, 70%)", hash % 360)
}

fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            // XML has no other control characters.
            c if c.is_control() => out.push('?'),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_cut_to_what_fits() {
        let mut svg = Svg::new(100.0);
        let place = Place { x: 1.0, y: 2.0, width: 40.0, height: 16.0 };
        svg.rectangle(place, "red", "<long label>", "a & b");
        let text = svg.finish(20.0);
        assert!(text.contains("<title>a &amp; b</title>"), "{text}");
        assert!(text.contains(">&lt;long</text>"), "{text}");
        assert!(text.starts_with("<svg xmlns=") && text.ends_with("</svg>\n"), "{text}");
    }
}
