//! What an answer says: a whole one, or an event of a stream.

use std::mem;

use crate::{
    charge::Told,
    json::{Json, Read},
    skeleton::{LONGEST, Skeleton},
    text,
    usage::Usage,
};

/// A whole answer, as far as its charge depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub told: Told,
    /// The answer is an error, whatever its status says.
    pub failed: bool,
}

/// Read a whole answer; `None` where it is no JSON object.
#[must_use]
pub fn read(body: &[u8]) -> Option<Answer> {
    let said = Said::read(body)?;
    let produced = said.texts + said.messages + said.output;
    let told = Told { usage: said.usage(), produced, outran: false };
    Some(Answer { told, failed: said.failed })
}

/// A whole answer that comes in pieces. A long one is read with its long strings cut.
#[derive(Default)]
pub struct Pieces {
    kept: Vec<u8>,
    skeleton: Option<Skeleton>,
}

impl Pieces {
    pub fn push(&mut self, piece: &[u8]) {
        match &mut self.skeleton {
            Some(skeleton) => skeleton.push(piece),
            None => self.kept.extend_from_slice(piece),
        }
        if self.kept.len() > LONGEST {
            let mut skeleton = Skeleton::default();
            skeleton.push(&mem::take(&mut self.kept));
            self.skeleton = Some(skeleton);
        }
    }

    /// Read the answer; `None` where it is no JSON object.
    #[must_use]
    pub fn read(&self) -> Option<Answer> {
        read(self.skeleton.as_ref().map_or(&self.kept[..], Skeleton::kept))
    }
}

/// The members of an answer or an event that somebody looks at.
#[derive(Default)]
pub(crate) struct Said {
    /// There is a choice at least.
    pub choices: bool,
    /// The event tells a usage as the usage chunk of chat does, beside its choices.
    pub tells: bool,
    /// The answer is an error, or the event that ends a stream by one.
    pub failed: bool,
    pub kind: Kind,
    usage: Option<Usage>,
    /// A usage at another place: in the response of an event, or in a choice.
    inner: Option<Usage>,
    texts: u64,
    deltas: u64,
    messages: u64,
    /// The text of an event of `/v1/responses`.
    delta: u64,
    /// The text of a response, or of a message of Anthropic's.
    output: u64,
}

/// The member `type` of an event.
#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) enum Kind {
    #[default]
    Other,
    /// The stream ends with this event.
    Last,
    /// The delta is sound in base64.
    Sound,
}

impl Said {
    /// Read an object; `None` where the bytes are no JSON, or no object.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut said = Self::default();
        let mut json = Json::new(bytes);
        let read = json.object(|json, name| said.member(json, name));
        (read == Ok(true) && json.end().is_ok()).then_some(said)
    }

    /// Bytes of text that an event produces.
    pub fn produced(&self) -> u64 {
        let delta = if self.kind == Kind::Sound { 0 } else { self.delta };
        self.texts + self.deltas + delta
    }

    pub fn usage(&self) -> Option<Usage> {
        self.usage.or(self.inner)
    }

    fn member(&mut self, json: &mut Json, name: &[u8]) -> Read<()> {
        match name {
            b"choices" => json.array(|json| {
                self.choices = true;
                self.choice(json)
            })?,
            b"usage" => (self.tells, self.usage) = Usage::read(json)?,
            b"response" | b"message" | b"x_groq" => self.carrier(json)?,
            b"delta" => self.delta = text::carried(json)?,
            b"output" | b"content" => self.output += text::carried(json)?,
            b"error" => self.failed |= is_true(json.raw()?),
            b"type" => self.type_of(json.raw()?),
            _ => json.skip()?,
        }
        Ok(())
    }

    fn choice(&mut self, json: &mut Json) -> Read<()> {
        json.object(|json, name| {
            match name {
                b"text" => self.texts += text::carried(json)?,
                b"delta" => self.deltas += text::carried(json)?,
                b"message" => self.messages += text::carried(json)?,
                b"usage" => self.inner = Usage::read(json)?.1.or(self.inner),
                b"error" => self.failed |= is_true(json.raw()?),
                _ => json.skip()?,
            }
            Ok(())
        })
        .map(drop)
    }

    /// An object that carries the usage of the whole answer.
    fn carrier(&mut self, json: &mut Json) -> Read<()> {
        json.object(|json, name| {
            match name {
                b"usage" => self.inner = Usage::read(json)?.1.or(self.inner),
                _ => json.skip()?,
            }
            Ok(())
        })
        .map(drop)
    }

    /// `raw` is the member's JSON: types have no escapes.
    fn type_of(&mut self, raw: &[u8]) {
        match raw {
            br#""error""# => self.failed = true,
            br#""response.failed""# => (self.failed, self.kind) = (true, Kind::Last),
            br#""response.completed""# | br#""response.incomplete""# | br#""message_stop""# => {
                self.kind = Kind::Last;
            }
            _ if raw.ends_with(br#"audio.delta""#) => self.kind = Kind::Sound,
            _ => {}
        }
    }
}

/// A member that says something, as client libraries judge `error`.
fn is_true(raw: &[u8]) -> bool {
    match raw {
        b"null" | b"false" | b"0" | br#""""# => false,
        [b'{' | b'[', inner @ .., _] => !inner.trim_ascii().is_empty(),
        _ => true,
    }
}
