//! Luma and chroma to RGB, in whole numbers: sixteen bits behind the point, so that a result differs from the
//! formula by rounding alone.

/// Bits behind the point.
const POINT: u32 = 16;

/// Which luma and chroma these are (ITU-R BT.601-7 section 2.5.1, BT.709-6 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matrix {
    /// Cameras, unless they say otherwise.
    Bt601,
    /// High definition.
    Bt709,
}

/// Which levels are black and white.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Levels {
    /// Luma 16 to 235, chroma 16 to 240.
    Limited,
    /// 0 to 255.
    Full,
}

/// Factors of the conversion, `POINT` bits behind the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Colour {
    black: i32,
    luma: i32,
    red_v: i32,
    green_u: i32,
    green_v: i32,
    blue_u: i32,
}

impl Colour {
    pub(crate) fn new(matrix: Matrix, levels: Levels) -> Self {
        // The parts of red and blue in luma; green has the rest.
        let (red, blue) = match matrix {
            Matrix::Bt601 => (0.299, 0.114),
            Matrix::Bt709 => (0.2126, 0.0722),
        };
        let green = 1.0 - red - blue;
        let (black, luma, chroma) = match levels {
            Levels::Limited => (16, 255.0 / 219.0, 255.0 / 224.0),
            Levels::Full => (0, 1.0, 1.0),
        };
        let fixed = |factor: f64| (factor * f64::from(1 << POINT)).round() as i32;
        Self {
            black,
            luma: fixed(luma),
            red_v: fixed(2.0 * (1.0 - red) * chroma),
            green_u: fixed(-2.0 * (1.0 - blue) * blue / green * chroma),
            green_v: fixed(-2.0 * (1.0 - red) * red / green * chroma),
            blue_u: fixed(2.0 * (1.0 - blue) * chroma),
        }
    }

    /// What chroma adds to red, green and blue.
    fn chroma(self, u: u8, v: u8) -> [i32; 3] {
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        [self.red_v * v, self.green_u * u + self.green_v * v, self.blue_u * u]
    }

    fn pixel(self, y: u8, chroma: [i32; 3]) -> [u8; 3] {
        let luma = (i32::from(y) - self.black) * self.luma + (1 << (POINT - 1));
        chroma.map(|part| ((luma + part) >> POINT).clamp(0, 255) as u8)
    }
}

/// YUYV to RGB: `height` rows of `stride` bytes, each with `width` (even) pixels of two bytes. `None` where
/// `bytes` are too few.
pub(crate) fn from_yuyv(
    bytes: &[u8],
    width: usize,
    height: usize,
    stride: usize,
    colour: Colour,
) -> Option<Vec<u8>> {
    let mut rgb = Vec::with_capacity(width * height * 3);
    for row in rows(bytes, 2 * width, height, stride)? {
        for &[first, u, second, v] in row.as_chunks::<4>().0 {
            let chroma = colour.chroma(u, v);
            rgb.extend_from_slice(&colour.pixel(first, chroma));
            rgb.extend_from_slice(&colour.pixel(second, chroma));
        }
    }
    Some(rgb)
}

/// NV12 to RGB: `height` (even) rows of luma, then half as many of chroma, `stride` bytes each; `width` is even.
/// A pixel has the chroma of its square of four. `None` where `bytes` are too few.
pub(crate) fn from_nv12(
    bytes: &[u8],
    width: usize,
    height: usize,
    stride: usize,
    colour: Colour,
) -> Option<Vec<u8>> {
    let mut rgb = Vec::with_capacity(width * height * 3);
    let below = bytes.get(stride.checked_mul(height)?..)?;
    let twice = rows(below, width, height / 2, stride)?.flat_map(|row| [row, row]);
    for (luma, chroma) in rows(bytes, width, height, stride)?.zip(twice) {
        for (&[first, second], &[u, v]) in luma.as_chunks::<2>().0.iter().zip(chroma.as_chunks::<2>().0) {
            let chroma = colour.chroma(u, v);
            rgb.extend_from_slice(&colour.pixel(first, chroma));
            rgb.extend_from_slice(&colour.pixel(second, chroma));
        }
    }
    Some(rgb)
}

/// Grey to RGB: `height` rows of `stride` bytes. `None` where `bytes` are too few.
pub(crate) fn from_grey(
    bytes: &[u8],
    width: usize,
    height: usize,
    stride: usize,
    levels: Levels,
) -> Option<Vec<u8>> {
    let colour = Colour::new(Matrix::Bt601, levels);
    let mut rgb = Vec::with_capacity(width * height * 3);
    for row in rows(bytes, width, height, stride)? {
        row.iter().for_each(|&grey| rgb.extend_from_slice(&colour.pixel(grey, [0; 3])));
    }
    Some(rgb)
}

/// The first `used` bytes of each of `height` rows. The last row may end where its pixels do.
fn rows(bytes: &[u8], used: usize, height: usize, stride: usize) -> Option<impl Iterator<Item = &[u8]>> {
    let wanted = stride.checked_mul(height.checked_sub(1)?)?.checked_add(used)?;
    let fits = used > 0 && used <= stride && bytes.len() >= wanted;
    fits.then(|| bytes.chunks(stride).take(height).filter_map(move |row| row.get(..used)))
}

#[cfg(test)]
mod tests;
