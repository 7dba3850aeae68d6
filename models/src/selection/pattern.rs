//! Name patterns: `*` stands for any run of characters, `?` for one.

/// A pattern for names; not empty, and without the characters that part a selection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

/// Characters that a selection itself uses.
const PARTING: [char; 3] = [',', '+', '@'];

impl Pattern {
    /// The pattern that fits `name`, and little else: characters that a selection uses itself are
    /// replaced by `?`. `None` for an empty name.
    pub fn of_name(name: &str) -> Option<Self> {
        let used = |c: char| PARTING.contains(&c) || c == '*' || c.is_control();
        let mut text: String = name.chars().map(|c| if used(c) { '?' } else { c }).collect();
        if matches!(name, "head" | "bias" | "norm" | "all")
            || name.starts_with("last:")
            || name.starts_with("lora:")
        {
            text.replace_range(..1, "?");
        }
        (!text.is_empty()).then_some(Self(text))
    }

    /// Whether `name` fits. Linear in time times the number of stars.
    pub fn fits(&self, name: &str) -> bool {
        let mut pieces = self.0.split('*');
        let Some(first) = pieces.next() else { return false };
        let Some(mut rest) = after(first, name) else { return false };
        let Some(last) = pieces.next_back() else { return rest.is_empty() };
        for piece in pieces {
            let Some(found) = search(piece, rest) else { return false };
            rest = found;
        }
        // The last piece must lie at the very end.
        let (have, want) = (rest.chars().count(), last.chars().count());
        have >= want && {
            let tail: String = rest.chars().skip(have - want).collect();
            after(last, &tail).is_some()
        }
    }
}

/// What follows `piece` (without stars) at the start of `text`.
fn after<'t>(piece: &str, text: &'t str) -> Option<&'t str> {
    let mut rest = text.chars();
    for wanted in piece.chars() {
        let found = rest.next()?;
        if wanted != '?' && wanted != found {
            return None;
        }
    }
    Some(rest.as_str())
}

/// What follows the first place of `piece` in `text`.
fn search<'t>(piece: &str, text: &'t str) -> Option<&'t str> {
    let ends = std::iter::once(text.len());
    text.char_indices().map(|(at, _)| at).chain(ends).find_map(|at| after(piece, &text[at..]))
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) fn parse_list(text: &str) -> Result<Vec<Pattern>, &'static str> {
    let one = |text: &str| {
        if text.is_empty() {
            return Err("a name is empty");
        }
        if text.chars().any(|c| c.is_control() || PARTING.contains(&c)) {
            return Err("a name holds `@` or a control character; write `?` in its place");
        }
        Ok(Pattern(text.into()))
    };
    text.split(',').map(one).collect()
}

pub(super) fn write_list(f: &mut std::fmt::Formatter<'_>, patterns: &[Pattern]) -> std::fmt::Result {
    for (i, pattern) in patterns.iter().enumerate() {
        write!(f, "{}{pattern}", if i > 0 { "," } else { "" })?;
    }
    Ok(())
}
