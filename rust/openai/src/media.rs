//! Media types and content codings, as RFC 9110 reads them: case does not matter, and parameters
//! follow a semicolon.

const JSON: &[u8] = b"application/json";
const EVENTS: &[u8] = b"text/event-stream";

/// The type without its parameters and without blanks around it.
fn essence(value: &[u8]) -> &[u8] {
    let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
    value[..end].trim_ascii()
}

/// True for `application/json`, and for a type whose suffix is `+json`.
#[must_use]
pub fn is_json(value: &[u8]) -> bool {
    let kind = essence(value);
    kind.eq_ignore_ascii_case(JSON)
        || kind.last_chunk::<5>().is_some_and(|end| end.eq_ignore_ascii_case(b"+json"))
}

/// True for an event stream.
#[must_use]
pub fn is_events(value: &[u8]) -> bool {
    essence(value).eq_ignore_ascii_case(EVENTS)
}

/// True if a body of this type may hold the JSON of a model call. A client that names no type means
/// JSON.
#[must_use]
pub fn is_request(value: &[u8]) -> bool {
    essence(value).is_empty() || is_json(value)
}

/// True if a body is sent as it is. A list of codings is not.
#[must_use]
pub fn is_identity(coding: &[u8]) -> bool {
    let coding = coding.trim_ascii();
    coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
}

/// True if an answer without a type begins as an event stream does.
#[must_use]
pub fn looks_like_events(begin: &[u8]) -> bool {
    let begin = begin.strip_prefix(b"\xef\xbb\xbf").unwrap_or(begin).trim_ascii_start();
    [&b"data:"[..], b"event:", b"id:", b"retry:", b":"].iter().any(|field| begin.starts_with(field))
}

/// True if a body holds a JSON object.
#[must_use]
pub fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{")
        && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_parameters_do_not_matter() {
        for json in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            " application/problem+JSON ;x",
        ] {
            assert!(is_json(json.as_bytes()) && is_request(json.as_bytes()), "{json}");
        }
        for other in ["text/json", "application/jsonx", "text/plain;x=application/json", "+jso"] {
            assert!(!is_json(other.as_bytes()) && !is_request(other.as_bytes()), "{other}");
        }
        assert!(is_request(b"") && is_request(b" ;x") && !is_json(b""));
        for events in ["text/event-stream", "Text/Event-Stream", "text/event-stream;charset=x"] {
            assert!(is_events(events.as_bytes()), "{events}");
        }
        assert!(!is_events(b"text/event-streams") && !is_events(b""));
    }

    #[test]
    fn codings() {
        for plain in ["", " Identity", "identity"] {
            assert!(is_identity(plain.as_bytes()), "{plain}");
        }
        for other in ["gzip", "identity, gzip", "br"] {
            assert!(!is_identity(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn the_begin_of_a_stream() {
        for events in
            ["data: {}", "\u{feff}data:x", ": ping\n\n", "event: x", "\n\nid: 1", "retry:1"]
        {
            assert!(looks_like_events(events.as_bytes()), "{events}");
        }
        for other in ["{\"data\":1}", "", "<html>", "datax"] {
            assert!(!looks_like_events(other.as_bytes()), "{other}");
        }
        assert!(
            is_object(b" {\"a\":[1]}")
                && !is_object(b"[1]")
                && !is_object(b"{")
                && !is_object(b"{} x")
        );
    }
}
