//! JSON of answers, read member by member: no tree is built, nothing recurses, and most of it is
//! passed over.
//!
//! A member that stands twice counts as it stood last; one whose type cannot be makes the whole
//! text unreadable.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// Read an object. Bytes that are no UTF-8 are a fault only where somebody looks at them.
pub(crate) fn object<T: Members>(json: &[u8]) -> serde_json::Result<T> {
    // To check all bytes at once is cheaper than to check each string.
    let Object(read) = match str::from_utf8(json) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(json),
    }?;
    Ok(read)
}

/// The members that somebody looks at, of whatever object.
#[derive(Clone, Copy, Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
pub(crate) enum Name {
    CachedTokens,
    Choices,
    CompletionTokens,
    Content,
    Delta,
    InputTokens,
    InputTokensDetails,
    Message,
    Output,
    OutputTokens,
    PromptTokens,
    PromptTokensDetails,
    ReasoningContent,
    Refusal,
    Response,
    Text,
    ToolCalls,
    TotalTokens,
    Usage,
    #[serde(other)]
    Other,
}

/// What takes in an object's members, one by one.
pub(crate) trait Members: Default {
    /// Take, or [`skip`], the value that is next.
    fn member<'de, A: MapAccess<'de>>(&mut self, name: Name, map: &mut A) -> Result<(), A::Error>;
}

/// Pass over the value that is next.
pub(crate) fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

/// The bytes of JSON that the next value takes; none for null.
pub(crate) fn length<'de, A: MapAccess<'de>>(map: &mut A) -> Result<u64, A::Error> {
    let raw = map.next_value::<&RawValue>()?.get();
    Ok(if raw == "null" { 0 } else { raw.len() as u64 })
}

/// An object, and nothing else.
#[derive(Default)]
pub(crate) struct Object<T>(pub T);

impl<'de, T: Members> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Self::default())
    }
}

impl<'de, T: Members> Visitor<'de> for Object<T> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(name) = map.next_key()? {
            self.0.member(name, &mut map)?;
        }
        Ok(self)
    }
}

/// A value of any type, as far as somebody looks at it.
#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) enum Value {
    /// Null is as good as not there.
    #[default]
    Missing,
    Number(u64),
    /// The bytes of a string.
    Text(u64),
    Other,
}

impl Value {
    /// Bytes of produced text.
    pub fn text(self) -> u64 {
        if let Self::Text(bytes) = self { bytes } else { 0 }
    }

    /// A whole number, if it is no larger than `most`.
    pub fn count(self, most: u64) -> Option<u64> {
        if let Self::Number(count) = self {
            Some(count).filter(|count| *count <= most)
        } else {
            None
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Self::Missing)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(Self::Missing)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self, E> {
        Ok(Self::Number(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self, E> {
        Ok(Self::Text(text.len() as u64))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self, E> {
        Ok(Self::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self, E> {
        Ok(Self::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self, E> {
        Ok(Self::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::Other)
    }
}
