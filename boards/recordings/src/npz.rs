//! Series in NumPy's `.npz`: a zip archive with one array a member.
//!
//! The archive is read front to back through its local headers. The directory at its end is only
//! looked for, so that a cut file is noticed: the zip crate reserves memory for as many members as
//! a directory claims, and no limit can be put on that.

use std::cell::Cell;
use std::io::{BufReader, Read};
use std::path::Path;

use zip::CompressionMethod;
use zip::read::read_zipfile_from_stream;
use zip::result::ZipError;

use crate::file::open_limited;
use crate::npy::{NpyError, NpyHeader};
use crate::{Limits, RecordingError, Series, SeriesOptions, SeriesOutline, SeriesSet};

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
    let archive = Archive { path, limits, holds: true };
    archive.read(source)?.into_series(&archive, options)
}

/// The series of a `.npz` file without their values, in the order of the file, each with its number of rows;
/// the channels, and where the rows are.
pub(crate) fn outline_npz(
    path: &Path,
    options: &SeriesOptions,
    limits: &Limits,
) -> Result<(usize, Vec<SeriesOutline>, Place), RecordingError> {
    let source = BufReader::new(open_limited(path, limits.file_bytes)?);
    let archive = Archive { path, limits, holds: false };
    archive.read(source)?.into_outlines(&archive, options)
}

/// A `.npz` file that stands at the first value of its compressed array `x`, given to `work`.
pub(crate) fn within_x<T>(
    path: &Path,
    limits: &Limits,
    work: impl FnOnce(&mut dyn Read) -> Result<T, RecordingError>,
) -> Result<T, RecordingError> {
    let archive = Archive { path, limits, holds: false };
    let mut source = BufReader::new(open_limited(path, limits.file_bytes)?);
    let mut members = 0;
    while let Some(mut member) =
        read_zipfile_from_stream(&mut source).map_err(|error| archive.zip_error(error, members))?
    {
        members += 1;
        if member.name().strip_suffix(".npy").unwrap_or(member.name()) == "x" {
            NpyHeader::read(&mut member).map_err(|error| archive.npy_error("x", error))?;
            return work(&mut member);
        }
    }
    Err(archive.malformed("members", "there is no array `x` of values any more".to_owned()))
}

/// What is wrong with the values of `x`.
pub(crate) fn wrong_x(path: &Path, limits: &Limits, error: NpyError) -> RecordingError {
    Archive { path, limits, holds: false }.npy_error("x", error)
}

/// Most columns of an array that lies column by column: each is read by a reader of its own.
const MOST_COLUMNS_APART: usize = 64;

/// Where the rows of `x` are, when they are read later.
pub(crate) struct Place {
    pub(crate) header: NpyHeader,
    /// Byte of the first value in the file; `None` where the array is compressed.
    pub(crate) byte: Option<u64>,
}

/// What `x` is: its values, or where they are.
enum Values {
    Held(Vec<f32>),
    Placed(Place),
}

#[derive(Default)]
struct Arrays {
    x: Option<(Vec<u64>, Values)>,
    offsets: Option<Vec<i64>>,
    y: Option<Vec<i64>>,
    subject: Option<Vec<i64>>,
    group: Option<Vec<i64>>,
    rate_hz: Option<f32>,
}

struct Archive<'a> {
    path: &'a Path,
    limits: &'a Limits,
    /// Whether the values of `x` are read, or only looked up.
    holds: bool,
}

/// Counts the bytes that were read.
struct Counted<'a, R> {
    source: R,
    read: &'a Cell<u64>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.read.set(self.read.get() + read as u64);
        Ok(read)
    }
}

impl Archive<'_> {
    fn read(&self, source: impl Read) -> Result<Arrays, RecordingError> {
        let at = Cell::new(0);
        let mut source = Counted { source, read: &at };
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
            let name = name.strip_suffix(".npy").unwrap_or(&name);
            if name == "x" && !self.holds {
                let header = NpyHeader::read(&mut member).map_err(|error| self.npy_error(name, error))?;
                // What is stored as it is goes through no buffer, so the first value comes next.
                let byte = (member.compression() == CompressionMethod::Stored).then(|| at.get());
                arrays.x = Some((header.shape.clone(), Values::Placed(Place { header, byte })));
                continue;
            }
            self.read_member(name, &mut member, &mut arrays)?;
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
                arrays.x = Some((header.shape, Values::Held(values)));
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
    /// What `x` is, the channels, and every series without its values.
    fn outlines(
        self,
        archive: &Archive<'_>,
        options: &SeriesOptions,
    ) -> Result<(Values, usize, Vec<SeriesOutline>), RecordingError> {
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
        for rate in self.rate_hz.into_iter().chain(options.rate_hz) {
            crate::series::checked_rate(rate)?;
        }
        let outline = |(index, (start, end)): (usize, (usize, usize))| SeriesOutline {
            name: index.to_string(),
            rate_hz: options.rate_hz.or(self.rate_hz),
            label: labels.as_ref().and_then(|labels| labels.get(index).copied()),
            group: groups.as_ref().and_then(|groups| groups.get(index).copied()),
            rows: (end - start) as u64,
        };
        Ok((values, channels, bounds.into_iter().enumerate().map(outline).collect()))
    }

    fn into_series(
        self,
        archive: &Archive<'_>,
        options: &SeriesOptions,
    ) -> Result<SeriesSet, RecordingError> {
        let (values, channels, outlines) = self.outlines(archive, options)?;
        let Values::Held(values) = values else { return Ok(SeriesSet::default()) };
        let (mut set, mut start) = (SeriesSet::default(), 0);
        for outline in outlines {
            // Series follow each other, and all values are in memory, so the count fits.
            let end = start + outline.rows as usize;
            let rows = values.get(start * channels..end * channels).unwrap_or_default();
            let mut series = Series::new(outline.name, channels, rows.to_vec())
                .ok_or_else(|| archive.malformed("array `x`", "it has no channels".to_owned()))?;
            (series.rate_hz, series.label, series.group) = (outline.rate_hz, outline.label, outline.group);
            set.series.push(series.with_options(options)?);
            start = end;
        }
        Ok(set)
    }

    fn into_outlines(
        self,
        archive: &Archive<'_>,
        options: &SeriesOptions,
    ) -> Result<(usize, Vec<SeriesOutline>, Place), RecordingError> {
        let (values, channels, outlines) = self.outlines(archive, options)?;
        let missing = || archive.malformed("array `x`", "it has no channels".to_owned());
        let Values::Placed(place) = values else { return Err(missing()) };
        if channels == 0 {
            return Err(missing());
        }
        if place.header.columns_apart().is_none_or(|columns| columns > MOST_COLUMNS_APART) {
            let why = "lies column by column, which cannot be streamed; save `numpy.ascontiguousarray(x)`";
            return Err(archive.malformed("array `x`", why.to_owned()));
        }
        Ok((channels, outlines, place))
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
