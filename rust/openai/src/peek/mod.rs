//! The few fields of a body that the decision needs; the bytes themselves go upstream unread.
//!
//! The limiter and the upstream must see the same values, so a field that is given twice, in
//! whatever spelling, is a fault.

mod fields;
mod media;
mod name;
mod walk;

use std::ops::{Range, RangeInclusive};

use fields::{Field, Member, NAMES};
use media::Media;
pub use media::{PICTURE_TOKENS, SOUND_TOKENS};
use name::is_printable;
use serde_json::value::RawValue;
use walk::members;

use nemorouter_core::model::MODEL_BYTES;

/// Tokens that a field may ask for.
const TOKENS: RangeInclusive<u64> = 1..=10_000_000;
/// Answers or images in one request.
const CHOICES: RangeInclusive<u64> = 1..=128;
/// Arrays and objects inside of each other.
const DEPTH: usize = 256;
/// Most prompts in one request.
const PROMPTS: usize = 2048;

/// What a body says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub model: String,
    pub stream: bool,
    /// What to write into the body, so that the stream ends with a usage chunk; `None` where it
    /// does, or is no stream that can.
    pub usage_edit: Option<Edit>,
    /// The most tokens a choice may produce, as the client says.
    pub output: Option<u64>,
    /// How many answers, or images, are asked for.
    pub choices: u64,
    /// Bytes of the prompt; a picture or a recording has four for each token that it counts as.
    pub prompt_bytes: u64,
    /// The provider adds input that it keeps, whose size the body does not tell.
    pub stored: bool,
    /// The provider works on after its answer.
    pub background: bool,
    /// A field by which the provider may take another model.
    pub other_model: Option<&'static str>,
}

/// A piece of text that takes the place of some bytes of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    pub at: Range<usize>,
    pub text: &'static str,
}

impl Edit {
    /// The body with the edit made; all other bytes stay as they are.
    #[must_use]
    pub fn apply(&self, body: &[u8]) -> Vec<u8> {
        [&body[..self.at.start], self.text.as_bytes(), &body[self.at.end..]].concat()
    }
}

/// Why a body cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No JSON, or not UTF-8.
    Json,
    /// Nested so deeply that the next parser may give up on it.
    Depth,
    /// No model is named.
    Model,
    /// The message names the field, never its value.
    Field(String),
}

/// The fields of a body for an endpoint.
pub fn peek(body: &[u8], endpoint: u8) -> Result<Seen, Fault> {
    let text = std::str::from_utf8(body).map_err(|_| Fault::Json)?;
    if is_deep(body) {
        return Err(Fault::Depth);
    }
    let mut fields = Fields::new(text);
    members(
        text,
        |name| Member::of(name, endpoint),
        |member, raw| match member {
            Member::Field(field) => fields.take(field, raw),
            Member::Folded(field) => {
                let name = NAMES[field as usize];
                Err(Fault::Field(format!("{name}: the field is given in another spelling.")))
            }
        },
    )?;
    fields.seen(endpoint)
}

/// The fields that were met so far.
struct Fields<'a> {
    text: &'a str,
    seen: Seen,
    n: u64,
    best_of: u64,
    prompts: u64,
    asked: Asked,
    media: Media,
    /// A bit for each field that was given.
    given: u32,
}

impl<'a> Fields<'a> {
    fn new(text: &'a str) -> Self {
        let (n, best_of, prompts) = (1, 1, 1);
        let (asked, media) = (Asked::Nothing, Media::default());
        Self { text, seen: Seen::default(), n, best_of, prompts, asked, media, given: 0 }
    }

    fn take(&mut self, field: Field, raw: &str) -> Result<(), Fault> {
        let name = NAMES[field as usize];
        once(name, self.given >> field as u32 & 1 == 1)?;
        self.given |= 1 << field as u32;
        if raw == "null" {
            if matches!(field, Field::StreamOptions) {
                self.asked = Asked::Instead(place(self.text, raw), ONLY_USAGE);
            }
            return Ok(());
        }
        let seen = &mut self.seen;
        match field {
            Field::Model if !raw.starts_with('"') => return Err(expected(name, "a string")),
            Field::Model => seen.model = serde_json::from_str(raw).map_err(|_| Fault::Json)?,
            Field::Stream => seen.stream = boolean(name, raw)?,
            Field::StreamOptions => self.asked = include_usage(self.text, raw)?,
            Field::MaxTokens | Field::MaxCompletionTokens | Field::MaxOutputTokens => {
                seen.output = seen.output.max(Some(number(name, raw, TOKENS)?));
            }
            Field::N => self.n = number(name, raw, CHOICES)?,
            Field::BestOf => self.best_of = number(name, raw, CHOICES)?,
            Field::Prompt => self.prompts = count_prompts(raw)?,
            Field::Messages | Field::Input => self.media = Media::of(raw),
            Field::Background => seen.background = boolean(name, raw)?,
            Field::PreviousResponseId | Field::Conversation | Field::StoredPrompt => {
                seen.stored = true;
            }
            Field::Models | Field::Fallbacks | Field::Route => seen.other_model = Some(name),
        }
        Ok(())
    }

    fn seen(self, endpoint: u8) -> Result<Seen, Fault> {
        let Self { text, mut seen, media, .. } = self;
        if seen.model.is_empty() {
            return Err(Fault::Model);
        }
        if seen.model.len() > MODEL_BYTES {
            return Err(Fault::Field(format!("model: at most {MODEL_BYTES} bytes.")));
        }
        if !is_printable(&seen.model) {
            return Err(Fault::Field("model: no control characters.".to_owned()));
        }
        seen.choices = self.n.max(self.best_of) * self.prompts;
        seen.stored |= media.stored;
        seen.prompt_bytes = text.len() as u64 - media.bytes + 4 * media.tokens;
        if seen.stream && Field::of("stream_options", endpoint).is_some() {
            seen.usage_edit = match self.asked {
                Asked::Usage => None,
                Asked::Instead(at, text) => Some(Edit { at, text }),
                Asked::Nothing => {
                    let start = text.find('{').map_or(0, |at| at + 1);
                    Some(Edit { at: start..start, text: WITH_USAGE })
                }
            };
        }
        Ok(seen)
    }
}

/// What a body's stream options say of the usage chunk.
enum Asked {
    /// There are no options.
    Nothing,
    Usage,
    /// What to write in the place of some bytes, to ask for it.
    Instead(Range<usize>, &'static str),
}

const WITH_USAGE: &str = r#""stream_options":{"include_usage":true},"#;
const ONLY_USAGE: &str = r#"{"include_usage":true}"#;

/// Where `part` stands in `text`, of which it is a slice.
fn place(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    start..start + part.len()
}

/// More arrays and objects than [`DEPTH`] inside of each other. Nearly every body has too few of
/// them to need a closer look.
fn is_deep(body: &[u8]) -> bool {
    let opens = |byte: u8| byte == b'[' || byte == b'{';
    if body.iter().filter(|byte| opens(**byte)).count() <= DEPTH {
        return false;
    }
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    body.iter().any(|&byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            _ if opens(byte) => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > DEPTH
    })
}

fn expected(name: &str, what: &str) -> Fault {
    Fault::Field(format!("{name}: expected {what}."))
}

fn once(name: &str, again: bool) -> Result<(), Fault> {
    if again {
        Err(Fault::Field(format!("{name}: the field is given more than once.")))
    } else {
        Ok(())
    }
}

/// `raw` is one whole JSON value, so only digits parse as a number.
fn number(name: &str, raw: &str, range: RangeInclusive<u64>) -> Result<u64, Fault> {
    let wrong =
        || expected(name, &format!("a whole number from {} to {}", range.start(), range.end()));
    raw.parse().ok().filter(|number| range.contains(number)).ok_or_else(wrong)
}

fn boolean(name: &str, raw: &str) -> Result<bool, Fault> {
    raw.parse().map_err(|_| expected(name, "true or false"))
}

fn include_usage(text: &str, raw: &str) -> Result<Asked, Fault> {
    const NAME: &str = "stream_options.include_usage";
    if !raw.starts_with('{') {
        return Err(expected("stream_options", "an object"));
    }
    let mut found = None;
    members(
        raw,
        |name| (name == "include_usage").then_some(()),
        |(), raw| {
            once(NAME, found.is_some())?;
            found = Some((raw != "null" && boolean(NAME, raw)?, place(text, raw)));
            Ok(())
        },
    )?;
    Ok(match found {
        Some((true, _)) => Asked::Usage,
        Some((false, at)) => Asked::Instead(at, "true"),
        None if raw[1..].trim_start().starts_with('}') => {
            Asked::Instead(place(text, raw), ONLY_USAGE)
        }
        None => {
            let start = place(text, raw).start + 1;
            Asked::Instead(start..start, r#""include_usage":true,"#)
        }
    })
}

/// One array of tokens is one prompt; strings and arrays are a prompt each.
fn count_prompts(raw: &str) -> Result<u64, Fault> {
    const WHAT: &str = "a string, or an array of strings or tokens";
    let wrong = || expected("prompt", WHAT);
    if raw.starts_with('"') {
        return Ok(1);
    }
    let prompts: Vec<&RawValue> = serde_json::from_str(raw).map_err(|_| wrong())?;
    let is_token = |value: &RawValue| value.get().parse::<i64>().is_ok();
    let is_prompt = |value: &RawValue| match serde_json::from_str::<Vec<&RawValue>>(value.get()) {
        Ok(tokens) => tokens.into_iter().all(is_token),
        Err(_) => value.get().starts_with('"'),
    };
    if prompts.iter().all(|value| is_token(value)) {
        return Ok(1);
    }
    if !prompts.iter().all(|value| is_prompt(value)) {
        return Err(wrong());
    }
    if prompts.len() > PROMPTS {
        return Err(Fault::Field(format!("prompt: at most {PROMPTS} prompts in one request.")));
    }
    Ok(prompts.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(body: &str, endpoint: u8) -> String {
        match peek(body.as_bytes(), endpoint) {
            Err(Fault::Field(message)) => message,
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn fields_of_each_endpoint() {
        let body =
            br#"{"model":"m","messages":[{"model":1}],"max_tokens":5,"max_completion_tokens":7,"n":3,"stream":true,
            "stream_options":{"x":[],"include_usage":true}}"#;
        let seen = peek(body, 0).expect("a body");
        assert_eq!(
            seen,
            Seen {
                model: "m".into(),
                stream: true,
                output: Some(7),
                choices: 3,
                prompt_bytes: body.len() as u64,
                ..Seen::default()
            }
        );
        assert_eq!(peek(body, 3).expect("a body").output, None);
        assert_eq!(peek(body, 1).expect("a body").output, Some(5));
        assert_eq!(
            peek(br#"{"model":"m","prompt":["a","b"],"n":2,"best_of":3}"#, 1)
                .expect("a body")
                .choices,
            6
        );
        assert_eq!(peek(br#"{"model":"m","prompt":[1,2]}"#, 1).expect("a body").choices, 1);
        assert_eq!(peek(br#"{"model":"m","prompt":[[1,2],[3]]}"#, 1).expect("a body").choices, 2);
    }

    #[test]
    fn prompts_are_texts_or_tokens_and_bounded() {
        let prompt = |prompt: &str| format!(r#"{{"model":"m","prompt":{prompt}}}"#);
        for mixed in [r#"["a",5]"#, r#"[5,"a"]"#, r#"["a",[1],true]"#, r#"[[1,"a"]]"#, "{}", "5"] {
            assert_eq!(
                field(&prompt(mixed), 1),
                "prompt: expected a string, or an array of strings or tokens.",
                "{mixed}"
            );
        }
        let texts = |n: usize| prompt(&format!("[{}]", vec![r#""a""#; n].join(",")));
        let most = peek(texts(PROMPTS).as_bytes(), 1).expect("a body");
        assert_eq!(most.choices as usize, PROMPTS);
        assert_eq!(
            field(&texts(PROMPTS + 1), 1),
            format!("prompt: at most {PROMPTS} prompts in one request.")
        );
    }

    #[test]
    fn no_field_twice_in_any_spelling() {
        assert_eq!(
            field(r#"{"model":"a","mod\u0065l":"b"}"#, 0),
            "model: the field is given more than once."
        );
        assert_eq!(
            field(r#"{"model":"a","n":1,"n":1}"#, 0),
            "n: the field is given more than once."
        );
        assert!(
            peek(br#"{"model":"a","best_of":1,"best_of":2}"#, 0).is_ok(),
            "nobody looks at it there"
        );
    }

    #[test]
    fn usage_is_asked_for_and_all_else_stays() {
        let edited = |body: &str| {
            let seen = peek(body.as_bytes(), 0).expect("a body");
            seen.usage_edit
                .map(|edit| String::from_utf8(edit.apply(body.as_bytes())).expect("UTF-8"))
        };
        for (body, asking) in [
            (
                r#" { "model":"m","stream":true}"#,
                r#" {"stream_options":{"include_usage":true}, "model":"m","stream":true}"#,
            ),
            (
                r#"{"model":"m","stream":true,"x":"\ud83d"}"#,
                r#"{"stream_options":{"include_usage":true},"model":"m","stream":true,"x":"\ud83d"}"#,
            ),
            (
                r#"{"stream_options":null,"model":"m","stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"model":"m","stream":true}"#,
            ),
            (
                r#"{"stream_options": { },"model":"m","stream":true}"#,
                r#"{"stream_options": {"include_usage":true},"model":"m","stream":true}"#,
            ),
            (
                r#"{"stream_options":{"a":1},"model":"m","stream":true}"#,
                r#"{"stream_options":{"include_usage":true,"a":1},"model":"m","stream":true}"#,
            ),
            (
                r#"{"stream_\u006fptions":{"a":1,"include_usage":false},"model":"m","stream":true}"#,
                r#"{"stream_\u006fptions":{"a":1,"include_usage":true},"model":"m","stream":true}"#,
            ),
            (
                r#"{"stream_options":{"include_usage":null},"model":"m","stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"model":"m","stream":true}"#,
            ),
        ] {
            assert_eq!(edited(body).as_deref(), Some(asking), "{body}");
        }
        for body in [
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            r#"{"model":"m","stream":false,"stream_options":null}"#,
            r#"{"model":"m"}"#,
        ] {
            assert_eq!(edited(body), None, "{body}");
        }
        assert_eq!(peek(br#"{"model":"m","stream":true}"#, 2).expect("a body").usage_edit, None);
    }

    #[test]
    fn faults_name_the_field() {
        assert_eq!(field(r#"{"model":5}"#, 0), "model: expected a string.");
        assert_eq!(
            field(r#"{"model":"m","n":1.0}"#, 0),
            "n: expected a whole number from 1 to 128."
        );
        assert_eq!(
            field(r#"{"model":"m","max_tokens":-1}"#, 0),
            "max_tokens: expected a whole number from 1 to 10000000."
        );
        assert_eq!(
            field(r#"{"model":"m","max_tokens":"9"}"#, 0),
            "max_tokens: expected a whole number from 1 to 10000000."
        );
        assert_eq!(field(r#"{"model":"m","stream":"true"}"#, 0), "stream: expected true or false.");
        assert_eq!(field("[1]", 0), "The body is not usable: expected an object.");
        for body in [
            &b"{"[..],
            b"",
            b"{\"model\":\"m\"} x",
            b"{\"model\":\"\xff\"}",
            b"{\"a\":01,\"model\":\"m\"}",
        ] {
            assert_eq!(peek(body, 0), Err(Fault::Json), "{body:?}");
        }
        let nested = |depth: usize| {
            format!(r#"{{"model":"m","x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth))
        };
        assert!(peek(nested(DEPTH - 1).as_bytes(), 0).is_ok());
        assert_eq!(peek(nested(DEPTH).as_bytes(), 0), Err(Fault::Depth));
        let quoted = format!(r#"{{"model":"m","x":"\\\"{}"}}"#, "[".repeat(1000));
        assert!(peek(quoted.as_bytes(), 0).is_ok());
        let flat = format!(r#"{{"model":"m","x":[{}1]}}"#, "[1],".repeat(1000));
        assert!(peek(flat.as_bytes(), 0).is_ok());
        for body in ["{}", r#"{"model":null}"#, r#"{"model":""}"#] {
            assert_eq!(peek(body.as_bytes(), 0), Err(Fault::Model));
        }
    }
}
