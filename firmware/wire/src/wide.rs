//! A count of 32 bits as one that does not wrap.

/// Follows a node's microseconds over their wraps. Counts may come a little out of order; two that follow
/// one another must lie less than half a turn apart, which is 35 minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WideMicros {
    last: Option<i64>,
}

impl WideMicros {
    /// The count that is nearest to the last one, and the last one from now on.
    pub fn take(&mut self, micros: u32) -> i64 {
        let wide = self.near(micros);
        self.last = Some(wide);
        wide
    }

    /// The count that is nearest to the last one.
    pub fn near(&self, micros: u32) -> i64 {
        // Begins a turn above zero, so that counts before the first are not negative.
        let last = self.last.unwrap_or((1 << 32) + i64::from(micros));
        // The low 32 bits of either, and their distance the short way round.
        let ahead = micros.wrapping_sub(last as u32) as i32;
        last + i64::from(ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_on_over_the_wrap_in_either_direction() {
        let mut wide = WideMicros::default();
        let first = wide.take(u32::MAX - 10);
        assert_eq!(wide.take(5), first + 16);
        assert_eq!(wide.near(u32::MAX), first + 10);
        assert_eq!(wide.take(u32::MAX), first + 10);
        let mut total = first + 10;
        for step in 1..200i64 {
            total += 1_000_000_000;
            let micros = (i64::from(u32::MAX) + step * 1_000_000_000) as u32;
            assert_eq!(wide.take(micros), total);
        }
    }
}
