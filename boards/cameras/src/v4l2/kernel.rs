//! The calls into the kernel and the mapped buffers: all of this crate that the compiler cannot check.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{NonNull, copy_nonoverlapping, null_mut};

use rustix::io::Result;
use rustix::ioctl::{Updater, ioctl};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::layout::{self, *};

/// A call that takes one structure and changes it.
macro_rules! calls {
    ($($(#[$meta:meta])* $name:ident: $number:ident, $structure:ty;)*) => {$(
        $(#[$meta])*
        pub(super) fn $name(device: &OwnedFd, value: &mut $structure) -> Result<()> {
            // SAFETY: the number was computed from the structure's own size and letter and compared with the
            // kernel's header, so the kernel reads and writes exactly this structure, which is borrowed mutably
            // for the length of the call. It is plain numbers, so that any bytes written are valid. None of these
            // calls makes the kernel keep its address, and those that name memory name buffers of the driver's
            // own (`MAPPED`), never ours. A device that is no camera refuses an unknown number with `ENOTTY`.
            unsafe { ioctl(device, Updater::<{ layout::$number as rustix::ioctl::Opcode }, $structure>::new(value)) }
        }
    )*};
}

calls! {
    capability: QUERYCAP, Capability;
    format_name: ENUM_FMT, FormatName;
    set_format: S_FMT, Format;
    request_buffers: REQBUFS, BuffersWanted;
    query_buffer: QUERYBUF, Buffer;
    queue: QBUF, Buffer;
    dequeue: DQBUF, Buffer;
    stream_on: STREAMON, u32;
    stream_off: STREAMOFF, u32;
    set_parameters: S_PARM, Parameters;
    set_control: S_CTRL, Control;
    control_range: QUERYCTRL, ControlRange;
    size_offered: ENUM_FRAMESIZES, SizeOffered;
    interval_offered: ENUM_FRAMEINTERVALS, IntervalOffered;
}

/// A buffer of the driver's, mapped for reading until it is dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<c_void>,
    length: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is only reached through `copy_to` and `drop`.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `length` bytes (at least one) of the device from `offset`, both as [`query_buffer`] gave them.
    pub(super) fn new(device: &OwnedFd, offset: u32, length: usize) -> Result<Self> {
        // SAFETY: with no address given the kernel chooses one where nothing of ours lies, and it refuses what the
        // device cannot map.
        let start = unsafe {
            mmap(null_mut(), length, ProtFlags::READ, MapFlags::SHARED, device.as_fd(), u64::from(offset))?
        };
        let start = NonNull::new(start).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Self { start, length })
    }

    /// Copies the first `used` bytes, or as many as there are. To be called while the buffer is not queued, so
    /// that nobody writes to it; were a driver to do so all the same, the copy would be of mixed bytes.
    pub(super) fn copy_to(&self, used: usize, into: &mut Vec<u8>) {
        let used = used.min(self.length);
        into.clear();
        into.reserve(used);
        // SAFETY: `used` bytes lie within the mapping, which lives as long as `self`, and fit into what was
        // reserved; the vector's memory is its own, so they do not overlap. They are bytes, valid whatever they
        // are, and are all written before the length says so. No reference to the shared memory is made. The
        // pages stay where they are when a device is unplugged: the driver frees them after the last unmapping.
        unsafe {
            copy_nonoverlapping(self.start.as_ptr().cast::<u8>(), into.as_mut_ptr(), used);
            into.set_len(used);
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped, once; nothing points into it, as only copies are given out.
        let _ = unsafe { munmap(self.start.as_ptr(), self.length) };
    }
}
