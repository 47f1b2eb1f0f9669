//! Keyed hashes of keys. A stolen store cannot test keys without the pepper.

use blake3::Hash;

/// A server secret of 32 bytes with its id. It is never printed.
#[derive(Clone)]
pub struct Pepper {
    pub id: u8,
    secret: [u8; 32],
}

impl Pepper {
    #[must_use]
    pub fn new(id: u8, secret: [u8; 32]) -> Self {
        Self { id, secret }
    }

    #[must_use]
    pub fn hash(&self, key: &[u8]) -> Hash {
        blake3::keyed_hash(&self.secret, key)
    }
}

/// The table's name for a scope that has no key. Its own derivation, so no key under any pepper shares it.
#[must_use]
pub fn of_scope(kind: u8, id: u64) -> [u8; 32] {
    *blake3::Hasher::new_derive_key("nemorouter 2026 scope id")
        .update(&[kind])
        .update(&id.to_le_bytes())
        .finalize()
        .as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pepper_matters() {
        let key = b"sk-nemo-abcdefghij0123456789";
        let (a, b) = (Pepper::new(1, [1; 32]), Pepper::new(2, [2; 32]));
        assert_ne!(a.hash(key), b.hash(key));
        assert_eq!(a.hash(key), blake3::keyed_hash(&[1; 32], key));
    }
}
