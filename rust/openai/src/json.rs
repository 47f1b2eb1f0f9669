//! A reader of JSON that builds nothing: it walks once through a text, and passes over what nobody
//! looks at.
//!
//! The grammar is RFC 8259's, in all strictness, but for two things that providers get wrong: bytes
//! that are no UTF-8, and halves of surrogate pairs. Both are let in inside of strings, so that a
//! broken character costs its own text and not the answer's usage. Nothing recurses here, so no
//! depth of nesting is too deep to be passed over.

/// The text is no JSON.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken;

pub(crate) type Read<T> = Result<T, Broken>;

/// The type of a value, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    Text,
    Number,
    /// True or false.
    Bool,
    Null,
}

/// A place in a text, always in front of a value or of the text's end.
pub(crate) struct Json<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Json<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        let mut json = Self { text, at: 0 };
        json.space();
        json
    }

    /// The type of the value that is next.
    pub fn kind(&self) -> Read<Kind> {
        match self.peek() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::Text),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(Broken),
        }
    }

    /// Walk through the members of an object. `each` gets a name and takes exactly one value.
    /// Passes over a value that is no object, and answers whether it was one.
    pub fn object(&mut self, mut each: impl FnMut(&mut Self, &[u8]) -> Read<()>) -> Read<bool> {
        if self.peek() != Some(b'{') {
            return self.skip().map(|()| false);
        }
        self.step();
        if self.take(b'}') {
            return Ok(true);
        }
        loop {
            let (name, escaped) = self.string()?;
            self.expect(b':')?;
            if escaped {
                each(self, &unescaped(name))?;
            } else {
                each(self, name)?;
            }
            if self.take(b'}') {
                return Ok(true);
            }
            self.expect(b',')?;
        }
    }

    /// Walk through the items of an array. `each` takes exactly one value. Passes over a value that
    /// is no array.
    pub fn array(&mut self, mut each: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        if self.peek() != Some(b'[') {
            return self.skip();
        }
        self.step();
        if self.take(b']') {
            return Ok(());
        }
        loop {
            each(self)?;
            if self.take(b']') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    /// Count the bytes of a string's text in UTF-8. Passes over a value that is no string: 0.
    pub fn text(&mut self) -> Read<u64> {
        if self.peek() != Some(b'"') {
            return self.skip().map(|()| 0);
        }
        let (raw, escaped) = self.string()?;
        Ok(if escaped { unescaped_size(raw) } else { raw.len() as u64 })
    }

    /// Take the bytes of the value that is next, without the white space around it.
    pub fn raw(&mut self) -> Read<&'a [u8]> {
        let begin = self.at;
        self.skip()?;
        Ok(self.text[begin..self.at].trim_ascii_end())
    }

    /// Pass over the value that is next.
    pub fn skip(&mut self) -> Read<()> {
        let mut open = Nesting::default();
        loop {
            let mut closed = match self.peek().ok_or(Broken)? {
                b'"' => self.string().map(|_| true)?,
                b'{' => {
                    self.step();
                    let empty = self.take(b'}');
                    if !empty {
                        open.push(true);
                        self.name()?;
                    }
                    empty
                }
                b'[' => {
                    self.step();
                    let empty = self.take(b']');
                    if !empty {
                        open.push(false);
                    }
                    empty
                }
                _ => self.scalar().map(|()| true)?,
            };
            while closed {
                let Some(object) = open.last() else { return Ok(()) };
                closed = self.take(if object { b'}' } else { b']' });
                if closed {
                    open.pop();
                } else {
                    self.expect(b',')?;
                    if object {
                        self.name()?;
                    }
                }
            }
        }
    }

    /// Fails unless the whole text was read.
    pub fn end(&self) -> Read<()> {
        if self.at == self.text.len() { Ok(()) } else { Err(Broken) }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// One byte on, and over the white space behind it.
    fn step(&mut self) {
        self.at += 1;
        self.space();
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        if there {
            self.step();
        }
        there
    }

    fn expect(&mut self, byte: u8) -> Read<()> {
        if self.take(byte) { Ok(()) } else { Err(Broken) }
    }

    fn name(&mut self) -> Read<()> {
        self.string()?;
        self.expect(b':')
    }

    /// Take a string: what stands between its quotes, and whether escapes are among it.
    fn string(&mut self) -> Read<(&'a [u8], bool)> {
        if self.peek() != Some(b'"') {
            return Err(Broken);
        }
        let begin = self.at + 1;
        let (mut at, mut escaped) = (begin, false);
        loop {
            at += plain(&self.text[at..]);
            match self.text.get(at).ok_or(Broken)? {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    at += escape(&self.text[at..])?;
                }
                _ => return Err(Broken), // a control character
            }
        }
        self.at = at;
        self.step();
        Ok((&self.text[begin..at], escaped))
    }

    /// Pass over a number, true, false or null.
    fn scalar(&mut self) -> Read<()> {
        let rest = &self.text[self.at..];
        let size = match rest {
            [b'n', b'u', b'l', b'l', ..] | [b't', b'r', b'u', b'e', ..] => 4,
            [b'f', b'a', b'l', b's', b'e', ..] => 5,
            _ => number(rest)?,
        };
        self.at += size;
        self.space();
        Ok(())
    }
}

/// Which arrays and objects are open, one bit each.
#[derive(Default)]
struct Nesting {
    depth: u32,
    bits: u64,
    /// The bits of each 64 levels above.
    above: Vec<u64>,
}

impl Nesting {
    fn push(&mut self, object: bool) {
        if self.depth == u64::BITS {
            self.above.push(self.bits);
            self.depth = 0;
        }
        self.bits = self.bits << 1 | u64::from(object);
        self.depth += 1;
    }

    /// True for an object, false for an array.
    fn last(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.bits & 1 == 1)
    }

    fn pop(&mut self) {
        self.bits >>= 1;
        self.depth -= 1;
        if self.depth == 0
            && let Some(bits) = self.above.pop()
        {
            (self.bits, self.depth) = (bits, u64::BITS);
        }
    }
}

/// The bytes at the begin of `text` that are neither quote, backslash nor control character.
fn plain(text: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let (words, _) = text.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // The lowest high bit that is set is exact; those above it may be carried into.
        let zero = |word: u64| word.wrapping_sub(ONES) & !word;
        let quote = zero(word ^ (ONES * u64::from(b'"')));
        let backslash = zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let found = (quote | backslash | control) & HIGHS;
        if found != 0 {
            return at * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let done = words.len() * 8;
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | ..0x20);
    done + text[done..].iter().position(special).unwrap_or(text.len() - done)
}

/// The size of the escape that `text` begins with.
fn escape(text: &[u8]) -> Read<usize> {
    match text {
        [_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => Ok(2),
        [_, b'u', digits @ ..] if digits.len() >= 4 => {
            digits[..4].iter().all(u8::is_ascii_hexdigit).then_some(6).ok_or(Broken)
        }
        _ => Err(Broken),
    }
}

/// The size of the number that `text` begins with.
fn number(text: &[u8]) -> Read<usize> {
    let digits = |at: usize| text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let some = |count: usize| if count > 0 { Ok(count) } else { Err(Broken) };
    let mut at = usize::from(text.first() == Some(&b'-'));
    at += match text.get(at) {
        Some(b'0') => 1,
        _ => some(digits(at))?,
    };
    if text.get(at) == Some(&b'.') {
        at += 1;
        at += some(digits(at))?;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        at += 1;
        at += usize::from(matches!(text.get(at), Some(b'+' | b'-')));
        at += some(digits(at))?;
    }
    Ok(at)
}

/// The characters of a string with valid escapes, one by one: what is between two escapes, then the
/// escaped one. Half of a surrogate pair becomes two bytes, so that a pair counts four wherever it
/// is cut.
#[cold]
fn unescape(raw: &[u8], mut each: impl FnMut(&[u8])) {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        each(&rest[..at]);
        let escape = &rest[at + 1..];
        rest = &escape[1..];
        match escape[0] {
            b'b' => each(b"\x08"),
            b'f' => each(b"\x0c"),
            b'n' => each(b"\n"),
            b'r' => each(b"\r"),
            b't' => each(b"\t"),
            b'u' => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or(0);
                let unit = rest[..4].iter().fold(0, |unit, byte| unit << 4 | digit(byte));
                rest = &rest[4..];
                match char::from_u32(unit) {
                    Some(character) => each(character.encode_utf8(&mut [0; 4]).as_bytes()),
                    None => each(b"??"),
                }
            }
            _ => each(&escape[..1]),
        }
    }
    each(rest);
}

fn unescaped(raw: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(raw.len());
    unescape(raw, |part| text.extend_from_slice(part));
    text
}

fn unescaped_size(raw: &[u8]) -> u64 {
    let mut size = 0;
    unescape(raw, |part| size += part.len() as u64);
    size
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn whole(bytes: &[u8]) -> Read<()> {
        let mut json = Json::new(bytes);
        json.skip()?;
        json.end()
    }

    /// The same walk, but through each member and item.
    fn walk(json: &mut Json) -> Read<u64> {
        let mut texts = 0;
        match json.kind()? {
            Kind::Object => {
                json.object(|json, _| {
                    texts += walk(json)?;
                    Ok(())
                })?;
            }
            Kind::Array => json.array(|json| {
                texts += walk(json)?;
                Ok(())
            })?,
            Kind::Text => texts += json.text()?,
            _ => drop(json.raw()?),
        }
        Ok(texts)
    }

    fn walked(bytes: &[u8]) -> Read<u64> {
        let mut json = Json::new(bytes);
        let texts = walk(&mut json)?;
        json.end().map(|()| texts)
    }

    fn texts_of(value: &serde_json::Value) -> u64 {
        match value {
            serde_json::Value::String(text) => text.len() as u64,
            serde_json::Value::Array(items) => items.iter().map(texts_of).sum(),
            serde_json::Value::Object(members) => members.values().map(texts_of).sum(),
            _ => 0,
        }
    }

    /// A value, in which names stand once.
    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            (-1e9..1e9).prop_map(Into::into),
            ".*".prop_map(Into::into),
            "[a-z\"\\\\\n\u{1}é😀]{0,20}".prop_map(Into::into),
        ];
        leaf.prop_recursive(6, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::hash_map("[a-z\\\\\"]{0,9}", inner, 0..6)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    /// Bytes that are nearly JSON.
    fn nearly() -> impl Strategy<Value = Vec<u8>> {
        let changed = (value(), any::<prop::sample::Index>(), "[\"{}\\[\\],:0-9eE+.\\\\u \n\t-]");
        prop_oneof![
            changed.prop_map(|(value, at, with)| {
                let mut bytes = value.to_string().into_bytes();
                let at = at.index(bytes.len());
                bytes[at] = with.as_bytes()[0];
                bytes
            }),
            "[\"{}\\[\\],:0-9eE+.\\\\u \n\tltrufasn-]{0,24}".prop_map(String::into_bytes),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn what_another_reader_reads(value in value(), pretty in any::<bool>()) {
            let bytes = if pretty {
                serde_json::to_vec_pretty(&value).expect("JSON")
            } else {
                value.to_string().into_bytes()
            };
            prop_assert_eq!(whole(&bytes), Ok(()));
            prop_assert_eq!(walked(&bytes), Ok(texts_of(&value)));
        }

        #[test]
        fn what_another_reader_refuses(bytes in nearly()) {
            let other = serde_json::from_slice::<IgnoredAny>(&bytes).is_ok();
            // Half characters are let in; the other reader does so only where nobody looks.
            prop_assert_eq!(whole(&bytes).is_ok(), other, "{}", String::from_utf8_lossy(&bytes));
            prop_assert_eq!(walked(&bytes).is_ok(), other, "{}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn no_depth_is_too_deep() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
            let deep =
                |more: usize| [open.repeat(100_000), "1".into(), close.repeat(100_000 + more)];
            assert_eq!(whole(deep(0).concat().as_bytes()), Ok(()));
            assert_eq!(whole(deep(1).concat().as_bytes()), Err(Broken));
        }
        let crossed = "[".repeat(200) + &"{\"a\":[".repeat(70) + &"}]".repeat(135);
        assert_eq!(whole(crossed.as_bytes()), Err(Broken));
    }

    #[test]
    fn broken_characters_are_text() {
        for (text, size) in [
            (&b"\"\xff\""[..], 1),
            (br#""\ud83d""#, 2),
            (br#""\ud83d\ude00""#, 4),
            (br#""\u00e9\n\/""#, 4),
            ("\"é\"".as_bytes(), 2),
        ] {
            assert_eq!(walked(text), Ok(size), "{text:?}");
        }
        for text in [&b"\"\\ud83\""[..], b"\"\\x\"", b"\"\x01\"", b"\"", b"\"\\"] {
            assert_eq!(walked(text), Err(Broken), "{text:?}");
        }
    }

    #[test]
    fn names_are_read_without_their_escapes() {
        let mut names = Vec::new();
        let read = Json::new(br#" { "us\u0061ge" : 1 , "b" : [ ] } "#).object(|json, name| {
            names.push(name.to_vec());
            json.skip()
        });
        assert_eq!((read, names), (Ok(true), vec![b"usage".to_vec(), b"b".to_vec()]));
    }
}
