//! What is measured of an encoder between epochs.

use serde::{Deserialize, Serialize};

use crate::evaluate::Gauges;

/// Measurements of an encoder in training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    /// Accuracy of nearest neighbours, 0 to 1, where there are labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knn: Option<f64>,
    /// Accuracy of a linear probe, 0 to 1, where there are labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linear: Option<f64>,
    /// How spread out features are, which needs no labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gauges: Option<Gauges>,
}

impl Measures {
    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// In a few words, such as `kNN 71.2 %  linear 74.0 %  features good`; empty when nothing was
    /// measured.
    pub fn words(&self) -> String {
        let percent = |name: &str, share: Option<f64>| share.map(|s| format!("{name} {:.1} %", 100.0 * s));
        let gauges = self.gauges.map(|gauges| format!("features {}", gauges.health().word()));
        let parts = [percent("kNN", self.knn), percent("linear", self.linear), gauges];
        parts.into_iter().flatten().collect::<Vec<_>>().join("  ")
    }
}
