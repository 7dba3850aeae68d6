//! Small pictures within a page, such as what a camera saw.

use image::ExtendedColorType;
use image::ImageEncoder;
use image::codecs::png::PngEncoder;

use super::ReportError;
use super::base64::base64;
use super::escape::escape;
use super::figure::Mark;

/// Bytes of an encoded picture at most: a page holds many, and is one file.
pub const MAX_PICTURE_BYTES: usize = 4 << 20;
/// Pixels along a side at most.
pub const MAX_PICTURE_SIDE: u32 = 4096;

/// Sides of a plot among pictures, in its own units.
const PLOT: (f32, f32) = (96.0, 72.0);
/// Curves of a plot among pictures, and points of each, at most.
const MAX_CURVES: usize = 16;
const MAX_CURVE_POINTS: usize = 256;

/// A small picture and its caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    content: Content,
    caption: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Png(Vec<u8>),
    /// The points of each curve.
    Curves(Vec<String>),
}

impl Picture {
    /// Takes an encoded PNG.
    ///
    /// # Errors
    /// Bytes that do not begin as a PNG does, or more than [`MAX_PICTURE_BYTES`].
    pub fn png(png: Vec<u8>, caption: impl Into<String>) -> Result<Self, ReportError> {
        let caption = caption.into();
        if png.len() > MAX_PICTURE_BYTES {
            let what = format!("size in bytes of picture `{caption}`");
            return Err(ReportError::TooLarge { what, found: png.len(), limit: MAX_PICTURE_BYTES });
        }
        if !png.starts_with(b"\x89PNG\r\n\x1a\n") {
            return Err(ReportError::Picture { caption, problem: "is not a PNG".to_owned() });
        }
        Ok(Self { content: Content::Png(png), caption })
    }

    /// Encodes `pixels`, rows of red, green and blue from the top left.
    ///
    /// # Errors
    /// Another number of pixels than `width` times `height`, an empty picture, a side over
    /// [`MAX_PICTURE_SIDE`].
    pub fn rgb(
        width: u32,
        height: u32,
        pixels: &[u8],
        caption: impl Into<String>,
    ) -> Result<Self, ReportError> {
        let caption = caption.into();
        let side = width.max(height);
        if side > MAX_PICTURE_SIDE {
            let what = format!("side of picture `{caption}`");
            let (found, limit) = (side as usize, MAX_PICTURE_SIDE as usize);
            return Err(ReportError::TooLarge { what, found, limit });
        }
        let wanted = width as usize * height as usize * 3;
        if pixels.len() != wanted || wanted == 0 {
            let problem = format!("has {} bytes, {width} x {height} pixels are {wanted}", pixels.len());
            return Err(ReportError::Picture { caption, problem });
        }
        let mut png = Vec::new();
        match PngEncoder::new(&mut png).write_image(pixels, width, height, ExtendedColorType::Rgb8) {
            Ok(()) => Self::png(png, caption),
            Err(error) => {
                let problem = format!("cannot be encoded: {error}");
                Err(ReportError::Picture { caption, problem })
            }
        }
    }

    /// Curves over a common axis, such as the channels of a sensor window; `low` to `high` is the whole
    /// height, so that pictures beside one another can share it.
    ///
    /// # Errors
    /// No curve, a curve without a finite value, more than sixteen, or a range that is none.
    pub fn curves(
        curves: &[&[f32]],
        (low, high): (f32, f32),
        caption: impl Into<String>,
    ) -> Result<Self, ReportError> {
        let caption = caption.into();
        if curves.len() > MAX_CURVES {
            let what = format!("number of curves in picture `{caption}`");
            return Err(ReportError::TooLarge { what, found: curves.len(), limit: MAX_CURVES });
        }
        let wrong =
            |problem: &str| ReportError::Picture { caption: caption.clone(), problem: problem.into() };
        if !(low.is_finite() && high.is_finite() && low < high) {
            return Err(wrong("has no range to be drawn in"));
        }
        let drawn: Vec<String> = curves.iter().map(|curve| polyline(curve, low, high)).collect();
        if drawn.is_empty() || drawn.iter().any(String::is_empty) {
            return Err(wrong("has no finite value to draw"));
        }
        Ok(Self { content: Content::Curves(drawn), caption })
    }

    /// Its markup.
    pub(super) fn html(&self) -> String {
        let caption = escape(&self.caption);
        let shown = match &self.content {
            Content::Png(png) => {
                format!("<img alt=\"{caption}\" src=\"data:image/png;base64,{}\">", base64(png))
            }
            Content::Curves(curves) => {
                let lines = curves.iter().enumerate().map(|(index, points)| {
                    let plotters::style::RGBColor(r, g, b) = Mark::of(index).colour();
                    format!(
                        "<polyline points=\"{points}\" fill=\"none\" stroke=\"#{r:02X}{g:02X}{b:02X}\" \
                         stroke-width=\"1\"/>"
                    )
                });
                let (width, height) = PLOT;
                format!(
                    "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
                     aria-label=\"{caption}\">{}</svg>",
                    lines.collect::<String>()
                )
            }
        };
        format!("<figure class=\"picture\">{shown}<figcaption>{caption}</figcaption></figure>\n")
    }
}

/// The points of a curve, thinned to what the eye can tell apart; those that are not finite are left out.
fn polyline(curve: &[f32], low: f32, high: f32) -> String {
    let (width, height) = PLOT;
    let count = curve.len().min(MAX_CURVE_POINTS);
    let last = curve.len().saturating_sub(1);
    let mut points = vec![];
    for i in 0..count {
        let at = if count > 1 { i * last / (count - 1) } else { 0 };
        let Some(value) = curve.get(at).filter(|value| value.is_finite()) else { continue };
        let x = width * at as f32 / last.max(1) as f32;
        let y = height * (1.0 - ((value - low) / (high - low)).clamp(0.0, 1.0));
        points.push(format!("{x:.1},{y:.1}"));
    }
    points.join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pixels_survive() {
        let pixels: Vec<u8> = (0..5 * 3 * 3).map(|i| (i * 5) as u8).collect();
        let picture = Picture::rgb(5, 3, &pixels, "a floor").unwrap();
        let Content::Png(png) = &picture.content else { unreachable!("pixels became curves") };
        let back = image::load_from_memory(png).unwrap().into_rgb8();
        assert_eq!((back.dimensions(), back.as_raw()), ((5, 3), &pixels));
        assert_eq!(Picture::png(png.clone(), "a floor").unwrap(), picture);
    }

    #[test]
    fn curves_go_through_their_points_and_stay_inside() {
        let curves: [&[f32]; 2] = [&[0.0, 1.0, 2.0], &[9.0, f32::NAN, -9.0]];
        let html = Picture::curves(&curves, (0.0, 2.0), "a < b").unwrap().html();
        for part in ["\"0.0,72.0 48.0,36.0 96.0,0.0\"", "\"0.0,0.0 96.0,72.0\"", "a &lt; b", "</svg>"] {
            assert!(html.contains(part), "{html}");
        }
        let long = vec![1.0; 10_000];
        let html = Picture::curves(&[&long], (0.0, 2.0), "x").unwrap().html();
        assert_eq!(html.matches(',').count(), MAX_CURVE_POINTS);
        for (curves, range) in
            [(&[][..], (0.0, 1.0)), (&[&long[..]][..], (1.0, 1.0)), (&[&[f32::NAN][..]], (0.0, 1.0))]
        {
            assert!(Picture::curves(curves, range, "x").is_err());
        }
        assert!(Picture::curves(&[&long[..]; MAX_CURVES + 1], (0.0, 2.0), "x").is_err());
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        let refused = |r: Result<Picture, ReportError>| r.unwrap_err().to_string();
        assert!(refused(Picture::png(b"<svg>".to_vec(), "x")).contains("is not a PNG"));
        assert!(refused(Picture::rgb(2, 2, &[0; 11], "x")).contains("2 x 2 pixels are 12"));
        assert!(Picture::rgb(0, 0, &[], "x").is_err());
        assert!(Picture::rgb(u32::MAX, u32::MAX, &[], "x").is_err());
        assert!(Picture::png(vec![0; MAX_PICTURE_BYTES + 1], "x").is_err());
    }
}
