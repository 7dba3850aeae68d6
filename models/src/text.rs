//! Text as numbers: every byte is a token of its own, so that any log in any language can be read without
//! a vocabulary to be shipped; a few tokens beside the bytes say what no byte can (as Xue et al. 2022,
//! ByT5, have it). An encoder of text reads token numbers as floats.

/// Fills a sample that is shorter than the encoder's length, and so tells where it ends.
pub const PAD: u16 = 256;
/// Stands between two texts in one sample.
pub const SEPARATOR: u16 = 257;
/// Stands where a byte was taken out.
pub const MASK: u16 = 258;
/// How many tokens there are.
pub const TOKENS: usize = 259;
