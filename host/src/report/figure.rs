//! What all figures share: size, colours, type, the title and the legend above the plot. A figure is
//! an SVG string made in memory; text stays text, so no font is needed here and readers can search it.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::ReportError;
use super::escape::escape;

/// Width of a figure in pixels.
pub(super) const WIDTH: u32 = 760;
/// Entries of a legend at most; the rest is counted.
const MAX_LEGEND: usize = 24;
/// Bytes of a title, label or name that are drawn; longer ones are cut.
const MAX_TEXT: usize = 80;

/// Colours that readers with any kind of colour vision can tell apart (Okabe & Ito, 2008), without
/// the yellow, which white paper swallows.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0xE6, 0x9F, 0x00),
    RGBColor(0x56, 0xB4, 0xE9),
    RGBColor(0x55, 0x55, 0x55),
];
/// Titles and names.
pub(super) const INK: RGBColor = RGBColor(0x1F, 0x24, 0x28);
/// Numbers along the axes.
pub(super) const FAINT_INK: RGBColor = RGBColor(0x5C, 0x65, 0x6D);
/// Lines behind the data.
pub(super) const GRID: RGBColor = RGBColor(0xE3, 0xE6, 0xE9);

/// The area that figures are drawn on.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// What drawing may fail with.
pub(super) type Drawn = Result<(), Box<dyn std::error::Error>>;

/// A finished figure. Only this folder makes them, so their markup can be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svg(String);

impl Svg {
    /// The markup: one `<svg>` element.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How a series is told apart: by colour, and once colours repeat by shape.
#[derive(Clone, Copy)]
pub(super) struct Mark(usize);

impl Mark {
    /// That of the series or class with this index.
    pub(super) fn of(index: usize) -> Self {
        Self(index)
    }

    pub(super) fn colour(self) -> RGBColor {
        // In range by the remainder.
        COLOURS[self.0 % COLOURS.len()]
    }

    /// Draws the mark around a point.
    pub(super) fn draw(self, area: &Area<'_>, (x, y): (i32, i32), size: i32, opacity: f64) -> Drawn {
        let style = self.colour().mix(opacity).filled();
        match (self.0 / COLOURS.len()) % 3 {
            0 => area.draw(&Circle::new((x, y), size, style))?,
            1 => area.draw(&Rectangle::new([(x - size, y - size), (x + size, y + size)], style))?,
            _ => area.draw(&TriangleMarker::new((x, y), size + 1, style))?,
        }
        Ok(())
    }
}

/// What stands before a name in the legend.
#[derive(Clone, Copy)]
pub(super) enum Key {
    /// The mark of a series or class.
    Mark(Mark),
    /// A dashed line: a level to compare with.
    Dashes,
}

impl Key {
    fn draw(self, root: &Area<'_>, (x, y): (i32, i32)) -> Drawn {
        match self {
            Self::Mark(mark) => mark.draw(root, (x, y), 5, 1.0),
            Self::Dashes => {
                for left in [x - 8, x - 1] {
                    root.draw(&PathElement::new(vec![(left, y), (left + 4, y)], INK.stroke_width(1)))?;
                }
                Ok(())
            }
        }
    }
}

/// The legend of series or classes, in their order.
pub(super) fn legend_of<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(&'a str, Key)> {
    names.enumerate().map(|(index, name)| (name, Key::Mark(Mark::of(index)))).collect()
}

/// Text of `px` pixels. The SVG backend divides sizes by 1.24.
pub(super) fn font(px: f64, colour: RGBColor) -> TextStyle<'static> {
    FontDesc::new(FontFamily::SansSerif, px * 1.24, FontStyle::Normal).color(&colour)
}

/// Text of `px` pixels, about its point as said.
pub(super) fn anchored(px: f64, colour: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    font(px, colour).pos(Pos::new(h, v))
}

/// The width that text will about have; nothing here knows the reader's font.
pub(super) fn text_width(text: &str, px: f64) -> i32 {
    (text.chars().count() as f64 * px * 0.53).ceil() as i32
}

/// What is drawn of a text: one line of it, cut to a bearable length.
pub(super) fn one_line(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    if text.chars().count() <= MAX_TEXT {
        clean.collect()
    } else {
        clean.take(MAX_TEXT - 1).chain(std::iter::once('…')).collect()
    }
}

/// Makes a figure: title and legend on top, `plot` below them.
pub(super) fn figure(
    title: &str,
    height: u32,
    legend: &[(&str, Key)],
    plot: impl FnOnce(&Area<'_>) -> Drawn,
) -> Result<Svg, ReportError> {
    let mut svg = String::new();
    let drawn = (|| -> Drawn {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE)?;
        let style = FontDesc::new(FontFamily::SansSerif, 15.0 * 1.24, FontStyle::Bold).color(&INK);
        root.draw(&Text::new(one_line(title), (14, 14), style))?;
        let top = draw_legend(&root, legend)?;
        let (_, below) = root.split_vertically(top);
        plot(&below)?;
        root.present()?;
        Ok(())
    })();
    match drawn {
        Ok(()) => Ok(Svg(labelled(&svg, title))),
        Err(error) => Err(ReportError::Draw { figure: title.to_owned(), reason: error.to_string() }),
    }
}

/// Draws the legend in as many rows as it needs, and returns where the plot may begin.
fn draw_legend(root: &Area<'_>, legend: &[(&str, Key)]) -> Result<i32, Box<dyn std::error::Error>> {
    const PX: f64 = 12.5;
    const ROW: i32 = 20;
    let (left, right) = (18, WIDTH as i32 - 14);
    let (mut x, mut y) = (left, 48);
    if legend.len() < 2 {
        // A single series is what the title says.
        return Ok(38);
    }
    let style = anchored(PX, INK, HPos::Left, VPos::Center);
    let more = legend.len().saturating_sub(MAX_LEGEND);
    for (name, key) in legend.iter().take(MAX_LEGEND) {
        let name = one_line(name);
        let width = 16 + text_width(&name, PX) + 16;
        if x + width > right && x > left {
            x = left;
            y += ROW;
        }
        key.draw(root, (x, y))?;
        root.draw(&Text::new(name, (x + 11, y), style.clone()))?;
        x += width;
    }
    if more > 0 {
        root.draw(&Text::new(format!("and {more} more"), (x, y), style))?;
    }
    Ok(y + ROW - 4)
}

/// Gives the figure a name for readers who listen.
fn labelled(svg: &str, title: &str) -> String {
    let label = escape(&one_line(title));
    svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{label}\" "), 1)
}

/// A number as it stands along an axis.
pub(super) fn axis_number(value: f64) -> String {
    let size = value.abs();
    let (scaled, unit) = match size {
        s if s >= 1e9 => (value / 1e9, "G"),
        s if s >= 1e6 => (value / 1e6, "M"),
        s if s >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    if scaled != 0.0 && scaled.abs() < 1e-3 {
        return format!("{scaled:.0e}");
    }
    let text = format!("{scaled:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{}{unit}", if text == "-0" { "0" } else { text })
}

/// The least range that holds the finite ones of `values`, widened by a margin; `None` without any.
pub(super) fn range(values: impl Iterator<Item = f64>, margin: f64) -> Option<(f64, f64)> {
    let (low, high) = values
        .filter(|value| value.is_finite() && value.abs() < 1e100)
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return None;
    }
    let width = high - low;
    // A constant still needs an axis around it, wide enough to be told apart in f64.
    let extra =
        if width > high.abs().max(low.abs()) * 1e-9 { width * margin } else { high.abs().max(1.0) * 0.1 };
    Some((low - extra, high + extra))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn axis_numbers_are_short() {
        let said: Vec<String> =
            [0.0, -0.0, 0.25, 10.0, 1500.0, 20_000.0, 3_500_000.0, 2e9, 0.0001, -0.5, 0.1 + 0.2]
                .map(axis_number)
                .to_vec();
        let wanted = ["0", "0", "0.25", "10", "1500", "20k", "3.5M", "2G", "1e-4", "-0.5", "0.3"];
        assert_eq!(said, wanted);
    }

    #[test]
    fn ranges_have_width_and_ignore_what_is_not_finite() {
        assert_eq!(range([f64::NAN, 1.0, f64::INFINITY, 3.0].into_iter(), 0.5), Some((0.0, 4.0)));
        let (low, high) = range([5.0, 5.0].into_iter(), 0.05).unwrap();
        assert!(low < 5.0 && high > 5.0);
        assert_eq!(range([f64::NAN].into_iter(), 0.1), None);
    }

    #[test]
    fn long_and_unruly_text_is_one_short_line() {
        let said = one_line(&"a\n".repeat(500));
        assert_eq!(said.chars().count(), MAX_TEXT);
        assert!(said.ends_with('…') && !said.contains('\n'));
    }
}
