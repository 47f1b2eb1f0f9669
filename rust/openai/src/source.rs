//! The address that a request comes from, where proxies that are trusted stand in front of us.
//!
//! What is there and cannot be read makes the source unknown. A key with a list of addresses is
//! refused from an unknown source.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use nemorouter_core::{error::Result, heap::Cidr};

/// Hops that are looked at, from the nearest on. A request through more proxies has no known
/// source.
const HOPS: usize = 32;
/// The longest text of one hop: an IPv6 address with a zone, brackets, port and quotes.
const HOP_BYTES: usize = 80;

/// Blocks of addresses.
#[derive(Clone, Debug, Default)]
pub struct Networks(Vec<Cidr>);

impl Networks {
    /// Read blocks such as `10.0.0.0/8`. Errors with the block that is none.
    pub fn parse(blocks: &[String]) -> Result<Self> {
        blocks.iter().map(|block| Cidr::parse(block)).collect::<Result<_>>().map(Self)
    }

    /// True if no block is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if a block holds the address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        }
        .to_bits();
        self.0.iter().any(|block| block.contains(bits))
    }
}

/// Read one address as proxies and servers write it: alone, with a port, in brackets, in quotes, or
/// as IPv4 mapped into IPv6. A zone is dropped.
#[must_use]
pub fn read_hop(text: &[u8]) -> Option<IpAddr> {
    if text.len() > HOP_BYTES {
        return None;
    }
    let text = str::from_utf8(text).ok()?.trim_matches([' ', '\t']);
    let text = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
    let address = if let Some(rest) = text.strip_prefix('[') {
        let (inner, port) = rest.split_once(']')?;
        if !port.is_empty() {
            port.strip_prefix(':')?.parse::<u16>().ok()?;
        }
        IpAddr::V6(v6(inner)?)
    } else if let Ok(SocketAddr::V4(with_port)) = text.parse() {
        IpAddr::V4(*with_port.ip())
    } else if let Ok(address) = text.parse() {
        address
    } else {
        IpAddr::V6(v6(text)?)
    };
    Some(address.to_canonical())
}

/// An IPv6 address, perhaps with a zone.
fn v6(text: &str) -> Option<Ipv6Addr> {
    text.split_once('%').map_or(text, |(address, _)| address).parse().ok()
}

/// The address of the client: the peer that connected, or, if that is trusted, the nearest hop of
/// `X-Forwarded-For` that is not. `None` where it cannot be known.
///
/// `forwarded` holds the header's values in their order, `None` for one that the server could not
/// read.
#[must_use]
pub fn source<'a>(
    peer: Option<IpAddr>,
    trusted: &Networks,
    forwarded: impl DoubleEndedIterator<Item = Option<&'a [u8]>>,
) -> Option<IpAddr> {
    let mut address = peer?;
    let mut hops = 0;
    for value in forwarded.rev() {
        let mut parts = value.unwrap_or(b"unreadable").rsplit(|byte| *byte == b',');
        loop {
            if !trusted.contains(address) {
                return Some(address);
            }
            let Some(hop) = parts.next() else { break };
            if hops == HOPS {
                return None;
            }
            hops += 1;
            if !hop.trim_ascii().is_empty() {
                address = read_hop(hop)?;
            }
        }
    }
    Some(address)
}

/// The source of a request that one peer sent, for callers that hold the values of
/// `X-Forwarded-For` as text.
#[must_use]
pub fn source_of(peer: &[u8], trusted: &Networks, forwarded: &[&[u8]]) -> Option<IpAddr> {
    source(read_hop(peer), trusted, forwarded.iter().map(|value| Some(*value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(text: &str) -> Option<String> {
        read_hop(text.as_bytes()).map(|address| address.to_string())
    }

    #[test]
    fn a_hop_is_read_in_all_its_spellings() {
        for (text, address) in [
            ("203.0.113.7", "203.0.113.7"),
            (" 203.0.113.7\t", "203.0.113.7"),
            ("203.0.113.7:41234", "203.0.113.7"),
            ("\"203.0.113.7:41234\"", "203.0.113.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:443", "2001:db8::7"),
            ("\"[2001:db8::7]:443\"", "2001:db8::7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("[::ffff:cb00:7107]:1", "203.0.113.7"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%eth0]:80", "fe80::1"),
            ("2001:DB8:0:0::7", "2001:db8::7"),
        ] {
            assert_eq!(hop(text).as_deref(), Some(address), "{text}");
        }
        for text in [
            "",
            "unknown",
            "_hidden",
            "203.0.113",
            "203.0.113.7:",
            "203.0.113.7:99999",
            "203.0.113.7:x",
            "[2001:db8::7",
            "2001:db8::7]",
            "[203.0.113.7]",
            "[::1]x",
            "\"::1",
            "203.0.113.7 x",
            "1.2.3.4, 5.6.7.8",
            "010.0.0.1",
        ] {
            assert_eq!(hop(text), None, "{text}");
        }
        assert_eq!(hop(&" ".repeat(HOP_BYTES + 1)), None);
        assert_eq!(read_hop(b"\xff"), None);
    }

    fn found(peer: &str, forwarded: &[Option<&[u8]>]) -> Option<String> {
        let trusted =
            Networks::parse(&["10.0.0.0/8".into(), "2001:db8::/32".into()]).expect("blocks");
        let peer = read_hop(peer.as_bytes());
        source(peer, &trusted, forwarded.iter().copied()).map(|address| address.to_string())
    }

    #[test]
    fn the_nearest_untrusted_hop_is_the_source() {
        for (forwarded, address) in [
            ("203.0.113.9", Some("203.0.113.9")),
            ("198.51.100.7, 203.0.113.9", Some("203.0.113.9")),
            ("203.0.113.9, 10.0.0.2", Some("203.0.113.9")),
            ("nonsense, 203.0.113.9", Some("203.0.113.9")),
            ("203.0.113.9, nonsense", None),
            ("203.0.113.9,, 10.0.0.2,", Some("203.0.113.9")),
            ("10.0.0.3, 10.0.0.2", Some("10.0.0.3")),
            ("203.0.113.9:4711, [2001:db8::9]:1", Some("203.0.113.9")),
            ("", Some("10.0.0.1")),
        ] {
            assert_eq!(
                found("10.0.0.1", &[Some(forwarded.as_bytes())]).as_deref(),
                address,
                "{forwarded}"
            );
        }
        let two: [Option<&[u8]>; 2] = [Some(b"198.51.100.7"), Some(b"203.0.113.9, 10.0.0.2")];
        assert_eq!(found("::ffff:10.0.0.1", &two).as_deref(), Some("203.0.113.9"));
    }

    #[test]
    fn a_peer_that_is_not_trusted_is_the_source() {
        assert_eq!(found("192.0.2.1", &[Some(b"203.0.113.9")]).as_deref(), Some("192.0.2.1"));
        assert_eq!(found("192.0.2.1", &[None]).as_deref(), Some("192.0.2.1"));
        assert_eq!(found("unix:", &[Some(b"203.0.113.9")]), None);
    }

    #[test]
    fn what_cannot_be_read_is_unknown_and_work_is_bounded() {
        assert_eq!(found("10.0.0.1", &[None]), None);
        assert_eq!(found("10.0.0.1", &[Some(b"203.0.113.9"), None]), None);
        assert_eq!(found("10.0.0.1", &[Some(b"203.0.113.9\xff")]), None);
        let many = "10.0.0.2,".repeat(HOPS) + "203.0.113.9";
        assert_eq!(found("10.0.0.1", &[Some(many.as_bytes())]).as_deref(), Some("203.0.113.9"));
        let many = "203.0.113.9,".to_owned() + &"10.0.0.2,".repeat(HOPS);
        assert_eq!(found("10.0.0.1", &[Some(many.as_bytes())]), None);
    }
}
