//! What a body's messages carry beside text: pictures, sound, and what the provider keeps.
//!
//! Providers count a picture or a recording by its content, not by its bytes, so each counts as a
//! stated number of tokens. Only parts of a message's content or of a tool's output are looked at:
//! elsewhere the same names are text.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::json::{Json, Read};

/// Tokens that a picture counts as until the provider tells its usage.
pub const PICTURE_TOKENS: u64 = 2_500;
/// Tokens that a recording counts as: about eight minutes.
pub const SOUND_TOKENS: u64 = 5_000;

/// What the parts of a body's messages are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Media {
    /// Bytes of pictures and recordings, or of their addresses.
    pub bytes: u64,
    /// Tokens that these count as.
    pub tokens: u64,
    /// A part names input that the provider keeps or fetches, whose size nobody knows here.
    pub stored: bool,
}

/// One of these stands in every list of messages that carries more than text. An escape may hide
/// any of them.
static SIGNS: LazyLock<[Finder<'static>; 5]> =
    LazyLock::new(|| ["_url", "_audio", "file_id", "item_reference", "\\u00"].map(Finder::new));

impl Media {
    /// Look at the JSON of `messages`, or of the `input` of a response.
    pub fn of(raw: &str) -> Self {
        let mut media = Self::default();
        if SIGNS.iter().any(|sign| sign.find(raw.as_bytes()).is_some()) {
            // The JSON is whole, so that this fails only where another type than a list is given.
            let mut json = Json::new(raw.as_bytes());
            let _ = json.array(|json| media.item(json));
        }
        media
    }

    /// A message, or an item of the input of a response.
    fn item(&mut self, json: &mut Json) -> Read<()> {
        json.object(|json, name| match name {
            b"content" | b"output" => self.content(json),
            b"type" => {
                self.stored |= json.raw()? == br#""item_reference""#;
                Ok(())
            }
            _ => json.skip(),
        })
        .map(drop)
    }

    /// A text, a part, or a list of parts.
    fn content(&mut self, json: &mut Json) -> Read<()> {
        let raw = json.raw()?;
        let mut inner = Json::new(raw);
        match raw.first() {
            Some(b'[') => inner.array(|json| self.part(json)),
            Some(b'{') => self.part(&mut inner),
            _ => Ok(()),
        }
    }

    fn part(&mut self, json: &mut Json) -> Read<()> {
        json.object(|json, name| {
            match name {
                b"image_url" => self.count(json.raw()?, PICTURE_TOKENS),
                b"input_audio" | b"audio_url" => self.count(json.raw()?, SOUND_TOKENS),
                b"file_id" | b"file_url" | b"video_url" => self.stored |= json.raw()? != b"null",
                b"file" => self.file(json)?,
                _ => json.skip()?,
            }
            Ok(())
        })
        .map(drop)
    }

    fn count(&mut self, raw: &[u8], tokens: u64) {
        if raw != b"null" {
            self.bytes += raw.len() as u64;
            self.tokens += tokens;
        }
    }

    /// A file of chat: its content, or the id of one that the provider keeps.
    fn file(&mut self, json: &mut Json) -> Read<()> {
        json.object(|json, name| match name {
            b"file_id" => {
                self.stored |= json.raw()? != b"null";
                Ok(())
            }
            _ => json.skip(),
        })
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(raw: &str) -> (u64, bool) {
        let media = Media::of(raw);
        (media.tokens, media.stored)
    }

    #[test]
    fn parts_are_found_wherever_they_count() {
        for raw in [
            r#"[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:x"}}]}]"#,
            r#"[{"role":"user","content":[{"type":"input_image","image_url":"https://x"}]}]"#,
            r#"[{"content":[{"im\u0061ge_url":{"url":"data:x"}}]}]"#,
            r#"[{"type":"computer_call_output","output":{"image_url":"data:x"}}]"#,
        ] {
            assert_eq!(of(raw), (PICTURE_TOKENS, false), "{raw}");
        }
        let sound = r#"[{"content":[{"type":"input_audio","input_audio":{"data":"AAAA"}}]}]"#;
        assert_eq!(of(sound), (SOUND_TOKENS, false));
        for raw in [
            r#"[{"content":[{"type":"file","file":{"file_id":"file-1"}}]}]"#,
            r#"[{"content":[{"type":"input_file","file_url":"https://x"}]}]"#,
            r#"[{"type":"item_reference","id":"msg_1"}]"#,
        ] {
            assert_eq!(of(raw), (0, true), "{raw}");
        }
    }

    #[test]
    fn text_is_text_whatever_it_is_called() {
        for raw in [
            r#""image_url""#,
            r#"[{"content":"{\"image_url\":1}"}]"#,
            r#"[{"tool_calls":[{"function":{"arguments":{"image_url":"a long text"}}}]}]"#,
            r#"[{"image_url":"a long text"}]"#,
            r#"[{"content":[{"type":"text","text":"image_url"},{"image_url":null}]}]"#,
            r#"[{"content":[{"type":"file","file":{"file_data":"_url"}}]}]"#,
        ] {
            assert_eq!(Media::of(raw), Media::default(), "{raw}");
        }
    }
}
