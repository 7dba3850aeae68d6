//! What every kind of sharded data has in common: shards whose samples were counted beforehand, and
//! records that come one after the other.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::super::DataError;
use super::super::images::Picture;
use super::super::join::chosen_groups;

/// One sample as it comes out of a shard.
pub(super) struct Record {
    /// What to call it.
    pub(super) what: String,
    /// The sample, or why there is none.
    pub(super) content: Result<Content, String>,
    /// The class, where the data has classes, or why it cannot be used.
    pub(super) label: Result<Option<u32>, String>,
    /// What a split must not cut through.
    pub(super) group: u32,
    /// Its place: larger is later within one sequence, and sequences follow each other.
    pub(super) order: u64,
}

/// A sample.
pub(super) enum Content {
    /// An image file.
    Encoded(Vec<u8>),
    /// A picture at its final size.
    Picture(Picture),
    /// A window, `[channels, length]`.
    Window(Vec<f32>),
}

impl Content {
    /// Memory that it takes.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Encoded(bytes) => bytes.len() as u64,
            Self::Picture(picture) => picture.bytes() as u64,
            Self::Window(values) => size_of_val(values.as_slice()) as u64,
        }
    }
}

/// What all windows of a source have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Windows {
    pub(super) channels: usize,
    /// Rows a second, once brought to the rate asked for; zero when unknown.
    pub(super) rate_hz: f32,
}

/// Sequences are this many nanoseconds apart in order, as a power of two: almost five hours.
pub(super) const SEQUENCE_BITS: u32 = 44;

/// Told each record of a shard; answers whether more are wanted.
pub(super) type Take<'a> = &'a mut dyn FnMut(Record) -> Result<bool, DataError>;

/// A kind of data in shards.
pub(super) trait Source: Send + Sync {
    /// Samples of each shard.
    fn shards(&self) -> &[u64];
    /// Names of the classes; empty when there are none.
    fn classes(&self) -> &[String];
    /// All files, in a fixed order.
    fn files(&self) -> &[PathBuf];
    /// What the windows are; `None` when the samples are images.
    fn windows(&self) -> Option<Windows> {
        None
    }
    /// What beside the files and the size of images makes the samples what they are.
    fn made_by(&self) -> String {
        String::new()
    }
    /// Whether it takes only the groups that are asked for.
    fn knows_groups(&self) -> bool {
        false
    }
    /// Reads the records of a shard in order, without the first `skip`. A shard may give fewer than were
    /// counted.
    fn read(&self, shard: usize, skip: u64, take: Take<'_>) -> Result<(), DataError>;
}

/// Groups asked for.
pub(super) struct Wanted(Option<BTreeSet<u32>>);

impl Wanted {
    /// All groups, or those named, each of which `known` must hold.
    ///
    /// # Errors
    /// [`DataError::Option`] for the first that it does not hold.
    pub(super) fn of(known: impl Iterator<Item = u32>, groups: Option<&[u32]>) -> Result<Self, DataError> {
        let Some(groups) = groups else { return Ok(Self(None)) };
        chosen_groups(&known.collect(), groups).map(|chosen| Self(Some(chosen)))
    }

    /// Whether a group is among them.
    pub(super) fn has(&self, group: u32) -> bool {
        self.0.as_ref().is_none_or(|chosen| chosen.contains(&group))
    }
}

/// Rates closer than this fraction are called the same.
const RATE_TOLERANCE: f32 = 0.01;

/// Channels and rate must be those of the first.
pub(super) fn same(source_name: &str, what: &str, first: Windows, here: Windows) -> Result<(), DataError> {
    let mixed = |kind: &str, found: String, wanted: String, mend| {
        let (source_name, what) = (source_name.to_owned(), format!("the {kind} of recording {what}"));
        Err(DataError::Mixed { source_name, what, found, wanted, mend })
    };
    if here.channels != first.channels {
        let (found, wanted) = (here.channels.to_string(), first.channels.to_string());
        return mixed("number of channels", found, wanted, "load them apart");
    }
    if (here.rate_hz - first.rate_hz).abs() > RATE_TOLERANCE * first.rate_hz {
        let (found, wanted) = (format!("{} Hz", here.rate_hz), format!("{} Hz", first.rate_hz));
        return mixed("rate", found, wanted, "set `rate_hz` to bring all to one rate");
    }
    Ok(())
}
