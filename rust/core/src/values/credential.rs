//! The key in an `Authorization` value: `Bearer`, one or more spaces, `sk-nemo-` and twenty of
//! `A-Za-z0-9`.

pub const PREFIX: &[u8; 8] = b"sk-nemo-";
/// Bytes of a whole key: one BLAKE3 block.
pub const KEY_BYTES: usize = 28;
const SCHEME: &[u8] = b"bearer";

/// What an `Authorization` value holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credential<'a> {
    Missing,
    Malformed,
    Key(&'a [u8; KEY_BYTES]),
}

/// Read a header's value. Blanks around it are trimmed; nothing else is forgiven.
#[must_use]
pub fn parse(value: &[u8]) -> Credential<'_> {
    let value = trim(value);
    if value.is_empty() {
        return Credential::Missing;
    }
    let Some((scheme, rest)) = value.split_at_checked(SCHEME.len()) else {
        return Credential::Malformed;
    };
    if !scheme.eq_ignore_ascii_case(SCHEME) || rest.first() != Some(&b' ') {
        return Credential::Malformed;
    }
    bare(&rest[spaces(rest)..])
}

/// Read a header's value that is a key without a scheme. Blanks around it are trimmed; nothing else
/// is forgiven.
#[must_use]
pub fn parse_key(value: &[u8]) -> Credential<'_> {
    let value = trim(value);
    if value.is_empty() { Credential::Missing } else { bare(value) }
}

fn bare(key: &[u8]) -> Credential<'_> {
    match <&[u8; KEY_BYTES]>::try_from(key) {
        Ok(key) if is_key(key) => Credential::Key(key),
        _ => Credential::Malformed,
    }
}

fn trim(value: &[u8]) -> &[u8] {
    let blank = |b: &u8| *b == b' ' || *b == b'\t';
    let start = value.iter().position(|b| !blank(b)).unwrap_or(value.len());
    let end = value.iter().rposition(|b| !blank(b)).map_or(start, |i| i + 1);
    &value[start..end]
}

fn spaces(value: &[u8]) -> usize {
    value.iter().take_while(|b| **b == b' ').count()
}

/// Check the characters of a key. Every byte is looked at whatever is found, so that the time says
/// nothing of a key's twenty characters.
#[must_use]
pub fn is_key(key: &[u8; KEY_BYTES]) -> bool {
    let (prefix, secret) = key.split_at(PREFIX.len());
    let good = secret.iter().fold(true, |good, b| good & b.is_ascii_alphanumeric());
    good && prefix == PREFIX
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sk-nemo-abcdefghij0123456789";

    fn key_of(value: &str) -> Option<String> {
        match parse(value.as_bytes()) {
            Credential::Key(key) => Some(String::from_utf8_lossy(key).into_owned()),
            _ => None,
        }
    }

    #[test]
    fn what_is_accepted() {
        for value in ["Bearer KEY", "bearer KEY", "BEARER   KEY", "  Bearer KEY \t"] {
            assert_eq!(key_of(&value.replace("KEY", KEY)).as_deref(), Some(KEY), "{value}");
        }
    }

    #[test]
    fn what_is_not() {
        for value in [
            "BearerKEY",
            "Bearer\tKEY",
            "Bearer \tKEY",
            "Bearer KEYx",
            "Bearer KEY x",
            "Basic KEY",
            "KEY",
            "Bearer",
            "Bearer ",
            "Bearer sk-nemo-abcdefghij012345678",
            "Bearer SK-NEMO-abcdefghij0123456789",
            "Bearer sk-nemo-abcdefghij012345678-",
            "Bearer sk-nemo-abcdefghij01234567é",
            "Bearer \"KEY\"",
            "Bearer KEY,",
            "Bearer mk-nemo-abcdefghij0123456789",
        ] {
            assert!(
                parse(value.replace("KEY", KEY).as_bytes()) == Credential::Malformed,
                "{value}"
            );
        }
        assert!(parse(b" \t ") == Credential::Missing);
    }
}
