//! Server-sent events passing by: finds usage, counts produced text, drops or marks the usage
//! chunk.
//!
//! It keeps one event at most; chunks may break anywhere. An event ends at an empty line, and what
//! it says is its first line of data. After an event longer than [`LONGEST`] all passes unread.

use std::{mem, ops::Range};

use memchr::{memchr, memrchr};
use serde::de::MapAccess;

use crate::{
    members::{Members, Name, Object, Value, object, skip},
    usage::{Choices, Fields, Told, Usage},
};

/// Bytes of an event without an end that are kept until they are passed on unread.
pub const LONGEST: usize = 8 * 1024 * 1024;

/// What the client gets for a chunk.
#[derive(Debug, PartialEq, Eq)]
pub enum Shown {
    /// The chunk as it is.
    Same,
    /// These bytes in its place; none while an event is not whole.
    Other(Vec<u8>),
}

/// What becomes of an event.
enum Fate {
    Pass,
    Drop,
    /// Its cost is written into it, in USD.
    Mark(String),
}

/// One stream: every chunk goes through [`feed`](Self::feed), then comes [`flush`](Self::flush).
///
/// Both call `bill` with the usage when the chunk that ends the bill goes by (of chat and
/// completions the one without choices); it answers the cost to be written into that chunk. With
/// `strip` the client does not get that chunk.
pub struct Scanner {
    strip: bool,
    /// The begin of an event that is not whole.
    held: Vec<u8>,
    overlong: bool,
    /// The last that was told.
    pub usage: Option<Usage>,
    /// Bytes of produced text.
    pub produced: u64,
}

impl Scanner {
    #[must_use]
    pub fn new(strip: bool) -> Self {
        Self { strip, held: Vec::new(), overlong: false, usage: None, produced: 0 }
    }

    /// The events that are whole with this chunk, as the client shall see them.
    pub fn feed<E>(
        &mut self,
        chunk: &[u8],
        bill: impl FnMut(Usage) -> Result<Option<String>, E>,
    ) -> Result<Shown, E> {
        if self.overlong {
            self.produced += chunk.len() as u64;
            return Ok(Shown::Same);
        }
        let mut held = mem::take(&mut self.held);
        if held.is_empty() {
            let end = self.end(chunk, 0);
            chunk[end..].clone_into(&mut self.held);
            return Ok(match self.pass(&chunk[..end], bill)? {
                None if end == chunk.len() => Shown::Same,
                None => Shown::Other(chunk[..end].to_vec()),
                Some(other) => Shown::Other(other),
            });
        }
        let seen = held.len();
        held.extend_from_slice(chunk);
        let end = self.end(&held, seen);
        if end == 0 {
            self.held = held;
            return Ok(Shown::Other(Vec::new()));
        }
        let other = self.pass(&held[..end], bill)?;
        self.held = held.split_off(end);
        Ok(Shown::Other(other.unwrap_or(held)))
    }

    /// What is left at the stream's end: an event that lacks its empty line.
    pub fn flush<E>(
        &mut self,
        bill: impl FnMut(Usage) -> Result<Option<String>, E>,
    ) -> Result<Vec<u8>, E> {
        let held = mem::take(&mut self.held);
        Ok(self.pass(&held, bill)?.unwrap_or(held))
    }

    /// Where the part of `data` ends that is passed on. Before `seen` no event ends.
    fn end(&mut self, data: &[u8], seen: usize) -> usize {
        let end = whole(data, seen);
        self.overlong = data.len() - end > LONGEST;
        if self.overlong { data.len() } else { end }
    }

    /// The events as the client shall see them; `None` = as they are.
    fn pass<E>(
        &mut self,
        events: &[u8],
        mut bill: impl FnMut(Usage) -> Result<Option<String>, E>,
    ) -> Result<Option<Vec<u8>>, E> {
        let mut shown = Vec::new();
        let (mut at, mut copied) = (0, 0);
        while at < events.len() {
            let (size, data) = first(&events[at..]);
            let data = at + data.start..at + data.end;
            let fate = self.look(&events[data.clone()], &mut bill)?;
            at += size;
            match fate {
                Fate::Pass => {}
                Fate::Drop => {
                    shown.extend_from_slice(&events[copied..at - size]);
                    copied = at;
                }
                Fate::Mark(cost) => {
                    // The data is an object that has a member: its usage.
                    shown.extend_from_slice(&events[copied..=data.start]);
                    shown.extend_from_slice(br#""nemo_request_cost":""#);
                    shown.extend_from_slice(cost.as_bytes());
                    shown.extend_from_slice(br#"","#);
                    copied = data.start + 1;
                }
            }
        }
        if copied == 0 {
            return Ok(None);
        }
        shown.extend_from_slice(&events[copied..]);
        Ok(Some(shown))
    }

    fn look<E>(
        &mut self,
        data: &[u8],
        bill: &mut impl FnMut(Usage) -> Result<Option<String>, E>,
    ) -> Result<Fate, E> {
        if data.is_empty() || data == b"[DONE]" {
            return Ok(Fate::Pass);
        }
        let Ok(seen) = object::<Event>(data) else {
            self.produced += data.len() as u64;
            return Ok(Fate::Pass);
        };
        self.produced += seen.delta.text() + seen.choices.texts + seen.choices.deltas;
        let Some(fields) = seen.usage.or(seen.response) else { return Ok(Fate::Pass) };
        let usage = fields.tokens();
        self.usage = usage.or(self.usage);
        if seen.choices.any {
            return Ok(Fate::Pass);
        }
        if self.strip {
            return Ok(Fate::Drop);
        }
        let cost = usage.map(bill).transpose()?.flatten();
        Ok(cost.map_or(Fate::Pass, Fate::Mark))
    }
}

/// Where the last whole event of `data` ends, if one does behind `seen`.
fn whole(data: &[u8], seen: usize) -> usize {
    let mut end = data.len();
    while let Some(at) = memrchr(b'\n', &data[seen..end]) {
        end = seen + at;
        if matches!(data[..end], [] | [b'\r'] | [.., b'\n'] | [.., b'\n', b'\r']) {
            return end + 1;
        }
    }
    0
}

/// The size of the first event with the empty line that ends it, and where its data is.
fn first(events: &[u8]) -> (usize, Range<usize>) {
    let (mut at, mut data) = (0, 0..0);
    while at < events.len() {
        let end = memchr(b'\n', &events[at..]).map_or(events.len(), |line| at + line + 1);
        let line = &events[at..end];
        if matches!(line, b"\n" | b"\r\n") {
            return (end, data);
        }
        if data.start == 0
            && let Some(told) = line.strip_prefix(b"data:")
        {
            let start = end - told.trim_ascii_start().len();
            data = start..start + events[start..end].trim_ascii_end().len();
        }
        at = end;
    }
    (events.len(), data)
}

/// What an event says.
#[derive(Default)]
struct Event {
    choices: Choices,
    usage: Option<Fields>,
    /// The usage of a whole response.
    response: Option<Fields>,
    delta: Value,
}

impl Members for Event {
    fn member<'de, A: MapAccess<'de>>(&mut self, name: Name, map: &mut A) -> Result<(), A::Error> {
        match name {
            Name::Choices => {
                self.choices = map.next_value::<Option<Choices>>()?.unwrap_or_default()
            }
            Name::Usage => {
                self.usage =
                    map.next_value::<Option<Object<Fields>>>()?.map(|Object(fields)| fields)
            }
            Name::Response => {
                self.response =
                    map.next_value::<Option<Object<Told>>>()?.and_then(|Object(told)| told.usage);
            }
            Name::Delta => self.delta = map.next_value()?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const TEXT: &str = "event: x\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\\u00e9\",\"role\":null}}]}\r\n\r\n";
    const USAGE: &str =
        "data: {\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":6},\"choices\":[]}\n\n";
    const DONE: &str = ": over\n\ndata: [DONE]\n\n";

    /// What the client gets for the chunks, and the scanner afterwards.
    fn scan(chunks: &[&[u8]], strip: bool) -> (String, Scanner) {
        let mut scanner = Scanner::new(strip);
        let mut bill = |_| Ok::<_, Infallible>(Some("0.1".to_owned()));
        let mut shown = Vec::new();
        for chunk in chunks {
            let Ok(fed) = scanner.feed(chunk, &mut bill);
            match fed {
                Shown::Same => shown.extend_from_slice(chunk),
                Shown::Other(bytes) => shown.extend_from_slice(&bytes),
            }
        }
        let Ok(left) = scanner.flush(&mut bill);
        shown.extend_from_slice(&left);
        (String::from_utf8(shown).expect("UTF-8"), scanner)
    }

    #[test]
    fn the_same_wherever_a_chunk_ends() {
        let stream = [TEXT, USAGE, DONE].concat();
        let marked = stream.replace("{\"usage", "{\"nemo_request_cost\":\"0.1\",\"usage");
        for at in 0..=stream.len() {
            let (begin, end) = stream.as_bytes().split_at(at);
            for (strip, meant) in [(true, &stream.replace(USAGE, "")), (false, &marked)] {
                let (shown, scanner) = scan(&[begin, end], strip);
                assert_eq!(&shown, meant);
                assert_eq!((scanner.usage, scanner.produced), (Some((5, 0, 6)), 3));
            }
        }
    }

    #[test]
    fn an_event_without_its_empty_line_is_shown_at_the_end() {
        for strip in [true, false] {
            let (shown, scanner) = scan(&[b"data: {", b"\"delta\":\"ab\"}\n"], strip);
            assert_eq!((shown.as_str(), scanner.produced), ("data: {\"delta\":\"ab\"}\n", 2));
            assert_eq!(scan(&[USAGE.trim_end().as_bytes()], strip).0.is_empty(), strip);
        }
    }

    #[test]
    fn whole_events_that_may_pass_are_not_copied() {
        let mut scanner = Scanner::new(true);
        let mut feed = |chunk: &str| scanner.feed(chunk.as_bytes(), |_| Ok::<_, Infallible>(None));
        assert_eq!(feed(TEXT), Ok(Shown::Same));
        assert_eq!(feed("data"), Ok(Shown::Other(Vec::new())));
        assert_eq!(feed(": 1\n\n"), Ok(Shown::Other(b"data: 1\n\n".to_vec())));
        assert_eq!(feed(DONE), Ok(Shown::Same));
    }
}
