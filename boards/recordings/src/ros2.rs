//! Three ROS 2 message types in their wire form, plain CDR (OMG DDSI-RTPS 2.3 and CORBA CDR): four
//! bytes say the byte order, then each number stands at a multiple of its own size, counted from
//! after those four. Written out by hand, because three types do not make a parser generator.

use sedge_readings::{Frame, ImuSample};

use crate::bytes::Cursor;
use crate::image::checked_pixels;
use crate::{Failure, ImageError, Limits, decode_image};

pub(crate) const IMU: &str = "sensor_msgs/msg/Imu";
pub(crate) const COMPRESSED_IMAGE: &str = "sensor_msgs/msg/CompressedImage";
pub(crate) const IMAGE: &str = "sensor_msgs/msg/Image";

/// ROS: a covariance that begins so means that the quantity is not measured.
const NOT_MEASURED: f64 = -1.0;

/// Decodes `sensor_msgs/msg/Imu`. Orientation is passed over.
pub(crate) fn imu(message: &[u8]) -> Result<ImuSample, Failure> {
    let (gyro, gyro_covariance, accel, accel_covariance) =
        imu_fields(message).ok_or(Failure::BrokenMessage)?;
    if gyro_covariance == NOT_MEASURED || accel_covariance == NOT_MEASURED {
        return Err(Failure::NotMeasured);
    }
    let sample = ImuSample { accel: accel.map(|value| value as f32), gyro: gyro.map(|value| value as f32) };
    if sample.is_finite() { Ok(sample) } else { Err(Failure::NotFinite) }
}

/// Angular velocity, the first of its covariance, linear acceleration, the first of its covariance.
fn imu_fields(message: &[u8]) -> Option<([f64; 3], f64, [f64; 3], f64)> {
    let mut cdr = Cdr::new(message)?;
    cdr.header()?;
    let _orientation = cdr.doubles::<4>()?;
    let _covariance = cdr.doubles::<9>()?;
    let gyro = cdr.doubles()?;
    let [gyro_covariance, ..] = cdr.doubles::<9>()?;
    let accel = cdr.doubles()?;
    let [accel_covariance, ..] = cdr.doubles::<9>()?;
    Some((gyro, gyro_covariance, accel, accel_covariance))
}

/// Decodes `sensor_msgs/msg/CompressedImage` that holds a JPEG or PNG; the data's own first bytes
/// decide, not the format field, which drivers fill in many ways.
pub(crate) fn compressed_image(message: &[u8], limits: &Limits) -> Result<Frame, Failure> {
    let data = || {
        let mut cdr = Cdr::new(message)?;
        cdr.header()?;
        let _format = cdr.string()?;
        cdr.octets()
    };
    decode_image(data().ok_or(Failure::BrokenMessage)?, limits).map_err(|error| match error {
        ImageError::TooLarge { .. } => Failure::ImageTooLarge,
        ImageError::Unrecognised { bytes } if bytes > 0 => Failure::UnsupportedEncoding,
        _ => Failure::BrokenImage,
    })
}

/// Decodes `sensor_msgs/msg/Image` of 8 bits a sample.
pub(crate) fn image(message: &[u8], limits: &Limits) -> Result<Frame, Failure> {
    let raw = RawImage::parse(message).ok_or(Failure::BrokenMessage)?;
    // Bytes a pixel, and which of them are red, green and blue.
    let (stride, [red, green, blue]) = match raw.encoding {
        b"rgb8" => (3, [0, 1, 2]),
        b"bgr8" => (3, [2, 1, 0]),
        b"rgba8" => (4, [0, 1, 2]),
        b"bgra8" => (4, [2, 1, 0]),
        b"mono8" => (1, [0, 0, 0]),
        _ => return Err(Failure::UnsupportedEncoding),
    };
    let pixels =
        checked_pixels(raw.width.into(), raw.height.into(), limits).map_err(|_| Failure::ImageTooLarge)?;
    let row_bytes = raw.width as usize * stride;
    if pixels == 0 || raw.step < row_bytes {
        return Err(Failure::BrokenImage);
    }
    // The last row may lack its padding.
    let used = raw.step.checked_mul(raw.height as usize - 1).and_then(|bytes| bytes.checked_add(row_bytes));
    if used.is_none_or(|used| used > raw.data.len()) {
        return Err(Failure::BrokenImage);
    }
    let mut rgb = Vec::with_capacity(3 * pixels);
    for row in raw.data.chunks(raw.step).take(raw.height as usize) {
        let used = row.get(..row_bytes).unwrap_or_default();
        // Each pixel has exactly `stride` bytes, and the places of its colours are below that.
        rgb.extend(used.chunks_exact(stride).flat_map(|pixel| [pixel[red], pixel[green], pixel[blue]]));
    }
    Frame::new(raw.width, raw.height, rgb).map_err(|_| Failure::BrokenImage)
}

struct RawImage<'a> {
    width: u32,
    height: u32,
    encoding: &'a [u8],
    step: usize,
    data: &'a [u8],
}

impl<'a> RawImage<'a> {
    fn parse(message: &'a [u8]) -> Option<Self> {
        let mut cdr = Cdr::new(message)?;
        cdr.header()?;
        let (height, width) = (cdr.u32()?, cdr.u32()?);
        let encoding = cdr.string()?;
        let _is_bigendian = cdr.u8()?;
        let step = usize::try_from(cdr.u32()?).ok()?;
        Some(Self { width, height, encoding, step, data: cdr.octets()? })
    }
}

/// A reader of plain CDR.
struct Cdr<'a> {
    body: Cursor<'a>,
    big_endian: bool,
}

impl<'a> Cdr<'a> {
    fn new(message: &'a [u8]) -> Option<Self> {
        let mut body = Cursor::new(message);
        let big_endian = match body.array()? {
            [0, 0, _, _] => true,
            [0, 1, _, _] => false,
            _ => return None,
        };
        Some(Self { body: Cursor::new(body.rest()), big_endian })
    }

    /// The bytes of one number in little-endian order, from where its alignment puts it.
    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        let padding = self.body.taken().next_multiple_of(N) - self.body.taken();
        self.body.take(padding)?;
        let mut bytes: [u8; N] = self.body.array()?;
        if self.big_endian {
            bytes.reverse();
        }
        Some(bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.number().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.number().map(u32::from_le_bytes)
    }

    fn doubles<const N: usize>(&mut self) -> Option<[f64; N]> {
        let mut values = [0.0; N];
        for value in &mut values {
            *value = f64::from_le_bytes(self.number()?);
        }
        Some(values)
    }

    fn octets(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.body.take(length)
    }

    /// A string without the zero byte that ends it.
    fn string(&mut self) -> Option<&'a [u8]> {
        let text = self.octets()?;
        Some(text.strip_suffix(&[0]).unwrap_or(text))
    }

    /// `std_msgs/msg/Header`: the stamp, whose clock is the sender's and is not used, and a frame id.
    fn header(&mut self) -> Option<()> {
        let _seconds = self.u32()?;
        let _nanoseconds = self.u32()?;
        self.string().map(|_| ())
    }
}
