//! The built-in upstream's commonest answer. `nemorouter.upstream.echo` defines it, and answers
//! whatever is not read here.
//!
//! It is the instrument that the gateway's own cost is measured with, so it must cost next to
//! nothing itself.

use std::borrow::Cow;

use serde::Deserialize;

/// Characters of text, or bytes of a prompt, that make a token.
const TOKEN: usize = 4;
/// Tokens of an answer where the client sets no maximum.
const MOST: u64 = 256;
/// The time in every answer: the same request gets the same bytes.
const CREATED: &str = "1704067200";

#[derive(Deserialize)]
struct Chat<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    messages: Vec<Message<'a>>,
    max_completion_tokens: Option<u64>,
    max_tokens: Option<u64>,
    n: Option<u64>,
    #[serde(default)]
    stream: Option<bool>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: Cow<'a, str>,
}

/// An answer with its tokens of input and output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echoed {
    pub body: Vec<u8>,
    pub input: u64,
    pub output: u64,
}

/// One whole choice for a conversation of plain text; `None` for anything else.
#[must_use]
pub fn chat(body: &str, identity: &str) -> Option<Echoed> {
    let asked: Chat = serde_json::from_str(body).ok()?;
    if asked.stream == Some(true) || asked.n.is_some_and(|n| n != 1) {
        return None;
    }
    let mut said = "";
    for message in &asked.messages {
        if message.role == "user" || said.is_empty() {
            said = &message.content;
        }
    }
    if asked.messages.is_empty() {
        return None;
    }
    let input: usize = asked.messages.iter().map(|message| message.content.len()).sum();
    let input = input.div_ceil(TOKEN) as u64;
    let (said, output, finish) = cut(said, asked.max_completion_tokens.or(asked.max_tokens));
    let mut body = Vec::with_capacity(320 + said.len() + asked.model.len());
    let mut put = |text: &str| body.extend_from_slice(text.as_bytes());
    put(r#"{"id":"chatcmpl-"#);
    put(identity);
    put(r#"","object":"chat.completion","created":"#);
    put(CREATED);
    put(r#","model":"#);
    serde_json::to_writer(&mut body, &asked.model).ok()?;
    body.extend_from_slice(br#","choices":[{"index":0,"message":{"role":"assistant","content":"#);
    serde_json::to_writer(&mut body, said).ok()?;
    let mut put = |text: &str| body.extend_from_slice(text.as_bytes());
    put(r#","refusal":null},"logprobs":null,"finish_reason":""#);
    put(finish);
    put(r#""}],"usage":{"prompt_tokens":"#);
    put(nemorouter_core::units::decimal(input).as_str());
    put(r#","completion_tokens":"#);
    put(nemorouter_core::units::decimal(output).as_str());
    put(r#","total_tokens":"#);
    put(nemorouter_core::units::decimal(input + output).as_str());
    put("}}");
    Some(Echoed { body, input, output })
}

/// What of `text` fits into `most` tokens, how many tokens that is, and why it ends.
fn cut(text: &str, most: Option<u64>) -> (&str, u64, &'static str) {
    let most = most.unwrap_or(MOST);
    let characters = if text.is_ascii() { text.len() } else { text.chars().count() };
    let tokens = characters.div_ceil(TOKEN) as u64;
    if tokens <= most {
        return (text, tokens, "stop");
    }
    let kept = usize::try_from(most).unwrap_or(usize::MAX).saturating_mul(TOKEN);
    let end = text.char_indices().nth(kept).map_or(text.len(), |(at, _)| at);
    (&text[..end], most, "length")
}
