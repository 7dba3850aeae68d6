//! The last few lines of what a program writes to standard error.

/// Most bytes kept.
const KEPT: usize = 1024;

/// The end of a text, in bounded memory.
#[derive(Debug, Default)]
pub(crate) struct Tail(Vec<u8>);

impl Tail {
    /// Takes in more of the text.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let over = self.0.len().saturating_sub(KEPT);
        self.0.drain(..over);
    }

    /// Its end on one line, control characters left out.
    pub(crate) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let lines = text.lines().map(|line| line.chars().filter(|c| !c.is_control()).collect::<String>());
        lines
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join(" / ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_and_made_fit_for_a_message() {
        let mut tail = Tail::default();
        for n in 0..1000 {
            tail.push(format!("line {n}\r\n\x1b[1m\n").as_bytes());
        }
        let text = tail.text();
        assert!(text.ends_with("line 998 / [1m / line 999 / [1m"), "{text}");
        assert!(text.len() <= 2 * KEPT && !text.contains('\x1b'));
    }
}
