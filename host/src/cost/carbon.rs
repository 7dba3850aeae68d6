//! From energy to the carbon dioxide that making it gave off.

use serde::{Deserialize, Serialize};

use super::meter::Energy;

/// Grams of CO2 a kilowatt-hour where nothing better is known: the mean of the world's generation in 2024,
/// "the global average of 473 gCO2/kWh" (Ember, Global Electricity Review 2025, chapter "Major countries and
/// regions", ember-energy.org/latest-insights/global-electricity-review-2025). Grids differ twentyfold, so that
/// whoever knows theirs should say so.
pub const WORLD_G_PER_KWH: f64 = 473.0;
/// Where [`WORLD_G_PER_KWH`] is from.
pub const WORLD_SOURCE: &str =
    "the world's average of 2024 (Ember, Global Electricity Review 2025); yours is set by `--grid-g-per-kwh`";
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
            grid_source: if world { WORLD_SOURCE } else { "as set by `grid_g_per_kwh`" }.into(),
        }
    }

    /// Whether sensors measured all of the energy.
    pub fn is_measured(&self) -> bool {
        self.measured_share > 0.999
    }

    /// Energy and carbon dioxide in a line, such as `1.250 Wh (an estimate, nothing was measured), 0.59 g of
    /// CO2 at 473 g a kWh`.
    pub fn line(&self) -> String {
        let (energy, co2) = (self.energy(), self.co2());
        format!("{energy} ({}), {co2} of CO2 at {} g a kWh", self.words(), self.grid_g_per_kwh)
    }

    /// The energy with its unit.
    pub fn energy(&self) -> String {
        if self.kwh < 1.0 { format!("{:.3} Wh", 1000.0 * self.kwh) } else { format!("{:.2} kWh", self.kwh) }
    }

    /// The carbon dioxide with its unit.
    pub fn co2(&self) -> String {
        let grams = self.co2_g;
        if grams < 1000.0 { format!("{grams:.2} g") } else { format!("{:.2} kg", grams / 1000.0) }
    }

    /// How much of the energy was measured, in words.
    pub fn words(&self) -> String {
        match self.measured_share {
            _ if self.is_measured() => "measured".into(),
            share if share < 0.001 => "an estimate, nothing was measured".into(),
            share => format!("{:.0} % measured, the rest an estimate", 100.0 * share),
        }
    }
}
