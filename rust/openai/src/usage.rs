//! Token usage and produced text, read from an answer. Numbers that cannot be true count as not
//! told.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

use crate::members::{Members, Name, Object, Value, length, object, skip};

/// More tokens than any answer has; a larger number is a fault, not a bill.
pub const MOST: u64 = (1 << 31) - 1;

/// Tokens of input, of which cached, and of output.
pub type Usage = (u64, u64, u64);

/// The usage of a whole answer; `None` if it does not tell.
#[must_use]
pub fn read(body: &[u8]) -> Option<Usage> {
    object::<Told>(body).ok()?.usage?.tokens()
}

/// Bytes of produced text in a whole answer; all of one that cannot be read counts as text.
#[must_use]
pub fn produced(body: &[u8]) -> u64 {
    let seen = object::<Text>(body);
    seen.map_or(body.len() as u64, |seen| seen.choices.texts + seen.choices.messages + seen.output)
}

/// `usage` as chat, completions, embeddings and responses name it. Any value is let in;
/// [`Fields::tokens`] judges.
#[derive(Default)]
pub(crate) struct Fields {
    prompt: Value,
    completion: Value,
    prompt_cached: Value,
    input: Value,
    output: Value,
    input_cached: Value,
    total: Value,
}

impl Members for Fields {
    fn member<'de, A: MapAccess<'de>>(&mut self, name: Name, map: &mut A) -> Result<(), A::Error> {
        let details = |map: &mut A| {
            Ok(map.next_value::<Option<Object<Details>>>()?.unwrap_or_default().0.cached)
        };
        match name {
            Name::PromptTokens => self.prompt = map.next_value()?,
            Name::CompletionTokens => self.completion = map.next_value()?,
            Name::PromptTokensDetails => self.prompt_cached = details(map)?,
            Name::InputTokens => self.input = map.next_value()?,
            Name::OutputTokens => self.output = map.next_value()?,
            Name::InputTokensDetails => self.input_cached = details(map)?,
            Name::TotalTokens => self.total = map.next_value()?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

impl Fields {
    /// The usage, or `None` if it is missing or absurd.
    pub fn tokens(&self) -> Option<Usage> {
        let (input, mut output, cached) = if self.prompt == Value::Missing {
            (self.input, self.output, self.input_cached)
        } else {
            (self.prompt, self.completion, self.prompt_cached)
        };
        if output == Value::Missing && input == self.total {
            output = Value::Number(0); // embeddings produce no token
        }
        let cached = if cached == Value::Missing { 0 } else { cached.count(MOST)? };
        let input = input.count(MOST)?;
        Some((input, cached.min(input), output.count(MOST)?))
    }
}

/// `prompt_tokens_details` or `input_tokens_details`.
#[derive(Default)]
struct Details {
    cached: Value,
}

impl Members for Details {
    fn member<'de, A: MapAccess<'de>>(&mut self, name: Name, map: &mut A) -> Result<(), A::Error> {
        match name {
            Name::CachedTokens => self.cached = map.next_value()?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// What may carry a usage: a whole answer, or the response inside of an event.
#[derive(Default)]
pub(crate) struct Told {
    pub usage: Option<Fields>,
}

impl Members for Told {
    fn member<'de, A: MapAccess<'de>>(&mut self, name: Name, map: &mut A) -> Result<(), A::Error> {
        match name {
            Name::Usage => {
                self.usage =
                    map.next_value::<Option<Object<Fields>>>()?.map(|Object(fields)| fields)
            }
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// The text of a whole answer.
#[derive(Default)]
struct Text {
    choices: Choices,
    output: u64,
}

impl Members for Text {
    fn member<'de, A: MapAccess<'de>>(&mut self, name: Name, map: &mut A) -> Result<(), A::Error> {
        match name {
            Name::Choices => {
                self.choices = map.next_value::<Option<Choices>>()?.unwrap_or_default()
            }
            Name::Output => self.output = length(map)?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// Bytes of produced text in `choices`, by where they stood.
#[derive(Default)]
pub(crate) struct Choices {
    /// There is one at least.
    pub any: bool,
    pub texts: u64,
    pub deltas: u64,
    messages: u64,
}

impl<'de> Deserialize<'de> for Choices {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(Self::default())
    }
}

impl<'de> Visitor<'de> for Choices {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Self, A::Error> {
        while let Some(Object(choice)) = items.next_element::<Object<Choice>>()? {
            self.any = true;
            self.texts += choice.text.text();
            self.deltas += choice.delta.bytes();
            self.messages += choice.message.bytes();
        }
        Ok(self)
    }
}

#[derive(Default)]
struct Choice {
    text: Value,
    delta: Said,
    message: Said,
}

impl Members for Choice {
    fn member<'de, A: MapAccess<'de>>(&mut self, name: Name, map: &mut A) -> Result<(), A::Error> {
        let said =
            |map: &mut A| Ok(map.next_value::<Option<Object<Said>>>()?.unwrap_or_default().0);
        match name {
            Name::Text => self.text = map.next_value()?,
            Name::Delta => self.delta = said(map)?,
            Name::Message => self.message = said(map)?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// A message, or what is new of it.
#[derive(Default)]
struct Said {
    content: Value,
    refusal: Value,
    reasoning: Value,
    /// Bytes of JSON.
    tool_calls: u64,
}

impl Said {
    fn bytes(&self) -> u64 {
        self.content.text() + self.refusal.text() + self.reasoning.text() + self.tool_calls
    }
}

impl Members for Said {
    fn member<'de, A: MapAccess<'de>>(&mut self, name: Name, map: &mut A) -> Result<(), A::Error> {
        match name {
            Name::Content => self.content = map.next_value()?,
            Name::Refusal => self.refusal = map.next_value()?,
            Name::ReasoningContent => self.reasoning = map.next_value()?,
            Name::ToolCalls => self.tool_calls = length(map)?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_of_each_endpoint() {
        let told = |usage: &str| read(format!(r#"{{"id":[{{}}],"usage":{usage}}}"#).as_bytes());
        assert_eq!(
            told(r#"{"prompt_tokens":5,"completion_tokens":6,"input_tokens":9}"#),
            Some((5, 0, 6))
        );
        assert_eq!(told(r#"{"prompt_tokens":5,"total_tokens":5}"#), Some((5, 0, 0)));
        assert_eq!(told(r#"{"prompt_tokens":5,"total_tokens":6}"#), None);
        assert_eq!(
            told(
                r#"{"input_tokens":5,"output_tokens":6,"input_tokens_details":{"cached_tokens":7}}"#
            ),
            Some((5, 5, 6))
        );
        for absurd in
            ["-1", "1.0", "\"1\"", "true", "[1]", "2147483648", "18446744073709551616", "null"]
        {
            assert_eq!(
                told(&format!(r#"{{"prompt_tokens":{absurd},"completion_tokens":6}}"#)),
                None,
                "{absurd}"
            );
        }
        assert_eq!(told("null"), None);
        assert_eq!(told("[5]"), None);
        assert_eq!(
            told(r#"{"prompt_tokens":1,"completion_tokens":1,"prompt_tokens":2}"#),
            Some((2, 0, 1))
        );
    }

    #[test]
    fn text_of_whole_answers() {
        let chat = r#"{"choices":[{"message":{"content":"ab\u00e9","tool_calls":[1, 2],"refusal":null}},{"text":"abc"}]}"#;
        assert_eq!(produced(chat.as_bytes()), 4 + 6 + 3);
        assert_eq!(produced(br#"{"output":[ ],"choices":null}"#), 3);
        assert_eq!(produced(b"<html>"), 6);
        assert_eq!(produced(br#"{"choices":[1]}"#), 15);
    }
}
