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

/// Not a secret: it keeps the names of scopes apart from the digests of keys, which no pepper can
/// make equal to them.
const SCOPES: &[u8; 32] = b"nemorouter: scopes without a key";

/// Compute the digest that names a scope without a key in the table.
#[must_use]
pub fn of_scope(kind: u8, id: u64) -> [u8; 32] {
    let mut input = [0; 9];
    input[0] = kind;
    input[1..].copy_from_slice(&id.to_le_bytes());
    *blake3::keyed_hash(SCOPES, &input).as_bytes()
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
