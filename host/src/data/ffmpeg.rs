//! Pictures of a video, decoded by an installed `ffmpeg`: every codec there is, at the cost of a process.
//! It writes raw pixels of a stated size into a pipe, a frame at a time is read from it, and it ends when
//! nobody reads any more.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::{Builder, JoinHandle};

use sedge_recordings::Limits;
use serde_json::Value;

use super::images::Picture;
use super::{DataError, LoadOptions};

/// Most that is read of what `ffprobe` says.
const MAX_ANSWER: u64 = 1 << 20;
/// Last bytes that are kept of what a program complains of.
const MAX_COMPLAINT: usize = 2000;
/// Most frames of one video.
const MAX_FRAMES: f64 = 4e9;

/// What `ffprobe` is asked for.
const ENTRIES: &str = "stream=width,height,avg_frame_rate,r_frame_rate,duration,nb_read_packets\
    :format=duration:stream_tags=rotate:stream_side_data=rotation";

/// Where the two programs are.
#[derive(Clone, Debug)]
pub(super) struct Ffmpeg {
    ffmpeg: PathBuf,
    ffprobe: PathBuf,
    threads: usize,
}

/// What is known of a video before it is decoded.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Probe {
    /// As it is to be shown.
    pub(super) width: usize,
    /// As it is to be shown.
    pub(super) height: usize,
    /// Frames a second, on average.
    pub(super) rate: f64,
    /// Length in seconds.
    pub(super) seconds: f64,
}

/// Which frames are wanted, and how.
#[derive(Clone, Debug)]
pub(super) struct Span {
    /// Seconds into the video of the first frame.
    pub(super) from: f64,
    /// Frames a second.
    pub(super) fps: f64,
    /// Most frames.
    pub(super) frames: u64,
    /// Width and height of what comes; a square one is cut from the middle.
    pub(super) size: (usize, usize),
}

impl Ffmpeg {
    /// The programs on the search path, or `ffmpeg` as the options say, with `ffprobe` beside it.
    pub(super) fn new(options: &LoadOptions) -> Self {
        let ffmpeg = options.ffmpeg.clone().unwrap_or_else(|| PathBuf::from("ffmpeg"));
        let ffprobe = ffmpeg.with_file_name("ffprobe");
        Self { ffmpeg, ffprobe, threads: options.workers }
    }

    fn spawn(program: &Path, arguments: &mut Command) -> Result<Piped, DataError> {
        let refused = |why: String| DataError::Program { program: program.to_owned(), why };
        let mut child =
            arguments.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(
                |error| match error.kind() {
                    ErrorKind::NotFound => refused("it is not installed".to_owned()),
                    _ => refused(error.to_string()),
                },
            )?;
        let (out, errors) = (child.stdout.take(), child.stderr.take());
        let mut running = Running { child, complaint: None };
        let listen = Builder::new()
            .name("ffmpeg".to_owned())
            .spawn(move || errors.map(last_words).unwrap_or_default());
        running.complaint =
            Some(listen.map_err(|e| DataError::Worker { what: format!("could not start: {e}") })?);
        let out = out.ok_or_else(|| refused("its output is no pipe".to_owned()))?;
        Ok(Piped { running, out })
    }

    /// Size, rate and length of the first video stream.
    pub(super) fn probe(&self, path: &Path) -> Result<Probe, DataError> {
        let broken = |why: String| DataError::Video { path: path.to_owned(), why };
        let about =
            std::fs::metadata(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
        if !about.is_file() {
            return Err(broken("no regular file".to_owned()));
        }
        // A bare stream of pictures states no length: then its packets are counted, for which all is read.
        let answer = self.ask(path, &[])?;
        match probe_of(&answer).map_err(broken)? {
            Some(probe) => Ok(probe),
            None => {
                let counted = probe_of(&self.ask(path, &["-count_packets"])?).map_err(broken)?;
                counted.ok_or_else(|| broken("it states neither its length nor holds packets".to_owned()))
            }
        }
    }

    fn ask(&self, path: &Path, flags: &[&str]) -> Result<Value, DataError> {
        let broken = |why: String| DataError::Video { path: path.to_owned(), why };
        let mut command = Command::new(&self.ffprobe);
        command.args(["-v", "error", "-protocol_whitelist", "file", "-select_streams", "v:0"]).args(flags);
        command.args(["-show_entries", ENTRIES, "-of", "json", "-i"]).arg(url(path));
        let mut piped = Self::spawn(&self.ffprobe, &mut command)?;
        let mut answer = Vec::new();
        piped.out.by_ref().take(MAX_ANSWER).read_to_end(&mut answer).map_err(|e| broken(e.to_string()))?;
        piped.running.end().map_err(broken)?;
        serde_json::from_slice(&answer).map_err(|e| broken(format!("ffprobe: {e}")))
    }

    /// Starts to decode.
    pub(super) fn frames(&self, path: &Path, wanted: &Span) -> Result<Frames, DataError> {
        let (width, height) = wanted.size;
        let mut command = Command::new(&self.ffmpeg);
        command.args(["-nostdin", "-hide_banner", "-v", "error", "-protocol_whitelist", "file,pipe"]);
        command.args(["-threads", &self.threads.to_string()]);
        // A quarter of a frame early, so that rounding loses no frame.
        let from = wanted.from - 0.25 / wanted.fps;
        if from > 0.0 {
            command.args(["-ss", &format!("{from:.6}")]);
        }
        let cut = if width == height { "crop='min(iw,ih)':'min(iw,ih)'," } else { "" };
        let filters = format!(
            "fps={:.6},{cut}scale={width}:{height}:flags=bilinear+accurate_rnd+full_chroma_int+bitexact",
            wanted.fps
        );
        command.arg("-i").arg(url(path));
        command.args(["-map", "0:v:0", "-vf", &filters, "-frames:v", &wanted.frames.to_string()]);
        command.args(["-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]);
        let piped = Some(Self::spawn(&self.ffmpeg, &mut command)?);
        Ok(Frames { piped, width, height })
    }
}

/// A path that is never an option, a protocol or a pattern.
fn url(path: &Path) -> std::ffi::OsString {
    let mut url = std::ffi::OsString::from("file:");
    url.push(path);
    url
}

/// `None` where there is no length.
fn probe_of(answer: &Value) -> Result<Option<Probe>, String> {
    let stream = answer.pointer("/streams/0").ok_or("it holds no video")?;
    let side = |name: &str| stream.get(name).and_then(Value::as_u64).unwrap_or(0);
    let (width, height) = (side("width"), side("height"));
    let limits = Limits::default();
    let most = u64::from(limits.image_side);
    if !(1..=most).contains(&width) || !(1..=most).contains(&height) || width * height > limits.image_pixels {
        let pixels = limits.image_pixels;
        return Err(format!(
            "its frames are {width}x{height}; up to {most} a side and {pixels} pixels are read"
        ));
    }
    let rate = positive(stream.get("avg_frame_rate")).or_else(|| positive(stream.get("r_frame_rate")));
    let rate =
        rate.ok_or("it does not say its frame rate; remux it, as by `ffmpeg -i IN -c copy OUT.mkv`")?;
    let counted = || positive(stream.get("nb_read_packets")).map(|packets| packets / rate);
    let stated = positive(stream.get("duration")).or_else(|| positive(answer.pointer("/format/duration")));
    let Some(seconds) = stated.or_else(counted) else { return Ok(None) };
    if rate * seconds > MAX_FRAMES {
        return Err(format!("it claims {seconds} seconds at {rate} frames a second"));
    }
    let tag = || stream.pointer("/tags/rotate")?.as_str()?.parse().ok();
    let turned = stream.pointer("/side_data_list/0/rotation").and_then(Value::as_f64).or_else(tag);
    let (width, height) = (width as usize, height as usize);
    let upright = turned.is_none_or(|degrees| (degrees / 90.0).round() as i64 % 2 == 0);
    let (width, height) = if upright { (width, height) } else { (height, width) };
    Ok(Some(Probe { width, height, rate, seconds }))
}

/// A number, or a fraction, written as text and above zero.
fn positive(value: Option<&Value>) -> Option<f64> {
    let text = value?.as_str()?;
    let (above, below) = text.split_once('/').unwrap_or((text, "1"));
    let ratio = above.parse::<f64>().ok()? / below.parse::<f64>().ok()?;
    (ratio.is_finite() && ratio > 0.0).then_some(ratio)
}

/// A program at work, ended when dropped.
#[derive(Debug)]
struct Running {
    child: Child,
    complaint: Option<JoinHandle<String>>,
}

/// A program and what it writes.
#[derive(Debug)]
struct Piped {
    running: Running,
    out: ChildStdout,
}

impl Running {
    /// Waits for the end; what the program complained of when it failed.
    fn end(mut self) -> Result<(), String> {
        let status = self.child.wait().map_err(|e| e.to_string())?;
        let said = self.complaint.take().and_then(|listener| listener.join().ok()).unwrap_or_default();
        if status.success() { Ok(()) } else { Err(format!("{status}: {}", said.trim())) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already cannot be ended again.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(listener) = self.complaint.take() {
            let _ = listener.join();
        }
    }
}

/// The last of what is said, read to its end so that nobody waits for it.
fn last_words(mut from: impl Read) -> String {
    let mut last = VecDeque::new();
    let mut part = [0; 1024];
    while let Ok(read @ 1..) = from.read(&mut part) {
        last.extend(part.iter().take(read));
        let beyond = last.len().saturating_sub(MAX_COMPLAINT);
        last.drain(..beyond);
    }
    String::from_utf8_lossy(last.make_contiguous()).into_owned()
}

/// The frames of a video, one at a time.
#[derive(Debug)]
pub(super) struct Frames {
    piped: Option<Piped>,
    width: usize,
    height: usize,
}

impl Frames {
    /// The next frame; `None` at the end, an error when the video is broken from here on.
    pub(super) fn next(&mut self) -> Result<Option<Picture>, String> {
        let Some(piped) = &mut self.piped else { return Ok(None) };
        let whole = 3 * self.width * self.height;
        let mut rgb = Vec::with_capacity(whole);
        let read = piped.out.by_ref().take(whole as u64).read_to_end(&mut rgb);
        if read.as_ref().is_ok_and(|read| *read == whole) {
            return Ok(Some(Picture::new(self.width, self.height, rgb)));
        }
        let ended = self.piped.take().map_or(Ok(()), |piped| piped.running.end());
        ended?;
        match read {
            Ok(0) => Ok(None),
            Ok(read) => Err(format!("ffmpeg gave {read} bytes of a frame of {whole}")),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
#[path = "ffmpeg_tests.rs"]
mod tests;
