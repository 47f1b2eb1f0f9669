//! The members of a JSON object that somebody looks at; the others are passed over.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::Fault;

/// Hand `each` the members of an object that `which` knows, with the JSON text of their values.
pub(super) fn members<'a, T>(
    text: &'a str,
    which: impl Fn(&str) -> Option<T>,
    each: impl FnMut(T, &'a str) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let mut members = Members { which, each, fault: None };
    let read = reader.deserialize_map(&mut members).and_then(|()| reader.end());
    match (read, members.fault) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(fault)) => Err(fault),
        (Err(_), None) if text.trim_start().starts_with('{') => Err(Fault::Json),
        (Err(_), None) if serde_json::from_str::<IgnoredAny>(text).is_err() => Err(Fault::Json),
        (Err(_), None) => {
            Err(Fault::Field("The body is not usable: expected an object.".to_owned()))
        }
    }
}

struct Members<W, E> {
    which: W,
    each: E,
    /// What `each` said; the parser's own error carries no value of ours.
    fault: Option<Fault>,
}

impl<'de, T, W, E> Visitor<'de> for &mut Members<W, E>
where
    W: Fn(&str) -> Option<T>,
    E: FnMut(T, &'de str) -> Result<(), Fault>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(known) = map.next_key_seed(Name(&self.which))? {
            match known {
                None => drop(map.next_value::<IgnoredAny>()?),
                Some(known) => {
                    (self.each)(known, map.next_value::<&RawValue>()?.get()).map_err(|fault| {
                        self.fault = Some(fault);
                        A::Error::custom("refused")
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// A member's name, looked at without keeping it.
struct Name<'a, W>(&'a W);

impl<'de, T, W: Fn(&str) -> Option<T>> DeserializeSeed<'de> for Name<'_, W> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Option<T>, D::Error> {
        from.deserialize_str(self)
    }
}

impl<T, W: Fn(&str) -> Option<T>> Visitor<'_> for Name<'_, W> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Option<T>, E> {
        Ok((self.0)(name))
    }
}
