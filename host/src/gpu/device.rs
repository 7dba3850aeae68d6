//! Where a graph runs, in the words of the command line.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::GpuError;

/// Largest index of a device that is read: no machine has more, so that a slip is told at once.
const MAX_INDEX: usize = 255;

/// A processor to run a graph on, such as `cpu`, `cuda` or `cuda:1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Device {
    /// The processor, through tract: the engine of every build.
    #[default]
    Cpu,
    /// The processor, through burn: slow, and there to test the GPU engine where no GPU is.
    BurnCpu,
    /// An NVIDIA GPU by its index.
    Cuda(usize),
    /// The GPU that wgpu holds for the best, through Vulkan or Metal.
    Wgpu,
}

impl Device {
    /// The feature of this crate that a build needs for this device.
    pub(super) fn feature(self) -> &'static str {
        match self {
            Self::Cpu => "default",
            Self::BurnCpu => "burn",
            Self::Cuda(_) => "gpu",
            Self::Wgpu => "wgpu",
        }
    }

    /// Whether this is the processor with the engine of every build.
    pub fn is_cpu(&self) -> bool {
        *self == Self::Cpu
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::BurnCpu => f.write_str("burn-cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Wgpu => f.write_str("wgpu"),
        }
    }
}

impl FromStr for Device {
    type Err = GpuError;

    fn from_str(text: &str) -> Result<Self, GpuError> {
        let unknown = || GpuError::Name { found: text.into() };
        let (kind, index) = match text.split_once(':') {
            None => (text, None),
            Some((kind, index)) => {
                let index = index.parse().ok().filter(|index| *index <= MAX_INDEX);
                (kind, Some(index.ok_or_else(unknown)?))
            }
        };
        match (kind, index) {
            ("cpu", None) => Ok(Self::Cpu),
            ("burn-cpu", None) => Ok(Self::BurnCpu),
            ("cuda", index) => Ok(Self::Cuda(index.unwrap_or(0))),
            ("wgpu", None) => Ok(Self::Wgpu),
            _ => Err(unknown()),
        }
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_device_is_read_as_it_is_written() {
        let devices = [Device::Cpu, Device::BurnCpu, Device::Cuda(0), Device::Cuda(3), Device::Wgpu];
        for device in devices {
            assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
        }
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
    }

    #[test]
    fn what_names_no_device_is_refused_with_the_names_there_are() {
        for text in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1:2", "cuda:256", "cpu:0", "CUDA"] {
            let error = text.parse::<Device>().unwrap_err();
            assert!(error.to_string().contains("cuda:1"), "{text}: {error}");
        }
    }
}
