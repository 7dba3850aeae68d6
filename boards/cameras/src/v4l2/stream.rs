//! The stream of a device: buffers that go round between the driver and us.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use super::kernel::{self, Mapping};
use super::layout::{
    BUFFER_DAMAGED, Buffer, BuffersWanted, CAPTURE, CLOCK_MASK, CLOCK_MONOTONIC, Control, MAPPED,
};
use super::negotiate::Agreed;
use super::{Names, offer};
use crate::camera::{Taken, nanos};
use crate::decode::Layout;
use crate::error::{CameraError, FrameError};

/// Buffers asked for: one being filled, one waiting to be, one filled, one in hand.
const BUFFERS: u32 = 4;
/// Most buffers that a driver may make of them.
const MOST_BUFFERS: usize = 32;
/// Largest buffer that is mapped: the largest picture with four bytes a pixel.
const MOST_BYTES: usize = 4 * 4096 * 4096;
/// Time beyond which a driver's clock is not believed.
const BELIEVED: i64 = 10_000_000_000;

/// A stream that runs until it is dropped.
#[derive(Debug)]
pub(super) struct Stream {
    device: OwnedFd,
    names: Names,
    layout: Layout,
    buffers: Vec<Mapping>,
    /// Frame period in nanoseconds.
    period: i64,
    bytes: Vec<u8>,
}

impl Stream {
    /// Maps the buffers, gives all to the driver and starts it.
    pub(super) fn start(
        device: OwnedFd,
        names: Names,
        agreed: Agreed,
        rate_hz: u32,
    ) -> Result<Self, CameraError> {
        let period = 1_000_000_000 / i64::from(rate_hz.max(1));
        let layout = agreed.layout;
        let mut stream = Self { device, names, layout, buffers: vec![], period, bytes: vec![] };
        let mut wanted =
            BuffersWanted { count: BUFFERS, stream: CAPTURE, memory: MAPPED, ..BuffersWanted::default() };
        let step = "asking for buffers";
        kernel::request_buffers(&stream.device, &mut wanted)
            .map_err(|errno| stream.names.failed(step, errno))?;
        let fits = (1..=MOST_BUFFERS).contains(&(wanted.count as usize)) && agreed.bytes <= MOST_BYTES;
        if !fits {
            let answered = format!("{} buffers of {} bytes", wanted.count, agreed.bytes);
            let asked = format!("{BUFFERS} buffers of up to {MOST_BYTES} bytes");
            return Err(stream.names.refused(asked, answered, offer::formats(&stream.device)));
        }
        for index in 0..wanted.count {
            stream.map(index)?;
        }
        for index in 0..wanted.count {
            stream.give(index)?;
        }
        let step = "starting the stream";
        kernel::stream_on(&stream.device, &mut { CAPTURE })
            .map_err(|errno| stream.names.failed(step, errno))?;
        Ok(stream)
    }

    /// Sets a control of the device.
    pub(super) fn set_control(&self, id: u32, value: i32) -> Result<(), CameraError> {
        let failed = |errno| self.names.failed("setting a control", errno);
        kernel::set_control(&self.device, &mut Control { id, value }).map_err(failed)
    }

    fn map(&mut self, index: u32) -> Result<(), CameraError> {
        let failed = |errno| self.names.failed("mapping its buffers", errno);
        let mut buffer = Buffer { index, ..empty() };
        kernel::query_buffer(&self.device, &mut buffer).map_err(failed)?;
        let length = buffer.length as usize;
        if !(1..=MOST_BYTES).contains(&length) {
            return Err(failed(Errno::OVERFLOW));
        }
        self.buffers.push(Mapping::new(&self.device, buffer.offset, length).map_err(failed)?);
        Ok(())
    }

    /// Gives a buffer to the driver.
    fn give(&self, index: u32) -> Result<(), CameraError> {
        let failed = |errno| self.names.failed("giving a buffer back", errno);
        kernel::queue(&self.device, &mut Buffer { index, ..empty() }).map_err(failed)
    }

    /// Takes a filled buffer from the driver, if there is one.
    fn filled(&self) -> Result<Option<Buffer>, CameraError> {
        let mut buffer = empty();
        match kernel::dequeue(&self.device, &mut buffer) {
            Ok(()) => Ok(Some(buffer)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(errno) => Err(self.names.failed("taking a frame", errno)),
        }
    }

    /// The newest of the filled buffers; the others go back.
    fn newest(&self) -> Result<Option<(Buffer, usize)>, CameraError> {
        let (mut newest, mut count) = (None, 0);
        // More than there are cannot be had at once, unless they are filled as fast as they are given.
        while count < self.buffers.len() {
            let Some(buffer) = self.filled()? else { break };
            if let Some(older) = newest.replace(buffer) {
                self.give(older.index)?;
            }
            count += 1;
        }
        Ok(newest.map(|buffer| (buffer, count)))
    }

    /// Waits until there is a filled buffer.
    pub(super) fn wait(&self, wait: Duration) -> Result<(), CameraError> {
        self.wait_since(Instant::now(), wait)
    }

    /// The same for a wait that has begun.
    fn wait_since(&self, begun: Instant, wait: Duration) -> Result<(), CameraError> {
        let (camera, device) = (self.names.camera.clone(), self.names.device.clone());
        loop {
            let left = wait.saturating_sub(begun.elapsed());
            let mut polled = [PollFd::new(&self.device, PollFlags::IN)];
            let left = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut polled, Some(&left)) {
                Ok(0) => {
                    return Err(CameraError::Silent {
                        camera,
                        waited: wait,
                        bytes: 0,
                        errors: String::new(),
                    });
                }
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(self.names.failed("waiting for a frame", errno)),
                Ok(_) => {}
            }
            let [polled] = &polled;
            // An unplugged device says both, and a stream that has failed an error alone.
            let over = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
            return match polled.revents().intersects(over) {
                true => Err(CameraError::Gone { camera, device }),
                false => Ok(()),
            };
        }
    }

    /// The newest frame. One that is older than two periods was filled while nobody read, and another is waited
    /// for.
    pub(super) fn take(&mut self, wait: Duration) -> Result<Taken, CameraError> {
        let (begun, asked) = (Instant::now(), monotonic());
        loop {
            self.wait_since(begun, wait)?;
            let Some((buffer, count)) = self.newest()? else { continue };
            let taken = taken_at(&buffer);
            let stale = match taken {
                Some(at) => monotonic() - at > 2 * self.period,
                // Without a time: the driver had no buffer left to fill.
                None => count == self.buffers.len(),
            };
            if stale && begun.elapsed() < wait {
                self.give(buffer.index)?;
                continue;
            }
            let damaged = buffer.flags & BUFFER_DAMAGED != 0;
            if let Some(mapped) = self.buffers.get(buffer.index as usize).filter(|_| !damaged) {
                mapped.copy_to(buffer.used as usize, &mut self.bytes);
            }
            self.give(buffer.index)?;
            let frame = if damaged { Err(FrameError::Flagged) } else { self.layout.decode(&self.bytes) };
            let camera = || self.names.camera.clone();
            let frame = frame.map_err(|source| CameraError::Frame { camera: camera(), source })?;
            let after = taken.map_or_else(|| nanos(begun.elapsed()), |at| at - asked);
            return Ok(Taken { frame, after });
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // A device that is gone refuses both, which is as good.
        let _ = kernel::stream_off(&self.device, &mut { CAPTURE });
        // Buffers are freed once they are unmapped.
        self.buffers.clear();
        let mut none = BuffersWanted { stream: CAPTURE, memory: MAPPED, ..BuffersWanted::default() };
        let _ = kernel::request_buffers(&self.device, &mut none);
    }
}

fn empty() -> Buffer {
    Buffer { stream: CAPTURE, memory: MAPPED, ..Buffer::default() }
}

/// Nanoseconds of the clock that drivers stamp frames by.
fn monotonic() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
}

/// When a frame was taken by the monotonic clock, if the driver says so and it can be.
fn taken_at(buffer: &Buffer) -> Option<i64> {
    let at =
        buffer.seconds.checked_mul(1_000_000_000)?.checked_add(buffer.microseconds.checked_mul(1000)?)?;
    let believed = (0..BELIEVED).contains(&(monotonic() - at));
    (buffer.flags & CLOCK_MASK == CLOCK_MONOTONIC && believed).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_believed_where_the_clock_is_ours_and_the_time_is_near() {
        let now = monotonic();
        let stamped = |flags, nanos: i64| {
            let (seconds, microseconds) = (nanos / 1_000_000_000, nanos % 1_000_000_000 / 1000);
            taken_at(&Buffer { flags, seconds, microseconds, ..Buffer::default() })
        };
        let recent = now - 5_000_000;
        assert_eq!(stamped(CLOCK_MONOTONIC, recent), Some(recent / 1000 * 1000));
        for (flags, nanos) in [
            (0, recent),
            (CLOCK_MONOTONIC, now - 2 * BELIEVED),
            (CLOCK_MONOTONIC, now + BELIEVED),
            (CLOCK_MONOTONIC, i64::MAX),
        ] {
            assert_eq!(stamped(flags, nanos), None, "{flags} {nanos}");
        }
    }
}
