//! The account an MCAP stream keeps of itself: every message of the file is in exactly one of its
//! numbers, so that "what was dropped, and why" can always be answered.

use std::collections::BTreeMap;

use sedge_readings::NoData;

/// What a topic feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// `sensor_msgs/msg/Imu`.
    Imu,
    /// `sensor_msgs/msg/CompressedImage` or `sensor_msgs/msg/Image`.
    Camera,
}

/// Why a message of a chosen topic gave no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// The message is shorter than its type, or breaks the encoding's rules.
    BrokenMessage,
    /// The image is in an encoding that is not read.
    UnsupportedEncoding,
    /// The image is larger than the limits allow.
    ImageTooLarge,
    /// The image's own data are broken.
    BrokenImage,
    /// The sample holds NaN or infinity.
    NotFinite,
    /// The sender says that it does not measure acceleration or angular rate (ROS: the first
    /// element of the covariance is -1).
    NotMeasured,
}

impl Failure {
    /// The reason that the reading in the stream carries.
    pub fn no_data(self) -> NoData {
        match self {
            Self::NotFinite => NoData::NotFinite,
            Self::NotMeasured => NoData::DropOut,
            Self::BrokenMessage | Self::UnsupportedEncoding | Self::ImageTooLarge | Self::BrokenImage => {
                NoData::Corrupt
            }
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BrokenMessage => "broken message",
            Self::UnsupportedEncoding => "unsupported image encoding",
            Self::ImageTooLarge => "image too large",
            Self::BrokenImage => "broken image",
            Self::NotFinite => "not finite",
            Self::NotMeasured => "not measured",
        })
    }
}

/// One topic's messages so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicCounts {
    /// The topic's name.
    pub topic: String,
    /// Name of its type.
    pub schema: String,
    /// Which stream it feeds; `None` when it is ignored.
    pub feeds: Option<StreamKind>,
    /// Messages read from the file. Those of a chosen topic are either decoded, failed, or still
    /// held back for their time to come.
    pub messages: u64,
    /// Messages that became a value.
    pub decoded: u64,
    /// Messages that became a reading without a value, by reason.
    pub failures: BTreeMap<Failure, u64>,
}

/// What an MCAP stream has read so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct McapCounts {
    /// Topics with messages, in the order of their first message.
    pub topics: Vec<TopicCounts>,
    /// Messages whose channel or header is broken, so that no topic can be told.
    pub lost_messages: u64,
    /// Chunks that could not be decompressed or whose checksum was wrong. What they held is gone.
    pub damaged_chunks: u64,
    /// Channel and schema records that could not be read.
    pub damaged_records: u64,
    /// Events given although a later one had been given before: they came further out of order
    /// than is held back.
    pub unordered_events: u64,
}

impl McapCounts {
    /// Topics with messages, each with its type, for error messages.
    pub(crate) fn found(&self) -> Vec<String> {
        self.topics.iter().map(|topic| format!("{} ({})", topic.topic, topic.schema)).collect()
    }
}
