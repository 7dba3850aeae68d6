//! Videos of known colours for tests, encoded by a real `ffmpeg`.
#![allow(clippy::print_stderr)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Whether there is an `ffmpeg`; says so where there is none.
pub(in super::super) fn has_ffmpeg() -> bool {
    let found =
        Command::new("ffmpeg").arg("-version").stdout(Stdio::null()).status().is_ok_and(|s| s.success());
    if !found {
        eprintln!("skipped: there is no `ffmpeg`");
    }
    found
}

/// Writes a video of frames of one colour each.
pub(in super::super) fn encode(path: &Path, (width, height): (usize, usize), fps: u32, colours: &[[u8; 3]]) {
    let mut child = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-y",
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-s",
            &format!("{width}x{height}"),
        ])
        .args(["-r", &fps.to_string(), "-i", "pipe:0", "-qscale:v", "2"])
        .args(["-c:v", if path.extension().is_some_and(|e| e == "mjpeg") { "mjpeg" } else { "mpeg4" }])
        .args([
            "-pix_fmt",
            if path.extension().is_some_and(|e| e == "mjpeg") { "yuvj420p" } else { "yuv420p" },
        ])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    colours.iter().for_each(|colour| pipe.write_all(&colour.repeat(width * height)).unwrap());
    drop(pipe);
    assert!(child.wait().unwrap().success());
}
