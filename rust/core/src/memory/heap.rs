//! What few scopes have and no decision reads in the common case: names, model lists, address
//! lists.
//!
//! A block is written once, before the record that names it, and never changes: `[name bytes |
//! models << 16 | addresses << 32] [name, padded] [length | is_prefix << 32, words …]* [prefix
//! bits, high, low]*`

use std::net::{IpAddr, Ipv6Addr};

use crate::{
    error::{Error, Result},
    model::{MODEL_BYTES, ModelName},
    sync::{AtomicU64, Ordering},
};

const NAME_BYTES_MAX: usize = 1_000;
const LIST_MAX: usize = 1_000;

/// The words of the longest block.
pub const BLOCK_WORDS_MAX: usize =
    1 + NAME_BYTES_MAX.div_ceil(8) + LIST_MAX * (1 + MODEL_BYTES.div_ceil(8)) + LIST_MAX * 3;

/// A block of addresses; v4 lies in v6 as `::ffff:a.b.c.d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: u128,
    bits: u32,
}

fn as_v6(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
    .to_bits()
}

impl Cidr {
    /// Parse `10.0.0.0/8`, `2001:db8::/32`, or an address.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || Error::Value(format!("{text:?} is not an IP address or CIDR block"));
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().map_err(|_| bad())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let (width, offset) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        let bits = bits.unwrap_or(width);
        if bits > width {
            return Err(bad());
        }
        Ok(Self { address: as_v6(address), bits: bits + offset })
    }

    #[must_use]
    pub fn contains(&self, address: u128) -> bool {
        self.bits == 0 || (self.address ^ address) >> (128 - self.bits) == 0
    }
}

/// What is stored for a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    pub name: String,
    /// Exact names, or a prefix and `*`.
    pub models: Vec<String>,
    pub addresses: Vec<Cidr>,
}

impl Block {
    /// Encode the block as words; empty if there is nothing to keep.
    pub fn encode(&self) -> Result<Vec<u64>> {
        if self.name.len() > NAME_BYTES_MAX {
            return Err(Error::Value(format!("a name has more than {NAME_BYTES_MAX} bytes")));
        }
        if self.models.len() > LIST_MAX || self.addresses.len() > LIST_MAX {
            return Err(Error::Value(format!("an allow-list has more than {LIST_MAX} entries")));
        }
        if *self == Self::default() {
            return Ok(vec![]);
        }
        let counts = self.name.len() | self.models.len() << 16 | self.addresses.len() << 32;
        let mut words = vec![counts as u64];
        words.extend(pack(self.name.as_bytes()));
        for pattern in &self.models {
            let (text, prefix) =
                pattern.strip_suffix('*').map_or((pattern.as_str(), 0), |text| (text, 1));
            if text.len() > MODEL_BYTES || (text.is_empty() && prefix == 0) {
                return Err(Error::Value(format!(
                    "{pattern:?} is not a model name or prefix of at most {MODEL_BYTES} bytes"
                )));
            }
            words.push(text.len() as u64 | prefix << 32);
            words.extend(pack(text.as_bytes()));
        }
        for cidr in &self.addresses {
            words.extend([u64::from(cidr.bits), (cidr.address >> 64) as u64, cidr.address as u64]);
        }
        Ok(words)
    }
}

fn pack(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks(8).map(|chunk| {
        let mut eight = [0; 8];
        eight[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(eight)
    })
}

/// A stored block. Reads past its end give zeros: a corrupt length is a wrong answer for one scope,
/// not a crash.
#[derive(Clone, Copy)]
pub struct Stored<'a>(pub &'a [AtomicU64]);

impl Stored<'_> {
    fn word(self, at: usize) -> u64 {
        self.0.get(at).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn counts(self) -> (usize, usize, usize) {
        let word = self.word(0);
        ((word & 0xffff) as usize, (word >> 16 & 0xffff) as usize, (word >> 32 & 0xffff) as usize)
    }

    #[must_use]
    pub fn name(self) -> String {
        let (len, ..) = self.counts();
        let bytes: Vec<u8> =
            (0..len.div_ceil(8)).flat_map(|i| self.word(1 + i).to_le_bytes()).take(len).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Check that a pattern of the list matches.
    #[must_use]
    pub fn allows_model(self, model: &ModelName) -> bool {
        let (name, models, _) = self.counts();
        let mut at = 1 + name.div_ceil(8);
        for _ in 0..models {
            let head = self.word(at);
            let (len, prefix) = (((head & 0xffff_ffff) as usize).min(MODEL_BYTES), head >> 32 == 1);
            let words = len.div_ceil(8);
            if (prefix || len == model.len())
                && model.starts_with((at + 1..=at + words).map(|i| self.word(i)), len)
            {
                return true;
            }
            at += 1 + words;
        }
        false
    }

    /// Check that `address` is in a block of the list. Text that is no address is in none.
    #[must_use]
    pub fn allows_address(self, address: &str) -> bool {
        let Some(address) = parse_address(address) else {
            return false;
        };
        let (name, models, addresses) = self.counts();
        let mut at = 1 + name.div_ceil(8);
        for _ in 0..models {
            at += 1 + ((self.word(at) & 0xffff_ffff) as usize).min(MODEL_BYTES).div_ceil(8);
        }
        (0..addresses).any(|i| {
            let (bits, high, low) =
                (self.word(at + 3 * i), self.word(at + 3 * i + 1), self.word(at + 3 * i + 2));
            let cidr = Cidr {
                address: u128::from(high) << 64 | u128::from(low),
                bits: bits.min(128) as u32,
            };
            cidr.contains(address)
        })
    }
}

fn parse_address(text: &str) -> Option<u128> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(as_v6(address));
    }
    // A scoped address, `fe80::1%eth0`.
    text.split_once('%')
        .and_then(|(address, _)| address.parse::<Ipv6Addr>().ok())
        .map(Ipv6Addr::to_bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(block: &Block) -> Vec<AtomicU64> {
        block.encode().expect("valid").into_iter().map(AtomicU64::new).collect()
    }

    #[test]
    fn lists_match_what_they_say() {
        let block = Block {
            name: "a name of several words".to_owned(),
            models: vec!["gpt-4o".into(), "claude-*".into(), "o".into()],
            addresses: ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"]
                .map(|c| Cidr::parse(c).expect("valid"))
                .to_vec(),
        };
        let words = stored(&block);
        let stored = Stored(&words);
        assert_eq!(stored.name(), block.name);
        for (model, allowed) in [
            ("gpt-4o", true),
            ("gpt-4o-mini", false),
            ("gpt-4", false),
            ("claude-", true),
            ("claude-opus-5", true),
            ("oo", false),
        ] {
            assert_eq!(
                stored.allows_model(&ModelName::new(model).expect("fits")),
                allowed,
                "{model}"
            );
        }
        for (address, allowed) in [
            ("10.255.0.1", true),
            ("::ffff:10.1.1.1", true),
            ("11.0.0.1", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("", false),
            ("localhost", false),
            ("10.0.0.1/8", false),
        ] {
            assert_eq!(stored.allows_address(address), allowed, "{address}");
        }
    }

    #[test]
    fn a_star_allows_all_and_slash_zero_too() {
        let all = Block {
            models: vec!["*".into()],
            addresses: vec![Cidr::parse("::/0").expect("valid")],
            ..Block::default()
        };
        let words = stored(&all);
        assert!(Stored(&words).allows_model(&ModelName::new("anything").expect("fits")));
        assert!(Stored(&words).allows_address("203.0.113.9"));
    }

    #[test]
    fn bad_lists_are_refused() {
        for bad in ["10.0.0.0/33", "::/129", "10.0.0/8", "x", "10.0.0.0/-1", ""] {
            assert!(Cidr::parse(bad).is_err(), "{bad}");
        }
        assert!(Block { models: vec![String::new()], ..Block::default() }.encode().is_err());
    }
}
