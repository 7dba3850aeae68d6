//! Floats that begin on a cache line.

use std::ops::{Deref, DerefMut};

/// Floats of a cache line, 64 bytes.
const LINE: usize = 16;

/// A buffer whose first float begins a cache line, so that no vector of a panel lies across two.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// Up to a line less a float, then the buffer.
    values: Vec<f32>,
    length: usize,
}

impl Buffer {
    /// A buffer of zeros.
    pub(crate) fn new(length: usize) -> Self {
        Self { values: vec![0.0; length + LINE - 1], length }
    }

    /// How many floats it could hold without a new allocation.
    pub(crate) fn room(&self) -> usize {
        self.values.len().saturating_sub(LINE - 1)
    }

    /// The same buffer for `length` floats, which hold anything.
    pub(crate) fn resized(self, length: usize) -> Self {
        if self.room() >= length { Self { length, ..self } } else { Self::new(length) }
    }

    fn start(&self) -> usize {
        self.values.as_ptr().align_offset(size_of::<[f32; LINE]>()).min(LINE - 1)
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.values.get(self.start()..self.start() + self.length).unwrap_or_default()
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        let start = self.start();
        self.values.get_mut(start..start + self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_on_a_cache_line_and_has_its_length() {
        for length in [0, 1, 15, 16, 1000] {
            let mut buffer = Buffer::new(length);
            assert_eq!(buffer.len(), length);
            assert!(buffer.as_ptr().addr().is_multiple_of(64));
            buffer.fill(1.0);
            let buffer = buffer.resized(length / 2).resized(length + 20);
            assert_eq!(buffer.len(), length + 20);
        }
    }
}
