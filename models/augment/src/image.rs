//! Views of images: the SimCLR family of random crops, flips, colour changes and blurs (Chen et
//! al., 2020, appendix A), and the plain resize that evaluation and inference use.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::colour::{self, ColourOp};
use crate::error::{AugmentError, probability, range, within};
use crate::random::{chance, uniform};
use crate::resample::{Region, resample};
use crate::{MAX_SIDE, blur};

/// How often a crop of drawn area and aspect may miss the image before the largest centred crop
/// is taken instead, as torchvision does.
const CROP_TRIES: usize = 10;

/// An RGB image, 8 bits a channel, interleaved, rows from the top; borrowed.
#[derive(Clone, Copy, Debug)]
pub struct ImageSource<'a> {
    rgb: &'a [u8],
    width: usize,
    height: usize,
}

impl<'a> ImageSource<'a> {
    /// An image of `width` x `height` pixels over `rgb`, `[height, width, 3]`.
    ///
    /// # Errors
    /// [`AugmentError::Image`] when a side is zero or above [`MAX_SIDE`], or `rgb` does not hold
    /// three bytes a pixel.
    pub fn new(rgb: &'a [u8], width: usize, height: usize) -> Result<Self, AugmentError> {
        let sides = 1..=MAX_SIDE;
        if !sides.contains(&width) || !sides.contains(&height) || rgb.len() != width * height * 3 {
            return Err(AugmentError::Image { width, height, bytes: rgb.len() });
        }
        Ok(Self { rgb, width, height })
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The bytes of row `y`, which must be below the height.
    pub(crate) fn row(&self, y: usize) -> &'a [u8] {
        &self.rgb[y * self.width * 3..][..self.width * 3]
    }

    /// The largest centred region of the given ratio of width to height.
    fn centre(&self, aspect: f64) -> Region {
        let (w, h) = (self.width as f64, self.height as f64);
        let (width, height) = if w / h > aspect { (h * aspect, h) } else { (w, w / aspect) };
        Region { x: (w - width) / 2.0, y: (h - height) / 2.0, width, height }
    }
}

/// Size of an image view in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
}

impl Size {
    /// Checks that `out` holds exactly an RGB view of this size.
    fn fits(self, out: &[f32]) -> Result<(), AugmentError> {
        let sides = 1..=MAX_SIDE;
        if !sides.contains(&self.width) || !sides.contains(&self.height) {
            return Err(AugmentError::Image { width: self.width, height: self.height, bytes: 0 });
        }
        let wanted = 3 * self.width * self.height;
        if out.len() == wanted { Ok(()) } else { Err(AugmentError::Output { wanted, found: out.len() }) }
    }

    fn aspect(self) -> f64 {
        self.width as f64 / self.height as f64
    }
}

/// Resizes the largest centred part of `source` that has the aspect of `size` into `out`,
/// `[3, height, width]` in 0..1: no randomness, no distortion. Shrinking averages, growing
/// interpolates.
///
/// # Errors
/// When `out` does not hold `3 * width * height` values, or a side is out of range.
pub fn resize_center(source: &ImageSource<'_>, size: Size, out: &mut [f32]) -> Result<(), AugmentError> {
    size.fits(out)?;
    resample(source, source.centre(size.aspect()), false, size, out);
    Ok(())
}

/// Settings of a random view of an image. The default is SimCLR's recipe for small images (Chen
/// et al., 2020, appendix B.9: half the colour strength of ImageNet, no blur).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageAugment {
    /// Probability of a random crop; without one the largest centred crop is resized.
    pub crop_probability: f32,
    /// Smallest and largest area of the crop, as a fraction of the image.
    pub crop_area: [f32; 2],
    /// Smallest and largest ratio of the crop's width to its height; drawn evenly in its logarithm.
    pub crop_aspect: [f32; 2],
    /// Probability of mirroring left and right.
    pub flip_probability: f32,
    /// Probability that brightness, contrast, saturation and hue change at all.
    pub jitter_probability: f32,
    /// Brightness is multiplied by 1 ± this.
    pub brightness: f32,
    /// Contrast is multiplied by 1 ± this.
    pub contrast: f32,
    /// Saturation is multiplied by 1 ± this.
    pub saturation: f32,
    /// Hue turns by up to this fraction of the circle either way, at most 0.5.
    pub hue: f32,
    /// Probability of losing all colour.
    pub grey_probability: f32,
    /// Probability of a blur.
    pub blur_probability: f32,
    /// Smallest and largest standard deviation of the blur, in pixels of the view.
    pub blur_sigma: [f32; 2],
}

impl Default for ImageAugment {
    fn default() -> Self {
        Self {
            crop_probability: 1.0,
            crop_area: [0.08, 1.0],
            crop_aspect: [0.75, 4.0 / 3.0],
            flip_probability: 0.5,
            jitter_probability: 0.8,
            brightness: 0.4,
            contrast: 0.4,
            saturation: 0.4,
            hue: 0.1,
            grey_probability: 0.2,
            blur_probability: 0.0,
            blur_sigma: [0.1, 1.0],
        }
    }
}

impl ImageAugment {
    /// Nothing: a view is [`resize_center`].
    pub fn none() -> Self {
        Self {
            crop_probability: 0.0,
            flip_probability: 0.0,
            jitter_probability: 0.0,
            grey_probability: 0.0,
            ..Self::default()
        }
    }

    /// Gentle views for a board, where neighbouring frames already differ and light shifts are
    /// what it must learn to ignore: large crops, no hue, a little blur.
    pub fn mild() -> Self {
        Self {
            crop_area: [0.5, 1.0],
            brightness: 0.3,
            contrast: 0.3,
            saturation: 0.2,
            hue: 0.0,
            grey_probability: 0.05,
            blur_probability: 0.2,
            ..Self::default()
        }
    }

    /// Whether every setting is within its range.
    ///
    /// # Errors
    /// [`AugmentError::Setting`] with the name of the first that is not.
    pub fn check(&self) -> Result<(), AugmentError> {
        probability("crop_probability", self.crop_probability)?;
        range("crop_area", self.crop_area, 1e-4, 1.0, "a rising range of fractions above 0, at most 1")?;
        range("crop_aspect", self.crop_aspect, 0.1, 10.0, "a rising range of ratios, 0.1 to 10")?;
        probability("flip_probability", self.flip_probability)?;
        probability("jitter_probability", self.jitter_probability)?;
        let strengths =
            [("brightness", self.brightness), ("contrast", self.contrast), ("saturation", self.saturation)];
        for (field, strength) in strengths {
            within(field, strength, 0.0, 10.0, "a strength, 0 to 10")?;
        }
        within("hue", self.hue, 0.0, 0.5, "a fraction of the circle, 0 to 0.5")?;
        probability("grey_probability", self.grey_probability)?;
        probability("blur_probability", self.blur_probability)?;
        range("blur_sigma", self.blur_sigma, 0.0, blur::MAX_SIGMA, "a rising range of pixels, 0 to 10")
    }

    /// One random view of `source` into `out`, `[3, height, width]` of `size`, in 0..1.
    ///
    /// The view depends on the settings, the source and the generator's state alone.
    ///
    /// # Errors
    /// When a setting is out of range or `out` does not hold `size`.
    pub fn view(
        &self,
        source: &ImageSource<'_>,
        size: Size,
        rng: &mut ChaCha8Rng,
        out: &mut [f32],
    ) -> Result<(), AugmentError> {
        self.check()?;
        size.fits(out)?;
        let draw = self.draw(source, size, rng);
        resample(source, draw.region, draw.flip, size, out);
        for op in draw.colour.into_iter().flatten() {
            colour::apply(out, op);
        }
        if draw.grey {
            colour::to_grey(out);
        }
        if let Some(sigma) = draw.blur {
            blur::gaussian(out, size.width, size.height, sigma);
        }
        Ok(())
    }

    /// Everything random about one view. The crop comes last, for it takes a varying number of
    /// draws; the rest take the same ones whatever is switched on.
    fn draw(&self, source: &ImageSource<'_>, size: Size, rng: &mut ChaCha8Rng) -> Draw {
        let flip = chance(rng, self.flip_probability);
        let jitter = chance(rng, self.jitter_probability);
        let colour = colour::draw(rng, [self.brightness, self.contrast, self.saturation, self.hue]);
        let grey = chance(rng, self.grey_probability);
        let blur = chance(rng, self.blur_probability);
        let sigma = uniform(rng, self.blur_sigma[0], self.blur_sigma[1]);
        let crop = chance(rng, self.crop_probability);
        let region = if crop { self.draw_crop(source, rng) } else { source.centre(size.aspect()) };
        Draw { region, flip, colour: jitter.then_some(colour), grey, blur: blur.then_some(sigma) }
    }

    fn draw_crop(&self, source: &ImageSource<'_>, rng: &mut ChaCha8Rng) -> Region {
        let (w, h) = (source.width as f64, source.height as f64);
        let [narrow, wide] = self.crop_aspect.map(libm::logf);
        for _ in 0..CROP_TRIES {
            let area = w * h * f64::from(uniform(rng, self.crop_area[0], self.crop_area[1]));
            let aspect = f64::from(libm::expf(uniform(rng, narrow, wide)));
            let (width, height) = (libm::sqrt(area * aspect), libm::sqrt(area / aspect));
            if width <= w && height <= h {
                let x = f64::from(uniform(rng, 0.0, 1.0)) * (w - width);
                let y = f64::from(uniform(rng, 0.0, 1.0)) * (h - height);
                return Region { x, y, width, height };
            }
        }
        let aspect = (w / h).clamp(f64::from(self.crop_aspect[0]), f64::from(self.crop_aspect[1]));
        source.centre(aspect)
    }
}

/// The random choices of one view.
#[derive(Debug, PartialEq)]
struct Draw {
    region: Region,
    flip: bool,
    colour: Option<[ColourOp; 4]>,
    grey: bool,
    blur: Option<f32>,
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
