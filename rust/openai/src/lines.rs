//! The lines of server-sent events, as the standard reads them.
//!
//! A line ends with LF, CR or CRLF; an empty one ends an event. The fields that matter are `data`,
//! whose lines make one text, and `event`; a colon and a space may follow a field's name. A line
//! that begins with a colon is a comment. One byte order mark may precede the stream.

use std::borrow::Cow;

use memchr::{memchr2, memrchr2};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Find where the last whole event of `data` ends, if one does behind `seen`. `data` begins with a
/// line. An event that ends with CR is whole, even if LF follows in the next chunk.
pub(crate) fn whole(data: &[u8], seen: usize) -> usize {
    let mut end = data.len();
    while let Some(at) = memrchr2(b'\n', b'\r', &data[seen..end]) {
        end = seen + at;
        let line = match (data[end], data[..end].last()) {
            (b'\n', Some(b'\r')) => &data[..end - 1],
            (b'\r', _) if data.get(end + 1) == Some(&b'\n') => continue, // looked at already
            _ => &data[..end],
        };
        if matches!(line, [] | [.., b'\n' | b'\r']) {
            return end + 1;
        }
    }
    0
}

/// An event: what its fields say, and where.
pub(crate) struct Event<'a> {
    /// Bytes of it, with the empty line that ends it.
    pub size: usize,
    /// Its data, without white space around it.
    pub data: Cow<'a, [u8]>,
    /// Where the data begins.
    pub start: usize,
    /// It is of the type `error`.
    pub error: bool,
}

/// Read the event that `events` begin with. `begin` is true for a stream's first.
pub(crate) fn first(events: &[u8], begin: bool) -> Event<'_> {
    let mut event = Event { size: events.len(), data: Cow::Borrowed(b""), start: 0, error: false };
    let mut at = 0;
    if begin && events.starts_with(BYTE_ORDER_MARK) {
        at = BYTE_ORDER_MARK.len();
    }
    while at < events.len() {
        let rest = &events[at..];
        let size = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let line = &rest[..size];
        at += size + ending(&rest[size..]);
        if line.is_empty() {
            event.size = at;
            break;
        }
        if let Some(value) = field(line, b"data") {
            if value.is_empty() {
                continue;
            }
            if event.data.is_empty() {
                event.data = Cow::Borrowed(value);
                event.start = at_of(events, value);
            } else {
                let data = event.data.to_mut();
                data.push(b'\n');
                data.extend_from_slice(value);
            }
        } else if let Some(name) = field(line, b"event") {
            event.error = name == b"error";
        }
    }
    event
}

/// The bytes that end a line.
fn ending(rest: &[u8]) -> usize {
    match rest {
        [b'\r', b'\n', ..] => 2,
        [] => 0,
        _ => 1,
    }
}

/// The value of a field, without white space around it; `None` for another field.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    match line.strip_prefix(name)? {
        [] => Some(b""),
        [b':', value @ ..] => Some(value.trim_ascii()),
        _ => None,
    }
}

/// Where `part` stands in `whole`.
fn at_of(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

/// Looks for the end of an event whose begin is not kept.
pub(crate) struct Ending {
    /// Nothing stands in the line yet.
    empty: bool,
    /// The last byte was CR.
    cr: bool,
}

impl Ending {
    /// At the begin of an event.
    pub fn new() -> Self {
        Self { empty: true, cr: false }
    }

    /// Where in the bytes that are next the event ends, if it does.
    pub fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut start = 0;
        while let Some(size) = memchr2(b'\n', b'\r', &bytes[start..]) {
            let at = start + size;
            let crlf = size == 0 && self.cr && bytes[at] == b'\n';
            self.cr = bytes[at] == b'\r';
            if !crlf && size == 0 && self.empty {
                return Some(at + 1);
            }
            self.empty = true;
            start = at + 1;
        }
        if start < bytes.len() {
            (self.empty, self.cr) = (false, false);
        }
        None
    }
}
