//! From energy to the carbon dioxide that making it gave off.

use serde::{Deserialize, Serialize};

use super::meter::Energy;

/// Grams of CO2 a kilowatt-hour where nothing better is known: the world's mean of 2024.
pub const WORLD_G_PER_KWH: f64 = 473.0;
/// Where [`WORLD_G_PER_KWH`] is from.
pub const WORLD_SOURCE: &str = "world average of 2024 (Ember, Global Electricity Review 2025)";
/// The largest intensity taken: more than any fuel gives off.
pub const MAX_G_PER_KWH: f64 = 3000.0;
/// Joules in a kilowatt-hour.
const JOULES_PER_KWH: f64 = 3.6e6;

/// What a run cost beside time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Energy in kilowatt-hours.
    pub kwh: f64,
    /// The part of it that sensors measured, 0 to 1; the rest is an estimate.
    pub measured_share: f64,
    /// What the energy was read from, and what it covers.
    pub sources: Vec<String>,
    /// Carbon dioxide in grams.
    pub co2_g: f64,
    /// Grams of CO2 a kilowatt-hour that were reckoned with.
    pub grid_g_per_kwh: f64,
    /// Where that figure is from.
    pub grid_source: String,
}

impl Cost {
    /// The cost of `energy` read from `sources`, on a grid of `g_per_kwh`.
    pub fn of(energy: Energy, sources: Vec<String>, g_per_kwh: f64) -> Self {
        let joules = energy.joules();
        let kwh = joules / JOULES_PER_KWH;
        let world = g_per_kwh == WORLD_G_PER_KWH;
        Self {
            kwh,
            measured_share: if joules > 0.0 { energy.measured_joules / joules } else { 0.0 },
            sources,
            co2_g: kwh * g_per_kwh,
            grid_g_per_kwh: g_per_kwh,
            grid_source: if world { WORLD_SOURCE } else { "set by `grid_g_per_kwh`" }.into(),
        }
    }

    /// How much of the energy was measured, in words.
    pub fn words(&self) -> String {
        match self.measured_share {
            share if share > 0.999 => "measured".into(),
            share if share < 0.001 => "an estimate, nothing was measured".into(),
            share => format!("{:.0} % measured, the rest an estimate", 100.0 * share),
        }
    }
}
