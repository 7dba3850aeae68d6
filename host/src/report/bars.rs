//! Groups of bars with 95 % error bars, such as accuracies by number of labels and representation.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::ReportError;
use super::figure::{
    FAINT_INK, GRID, INK, Key, Mark, Svg, anchored, axis_number, figure, font, legend_of, one_line,
};
use super::lines::MAX_SERIES;
use crate::evaluate::Interval;

/// Groups at most.
pub const MAX_GROUPS: usize = 40;
const HEIGHT: u32 = 400;
/// Where the names of the groups begin, above the lower edge.
const NAMES: i32 = 42;
/// The share of a group's width that its bars take.
const FILLED: f64 = 0.8;

/// Bars in groups, and what they are.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BarChart {
    /// What it shows.
    pub title: String,
    /// The vertical axis, with its unit.
    pub y_label: String,
    /// The names of the groups.
    pub groups: Vec<String>,
    /// The bars of one colour each.
    pub series: Vec<BarSeries>,
    /// A level to compare with, such as chance, and its name.
    pub guide: Option<(String, f64)>,
}

/// The bars of one colour.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BarSeries {
    /// Its name in the legend.
    pub name: String,
    /// A bar for each group, `None` where there is none.
    pub bars: Vec<Option<Bar>>,
}

/// One bar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bar {
    /// Its height.
    pub value: f64,
    /// Half the length of its error bar.
    pub half_width: Option<f64>,
}

impl Bar {
    /// The bar of an interval, in per cent.
    pub fn percent(interval: Interval) -> Self {
        Self { value: 100.0 * interval.mean, half_width: interval.half_width.map(|half| 100.0 * half) }
    }

    fn ends(self) -> [f64; 2] {
        let half = self.half_width.unwrap_or(0.0);
        [self.value - half, self.value + half]
    }
}

impl BarChart {
    /// Draws it. Bars that are not finite are left out.
    ///
    /// # Errors
    /// No bar at all, series of another length than there are groups, too many of either.
    pub fn draw(&self) -> Result<Svg, ReportError> {
        self.check()?;
        let (low, high) = self.heights()?;
        let mut legend = legend_of(self.series.iter().map(|series| series.name.as_str()));
        let guide = self.guide.as_ref().filter(|guide| guide.1.is_finite());
        legend.extend(guide.map(|guide| (guide.0.as_str(), Key::Dashes)));
        figure(&self.title, HEIGHT, &legend, |area| {
            let mut chart = ChartBuilder::on(area)
                .margin(8)
                .margin_right(22)
                .margin_bottom(NAMES)
                .y_label_area_size(62)
                .build_cartesian_2d(0.0..self.groups.len() as f64, low..high)?;
            chart
                .configure_mesh()
                .disable_x_mesh()
                .disable_x_axis()
                .light_line_style(TRANSPARENT)
                .bold_line_style(GRID)
                .axis_style(GRID)
                .y_labels(6)
                .label_style(font(11.5, FAINT_INK))
                .axis_desc_style(font(12.5, INK))
                .y_label_formatter(&|y| axis_number(*y))
                .y_desc(one_line(&self.y_label))
                .draw()?;
            for (group, name) in self.groups.iter().enumerate() {
                let (x, y) = chart.backend_coord(&(group as f64 + 0.5, low));
                let (dx, dy) = area.get_base_pixel();
                let style = anchored(12.0, INK, HPos::Center, VPos::Top);
                for (line, text) in two_lines(&one_line(name)).into_iter().enumerate() {
                    area.draw(&Text::new(text, (x - dx, y - dy + 8 + 15 * line as i32), style.clone()))?;
                }
            }
            for (index, series) in self.series.iter().enumerate() {
                for (group, bar) in series.bars.iter().enumerate() {
                    let Some(bar) = bar.filter(|bar| bar.ends().iter().all(|end| end.is_finite())) else {
                        continue;
                    };
                    let width = FILLED / self.series.len() as f64;
                    let left = group as f64 + (1.0 - FILLED) / 2.0 + width * index as f64;
                    let inset = width * 0.06;
                    let (a, b) = (left + inset, left + width - inset);
                    let fill = Mark::of(index).colour().filled();
                    chart.draw_series([Rectangle::new([(a, 0.0), (b, bar.value)], fill)])?;
                    if bar.half_width.is_some() {
                        let [bottom, top] = bar.ends();
                        let (middle, cap) = ((a + b) / 2.0, (b - a) * 0.22);
                        let stroke = INK.stroke_width(1);
                        let line = |from, to| PathElement::new(vec![from, to], stroke);
                        chart.draw_series([
                            line((middle, bottom), (middle, top)),
                            line((middle - cap, bottom), (middle + cap, bottom)),
                            line((middle - cap, top), (middle + cap, top)),
                        ])?;
                    }
                }
            }
            let right = self.groups.len() as f64;
            chart.draw_series([PathElement::new(vec![(0.0, 0.0), (right, 0.0)], FAINT_INK)])?;
            if let Some((_, level)) = guide {
                let line = DashedLineSeries::new([(0.0, *level), (right, *level)], 5, 4, INK.stroke_width(1));
                chart.draw_series(line)?;
            }
            Ok(())
        })
    }

    fn check(&self) -> Result<(), ReportError> {
        for (what, found, limit) in
            [("series", self.series.len(), MAX_SERIES), ("groups", self.groups.len(), MAX_GROUPS)]
        {
            if found > limit {
                let what = format!("number of {what} in `{}`", self.title);
                return Err(ReportError::TooLarge { what, found, limit });
            }
        }
        match self.series.iter().find(|series| series.bars.len() != self.groups.len()) {
            Some(series) => Err(ReportError::Length {
                figure: self.title.clone(),
                what: series.name.clone(),
                found: series.bars.len(),
                wanted: self.groups.len(),
            }),
            None => Ok(()),
        }
    }

    /// The vertical range: bars begin at zero, or they lie about proportions.
    fn heights(&self) -> Result<(f64, f64), ReportError> {
        let bars = self.series.iter().flat_map(|s| s.bars.iter().flatten());
        let ends = bars.flat_map(|bar| bar.ends()).filter(|end| end.is_finite() && end.abs() < 1e100);
        let ends: Vec<f64> = ends.chain(self.guide.iter().map(|g| g.1).filter(|g| g.is_finite())).collect();
        if ends.is_empty() || self.series.iter().all(|s| s.bars.iter().all(Option::is_none)) {
            return Err(ReportError::Empty { figure: self.title.clone() });
        }
        let (low, high) = ends.iter().fold((0.0_f64, 0.0_f64), |(l, h), e| (l.min(*e), h.max(*e)));
        let room = if high > low { (high - low) * 0.05 } else { 1.0 };
        Ok((
            if low < 0.0 { low - room } else { 0.0 },
            if high > 0.0 || low == 0.0 { high + room } else { 0.0 },
        ))
    }
}

/// A name broken at the space nearest its middle, where it is long.
fn two_lines(name: &str) -> Vec<String> {
    const LONG: usize = 11;
    if name.chars().count() <= LONG {
        return vec![name.to_owned()];
    }
    let middle = name.len() / 2;
    match name.match_indices(' ').map(|(at, _)| at).min_by_key(|at| at.abs_diff(middle)) {
        // A space is one byte, and both sides of it are character boundaries.
        Some(at) => vec![name[..at].to_owned(), name[at + 1..].to_owned()],
        None => vec![name.to_owned()],
    }
}
