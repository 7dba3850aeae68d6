//! What the node says in its log. Nothing where it is built without one.

use sedge_wire::{SampleFault, Settings};

/// The chip was opened.
pub(crate) fn opened(chip: &str, settings: &Settings) {
    #[cfg(feature = "defmt")]
    defmt::info!("{=str} opened: {}", chip, settings);
    #[cfg(not(feature = "defmt"))]
    let _ = (chip, settings);
}

/// The chip cannot be opened, or has failed too often.
pub(crate) fn closed(chip: &str, fault: SampleFault) {
    #[cfg(feature = "defmt")]
    defmt::warn!("{=str} closed: {}", chip, fault);
    #[cfg(not(feature = "defmt"))]
    let _ = (chip, fault);
}

/// Sampling began or ended at the host's word.
pub(crate) fn running(running: bool) {
    #[cfg(feature = "defmt")]
    defmt::info!("sampling: {=bool}", running);
    #[cfg(not(feature = "defmt"))]
    let _ = running;
}
