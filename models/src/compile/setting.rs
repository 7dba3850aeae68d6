//! A number of a recipe that does not make sense, found before anything is reserved by it.

/// A setting outside its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is {found}; it must be {wanted}")]
pub struct Setting {
    /// Which setting.
    pub setting: String,
    /// Its value.
    pub found: String,
    /// What it must be.
    pub wanted: String,
}

impl Setting {
    fn new<T: std::fmt::Display>(fits: bool, setting: &str, found: T, wanted: &str) -> Result<(), Self> {
        let refused = || Self { setting: setting.into(), found: found.to_string(), wanted: wanted.into() };
        if fits { Ok(()) } else { Err(refused()) }
    }

    pub(crate) fn range(setting: &str, value: usize, low: usize, high: usize) -> Result<(), Self> {
        Self::new((low..=high).contains(&value), setting, value, &format!("from {low} to {high}"))
    }

    pub(crate) fn positive(setting: &str, value: f32) -> Result<(), Self> {
        Self::new(value.is_finite() && value > 0.0, setting, value, "above zero")
    }

    pub(crate) fn not_negative(setting: &str, value: f32) -> Result<(), Self> {
        Self::new(value.is_finite() && value >= 0.0, setting, value, "zero or more")
    }

    pub(crate) fn fraction(setting: &str, value: f32) -> Result<(), Self> {
        Self::new((0.0..=1.0).contains(&value), setting, value, "from 0 to 1")
    }

    pub(crate) fn below_one(setting: &str, value: f32) -> Result<(), Self> {
        Self::new((0.0..1.0).contains(&value), setting, value, "from 0 to below 1")
    }
}
