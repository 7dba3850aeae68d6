//! What became of everything a sensor offered. Nothing is dropped in silence: what came in equals
//! what was used, what was dropped by reason, and what is still waiting, at every moment.

use sedge_readings::NoData;

/// Readings of one sensor, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Tally {
    /// Readings that came in, with a value or without.
    pub offered: u64,
    /// Readings that reached an embedding: a frame embedded, or a sample in its interval or window.
    pub used: u64,
    /// The sensor had nothing ([`NoData::DropOut`]).
    pub drop_out: u64,
    /// The bus failed ([`NoData::Bus`]).
    pub bus: u64,
    /// The value held NaN or infinity ([`NoData::NotFinite`], or found here).
    pub not_finite: u64,
    /// The value could not be decoded ([`NoData::Corrupt`]).
    pub corrupt: u64,
    /// The value had another size ([`NoData::WrongShape`]).
    pub wrong_shape: u64,
    /// No value for a reason newer than this crate.
    pub other_no_data: u64,
    /// Older than the reading before it.
    pub backwards: u64,
    /// The same time as the reading before it.
    pub duplicate: u64,
    /// Inertial samples that came after the frame they belong to had been answered.
    pub late: u64,
    /// Pushed out of a full ring before anything asked for it.
    pub overflow: u64,
    /// Samples of a window that broke (a gap, or the end) before it was full.
    pub broken: u64,
    /// Samples between windows whose stride is longer than they are, or whose window was not fetched.
    pub skipped: u64,
    /// The encoder does not read this sensor.
    pub unused: u64,
    /// The encoder failed on the frame or window.
    pub failed: u64,
}

impl Tally {
    /// Counts a reading without a value.
    pub(crate) fn no_data(&mut self, reason: NoData) {
        *match reason {
            NoData::DropOut => &mut self.drop_out,
            NoData::Bus => &mut self.bus,
            NoData::NotFinite => &mut self.not_finite,
            NoData::Corrupt => &mut self.corrupt,
            NoData::WrongShape => &mut self.wrong_shape,
            _ => &mut self.other_no_data,
        } += 1;
    }

    /// Every reason for dropping with its count, in a fixed order.
    pub fn reasons(&self) -> [(&'static str, u64); 14] {
        [
            ("drop_out", self.drop_out),
            ("bus", self.bus),
            ("not_finite", self.not_finite),
            ("corrupt", self.corrupt),
            ("wrong_shape", self.wrong_shape),
            ("other_no_data", self.other_no_data),
            ("backwards", self.backwards),
            ("duplicate", self.duplicate),
            ("late", self.late),
            ("overflow", self.overflow),
            ("broken", self.broken),
            ("skipped", self.skipped),
            ("unused", self.unused),
            ("failed", self.failed),
        ]
    }

    /// Readings dropped for any reason.
    pub fn dropped(&self) -> u64 {
        self.reasons().iter().map(|(_, count)| count).sum()
    }

    /// Readings whose fate is open; zero once a stream has ended.
    pub fn waiting(&self) -> u64 {
        self.offered.saturating_sub(self.used).saturating_sub(self.dropped())
    }
}
