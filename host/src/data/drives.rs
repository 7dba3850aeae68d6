//! Several simulated drives as one data set. An encoder that has seen one building learns that
//! building; `sim:building=1-20,drive=1-20` is twenty drives through twenty buildings, told in one
//! word. Every range takes its next number with every drive, so all must be of one length.

use super::{DataError, Dataset, LoadOptions, streams};

/// Most drives in one specification.
const MAX_DRIVES: usize = 1000;

/// Loads the drive or drives of `spec`.
pub(super) fn load(spec: &str, options: &LoadOptions) -> Result<Dataset, DataError> {
    let drives = expand(spec)?;
    let [_, _, ..] = drives.as_slice() else { return streams::load_sim(spec, options) };
    // A limit is spread over all drives.
    let each = LoadOptions { limit: None, ..options.clone() };
    let mut all: Option<Dataset> = None;
    for drive in &drives {
        let data = named_rooms(streams::load_sim(&drive.spec, &each)?, drive);
        all = Some(match all {
            Some(before) => before.join(data, spec, options)?,
            None => data,
        });
    }
    // There are two drives or more.
    let what = "drive".to_owned();
    let empty = || DataError::Empty { source_name: spec.to_owned(), what, first: None };
    all.ok_or_else(empty)?.limited(options.limit)
}

/// One of several drives.
#[derive(Debug, PartialEq)]
struct Drive {
    spec: String,
    /// The building's number where it changes from drive to drive.
    building: Option<u64>,
}

/// Rooms of different buildings are different classes; floors are the same everywhere.
fn named_rooms(mut data: Dataset, drive: &Drive) -> Dataset {
    let images = data.modality() == sedge_models::Modality::Image;
    if let (true, Some(building), Some(labels)) = (images, drive.building, &mut data.labels) {
        labels.names.iter_mut().for_each(|name| *name = format!("building {building}, {name}"));
    }
    data
}

/// Each drive's own specification.
fn expand(spec: &str) -> Result<Vec<Drive>, DataError> {
    let refused = |why: String| DataError::Sim { spec: spec.to_owned(), why };
    let (head, pairs) = spec.split_once(':').unwrap_or((spec, ""));
    let pairs: Vec<(&str, Option<(u64, usize)>)> = pairs.split(',').map(|pair| (pair, range(pair))).collect();
    let mut lengths = pairs.iter().filter_map(|(pair, range)| range.map(|(_, length)| (*pair, length)));
    let Some((longest, count)) = lengths.next() else {
        return Ok(vec![Drive { spec: spec.to_owned(), building: None }]);
    };
    if count > MAX_DRIVES || count == 0 {
        return Err(refused(format!(
            "`{longest}` is {count} drives; a range may be of 1 to {MAX_DRIVES}, rising"
        )));
    }
    if let Some((other, length)) = lengths.find(|(_, length)| *length != count) {
        let why =
            format!("`{longest}` is {count} drives but `{other}` is {length}; make the ranges equally long");
        return Err(refused(why));
    }
    let drive = |number: usize| {
        let own = |(pair, range): &(&str, Option<(u64, usize)>)| match (range, pair.split_once('=')) {
            (Some((first, _)), Some((key, _))) => format!("{key}={}", first.saturating_add(number as u64)),
            _ => (*pair).to_owned(),
        };
        let building =
            pairs.iter().find(|(pair, range)| pair.trim().starts_with("building=") && range.is_some());
        Drive {
            spec: format!("{head}:{}", pairs.iter().map(own).collect::<Vec<_>>().join(",")),
            building: building
                .and_then(|(_, range)| *range)
                .map(|(first, _)| first.saturating_add(number as u64)),
        }
    };
    Ok((0..count).map(drive).collect())
}

/// First number and length of `key=A-B`, both ends counted; length zero when it falls. What is no
/// range, or too large to be one, is left to the reader of specifications.
fn range(pair: &str) -> Option<(u64, usize)> {
    let (_, value) = pair.split_once('=')?;
    let (first, last) = value.trim().split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let length = last.checked_sub(first).map_or(0, |steps| steps.saturating_add(1));
    Some((first, usize::try_from(length).unwrap_or(usize::MAX)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use sedge_models::Modality;

    fn specs(spec: &str) -> Vec<String> {
        expand(spec).unwrap().into_iter().map(|drive| drive.spec).collect()
    }

    #[test]
    fn ranges_go_together() {
        assert_eq!(specs("sim"), ["sim"]);
        assert_eq!(specs("sim:drive=4,shift=fog:0.5"), ["sim:drive=4,shift=fog:0.5"]);
        let wanted = ["sim:building=3,drive=8,seconds=9", "sim:building=4,drive=9,seconds=9"];
        assert_eq!(specs("sim:building=3-4,drive=8-9,seconds=9"), wanted);
        for (spec, wanted) in [
            ("sim:building=1-3,drive=1-2", "equally long"),
            ("sim:drive=1-1001", "1 to 1000"),
            ("sim:drive=0-18446744073709551615", "1 to 1000"),
            ("sim:drive=3-1", "rising"),
        ] {
            let said = expand(spec).unwrap_err().to_string();
            assert!(said.contains(wanted), "{said}");
        }
    }

    #[test]
    fn several_drives_are_one_set_with_their_own_groups() {
        let options =
            LoadOptions { window: 50, stride: 50, modality: Some(Modality::Imu), ..LoadOptions::default() };
        let parts: Vec<Dataset> =
            ["1", "2"].map(|n| load(&format!("sim:drive={n},seconds=10"), &options).unwrap()).into();
        let all = load("sim:drive=1-2,seconds=10", &options).unwrap();
        assert_eq!(all.len(), parts.iter().map(Dataset::len).sum::<usize>());
        assert_eq!(all.window(all.len() - 1), parts[1].window(parts[1].len() - 1));
        let (first, second) = all.groups().split_at(parts[0].len());
        assert!(first.iter().max() < second.iter().min());
        assert_eq!(all.labels().unwrap().names, parts[0].labels().unwrap().names);

        let options = LoadOptions { image_size: Some(8), limit: Some(10), ..LoadOptions::default() };
        let images = load("sim:building=5-6,rooms=2,seconds=1", &options).unwrap();
        assert_eq!(images.len(), 10);
        let names = &images.labels().unwrap().names;
        let wanted = ["building 5, room 0", "building 5, room 1", "building 6, room 0", "building 6, room 1"];
        assert_eq!(names, &wanted);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "sim:\\PC*") {
            let _ = expand(&text);
        }
    }
}
