//! What the columns of a table of sensor rows mean, told by their names alone.

/// Channels that go first and in this order, with the other names they are known by.
const IMU_CHANNELS: [&[&str]; 6] = [
    &["ax", "acc_x", "accel_x"],
    &["ay", "acc_y", "accel_y"],
    &["az", "acc_z", "accel_z"],
    &["gx", "wx", "gyr_x", "gyro_x"],
    &["gy", "wy", "gyr_y", "gyro_y"],
    &["gz", "wz", "gyr_z", "gyro_z"],
];

/// Ends of a time column's name, with the seconds in one unit.
const TIME_UNITS: [(&str, f64); 5] = [("_ns", 1e-9), ("_us", 1e-6), ("_ms", 1e-3), ("_s", 1.0), ("", 1.0)];

/// Which column holds what, as indices into a row.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Columns {
    /// Names as written, in the order of the row.
    pub(crate) names: Vec<String>,
    /// Column of time and the seconds in its unit.
    pub(crate) time: Option<(usize, f64)>,
    pub(crate) label: Option<usize>,
    pub(crate) group: Option<usize>,
    pub(crate) recording: Option<usize>,
    /// Channels: the IMU's six in their order, then the others in the order of the row.
    pub(crate) channels: Vec<usize>,
}

impl Columns {
    /// Sorts out a header row; the error says what is wrong with it.
    pub(crate) fn new<'a>(header: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut columns = Self::default();
        for (index, name) in header.enumerate() {
            let lower = name.trim().to_ascii_lowercase();
            if name.trim().is_empty() {
                return Err(format!("column {} has no name", index + 1));
            }
            if columns.names.iter().any(|known| known.eq_ignore_ascii_case(&lower)) {
                return Err(format!("two columns are named `{lower}`"));
            }
            columns.names.push(name.trim().to_owned());
            columns.place(index, &lower)?;
        }
        if columns.channels.is_empty() {
            return Err(
                "no column holds channels; wanted ax, ay, az, gx, gy, gz or other numeric columns".into()
            );
        }
        let rank = |&index: &usize| {
            let name = columns.names.get(index).map(|name| name.to_ascii_lowercase()).unwrap_or_default();
            let known = IMU_CHANNELS.iter().position(|names| names.contains(&name.as_str()));
            known.unwrap_or(IMU_CHANNELS.len())
        };
        columns.channels.sort_by_key(rank);
        Ok(columns)
    }

    fn place(&mut self, index: usize, name: &str) -> Result<(), String> {
        let unit = TIME_UNITS.iter().find_map(|&(end, seconds)| {
            let stem = name.strip_suffix(end)?;
            matches!(stem, "t" | "time" | "timestamp").then_some(seconds)
        });
        if let Some(seconds) = unit {
            return match self.time.replace((index, seconds)) {
                None => Ok(()),
                Some(_) => Err("two columns hold time".to_owned()),
            };
        }
        let slot = match name {
            "label" => &mut self.label,
            "group" | "subject" => &mut self.group,
            "recording" => &mut self.recording,
            _ => {
                self.channels.push(index);
                return Ok(());
            }
        };
        match slot.replace(index) {
            None => Ok(()),
            Some(_) => Err("both `group` and `subject` are given; keep one".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn imu_channels_come_first_whatever_their_order() {
        let header = "time_ms,temp,Wz,gx,wy,AZ,ay,ax,Subject,label,recording,mag";
        let columns = Columns::new(header.split(',')).unwrap();
        assert_eq!(columns.channels, [7, 6, 5, 3, 4, 2, 1, 11]);
        assert_eq!(columns.time, Some((0, 1e-3)));
        assert_eq!((columns.group, columns.label, columns.recording), (Some(8), Some(9), Some(10)));
    }

    #[test]
    fn ambiguous_headers_are_refused() {
        for header in ["", "t,label", "t,time,ax", "ax,AX", "group,subject,ax", "ax,,ay"] {
            assert!(Columns::new(header.split(',')).is_err(), "{header}");
        }
    }
}
