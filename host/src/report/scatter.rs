//! A map of embeddings: points in the plane, coloured by class. The axes carry no unit and are not
//! drawn; what counts is who is near whom.

use plotters::prelude::*;

use super::ReportError;
use super::figure::{GRID, Mark, Svg, figure, legend_of, range};

/// Points that are drawn; of more, evenly many are left out.
pub const MAX_SCATTER: usize = 4000;
const HEIGHT: u32 = 520;

/// Points and their classes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scatter {
    /// What it shows.
    pub title: String,
    /// The points. Those that are not finite are left out.
    pub points: Vec<[f32; 2]>,
    /// The class of each point.
    pub classes: Vec<u32>,
    /// The names of the classes.
    pub names: Vec<String>,
}

impl Scatter {
    /// Draws it.
    ///
    /// # Errors
    /// No finite point, or another number of classes than of points.
    pub fn draw(&self) -> Result<Svg, ReportError> {
        let count = self.points.len();
        if self.classes.len() != count {
            return Err(ReportError::Length {
                figure: self.title.clone(),
                what: "classes".to_owned(),
                found: self.classes.len(),
                wanted: count,
            });
        }
        let shown = count.min(MAX_SCATTER);
        let drawn: Vec<([f64; 2], u32)> = (0..shown)
            // Rises and stays below `count`, the length of both.
            .map(|i| i * count / shown)
            .map(|i| (self.points[i].map(f64::from), self.classes[i]))
            .filter(|(point, _)| point.iter().all(|x| x.is_finite()))
            .collect();
        let empty = || ReportError::Empty { figure: self.title.clone() };
        let (x_low, x_high) = range(drawn.iter().map(|(p, _)| p[0]), 0.04).ok_or_else(empty)?;
        let (y_low, y_high) = range(drawn.iter().map(|(p, _)| p[1]), 0.04).ok_or_else(empty)?;
        let legend = legend_of(self.names.iter().map(String::as_str));
        figure(&self.title, HEIGHT, &legend, |area| {
            let area = area.margin(4, 14, 14, 14);
            let (width, height) = area.dim_in_pixel();
            area.draw(&Rectangle::new([(0, 0), (width as i32 - 1, height as i32 - 1)], GRID))?;
            for (point, class) in &drawn {
                let x = (point[0] - x_low) / (x_high - x_low) * f64::from(width);
                let y = (y_high - point[1]) / (y_high - y_low) * f64::from(height);
                Mark::of(*class as usize).draw(&area, (x as i32, y as i32), 3, 0.65)?;
            }
            Ok(())
        })
    }
}
