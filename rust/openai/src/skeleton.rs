//! JSON that is too long to be kept: it is read with its long strings cut.

use memchr::memchr3;

/// Bytes of an answer or an event that are kept as they are.
pub const LONGEST: usize = 8 * 1024 * 1024;
/// Bytes that are kept of a string, at least.
const STRING: usize = 1024;
/// Bytes that are kept in all; of what is longer nothing is read.
const MOST: usize = 1024 * 1024;
/// Bytes of the longest escape.
const ESCAPE: usize = 6;

/// A text that comes in pieces. It may be lines of server-sent events: no string goes beyond the
/// end of its line.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "where in a string the last byte was")]
pub(crate) struct Skeleton {
    kept: Vec<u8>,
    /// Inside of a string.
    quoted: bool,
    /// The last byte was a backslash that escapes the next.
    escaped: bool,
    /// Bytes of the string so far, and since its last backslash.
    size: usize,
    since: usize,
    /// The rest of the string is left out.
    cut: bool,
    overflow: bool,
}

impl Skeleton {
    pub fn push(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            if self.cut && !self.escaped {
                at += memchr3(b'"', b'\\', b'\n', &bytes[at..]).unwrap_or(bytes.len() - at);
            }
            if let Some(byte) = bytes.get(at) {
                self.byte(*byte);
            }
            at += 1;
        }
    }

    /// What was kept; nothing if it was too much.
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    fn byte(&mut self, byte: u8) {
        self.size += 1;
        self.since += 1;
        match byte {
            b'\n' | b'\r' => self.quoted = false,
            _ if self.escaped => self.escaped = false,
            b'"' if self.quoted => self.quoted = false,
            b'"' => (self.quoted, self.size, self.since) = (true, 0, 0),
            b'\\' if self.quoted => (self.escaped, self.since) = (true, 0),
            _ => {}
        }
        self.escaped &= self.quoted;
        // An escape is kept whole or not at all.
        self.cut = self.quoted && (self.cut || self.size > STRING && self.since > ESCAPE);
        if !self.cut {
            self.keep(byte);
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.kept.len() == MOST {
            self.overflow = true;
            self.kept = Vec::new();
        }
        if !self.overflow {
            self.kept.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str, size: usize) -> String {
        let mut skeleton = Skeleton::default();
        for piece in text.as_bytes().chunks(size) {
            skeleton.push(piece);
        }
        String::from_utf8(skeleton.kept().to_vec()).expect("UTF-8")
    }

    #[test]
    fn long_strings_are_cut_and_all_else_is_kept() {
        let long = "x".repeat(STRING * 9);
        let text =
            format!("data: {{\"a\":\"{long}\\\"{long}\",\"b\":[1,\"\\\\\"],\"c\":\"{long}\"}}\n");
        for size in [1, 7, 1000, text.len()] {
            let kept = kept(&text, size);
            let short = "x".repeat(STRING);
            let meant =
                format!("data: {{\"a\":\"{short}\",\"b\":[1,\"\\\\\"],\"c\":\"{short}\"}}\n");
            assert_eq!(kept, meant);
        }
    }

    #[test]
    fn no_escape_is_cut_into_pieces() {
        for escape in ["\\u00e9", "\\n", "\\\\", "\\\""] {
            for before in STRING - 12..STRING + 2 {
                let text = format!("\"{}{}\"", "x".repeat(before), escape.repeat(40));
                let kept = kept(&text, text.len());
                assert!(serde_json::from_str::<String>(&kept).is_ok(), "{kept}");
            }
        }
    }

    #[test]
    fn a_string_ends_with_its_line() {
        let text = format!(": it's \"\ndata: {{\"a\":\"{}\"}}\n", "x".repeat(STRING));
        assert_eq!(kept(&text, 5), text);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut skeleton = Skeleton::default();
        for _ in 0..=MOST / 8 {
            skeleton.push(b"[1,2,3],");
        }
        assert_eq!(skeleton.kept(), b"");
    }
}
