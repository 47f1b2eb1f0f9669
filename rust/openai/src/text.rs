//! The text that an answer produces: the members that carry it, wherever they stand.
//!
//! What is counted is text. The JSON around it never counts, nor does anything that is not listed
//! here: identifiers, signatures, encrypted reasoning, and pictures or sound in base64.

use crate::json::{Json, Kind, Read};

/// Objects and arrays inside of each other in which text is looked for.
const DEPTH: u32 = 8;

/// Bytes of the text that the next value carries: a string, the parts of a list, or the known
/// members of an object.
pub(crate) fn carried(json: &mut Json) -> Read<u64> {
    at_depth(json, DEPTH)
}

fn at_depth(json: &mut Json, depth: u32) -> Read<u64> {
    let mut bytes = 0;
    match json.kind()? {
        Kind::Text => return json.text(),
        Kind::Array if depth > 0 => json.array(|json| {
            bytes += at_depth(json, depth - 1)?;
            Ok(())
        })?,
        Kind::Object if depth > 0 => {
            let mut said = Said::default();
            json.object(|json, name| said.member(json, name, depth - 1))?;
            bytes = said.bytes();
        }
        _ => json.skip()?,
    }
    Ok(bytes)
}

/// A message, what is new of it, a part of its content, or an item of a response's output.
#[derive(Default)]
struct Said {
    text: u64,
    /// Providers tell one reasoning under several names at once: the longest counts.
    reasoning: u64,
}

impl Said {
    fn member(&mut self, json: &mut Json, name: &[u8], depth: u32) -> Read<()> {
        match name {
            b"content" | b"text" | b"refusal" | b"thinking" | b"summary" | b"transcript"
            | b"tool_calls" | b"name" | b"code" => self.text += at_depth(json, depth)?,
            b"reasoning" | b"reasoning_content" | b"reasoning_details" | b"thinking_blocks" => {
                self.reasoning = self.reasoning.max(at_depth(json, depth)?);
            }
            // A string here would be base64, or an identifier.
            b"audio" | b"function" | b"custom" | b"function_call" => match json.kind()? {
                Kind::Object => self.text += at_depth(json, depth)?,
                _ => json.skip()?,
            },
            b"arguments" | b"input" | b"partial_json" => self.text += arguments(json)?,
            _ => json.skip()?,
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.text + self.reasoning
    }
}

/// The arguments of a call are JSON that the model wrote: most providers send it as a string, some
/// as the object itself.
fn arguments(json: &mut Json) -> Read<u64> {
    match json.kind()? {
        Kind::Text => json.text(),
        Kind::Object => {
            let raw = json.raw()?;
            Ok(if raw.len() > 2 { raw.len() as u64 } else { 0 })
        }
        _ => json.skip().map(|()| 0),
    }
}
