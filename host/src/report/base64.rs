//! Base64 with padding (RFC 4648, section 4), for pictures within a page.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The encoding of `bytes`.
pub(super) fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            if i <= group.len() {
                // Six bits index the 64 letters.
                text.push(char::from(ALPHABET[(bits >> (18 - 6 * i) & 63) as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_standards_examples_hold() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&[0xFB, 0xFF, 0xFE]), "+//+");
    }

    proptest! {
        #[test]
        fn the_bits_come_back(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let text = base64(&bytes);
            prop_assert_eq!(text.len() % 4, 0);
            let mut bits = Vec::new();
            for letter in text.bytes().filter(|b| *b != b'=') {
                let value = ALPHABET.iter().position(|a| *a == letter).unwrap();
                bits.extend((0..6).rev().map(|i| value >> i & 1));
            }
            let back: Vec<u8> =
                bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |b, bit| b << 1 | *bit as u8)).collect();
            prop_assert_eq!(back, bytes);
        }
    }
}
