//! A model's name as words: copied once from the request, then compared, hashed and stored without
//! touching bytes again.

use crate::sync::{AtomicU64, Ordering};

/// Longest name, in bytes.
pub const MODEL_BYTES: usize = 120;
/// Words of a name, padded with zero bytes.
pub const MODEL_WORDS: usize = MODEL_BYTES / 8;

/// A model's name, at most [`MODEL_BYTES`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelName {
    words: [u64; MODEL_WORDS],
    len: usize,
}

impl ModelName {
    /// Make a name; `None` if it is empty, too long, or has a zero byte (the padding).
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let bytes = name.as_bytes();
        if bytes.is_empty() || bytes.len() > MODEL_BYTES || bytes.contains(&0) {
            return None;
        }
        let mut words = [0; MODEL_WORDS];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks(8)) {
            let mut eight = [0; 8];
            eight[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_le_bytes(eight);
        }
        Some(Self { words, len: bytes.len() })
    }

    /// Return the words in use; the last is padded with zero bytes.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words[..self.len.div_ceil(8)]
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Compute a well-spread 64-bit hash of 2 or more. Not secret: it only orders a table that is
    /// at most half full.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut hash = self.len as u64;
        for word in self.words() {
            let product =
                u128::from(hash ^ word ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xd6e8_feb8_6659_fd93);
            hash = (product as u64) ^ ((product >> 64) as u64);
        }
        hash.max(2)
    }

    /// Check that the name begins with the `len` bytes held in `prefix`.
    #[must_use]
    pub fn starts_with(&self, prefix: impl Iterator<Item = u64>, len: usize) -> bool {
        if len > self.len {
            return false;
        }
        let mut rest = len;
        for (mine, other) in self.words.iter().zip(prefix) {
            let mask = if rest >= 8 { u64::MAX } else { (1 << (8 * rest)) - 1 };
            if (mine ^ other) & mask != 0 {
                return false;
            }
            rest = rest.saturating_sub(8);
            if rest == 0 {
                break;
            }
        }
        true
    }

    /// Write length and words at the start of `to` (1 + [`MODEL_WORDS`] words).
    pub fn store(&self, to: &[AtomicU64]) {
        to[0].store(self.len as u64, Ordering::Relaxed);
        for (word, value) in to[1..].iter().zip(self.words()) {
            word.store(*value, Ordering::Relaxed);
        }
    }

    /// Read what [`Self::store`] wrote. A torn or foreign word gives another name, never undefined
    /// behaviour.
    #[must_use]
    pub fn load(from: &[AtomicU64]) -> Self {
        let len = (from[0].load(Ordering::Relaxed) as usize).min(MODEL_BYTES);
        let mut words = [0; MODEL_WORDS];
        for (value, word) in words.iter_mut().zip(&from[1..]).take(len.div_ceil(8)) {
            *value = word.load(Ordering::Relaxed);
        }
        if !len.is_multiple_of(8) {
            words[len / 8] &= (1 << (8 * (len % 8))) - 1;
        }
        Self { words, len }
    }

    #[must_use]
    pub fn text(&self) -> String {
        let bytes: Vec<u8> =
            self.words().iter().flat_map(|w| w.to_le_bytes()).take(self.len).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_words() {
        for name in ["a", "gpt-4o", "12345678", "123456789", &"x".repeat(MODEL_BYTES)] {
            let model = ModelName::new(name).expect("fits");
            let words: Vec<AtomicU64> =
                (0..=MODEL_WORDS).map(|_| AtomicU64::new(u64::MAX)).collect();
            model.store(&words);
            assert_eq!(ModelName::load(&words), model);
            assert_eq!(model.text(), name);
        }
        for bad in ["", "a\0b", &"x".repeat(MODEL_BYTES + 1)] {
            assert_eq!(ModelName::new(bad), None);
        }
    }

    #[test]
    fn prefixes() {
        let model = ModelName::new("gpt-4o-mini").expect("fits");
        for (prefix, starts) in [
            ("", true),
            ("gpt-4o-m", true),
            ("gpt-4o-min", true),
            ("gpt-5", false),
            ("gpt-4o-mini-x", false),
        ] {
            let words: Vec<u64> = ModelName::new(prefix).map_or(vec![], |m| m.words().to_vec());
            assert_eq!(model.starts_with(words.into_iter(), prefix.len()), starts, "{prefix}");
        }
    }
}
