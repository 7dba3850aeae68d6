//! Structures of the kernel's header `linux/videodev2.h` as 64-bit Linux lays them out, and the numbers of the
//! calls that take them. Sizes and offsets were taken from a C compiler and are asserted here, so that a slip does
//! not compile.

use std::mem::{offset_of, size_of};

/// Stream of frames, one plane a buffer.
pub(super) const CAPTURE: u32 = 1;
/// Buffers of the driver's, mapped.
pub(super) const MAPPED: u32 = 1;
/// Whole frames rather than fields.
pub(super) const PROGRESSIVE: u32 = 1;

pub(super) const CAP_CAPTURE: u32 = 0x1;
pub(super) const CAP_CAPTURE_PLANES: u32 = 0x1000;
pub(super) const CAP_STREAMING: u32 = 0x0400_0000;
pub(super) const CAP_DEVICE: u32 = 0x8000_0000;
/// Of a [`Parameters::capability`]: the rate can be set.
pub(super) const CAN_SET_RATE: u32 = 0x1000;

pub(super) const BUFFER_DAMAGED: u32 = 0x40;
pub(super) const CLOCK_MASK: u32 = 0xE000;
pub(super) const CLOCK_MONOTONIC: u32 = 0x2000;

pub(super) const EXPOSURE_AUTO: u32 = 0x009A_0901;
pub(super) const EXPOSURE_ABSOLUTE: u32 = 0x009A_0902;
/// Of [`EXPOSURE_AUTO`]: both exposure and iris by hand.
pub(super) const EXPOSURE_MANUAL: i32 = 1;
pub(super) const CONTROL_DISABLED: u32 = 0x1;
pub(super) const CONTROL_READ_ONLY: u32 = 0x4;

pub(super) const COLORSPACE_REC709: u32 = 3;
pub(super) const COLORSPACE_JPEG: u32 = 7;
pub(super) const ENCODING_601: u32 = 1;
pub(super) const ENCODING_709: u32 = 2;
pub(super) const LEVELS_FULL: u32 = 1;
pub(super) const LEVELS_LIMITED: u32 = 2;

/// `V4L2_FRMSIZE_TYPE_DISCRETE`, and the same of intervals.
pub(super) const DISCRETE: u32 = 1;

/// `struct v4l2_capability`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Capability {
    pub driver: [u8; 16],
    pub card: [u8; 32],
    pub bus: [u8; 32],
    pub version: u32,
    pub capabilities: u32,
    pub device: u32,
    pub reserved: [u32; 3],
}

/// `struct v4l2_fmtdesc`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FormatName {
    pub index: u32,
    pub stream: u32,
    pub flags: u32,
    pub description: [u8; 32],
    pub fourcc: [u8; 4],
    pub mbus_code: u32,
    pub reserved: [u32; 3],
}

/// `struct v4l2_format` of a capture with one plane: a type, and 200 bytes that begin with a
/// `struct v4l2_pix_format`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    pub stream: u32,
    pub gap: u32,
    pub width: u32,
    pub height: u32,
    pub fourcc: [u8; 4],
    pub field: u32,
    pub stride: u32,
    pub bytes: u32,
    pub colorspace: u32,
    pub private: u32,
    pub flags: u32,
    pub encoding: u32,
    pub quantization: u32,
    pub transfer: u32,
    pub rest: [u32; 38],
}

impl Default for Format {
    fn default() -> Self {
        Self {
            stream: CAPTURE,
            gap: 0,
            width: 0,
            height: 0,
            fourcc: [0; 4],
            field: 0,
            stride: 0,
            bytes: 0,
            colorspace: 0,
            private: 0,
            flags: 0,
            encoding: 0,
            quantization: 0,
            transfer: 0,
            rest: [0; 38],
        }
    }
}

/// `struct v4l2_requestbuffers`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BuffersWanted {
    pub count: u32,
    pub stream: u32,
    pub memory: u32,
    pub capabilities: u32,
    pub flags_and_reserved: u32,
}

/// `struct v4l2_buffer`, whose union of a pointer and an offset is the offset and the rest of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Buffer {
    pub index: u32,
    pub stream: u32,
    pub used: u32,
    pub flags: u32,
    pub field: u32,
    pub gap: u32,
    pub seconds: i64,
    pub microseconds: i64,
    pub timecode: [u32; 4],
    pub sequence: u32,
    pub memory: u32,
    pub offset: u32,
    pub place_rest: u32,
    pub length: u32,
    pub reserved: u32,
    pub request: u32,
    pub end: u32,
}

/// `struct v4l2_streamparm` of a capture: a type, and 200 bytes that begin with a `struct v4l2_captureparm`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameters {
    pub stream: u32,
    pub capability: u32,
    pub mode: u32,
    pub numerator: u32,
    pub denominator: u32,
    pub rest: [u32; 46],
}

impl Default for Parameters {
    fn default() -> Self {
        Self { stream: CAPTURE, capability: 0, mode: 0, numerator: 0, denominator: 0, rest: [0; 46] }
    }
}

/// `struct v4l2_control`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Control {
    pub id: u32,
    pub value: i32,
}

/// `struct v4l2_queryctrl`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ControlRange {
    pub id: u32,
    pub kind: u32,
    pub name: [u8; 32],
    pub minimum: i32,
    pub maximum: i32,
    pub step: i32,
    pub usual: i32,
    pub flags: u32,
    pub reserved: [u32; 2],
}

/// `struct v4l2_frmsizeenum`: one size, or from and to by steps (`width`, `height` then hold the least and most
/// width, and the others follow).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SizeOffered {
    pub index: u32,
    pub fourcc: [u8; 4],
    pub kind: u32,
    pub numbers: [u32; 6],
    pub reserved: [u32; 2],
}

/// `struct v4l2_frmivalenum`: one interval as a fraction of seconds, or the least, the most and the step.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IntervalOffered {
    pub index: u32,
    pub fourcc: [u8; 4],
    pub width: u32,
    pub height: u32,
    pub kind: u32,
    pub numbers: [u32; 6],
    pub reserved: [u32; 2],
}

/// `_IOC` of `asm-generic/ioctl.h` for the letter V, which x86-64 and ARM64 share.
const fn number(direction: u32, of: u32, bytes: usize) -> u32 {
    direction << 30 | (bytes as u32) << 16 | (b'V' as u32) << 8 | of
}

const WRITE: u32 = 1;
const READ: u32 = 2;
const BOTH: u32 = WRITE | READ;

pub(super) const QUERYCAP: u32 = number(READ, 0, size_of::<Capability>());
pub(super) const ENUM_FMT: u32 = number(BOTH, 2, size_of::<FormatName>());
pub(super) const S_FMT: u32 = number(BOTH, 5, size_of::<Format>());
pub(super) const REQBUFS: u32 = number(BOTH, 8, size_of::<BuffersWanted>());
pub(super) const QUERYBUF: u32 = number(BOTH, 9, size_of::<Buffer>());
pub(super) const QBUF: u32 = number(BOTH, 15, size_of::<Buffer>());
pub(super) const DQBUF: u32 = number(BOTH, 17, size_of::<Buffer>());
pub(super) const STREAMON: u32 = number(WRITE, 18, size_of::<u32>());
pub(super) const STREAMOFF: u32 = number(WRITE, 19, size_of::<u32>());
pub(super) const S_PARM: u32 = number(BOTH, 22, size_of::<Parameters>());
pub(super) const S_CTRL: u32 = number(BOTH, 28, size_of::<Control>());
pub(super) const QUERYCTRL: u32 = number(BOTH, 36, size_of::<ControlRange>());
pub(super) const ENUM_FRAMESIZES: u32 = number(BOTH, 74, size_of::<SizeOffered>());
pub(super) const ENUM_FRAMEINTERVALS: u32 = number(BOTH, 75, size_of::<IntervalOffered>());

const _: () = {
    assert!(QUERYCAP == 0x8068_5600 && ENUM_FMT == 0xC040_5602 && S_FMT == 0xC0D0_5605);
    assert!(REQBUFS == 0xC014_5608 && QUERYBUF == 0xC058_5609);
    assert!(QBUF == 0xC058_560F && DQBUF == 0xC058_5611);
    assert!(STREAMON == 0x4004_5612 && STREAMOFF == 0x4004_5613 && S_PARM == 0xC0CC_5616);
    assert!(S_CTRL == 0xC008_561C && QUERYCTRL == 0xC044_5624);
    assert!(ENUM_FRAMESIZES == 0xC02C_564A && ENUM_FRAMEINTERVALS == 0xC034_564B);
    assert!(offset_of!(Format, width) == 8 && offset_of!(Format, transfer) == 8 + 44);
    assert!(offset_of!(Buffer, seconds) == 24 && offset_of!(Buffer, sequence) == 56);
    assert!(offset_of!(Buffer, offset) == 64 && offset_of!(Buffer, length) == 72);
    assert!(offset_of!(Parameters, numerator) == 12);
    assert!(offset_of!(ControlRange, minimum) == 40 && offset_of!(ControlRange, flags) == 56);
    assert!(offset_of!(SizeOffered, numbers) == 12 && offset_of!(IntervalOffered, numbers) == 20);
};
