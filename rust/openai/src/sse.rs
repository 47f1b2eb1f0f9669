//! Server-sent events passing by: finds usage, counts produced text, drops or marks the usage
//! chunk.
//!
//! Chunks may break anywhere; only whole events are passed on. An event that is too long to be kept
//! passes as it comes, and is read with its long strings cut (`skeleton`). What is no JSON object
//! is passed on, and says nothing.

use std::mem;

use crate::{
    answer::{Kind, Said},
    charge::Told,
    lines::{self, Ending},
    skeleton::{LONGEST, Skeleton},
};

/// Bytes of events that are held back until it is known whether a usage is the last.
const HELD: usize = 64 * 1024;

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
    /// It goes on, and shows nothing.
    Pass,
    /// It goes on, and shows that a usage before it was not the last.
    Text,
    Drop,
    /// It tells a usage, which may be the last.
    Hold,
    /// It tells the last usage.
    Mark,
    /// The usage that is held back was the last.
    Last,
}

/// One stream: every chunk goes through [`feed`](Self::feed), then comes [`flush`](Self::flush).
///
/// The last usage chunk (of chat and completions one without choices) gets the request's cost
/// written into it. To know that it is the last, it is held back with what follows it, until the
/// stream ends or produces more text. Then `bill` is called with what is known, once in a stream, and
/// answers the cost; a stream that tells no such usage, or an error, calls it never. With `strip`
/// the client gets no usage chunks, and `bill` is not called.
///
/// The first event is never held back.
#[expect(clippy::struct_excessive_bools, reason = "facts of a stream, each of its own")]
pub struct Scanner {
    strip: bool,
    /// Bytes that are not passed on yet: whole events that are held back, and the begin of an event.
    held: Vec<u8>,
    /// How many of these bytes are whole events; the first of them tells a usage.
    whole: usize,
    /// Where in them the cost is written.
    mark: usize,
    /// An LF that comes next ends the line that a CR ended.
    cr: Option<Line>,
    long: Option<Long>,
    /// The stream's first event is still to come.
    begin: bool,
    /// An event came.
    spoke: bool,
    billed: bool,
    /// What is known of the answer so far.
    pub told: Told,
    /// The stream's last event came: whoever leaves after it has the whole answer.
    pub done: bool,
    /// An event says that the answer failed, or the stream ended without an event.
    pub failed: bool,
}

/// What became of the line that ended with the last chunk.
#[derive(Clone, Copy)]
enum Line {
    Passed,
    Dropped,
    Held,
}

/// An event that passes while it is read.
struct Long {
    ending: Ending,
    skeleton: Skeleton,
}

impl Scanner {
    #[must_use]
    pub fn new(strip: bool) -> Self {
        Self {
            strip,
            held: Vec::new(),
            whole: 0,
            mark: 0,
            cr: None,
            long: None,
            begin: true,
            spoke: false,
            billed: false,
            told: Told::default(),
            done: false,
            failed: false,
        }
    }

    /// The events that are whole with this chunk, as the client shall see them.
    pub fn feed<E>(
        &mut self,
        chunk: &[u8],
        bill: impl FnMut(Told) -> Result<Option<String>, E>,
    ) -> Result<Shown, E> {
        if chunk.is_empty() {
            return Ok(Shown::Same);
        }
        let (passed, rest) = self.lead(chunk);
        let other = self.events(rest, bill)?;
        Ok(match other {
            None if passed + rest.len() == chunk.len() => Shown::Same,
            None => Shown::Other(rest.to_vec()),
            Some(other) if passed == 0 => Shown::Other(other),
            Some(other) => Shown::Other([&chunk[..passed], &other].concat()),
        })
    }

    /// What is left at the stream's end: events that were held back, and one without its empty line.
    pub fn flush<E>(
        &mut self,
        mut bill: impl FnMut(Told) -> Result<Option<String>, E>,
    ) -> Result<Vec<u8>, E> {
        if let Some(long) = self.long.take() {
            self.read(long.skeleton.kept());
        }
        let held = mem::take(&mut self.held);
        let mut pass = Pass::new(&held, self.whole, self.mark);
        self.walk(&mut pass, held.len(), &mut bill)?;
        self.last(&mut pass, &mut bill)?;
        self.whole = 0;
        self.failed |= !self.spoke;
        let shown = pass.shown(held.len());
        Ok(shown.unwrap_or(held))
    }

    /// What is left where the provider broke off: whole events that were held back. The begin of an
    /// event is lost.
    pub fn abort(&mut self) -> Vec<u8> {
        self.held.truncate(mem::take(&mut self.whole));
        mem::take(&mut self.held)
    }

    /// How many bytes at the begin of a chunk go on as they are, since they belong to what went on
    /// before, and the bytes that are still to be read.
    fn lead<'a>(&mut self, chunk: &'a [u8]) -> (usize, &'a [u8]) {
        if let Some(mut long) = self.long.take() {
            let Some(end) = long.ending.find(chunk) else {
                long.skeleton.push(chunk);
                self.long = Some(long);
                return (chunk.len(), b"");
            };
            long.skeleton.push(&chunk[..end]);
            self.read(long.skeleton.kept());
            self.cr = (end == chunk.len() && chunk.ends_with(b"\r")).then_some(Line::Passed);
            return (end, &chunk[end..]);
        }
        match (self.cr.take(), chunk) {
            (Some(Line::Passed), [b'\n', rest @ ..]) => (1, rest),
            (Some(Line::Dropped), [b'\n', rest @ ..]) => (0, rest),
            (Some(Line::Held), [b'\n', rest @ ..]) => {
                self.held.push(b'\n');
                self.whole += 1;
                (0, rest)
            }
            _ => (0, chunk),
        }
    }

    /// What goes on of a chunk that is the next part of the events; `None` = the chunk as it is.
    fn events<E>(
        &mut self,
        chunk: &[u8],
        mut bill: impl FnMut(Told) -> Result<Option<String>, E>,
    ) -> Result<Option<Vec<u8>>, E> {
        let mut held = mem::take(&mut self.held);
        let seen = held.len();
        let data = if held.is_empty() {
            chunk
        } else {
            held.extend_from_slice(chunk);
            &held
        };
        let end = self.whole + lines::whole(&data[self.whole..], seen - self.whole);
        let mut pass = Pass::new(data, self.whole, self.mark);
        self.walk(&mut pass, end, &mut bill)?;
        if data.len() - end > LONGEST {
            let mut long = Long { ending: Ending::new(), skeleton: Skeleton::default() };
            long.ending.find(&data[end..]);
            long.skeleton.push(&data[end..]);
            self.long = Some(long);
            self.whole = 0;
            let shown = pass.shown(data.len());
            return Ok(shown.or_else(|| (seen > 0).then_some(held)));
        }
        let (keep, mark) = pass.held.unwrap_or((end, end));
        (self.whole, self.mark) = (end - keep, mark - keep);
        let shown = pass.shown(keep);
        if seen > 0 {
            self.held = held.split_off(keep);
            return Ok(Some(shown.unwrap_or(held)));
        }
        self.held.extend_from_slice(&chunk[keep..]);
        Ok(match shown {
            None if keep < chunk.len() => Some(chunk[..keep].to_vec()),
            shown => shown,
        })
    }

    /// Read the events up to `end`.
    fn walk<E>(
        &mut self,
        pass: &mut Pass,
        end: usize,
        bill: &mut impl FnMut(Told) -> Result<Option<String>, E>,
    ) -> Result<(), E> {
        let mut dropped = false;
        while pass.at < end {
            let (start, event) = (pass.at, lines::first(&pass.data[pass.at..end], self.begin));
            self.begin = false;
            pass.at += event.size;
            let fate = self.look(&event);
            dropped = matches!(fate, Fate::Drop);
            match fate {
                Fate::Pass => {}
                Fate::Text => pass.held = None,
                Fate::Drop => pass.skip(start),
                Fate::Hold => pass.held = Some((start, start + event.start)),
                Fate::Mark => {
                    pass.held = Some((start, start + event.start));
                    self.last(pass, bill)?;
                }
                Fate::Last => self.last(pass, bill)?,
            }
        }
        if pass.held.is_some_and(|(start, _)| end - start > HELD) {
            pass.held = None;
        }
        let over = end == pass.data.len() && pass.data.ends_with(b"\r");
        self.cr = over.then_some(match pass.held {
            Some(_) => Line::Held,
            None if dropped => Line::Dropped,
            None => Line::Passed,
        });
        Ok(())
    }

    /// The usage that is held back, if one is, was the last: mark it.
    fn last<E>(
        &mut self,
        pass: &mut Pass,
        bill: &mut impl FnMut(Told) -> Result<Option<String>, E>,
    ) -> Result<(), E> {
        if let Some((_, mark)) = pass.held.take()
            && self.told.usage.is_some()
            && !self.failed
            && !self.billed
        {
            self.billed = true;
            if let Some(cost) = bill(self.told)? {
                pass.mark(mark, &cost);
            }
        }
        Ok(())
    }

    /// Read an event that has passed.
    fn read(&mut self, bytes: &[u8]) {
        let event = lines::first(bytes, mem::take(&mut self.begin));
        self.look(&event);
    }

    /// Learn from an event, and decide what becomes of it.
    fn look(&mut self, event: &lines::Event) -> Fate {
        if event.data.is_empty() {
            return Fate::Pass;
        }
        if *event.data == *b"[DONE]" {
            self.done = true;
            return Fate::Last;
        }
        let Some(said) = Said::read(&event.data) else {
            self.failed |= event.error;
            return Fate::Pass;
        };
        let first = !mem::replace(&mut self.spoke, true);
        self.failed |= said.failed || event.error;
        self.done |= said.kind == Kind::Last;
        let produced = said.produced();
        self.told.produced += produced;
        let usage = said.usage();
        if let Some(usage) = usage {
            self.told.usage = Some(self.told.usage.map_or(usage, |before| before.then(usage)));
            self.told.outran = false;
        } else if produced > 0 {
            self.told.outran = self.told.usage.is_some();
        }
        let chunk = said.tells && !said.choices;
        match said.kind {
            _ if self.strip => {
                if chunk {
                    Fate::Drop
                } else {
                    Fate::Pass
                }
            }
            Kind::Last if usage.is_some() => Fate::Mark,
            Kind::Last => Fate::Last,
            _ if chunk && usage.is_some() && !first => Fate::Hold,
            _ if produced > 0 || usage.is_some() => Fate::Text,
            _ => Fate::Pass,
        }
    }
}

/// Events on their way to the client.
struct Pass<'a> {
    data: &'a [u8],
    /// Where the next event begins.
    at: usize,
    /// Where what is held back begins, and where its cost would be written.
    held: Option<(usize, usize)>,
    out: Vec<u8>,
    /// How much of `data` is in `out`, or left out of it.
    copied: usize,
}

impl<'a> Pass<'a> {
    /// The first `whole` bytes were held back until now.
    fn new(data: &'a [u8], whole: usize, mark: usize) -> Self {
        let held = (whole > 0).then_some((0, mark));
        Self { data, at: whole, held, out: Vec::new(), copied: 0 }
    }

    /// Leave the event out that begins at `start` and ends here.
    fn skip(&mut self, start: usize) {
        self.out.extend_from_slice(&self.data[self.copied..start]);
        self.copied = self.at;
    }

    /// Write the cost into the object that begins at `brace`. It has a member: its usage.
    fn mark(&mut self, brace: usize, cost: &str) {
        self.out.extend_from_slice(&self.data[self.copied..=brace]);
        self.out.extend_from_slice(br#""nemo_request_cost":""#);
        self.out.extend_from_slice(cost.as_bytes());
        self.out.extend_from_slice(br#"","#);
        self.copied = brace + 1;
    }

    /// What goes on of the data before `end`; `None` = as it is.
    fn shown(mut self, end: usize) -> Option<Vec<u8>> {
        if self.copied == 0 {
            return None;
        }
        self.out.extend_from_slice(&self.data[self.copied..end]);
        Some(self.out)
    }
}
