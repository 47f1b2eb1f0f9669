//! What goes between an exchange and its driver.

use std::borrow::Cow;

use crate::{
    headers::{Headers, Name},
    media,
};

/// A whole answer of ours.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Headers,
    pub body: Cow<'static, [u8]>,
}

/// What to send of an upstream's or an app's answer.
pub struct Reply {
    pub status: u16,
    /// Its own headers go before ours.
    pub keep: bool,
    /// The rate limits, which come before its own headers.
    pub first: Headers,
    pub last: Headers,
    /// The body is not as long as its own headers say.
    pub resized: bool,
    /// What to send in the place of its body.
    pub body: Option<Cow<'static, [u8]>>,
}

impl Reply {
    /// True if one of the answer's own headers does not go with what is sent.
    #[must_use]
    pub fn replaces(&self, name: &[u8]) -> bool {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        self.resized && is(b"content-length")
            || self.last.iter().any(|(own, _)| *own == Name::ContentType)
                && (is(b"content-type") || is(b"content-encoding"))
    }
}

/// Why an upstream's answer did not come, or came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The answer is complete.
    Whole,
    /// The upstream failed, or broke off.
    Failed,
    /// The upstream took too long.
    Late,
    /// The client left.
    Gone,
    /// A fault of ours.
    Broken,
}

/// What a driver still sends when an exchange ends.
pub enum Last {
    /// The whole answer: nothing was sent before.
    Whole(Reply),
    /// The last bytes of the answer; none may be left.
    Bytes(Vec<u8>),
    /// The answer cannot be completed: break the connection off.
    Cut,
}

/// What matters of the headers of an upstream's or an app's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "facts of a head, each of its own")]
pub struct Theirs {
    /// It is an event stream.
    pub events: bool,
    /// It is JSON.
    pub json: bool,
    pub cache_control: bool,
    pub request_id: bool,
}

impl Theirs {
    /// True for an event stream that is a success.
    #[must_use]
    pub fn is_stream(&self, status: u16) -> bool {
        self.events && status < 400
    }

    /// Read headers, whose names may have any case.
    pub fn read<'a>(headers: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut theirs = Self::default();
        for (name, value) in headers {
            if name.eq_ignore_ascii_case(b"content-type") {
                theirs.events = media::is_events(value);
                theirs.json = media::is_json(value);
            } else if name.eq_ignore_ascii_case(b"cache-control") {
                theirs.cache_control = true;
            } else if name.eq_ignore_ascii_case(b"x-request-id") {
                theirs.request_id = true;
            }
        }
        theirs
    }
}
