//! The daemon's files, as far as the acceptance reads them.

use serde::Deserialize;

use crate::error::TaskError;

/// A line of `embeddings.jsonl`.
#[derive(Debug, Deserialize)]
pub(super) struct Embedding {
    pub(super) index: u64,
    pub(super) weights: u64,
    pub(super) embedding: Vec<f64>,
}

/// `summary.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Summary {
    pub(super) sessions: u64,
    pub(super) events: u64,
    pub(super) adaptation: Adaptation,
}

/// What became of adaptation.
#[derive(Debug, Deserialize)]
pub(super) struct Adaptation {
    pub(super) progress: Progress,
    pub(super) held_out: Option<HeldOut>,
}

/// Steps and candidates.
#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct Progress {
    pub(super) steps: u64,
    pub(super) failed_steps: u64,
    pub(super) accepted: u64,
    pub(super) rejected: u64,
}

/// Losses on pairs that were never trained on.
#[derive(Debug, Deserialize)]
pub(super) struct HeldOut {
    pub(super) origin: Loss,
    pub(super) served: Loss,
}

/// A loss.
#[derive(Debug, Deserialize)]
pub(super) struct Loss {
    pub(super) loss: f64,
}

/// A line of `sensors.jsonl`.
#[derive(Debug, Deserialize)]
pub(super) struct Sensor {
    pub(super) sensor: String,
    pub(super) temperature_celsius: Option<f64>,
    pub(super) magnetic_field_tesla: Option<[f64; 3]>,
}

/// `status.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    pub(super) board: Option<String>,
    pub(super) embeddings: u64,
    pub(super) sensors: Vec<Device>,
}

/// A device of the board, as the daemon sees it.
#[derive(Debug, Deserialize)]
pub(super) struct Device {
    pub(super) name: String,
    pub(super) condition: String,
    pub(super) readings: u64,
}

/// Reads a file that the daemon wrote as one JSON value.
pub(super) fn whole<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, TaskError> {
    serde_json::from_slice(bytes).map_err(|error| unreadable(&error, bytes))
}

/// Reads a file of JSON lines; every line must be whole.
pub(super) fn lines<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<Vec<T>, TaskError> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(whole).collect()
}

fn unreadable(error: &serde_json::Error, bytes: &[u8]) -> TaskError {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    TaskError::Claim { claim: "the daemon's files can be read", found: format!("{error} in `{shown}`") }
}

/// The largest distance between two runs' embeddings of the same frames by the weights as shipped, as part of
/// the embedding's length, and how many were compared.
pub(super) fn difference(a: &[Embedding], b: &[Embedding]) -> (f64, usize) {
    let (mut largest, mut compared) = (0.0_f64, 0);
    for (x, y) in a.iter().zip(b).filter(|(x, y)| x.index == y.index && x.weights == 0 && y.weights == 0) {
        let square = |v: f64| v * v;
        let length: f64 = x.embedding.iter().copied().map(square).sum();
        let apart: f64 = x.embedding.iter().zip(&y.embedding).map(|(x, y)| square(x - y)).sum();
        let same_size = x.embedding.len() == y.embedding.len();
        largest = largest.max(if same_size {
            (apart / length.max(f64::MIN_POSITIVE)).sqrt()
        } else {
            f64::INFINITY
        });
        compared += 1;
    }
    (largest, compared)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(index: u64, weights: u64, embedding: &[f64]) -> Embedding {
        Embedding { index, weights, embedding: embedding.to_vec() }
    }

    #[test]
    fn only_equal_frames_by_equal_weights_are_compared() {
        let a = [one(0, 0, &[3.0, 4.0]), one(1, 0, &[1.0, 0.0]), one(2, 1, &[1.0, 0.0])];
        let b = [one(0, 0, &[3.0, 4.5]), one(1, 0, &[1.0, 0.0]), one(2, 1, &[9.0, 9.0])];
        assert_eq!(difference(&a, &b), (0.1, 2));
        assert_eq!(difference(&a[..1], &[one(0, 0, &[3.0])]).0, f64::INFINITY);
    }

    #[test]
    fn a_torn_line_is_an_error() {
        assert!(lines::<Loss>(b"{\"loss\":1}\n{\"lo").is_err());
        assert_eq!(lines::<Loss>(b"{\"loss\":1}\n{\"loss\":2}\n").map(|l| l.len()).ok(), Some(2));
    }
}
