//! Faults asked for on the command line, to see what the daemon makes of them.
//!
//! `[DEVICE:]key=value,...`: for one device by its name in the board file, or for all. Keys are `drop_out`,
//! `stuck` and `bit_flip` (probabilities a reading), `stuck_readings` (how long a value sticks),
//! `latency_ms`, and `unplug=AT+FOR` in seconds from the start, as often as wanted.

use sedge_boards::fault::Faults;
use sedge_readings::{Span, Timestamp};

use super::LiveError;

/// Readings that a stuck value lasts, unless told otherwise.
const STUCK_READINGS: u32 = 20;

/// Faults of all devices.
#[derive(Clone, Debug, Default)]
pub(super) struct FaultPlan(Vec<(Option<String>, Faults)>);

impl FaultPlan {
    /// Reads what was asked for; times count from `start`.
    pub(super) fn parse(texts: &[String], start: Timestamp) -> Result<Self, LiveError> {
        texts.iter().map(|text| one(text, start)).collect::<Result<_, _>>().map(Self)
    }

    /// The faults of a device: those for it alone if there are any, otherwise those for all.
    pub(super) fn of(&self, device: &str) -> Faults {
        let own = self.0.iter().find(|(name, _)| name.as_deref() == Some(device));
        let all = || self.0.iter().find(|(name, _)| name.is_none());
        own.or_else(all).map(|(_, faults)| faults.clone()).unwrap_or_default()
    }

    /// Refuses a name that no device has.
    pub(super) fn check(&self, devices: &[&str]) -> Result<(), LiveError> {
        let mut names = self.0.iter().filter_map(|(name, _)| name.as_ref());
        match names.find(|name| !devices.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let wanted = format!("one of the board's devices: {}", devices.join(", "));
                Err(LiveError::Fault { found: name.clone(), wanted })
            }
        }
    }
}

fn one(text: &str, start: Timestamp) -> Result<(Option<String>, Faults), LiveError> {
    let (device, settings) = match text.split_once(':') {
        Some((device, settings)) => (Some(device.to_owned()), settings),
        None => (None, text),
    };
    let mut faults = Faults { stuck_readings: STUCK_READINGS, ..Faults::default() };
    for setting in settings.split(',').filter(|setting| !setting.is_empty()) {
        set(&mut faults, setting, start)?;
    }
    faults.disconnections.sort_unstable();
    Ok((device, faults))
}

fn set(faults: &mut Faults, setting: &str, start: Timestamp) -> Result<(), LiveError> {
    let wrong = |wanted: &str| LiveError::Fault { found: setting.to_owned(), wanted: wanted.to_owned() };
    let (key, value) = setting.split_once('=').ok_or_else(|| wrong("key=value"))?;
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| (0.0..1e9).contains(number));
    let share = || number(value).filter(|p| *p <= 1.0).ok_or_else(|| wrong("a probability from 0 to 1"));
    let span = |text: &str, unit: f64| {
        let nanos = number(text).map(|number| (number * unit) as u64);
        nanos.map(Span::from_nanos).ok_or_else(|| wrong("a time, not below zero"))
    };
    match key {
        "drop_out" => faults.drop_out = share()?,
        "stuck" => faults.stuck = share()?,
        "bit_flip" => faults.bit_flip = share()?,
        "stuck_readings" => {
            faults.stuck_readings = value.parse().map_err(|_| wrong("a whole number of readings"))?;
        }
        "latency_ms" => faults.latency = span(value, 1e6)?,
        "unplug" => {
            let (at, long) = value.split_once('+').ok_or_else(|| wrong("unplug=AT+FOR in seconds"))?;
            faults.disconnections.push((start + span(at, 1e9)?, span(long, 1e9)?));
        }
        _ => return Err(wrong("drop_out, stuck, stuck_readings, bit_flip, latency_ms or unplug")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn plan(texts: &[&str]) -> Result<FaultPlan, LiveError> {
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        FaultPlan::parse(&texts, Timestamp::from_nanos(7))
    }

    #[test]
    fn faults_are_for_one_device_or_for_all() {
        let plan = plan(&["drop_out=0.1,latency_ms=20", "eye:unplug=5+2,unplug=1+0.5,bit_flip=1"]).unwrap();
        let imu = plan.of("imu");
        assert_eq!((imu.drop_out, imu.latency), (0.1, Span::from_millis(20)));
        let eye = plan.of("eye");
        let at = |seconds: u64| Timestamp::from_nanos(7 + seconds * 1_000_000_000);
        let wanted = [(at(1), Span::from_millis(500)), (at(5), Span::from_millis(2_000))];
        assert_eq!((eye.drop_out, eye.bit_flip, eye.disconnections.as_slice()), (0.0, 1.0, &wanted[..]));
        plan.check(&["imu", "eye"]).unwrap();
        let error = plan.check(&["imu", "usb"]).unwrap_err().to_string();
        assert!(error.contains("eye") && error.contains("imu, usb"), "{error}");
    }

    #[test]
    fn what_is_no_fault_is_told_what_is() {
        for (text, wanted) in [
            ("drop_out=2", "probability"),
            ("stuck", "key=value"),
            ("melt=1", "bit_flip"),
            ("unplug=3", "AT+FOR"),
            ("latency_ms=-1", "time"),
            ("stuck_readings=x", "whole number"),
            ("stuck=NaN", "probability"),
        ] {
            let error = plan(&[text]).unwrap_err().to_string();
            assert!(error.contains(wanted) && error.contains(text), "{error}");
        }
    }
}
