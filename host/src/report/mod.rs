//! Showing what was measured: tables for the terminal, figures as SVG, and one self-contained page
//! that holds both. Nothing here measures; it is given numbers and names.

mod bars;
mod base64;
#[cfg(test)]
mod chart_tests;
mod error;
mod escape;
mod figure;
mod html;
#[cfg(test)]
mod html_tests;
mod lines;
mod pca;
mod picture;
mod scatter;
mod table;

pub use bars::{Bar, BarChart, BarSeries, MAX_GROUPS};
pub use error::ReportError;
pub use figure::Svg;
pub use html::{Page, Section, Tile};
pub use lines::{LineChart, MAX_POINTS, MAX_SERIES, Series};
pub use pca::{MAX_COLUMNS, MAX_ROWS, Plane};
pub use picture::{MAX_PICTURE_BYTES, MAX_PICTURE_SIDE, Picture};
pub use scatter::{MAX_SCATTER, Scatter};
pub use table::Table;
