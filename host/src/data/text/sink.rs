//! Where every source of texts ends: tokens of one length, gathered under the memory limit, with a class and a
//! group each that may be told by name.

use std::collections::HashMap;

use sedge_models::text;

use crate::data::images::{MAX_CLASSES, labels_of};
use crate::data::skipped::SkipList;
use crate::data::{DataError, Dataset, LoadOptions, Samples};

/// Names and the numbers that they were given, in the order in which they came.
#[derive(Default)]
struct Names(HashMap<String, u32>);

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.0.get(name) {
            return *number;
        }
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.insert(name.to_owned(), next);
        next
    }

    /// The names in alphabetical order, and the place there of each by its number.
    fn sorted(self) -> (Vec<String>, Vec<u32>) {
        let mut all: Vec<(String, u32)> = self.0.into_iter().collect();
        all.sort();
        let mut places = vec![0; all.len()];
        for (place, (_, number)) in all.iter().enumerate() {
            if let Some(slot) = places.get_mut(*number as usize) {
                *slot = place as u32;
            }
        }
        (all.into_iter().map(|(name, _)| name).collect(), places)
    }
}

/// What is known of a text beside its bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct About<'a> {
    /// Its class by name.
    pub(super) label: Option<&'a str>,
    /// What it was found in by name; a group of its own without.
    pub(super) group: Option<&'a str>,
}

/// Gathers texts of one length.
pub(super) struct TextSink<'a> {
    source_name: &'a str,
    options: &'a LoadOptions,
    tokens: Vec<u16>,
    labels: Vec<Option<u32>>,
    groups: Vec<Option<u32>>,
    order: Vec<u64>,
    classes: Names,
    found_in: Names,
    /// Texts of each group so far, with those passed over.
    counts: HashMap<u32, u64>,
    cut: u64,
    skipped: SkipList,
}

impl<'a> TextSink<'a> {
    pub(super) fn new(source_name: &'a str, options: &'a LoadOptions) -> Self {
        Self {
            source_name,
            options,
            tokens: Vec::new(),
            labels: Vec::new(),
            groups: Vec::new(),
            order: Vec::new(),
            classes: Names::default(),
            found_in: Names::default(),
            counts: HashMap::new(),
            cut: 0,
            skipped: SkipList::default(),
        }
    }

    pub(super) fn skip(&mut self, what: String, why: impl ToString) -> Result<(), DataError> {
        self.skipped.add(self.source_name, self.options.max_skipped, what, why)
    }

    /// Passes over a text of `group`, which leaves a gap in its order.
    pub(super) fn skip_in(&mut self, group: &str, what: String, why: impl ToString) -> Result<(), DataError> {
        let group = self.found_in.number(group);
        self.next_in(Some(group));
        self.skip(what, why)
    }

    /// The place of the next text of a group.
    fn next_in(&mut self, group: Option<u32>) -> u64 {
        let Some(group) = group else { return 0 };
        let count = self.counts.entry(group).or_default();
        *count += 1;
        *count - 1
    }

    /// One text, cut where it is longer than a sample.
    pub(super) fn push(&mut self, bytes: &[u8], about: About<'_>) -> Result<(), DataError> {
        let length = self.options.length;
        let samples = self.order.len() as u64 + 1;
        let (used, limit) = (samples.saturating_mul(2 * length as u64), self.options.max_bytes);
        if used > limit {
            let source_name = self.source_name.to_owned();
            return Err(DataError::TooLarge { source_name, samples, bytes: used, limit });
        }
        let label = about.label.map(|label| self.classes.number(label));
        if label.is_some_and(|label| label >= MAX_CLASSES) {
            let limit = format!("there are more than {MAX_CLASSES} classes");
            return self.skip(format!("text {samples}"), limit);
        }
        self.cut += u64::from(bytes.len() > length);
        let padding = std::iter::repeat(text::PAD);
        self.tokens.extend(bytes.iter().map(|byte| u16::from(*byte)).chain(padding).take(length));
        self.labels.push(label);
        let group = about.group.map(|group| self.found_in.number(group));
        let order = self.next_in(group);
        self.groups.push(group);
        self.order.push(order);
        Ok(())
    }

    /// The data set, texts of a group side by side. Groups whose names are all numbers have these.
    pub(super) fn finish(self) -> Result<Dataset, DataError> {
        if self.order.is_empty() {
            let (source_name, first) = (self.source_name.to_owned(), self.skipped.first());
            return Err(DataError::Empty { source_name, what: "line that is not blank".to_owned(), first });
        }
        if self.cut > 0 {
            let (name, length) = (self.source_name, self.options.length);
            tracing::info!("{name}: {} texts are longer than {length} bytes and were cut there", self.cut);
        }
        let (names, places) = self.classes.sorted();
        let place = |number: u32| places.get(number as usize).copied();
        let ids: Vec<Option<u32>> = self.labels.into_iter().map(|label| label.and_then(place)).collect();
        let labels = labels_of(self.source_name, &ids, names);
        let groups = numbered(&self.groups, self.found_in);
        let mut by_group: Vec<usize> = (0..groups.len()).collect();
        by_group.sort_by_key(|&index| groups.get(index));
        let samples = Samples::Texts { length: self.options.length, tokens: self.tokens };
        let mut data = Dataset::new(samples, labels, groups, self.order)?;
        if !by_group.is_sorted() {
            data = data.subset(&by_group)?;
        }
        data.skipped = self.skipped;
        data.limited(self.options.limit)
    }
}

/// The number of each group: the one that its name is, where all names are numbers, else its place among them;
/// texts without a group come behind, each in its own.
fn numbered(groups: &[Option<u32>], names: Names) -> Vec<u32> {
    let (names, places) = names.sorted();
    let given: Option<Vec<u32>> = names.iter().map(|name| name.parse().ok()).collect();
    let number = |group: u32| {
        let place = places.get(group as usize).copied().unwrap_or(0);
        given.as_ref().and_then(|given| given.get(place as usize).copied()).unwrap_or(place)
    };
    let known: Vec<Option<u32>> = groups.iter().map(|group| group.map(number)).collect();
    let mut next = known.iter().flatten().max().map_or(0, |last| last.saturating_add(1));
    let own = |group: Option<u32>| {
        group.unwrap_or_else(|| {
            next = next.saturating_add(1);
            next - 1
        })
    };
    known.into_iter().map(own).collect()
}
