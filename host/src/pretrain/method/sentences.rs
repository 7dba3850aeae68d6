//! Pairs of texts of which the second follows the first or does not (Devlin et al. 2019, section 3.1, task 2):
//! half of them follow each other, the others have their second text from anywhere in the data.

use rand::RngExt;

use crate::data::{DataError, Dataset, Draw};

/// Purpose of the draw of a pair; views have the numbers below.
const PAIR: u64 = 1 << 33;
/// Draws of a text from elsewhere before the first text of all that does not follow is taken.
const TRIES: usize = 16;

/// The text after `index` in its group, where none was left out between them.
fn next(data: &Dataset, index: usize) -> Option<usize> {
    let (groups, order) = (data.groups(), data.order());
    let follows = groups.get(index + 1)? == groups.get(index)?
        && order.get(index + 1)?.checked_sub(*order.get(index)?) == Some(1);
    follows.then_some(index + 1)
}

/// Two texts and whether the second follows the first, which is `index` or the nearest after it that has a
/// next.
///
/// # Errors
/// When no text of the data follows another, or none does not.
pub(super) fn pair(draw: &Draw<'_>, index: usize) -> Result<([usize; 2], bool), DataError> {
    let data = draw.data();
    let mut candidates = (index..data.len()).chain(0..index);
    let found = candidates.find_map(|first| Some((first, next(data, first)?)));
    let refused = |found: &str| DataError::Mismatch {
        found: format!("texts of which {found}"),
        wanted: "files or groups of several lines in their order".into(),
        mend: "give whole files of lines or records with a `group`, and no `limit`",
    };
    let (first, second) = found.ok_or_else(|| refused("none follows another"))?;
    let mut rng = draw.rng(index, PAIR);
    if rng.random_bool(0.5) {
        return Ok(([first, second], true));
    }
    let elsewhere = (0..TRIES).map(|_| rng.random_range(0..data.len()));
    let is_other = |other: &usize| *other != second && *other != first;
    let other = elsewhere.chain(0..data.len()).find(is_other);
    let other = other.ok_or_else(|| refused("each follows another"))?;
    Ok(([first, other], false))
}
