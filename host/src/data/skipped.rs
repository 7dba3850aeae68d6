//! Bad records, counted and named. A data set of millions may lose a few files and still teach;
//! it must say so, and must not lose more than its user allows.

use super::DataError;

/// How many of the records passed over are named; the rest are only counted.
pub const MAX_NAMED: usize = 20;

/// One record that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Which record.
    pub what: String,
    /// What is wrong with it.
    pub why: String,
}

/// How many records were passed over, and the first [`MAX_NAMED`] of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SkipList {
    count: u64,
    named: Vec<Skipped>,
}

impl SkipList {
    /// All records passed over.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The first of them.
    pub fn named(&self) -> &[Skipped] {
        &self.named
    }

    /// The first, as text.
    pub(super) fn first(&self) -> Option<String> {
        self.named.first().map(|skipped| format!("{}: {}", skipped.what, skipped.why))
    }

    /// Puts the records of another list behind these.
    pub(super) fn append(&mut self, other: Self) {
        self.count += other.count;
        let room = MAX_NAMED - self.named.len();
        self.named.extend(other.named.into_iter().take(room));
    }

    /// Notes one more bad record of `source_name`, or refuses when `limit` are noted already.
    pub(super) fn add(
        &mut self,
        source_name: &str,
        limit: u64,
        what: String,
        why: impl ToString,
    ) -> Result<(), DataError> {
        let why = why.to_string();
        if self.count >= limit {
            return Err(DataError::TooManySkipped { source_name: source_name.to_owned(), limit, what, why });
        }
        self.count += 1;
        if self.named.len() < MAX_NAMED {
            self.named.push(Skipped { what, why });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_first_and_refuses_past_the_limit() {
        let mut list = SkipList::default();
        for i in 0..30 {
            list.add("data", 30, format!("row {i}"), "broken").unwrap();
        }
        assert_eq!((list.count(), list.named().len()), (30, MAX_NAMED));
        assert_eq!(list.first().as_deref(), Some("row 0: broken"));
        let refused = list.add("data", 30, "row 30".into(), "broken");
        assert!(matches!(refused, Err(DataError::TooManySkipped { limit: 30, .. })));
    }
}
