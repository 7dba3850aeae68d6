//! How many samples a line has lost, from their numbers.

/// Follows numbers that should each be one more than the last, modulo 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    next: Option<u32>,
}

/// What lies between a batch and the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// Nothing, or there was none before.
    None,
    /// So many samples that never came.
    Lost(u32),
    /// Numbers from the past: the node began anew, or the line repeats itself.
    Back,
}

impl Sequence {
    /// Takes `count` samples, the first of number `first`.
    pub fn take(&mut self, first: u32, count: u32) -> Gap {
        let ahead = first.wrapping_sub(self.next.unwrap_or(first));
        self.next = Some(first.wrapping_add(count));
        match ahead {
            0 => Gap::None,
            // Half of all numbers lie ahead and half behind.
            ahead if ahead <= u32::MAX / 2 => Gap::Lost(ahead),
            _ => Gap::Back,
        }
    }

    /// Forgets what came, so that the next number is the first.
    pub fn restart(&mut self) {
        self.next = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted_over_the_wrap_and_a_new_beginning_is_none() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.take(u32::MAX - 9, 8), Gap::None);
        assert_eq!(sequence.take(u32::MAX - 1, 4), Gap::None);
        assert_eq!(sequence.take(5, 1), Gap::Lost(3));
        assert_eq!(sequence.take(6, 1), Gap::None);
        assert_eq!(sequence.take(0, 1), Gap::Back);
        assert_eq!(sequence.take(1, 1), Gap::None);
        sequence.restart();
        assert_eq!(sequence.take(1_000, 1), Gap::None);
    }
}
