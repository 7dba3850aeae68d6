//! What a device offers, in words: its formats, their sizes and rates. All lists are cut at a stated length, for a
//! driver may go on for ever.

use std::os::fd::OwnedFd;

use super::kernel;
use super::layout::{CAPTURE, DISCRETE, FormatName, IntervalOffered, SizeOffered};

/// Most formats looked at.
const FORMATS: u32 = 64;
/// Formats that a board file can ask for.
const READ: [&[u8; 4]; 5] = [b"MJPG", b"JPEG", b"YUYV", b"NV12", b"GREY"];
/// Most sizes named of a format, and rates of a size.
const NUMBERS: u32 = 24;

/// The text of a fixed field, up to its zero.
pub(super) fn text(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    let text = String::from_utf8_lossy(field.get(..end).unwrap_or_default());
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect::<String>().trim().to_owned()
}

/// Formats that a board file can ask for with their sizes, and how many others there are: `YUYV (320x180, 640x480),
/// GREY (320x180) and 3 formats that are not read`.
pub(super) fn formats(device: &OwnedFd) -> String {
    let (mut offered, mut others) = (vec![], 0);
    for index in 0..FORMATS {
        let mut format = FormatName { index, stream: CAPTURE, ..FormatName::default() };
        if kernel::format_name(device, &mut format).is_err() {
            break;
        }
        if READ.contains(&&format.fourcc) {
            offered.push(format!("{} ({})", text(&format.fourcc), sizes(device, format.fourcc)));
        } else {
            others += 1;
        }
    }
    match (offered.is_empty(), others) {
        (_, 0) => or_nothing(offered),
        (true, _) => format!("only {others} formats that are not read"),
        (false, _) => format!("{} and {others} formats that are not read", offered.join(", ")),
    }
}

fn sizes(device: &OwnedFd, fourcc: [u8; 4]) -> String {
    let mut offered = vec![];
    for index in 0..NUMBERS {
        let mut size = SizeOffered { index, fourcc, ..SizeOffered::default() };
        if kernel::size_offered(device, &mut size).is_err() {
            break;
        }
        let [a, b, c, d, e, f] = size.numbers;
        if size.kind == DISCRETE {
            offered.push(format!("{a}x{b}"));
            continue;
        }
        offered.push(format!("{a}x{d} to {b}x{e} by {c}x{f}"));
        break;
    }
    if offered.is_empty() { "sizes of its own choice".to_owned() } else { offered.join(", ") }
}

/// Rates of a format and size: `10, 15, 30 Hz`.
pub(super) fn rates(device: &OwnedFd, fourcc: [u8; 4], width: u32, height: u32) -> String {
    let hertz = |seconds: u32, parts: u32| f64::from(parts) / f64::from(seconds.max(1));
    let mut offered = vec![];
    for index in 0..NUMBERS {
        let mut interval = IntervalOffered { index, fourcc, width, height, ..IntervalOffered::default() };
        if kernel::interval_offered(device, &mut interval).is_err() {
            break;
        }
        let [a, b, c, d, ..] = interval.numbers;
        if interval.kind == DISCRETE {
            offered.push(format!("{} Hz", rounded(hertz(a, b))));
            continue;
        }
        offered.push(format!("{} to {} Hz", rounded(hertz(c, d)), rounded(hertz(a, b))));
        break;
    }
    or_nothing(offered)
}

/// A rate with two digits behind the point, and none where they are zeros.
pub(super) fn rounded(hertz: f64) -> f64 {
    (hertz * 100.0).round() / 100.0
}

fn or_nothing(offered: Vec<String>) -> String {
    if offered.is_empty() { "nothing that it names".to_owned() } else { offered.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_at_their_zero_and_hold_nothing_that_harms_a_terminal() {
        assert_eq!(text(b"HD Webcam\0garbage"), "HD Webcam");
        assert_eq!(text(b"Y16 "), "Y16");
        assert_eq!(text(b"\x1b[2J\xff\0"), "?[2J\u{fffd}");
        assert_eq!([rounded(29.970_029), rounded(30.0)].map(|hertz| hertz.to_string()), ["29.97", "30"]);
    }
}
