//! Curves over a common axis, such as a loss over steps.

use plotters::prelude::*;

use super::ReportError;
use super::figure::{FAINT_INK, GRID, INK, Mark, Svg, axis_number, figure, font, legend_of, one_line, range};

/// Points of a series that are drawn; of more, evenly many are left out.
pub const MAX_POINTS: usize = 2000;
/// Series at most; more than that nobody reads.
pub const MAX_SERIES: usize = 24;
const HEIGHT: u32 = 380;

/// Several curves and what they are.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LineChart {
    /// What it shows.
    pub title: String,
    /// The horizontal axis, with its unit.
    pub x_label: String,
    /// The vertical axis, with its unit.
    pub y_label: String,
    /// The curves.
    pub series: Vec<Series>,
}

/// One curve.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its points, by rising x. One that is not finite breaks the line.
    pub points: Vec<(f64, f64)>,
}

impl LineChart {
    /// Draws it.
    ///
    /// # Errors
    /// No finite point at all, or more than [`MAX_SERIES`] series.
    pub fn draw(&self) -> Result<Svg, ReportError> {
        if self.series.len() > MAX_SERIES {
            let what = format!("number of series in `{}`", self.title);
            return Err(ReportError::TooLarge { what, found: self.series.len(), limit: MAX_SERIES });
        }
        let runs: Vec<Vec<Vec<(f64, f64)>>> =
            self.series.iter().map(|s| unbroken(&thinned(&s.points))).collect();
        let all = || runs.iter().flatten().flatten();
        let empty = || ReportError::Empty { figure: self.title.clone() };
        let (x_low, x_high) = range(all().map(|p| p.0), 0.01).ok_or_else(empty)?;
        let (y_low, y_high) = range(all().map(|p| p.1), 0.05).ok_or_else(empty)?;
        let legend = legend_of(self.series.iter().map(|series| series.name.as_str()));
        // Whole numbers, such as epochs, are not divided by the axis.
        let whole = all().all(|p| p.0.fract() == 0.0);
        let ticks = if whole { (x_high - x_low).round().clamp(1.0, 7.0) as usize + 1 } else { 8 };
        figure(&self.title, HEIGHT, &legend, |area| {
            let mut chart = ChartBuilder::on(area)
                .margin(8)
                .margin_right(22)
                .x_label_area_size(44)
                .y_label_area_size(62)
                .build_cartesian_2d(x_low..x_high, y_low..y_high)?;
            chart
                .configure_mesh()
                .light_line_style(TRANSPARENT)
                .bold_line_style(GRID)
                .axis_style(GRID)
                .x_labels(ticks)
                .y_labels(6)
                .label_style(font(11.5, FAINT_INK))
                .axis_desc_style(font(12.5, INK))
                .x_label_formatter(&|x| axis_number(*x))
                .y_label_formatter(&|y| axis_number(*y))
                .x_desc(one_line(&self.x_label))
                .y_desc(one_line(&self.y_label))
                .draw()?;
            for (index, runs) in runs.into_iter().enumerate() {
                let colour = Mark::of(index).colour();
                for run in runs {
                    if let [alone] = run.as_slice() {
                        chart.draw_series([Circle::new(*alone, 3, colour.filled())])?;
                    } else {
                        chart.draw_series(LineSeries::new(run, colour.stroke_width(2)))?;
                    }
                }
            }
            Ok(())
        })
    }
}

/// At most [`MAX_POINTS`] of the points, evenly chosen, the last one among them.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= MAX_POINTS {
        return points.to_vec();
    }
    let last = points.len() - 1;
    // Rises from 0 to `last`, so every index is in range.
    (0..MAX_POINTS).map(|i| points[i * last / (MAX_POINTS - 1)]).collect()
}

/// The stretches of finite points.
fn unbroken(points: &[(f64, f64)]) -> Vec<Vec<(f64, f64)>> {
    points
        .split(|(x, y)| !(x.is_finite() && y.is_finite()))
        .filter(|run| !run.is_empty())
        .map(<[_]>::to_vec)
        .collect()
}
