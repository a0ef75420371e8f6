//! JSON read exactly as the protocol's schema says it: an object where an object is asked for, numbers every language can hold.
//!
//! **Job.** What serde's readers take beyond that is refused here: a list in place of an object, a table in place of a word, numbers
//! above 2^53-1. **Called by** `ask`, `event`, the HTTP faces.
//!
//! Invariants
//! 1. What is taken is valid by the schema (`protocol`), and what is valid by it is taken, lengths in bytes left aside.
//!
//! Not here: what a request means (`hub`), the schema (`protocol`).

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::event::Rank;
use crate::refusal::Refusal;

/// Up to here a JSON reader of any language is exact: 2^53-1.
pub const NUMBER_MAX: u64 = (1 << 53) - 1;

/// Whether a text can be an object and nothing else.
pub fn is_object(text: &str) -> bool {
    text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{')
}

/// What has a least and a most: a number, the bytes of a text.
pub(crate) trait Measured {
    const UNIT: &'static str = "";
    /// Nothing: it was left out.
    fn measure(&self) -> Option<u64>;
}

impl Measured for u64 {
    fn measure(&self) -> Option<u64> {
        Some(*self)
    }
}

impl Measured for Option<u64> {
    fn measure(&self) -> Option<u64> {
        *self
    }
}

impl Measured for Option<usize> {
    fn measure(&self) -> Option<u64> {
        self.map(|number| number as u64)
    }
}

impl Measured for String {
    const UNIT: &'static str = " bytes";
    fn measure(&self) -> Option<u64> {
        Some(self.len() as u64)
    }
}

/// Whether a field is from `min` to `max`.
///
/// # Errors
/// [`Refusal::Malformed`], with the field and its bounds.
pub(crate) fn within<T: Measured>(field: &str, value: &T, min: u64, max: u64) -> Result<(), Refusal> {
    match value.measure() {
        Some(measure) if !(min..=max).contains(&measure) => {
            Err(Refusal::Malformed { why: format!("{field}: {min} to {max}{}", T::UNIT) })
        }
        _ => Ok(()),
    }
}

/// A number up to [`NUMBER_MAX`].
pub(crate) fn number<'de, D: Deserializer<'de>>(reader: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(reader)?;
    if number <= NUMBER_MAX { Ok(number) } else { Err(D::Error::custom("numbers are up to 2^53-1")) }
}

/// An object or nothing.
pub(crate) fn object<'de, D, T>(reader: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Object<T>>::deserialize(reader)?.map(|object| object.0))
}

/// A list of objects.
pub(crate) fn objects<'de, D, T>(reader: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Vec::<Object<T>>::deserialize(reader)?.into_iter().map(|object| object.0).collect())
}

/// A `T` that is written as an object: serde takes a list of its fields, too.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(fields))
            }
        }
        reader.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

/// A word: serde takes `{"owner":null}` for one, too.
impl<'de> Deserialize<'de> for Rank {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        match &*Cow::<'_, str>::deserialize(reader)? {
            "none" => Ok(Self::None),
            "member" => Ok(Self::Member),
            "moderator" => Ok(Self::Moderator),
            "owner" => Ok(Self::Owner),
            other => Err(D::Error::unknown_variant(other, &["owner", "moderator", "member", "none"])),
        }
    }
}
