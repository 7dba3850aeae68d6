//! Series in NumPy's `.npz`: a zip archive with one array a member.
//!
//! The archive is read front to back through its local headers. The directory at its end is only
//! looked for, so that a cut file is noticed: the zip crate reserves memory for as many members as
//! a directory claims, and no limit can be put on that.

use std::io::{BufReader, Read};
use std::path::Path;

use zip::read::read_zipfile_from_stream;
use zip::result::ZipError;

use crate::file::open_limited;
use crate::npy::{NpyError, NpyHeader};
use crate::{Limits, RecordingError, Series, SeriesOptions, SeriesSet};

const END_OF_DIRECTORY: &[u8] = b"PK\x05\x06";
/// Bytes of directory that are searched for its end; some fifty are needed for a member.
const LONGEST_DIRECTORY: u64 = 1 << 20;

/// Reads the series of a `.npz` file. Three forms are known, of any numeric type, byte order and
/// memory order, stored or deflated:
///
/// - `x` `[rows, channels]` and `offsets` `[n + 1]`: series `i` is rows `offsets[i]` up to
///   `offsets[i + 1]`;
/// - `x` `[n, time, channels]`: `n` series of one length;
/// - `x` `[rows, channels]` alone: one series.
///
/// Beside them, `y` `[n]` holds labels, `subject` or `group` `[n]` the groups (`subject` is taken
/// when both are there), and `rate_hz` `[]` or `[1]` the rate. Other members are passed over.
pub fn read_npz(
    path: impl AsRef<Path>,
    options: &SeriesOptions,
    limits: &Limits,
) -> Result<SeriesSet, RecordingError> {
    let path = path.as_ref();
    let source = BufReader::new(open_limited(path, limits.file_bytes)?);
    let arrays = Archive { path, limits }.read(source)?;
    arrays.into_series(&Archive { path, limits }, options)
}

#[derive(Default)]
struct Arrays {
    x: Option<(Vec<u64>, Vec<f32>)>,
    offsets: Option<Vec<i64>>,
    y: Option<Vec<i64>>,
    subject: Option<Vec<i64>>,
    group: Option<Vec<i64>>,
    rate_hz: Option<f32>,
}

struct Archive<'a> {
    path: &'a Path,
    limits: &'a Limits,
}

impl Archive<'_> {
    fn read(&self, mut source: impl Read) -> Result<Arrays, RecordingError> {
        let mut arrays = Arrays::default();
        let mut members = 0;
        while let Some(mut member) =
            read_zipfile_from_stream(&mut source).map_err(|error| self.zip_error(error, members))?
        {
            members += 1;
            if members > self.limits.entries {
                return Err(self.too_large(
                    "the number of its members",
                    members,
                    self.limits.entries,
                    "entries",
                ));
            }
            let name = member.name().to_owned();
            self.read_member(name.strip_suffix(".npy").unwrap_or(&name), &mut member, &mut arrays)?;
        }
        let mut directory = Vec::new();
        source
            .take(LONGEST_DIRECTORY)
            .read_to_end(&mut directory)
            .map_err(crate::file::io_error(self.path))?;
        if directory.windows(END_OF_DIRECTORY.len()).any(|bytes| bytes == END_OF_DIRECTORY) {
            Ok(arrays)
        } else {
            Err(self.malformed("directory", "the archive's end is missing; the file was cut".to_owned()))
        }
    }

    fn read_member(
        &self,
        name: &str,
        member: &mut impl Read,
        arrays: &mut Arrays,
    ) -> Result<(), RecordingError> {
        let wrong = |error| self.npy_error(name, error);
        let header = match name {
            "x" | "offsets" | "y" | "subject" | "group" | "rate_hz" => {
                NpyHeader::read(member).map_err(wrong)?
            }
            _ => return Ok(()),
        };
        // One offset more than there are series.
        let series = self.limits.entries.saturating_add(1);
        match name {
            "x" => {
                let values = header.read_floats(member, self.limits.values).map_err(wrong)?;
                arrays.x = Some((header.shape, values));
            }
            "offsets" => arrays.offsets = Some(header.read_integers(member, series).map_err(wrong)?),
            "y" => arrays.y = Some(header.read_integers(member, series).map_err(wrong)?),
            "subject" => arrays.subject = Some(header.read_integers(member, series).map_err(wrong)?),
            "group" => arrays.group = Some(header.read_integers(member, series).map_err(wrong)?),
            _ if header.len() != 1 => {
                let why = format!("has shape {:?}, and one number is wanted", header.shape);
                return Err(self.malformed("array `rate_hz`", why));
            }
            _ => {
                let rate = header.read_floats(member, 1).map_err(wrong)?;
                arrays.rate_hz = rate.first().copied();
            }
        }
        Ok(())
    }

    fn malformed(&self, place: &str, why: String) -> RecordingError {
        RecordingError::Malformed { path: self.path.to_owned(), place: place.to_owned(), why }
    }

    fn too_large(&self, what: &str, found: u64, limit: u64, field: &'static str) -> RecordingError {
        RecordingError::TooLarge { path: self.path.to_owned(), what: what.to_owned(), found, limit, field }
    }

    fn zip_error(&self, error: ZipError, members: u64) -> RecordingError {
        let place = format!("archive, after {members} members");
        match error {
            ZipError::UnsupportedArchive(what) => self.malformed(
                &place,
                format!("{what}; write the file with numpy.savez or numpy.savez_compressed to a path"),
            ),
            other => self.malformed(&place, format!("not a whole zip archive: {other}")),
        }
    }

    fn npy_error(&self, name: &str, error: NpyError) -> RecordingError {
        let place = format!("array `{name}`");
        match error {
            NpyError::Read(why) => self.malformed(&place, format!("its data cannot be read: {why}")),
            NpyError::Malformed(why) => self.malformed(&place, why),
            NpyError::TooLarge { found, limit } => {
                let field = if limit == self.limits.values { "values" } else { "entries" };
                self.too_large(&format!("the size of {place}"), found, limit, field)
            }
        }
    }
}

impl Arrays {
    fn into_series(
        self,
        archive: &Archive<'_>,
        options: &SeriesOptions,
    ) -> Result<SeriesSet, RecordingError> {
        let (shape, values) = self
            .x
            .ok_or_else(|| archive.malformed("members", "there is no array `x` of values".to_owned()))?;
        let (channels, bounds) = bounds(archive, &shape, self.offsets.as_deref())?;
        let count = bounds.len();
        let labels = column(archive, "y", self.y, count)?;
        let groups = match (self.subject, self.group) {
            (Some(subject), _) => column(archive, "subject", Some(subject), count)?,
            (None, group) => column(archive, "group", group, count)?,
        };
        if let Some(rate) = self.rate_hz {
            crate::series::checked_rate(rate)?;
        }
        let mut set = SeriesSet::default();
        for (index, (start, end)) in bounds.into_iter().enumerate() {
            let rows = values.get(start * channels..end * channels).unwrap_or_default();
            let mut series = Series::new(index.to_string(), channels, rows.to_vec())
                .ok_or_else(|| archive.malformed("array `x`", "it has no channels".to_owned()))?;
            series.rate_hz = self.rate_hz;
            series.label = labels.as_ref().and_then(|labels| labels.get(index).copied());
            series.group = groups.as_ref().and_then(|groups| groups.get(index).copied());
            set.series.push(series.with_options(options)?);
        }
        Ok(set)
    }
}

/// The channels of `x` and the first and past-the-last row of each series, all within `x`.
fn bounds(
    archive: &Archive<'_>,
    shape: &[u64],
    offsets: Option<&[i64]>,
) -> Result<(usize, Vec<(usize, usize)>), RecordingError> {
    let limits = archive.limits;
    let (rows, channels) = match (shape, offsets) {
        (&[rows, channels], _) => (rows, channels),
        (&[count, time, channels], None) => (count.saturating_mul(time), channels),
        _ => {
            return Err(archive.malformed(
                "array `x`",
                format!(
                    "has shape {shape:?}; wanted [rows, channels], or [n, time, channels] without `offsets`"
                ),
            ));
        }
    };
    if rows > limits.rows {
        return Err(archive.too_large("the rows of array `x`", rows, limits.rows, "rows"));
    }
    if channels > limits.channels {
        return Err(archive.too_large("the channels of array `x`", channels, limits.channels, "channels"));
    }
    // All values are in memory by now, so rows and channels fit a usize unless one of them is zero,
    // when nothing is read by them.
    let size = |length: u64| usize::try_from(length).unwrap_or(0);
    let bounds = match (shape, offsets) {
        (_, Some(offsets)) => offset_bounds(archive, offsets, rows)?,
        (&[count, time, _], None) => {
            if count > limits.entries {
                return Err(archive.too_large("the number of series", count, limits.entries, "entries"));
            }
            (0..size(count)).map(|i| (i * size(time), (i + 1) * size(time))).collect()
        }
        _ => vec![(0, size(rows))],
    };
    Ok((size(channels), bounds))
}

fn offset_bounds(
    archive: &Archive<'_>,
    offsets: &[i64],
    rows: u64,
) -> Result<Vec<(usize, usize)>, RecordingError> {
    let sound = offsets.first() == Some(&0)
        && offsets.is_sorted()
        && offsets.last().is_some_and(|&last| u64::try_from(last) == Ok(rows));
    if !sound {
        let why = format!("must begin with 0, never fall, and end with {rows}, the rows of `x`");
        return Err(archive.malformed("array `offsets`", why));
    }
    // Sorted from zero to a number of rows that fits, so none is negative or too large.
    let row = |offset: i64| usize::try_from(offset).unwrap_or(0);
    Ok(offsets.array_windows().map(|&[start, end]| (row(start), row(end))).collect())
}

/// One number a series: labels or groups.
fn column(
    archive: &Archive<'_>,
    name: &str,
    values: Option<Vec<i64>>,
    count: usize,
) -> Result<Option<Vec<u32>>, RecordingError> {
    let Some(values) = values else { return Ok(None) };
    let place = format!("array `{name}`");
    if values.len() != count {
        return Err(archive.malformed(&place, format!("has {} values for {count} series", values.len())));
    }
    let small = |value: i64| {
        u32::try_from(value)
            .map_err(|_| archive.malformed(&place, format!("holds {value}, wanted 0 to 2^32 - 1")))
    };
    values.into_iter().map(small).collect::<Result<_, _>>().map(Some)
}
