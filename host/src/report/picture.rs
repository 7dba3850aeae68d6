//! Small pictures within a page, such as what a camera saw.

use image::ExtendedColorType;
use image::ImageEncoder;
use image::codecs::png::PngEncoder;

use super::ReportError;
use super::base64::base64;
use super::escape::escape;

/// Bytes of an encoded picture at most: a page holds many, and is one file.
pub const MAX_PICTURE_BYTES: usize = 4 << 20;
/// Pixels along a side at most.
pub const MAX_PICTURE_SIDE: u32 = 4096;

/// A PNG and its caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    png: Vec<u8>,
    caption: String,
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
        Ok(Self { png, caption })
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

    /// Its markup.
    pub(super) fn html(&self) -> String {
        let (data, caption) = (base64(&self.png), escape(&self.caption));
        format!(
            "<figure class=\"picture\"><img alt=\"{caption}\" src=\"data:image/png;base64,{data}\">\
             <figcaption>{caption}</figcaption></figure>\n"
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pixels_survive() {
        let pixels: Vec<u8> = (0..5 * 3 * 3).map(|i| (i * 5) as u8).collect();
        let picture = Picture::rgb(5, 3, &pixels, "a floor").unwrap();
        let back = image::load_from_memory(&picture.png).unwrap().into_rgb8();
        assert_eq!((back.dimensions(), back.as_raw()), ((5, 3), &pixels));
        assert_eq!(Picture::png(picture.png.clone(), "a floor").unwrap(), picture);
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
