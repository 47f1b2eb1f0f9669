//! Which credential a request carries. The one list of headers that may hold a client's key: none
//! of them reaches an upstream or a wrapped app.

use nemorouter_core::credential::{Credential, PREFIX, parse, parse_key};

use crate::paths::decode_bytes;

/// Headers that may carry a client's key, in lower case. The first has a scheme before the key.
pub const HEADERS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

/// The start of a management key.
const MANAGEMENT_PREFIX: &[u8; 8] = b"mk-nemo-";

/// The credentials of one request, header by header.
#[derive(Clone, Copy, Default)]
pub struct Offered<'a> {
    /// The value of each of [`HEADERS`].
    values: [Option<&'a [u8]>; HEADERS.len()],
    /// A header stands twice, or its value cannot be read.
    faulty: bool,
}

impl<'a> Offered<'a> {
    /// Take in a header if it is one of [`HEADERS`]. `None` stands for a value that is there and
    /// that the server could not read.
    pub fn take(&mut self, name: &str, value: Option<&'a [u8]>) {
        if let Some(at) = HEADERS.iter().position(|header| *header == name) {
            self.faulty |= value.is_none() || self.values[at].is_some();
            self.values[at] = value;
        }
    }

    /// True if there is any credential, readable or not.
    #[must_use]
    pub fn any(&self) -> bool {
        self.faulty || self.values.iter().flatten().any(|value| !value.trim_ascii().is_empty())
    }

    /// The one credential of the request. Two that differ, two of one header, a value that cannot
    /// be read, and a key in the query are malformed.
    #[must_use]
    pub fn choose(&self, query: &[u8]) -> Credential<'a> {
        let mut chosen = Credential::Missing;
        for (at, value) in self.values.iter().enumerate() {
            let Some(value) = value else { continue };
            let found = if at == 0 { parse(value) } else { parse_key(value) };
            chosen = match (chosen, found) {
                (one, Credential::Missing) | (Credential::Missing, one) => one,
                (Credential::Key(one), Credential::Key(other)) if one == other => chosen,
                _ => Credential::Malformed,
            };
        }
        if self.faulty || holds_key(query) { Credential::Malformed } else { chosen }
    }
}

/// True if a query holds a key, in whatever spelling: every proxy on its way would log it.
fn holds_key(query: &[u8]) -> bool {
    if query.len() < PREFIX.len() {
        return false;
    }
    let plain = decode_bytes(query);
    plain.windows(PREFIX.len()).any(|window| window == PREFIX || window == MANAGEMENT_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sk-nemo-abcdefghij0123456789";
    const OTHER: &str = "sk-nemo-abcdefghij0123456780";

    /// `key`, `missing` or `malformed`.
    fn chosen(headers: &[(&str, Option<&str>)], query: &str) -> &'static str {
        let mut offered = Offered::default();
        for (name, value) in headers {
            offered.take(name, value.map(str::as_bytes));
        }
        match offered.choose(query.as_bytes()) {
            Credential::Missing => "missing",
            Credential::Malformed => "malformed",
            Credential::Key(key) if key == KEY.as_bytes() => "key",
            Credential::Key(_) => "other",
        }
    }

    #[test]
    fn each_header_carries_a_key() {
        let bearer = format!("Bearer {KEY}");
        assert_eq!(chosen(&[("authorization", Some(&bearer))], ""), "key");
        for name in &HEADERS[1..] {
            assert_eq!(chosen(&[(name, Some(KEY))], ""), "key", "{name}");
            assert_eq!(chosen(&[(name, Some(&bearer))], ""), "malformed", "{name}");
        }
        assert_eq!(chosen(&[("cookie", Some(KEY))], ""), "missing");
        assert_eq!(chosen(&[("api-key", Some(" "))], ""), "missing");
    }

    #[test]
    fn two_that_differ_are_refused() {
        let bearer = format!("Bearer {KEY}");
        let bearer = ("authorization", Some(bearer.as_str()));
        assert_eq!(chosen(&[bearer, ("x-api-key", Some(KEY))], ""), "key");
        assert_eq!(chosen(&[bearer, ("x-api-key", Some(""))], ""), "key");
        for wrong in [OTHER, "sk-ant-1", "x"] {
            assert_eq!(chosen(&[bearer, ("x-api-key", Some(wrong))], ""), "malformed");
            assert_eq!(chosen(&[("api-key", Some(wrong)), bearer], ""), "malformed");
        }
        assert_eq!(
            chosen(&[("authorization", Some("Basic x")), ("api-key", Some(KEY))], ""),
            "malformed"
        );
    }

    #[test]
    fn two_of_one_header_or_an_unreadable_value_are_refused() {
        let bearer = format!("Bearer {KEY}");
        let bearer = ("authorization", Some(bearer.as_str()));
        assert_eq!(chosen(&[bearer, bearer], ""), "malformed");
        assert_eq!(chosen(&[("authorization", None)], ""), "malformed");
        assert_eq!(chosen(&[bearer, ("x-goog-api-key", None)], ""), "malformed");
    }

    #[test]
    fn a_key_in_the_query_is_refused() {
        let bearer = format!("Bearer {KEY}");
        let bearer = [("authorization", Some(bearer.as_str()))];
        for query in ["key=sk-nemo-x", "a=sk%2Dnemo%2Dx", "mk-nemo-", "%25&k=%73k-nemo-"] {
            assert_eq!(chosen(&bearer, query), "malformed", "{query}");
        }
        for query in ["a=b&limit=3", "%sk-nemo", "%", "a=%2", ""] {
            assert_eq!(chosen(&bearer, query), "key", "{query}");
        }
    }
}
