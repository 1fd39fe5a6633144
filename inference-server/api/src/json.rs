//! JSON whose members keep their order.
//!
//! Chat templates write the members of tools and calls in the order that they came in, as Python's
//! dictionaries keep it. Owns that form and the strings in it. Must not know what members mean.
//! Invariant: of two members with one name the later value counts, in the place of the earlier.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Number;

/// JSON whose members keep their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Self>),
    /// An object.
    Members(Members),
}

/// The members of an object, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(Vec<(String, Json)>);

impl Json {
    /// Whether it is null.
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// All strings in it, names of members aside.
    pub fn strings_mut<'a>(&'a mut self, all: &mut Vec<&'a mut String>) {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) => {}
            Self::Text(text) => all.push(text),
            Self::List(items) => items.iter_mut().for_each(|item| item.strings_mut(all)),
            Self::Members(members) => members.strings_mut(all),
        }
    }

    /// Calls `visit` with each string in it, names of members too, until one fails.
    ///
    /// # Errors
    /// The first of `visit`.
    pub fn each_string<E>(&self, visit: &mut impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) => Ok(()),
            Self::Text(text) => visit(text),
            Self::List(items) => items.iter().try_for_each(|item| item.each_string(visit)),
            Self::Members(members) => members.each_string(visit),
        }
    }
}

impl Members {
    /// These members.
    pub fn new(members: Vec<(String, Json)>) -> Self {
        let mut all: Vec<(String, Json)> = Vec::with_capacity(members.len());
        let mut places = HashMap::with_capacity(members.len());
        for (name, value) in members {
            match places.entry(name.clone()) {
                Entry::Occupied(place) => {
                    if let Some((_, old)) = all.get_mut(*place.get()) {
                        *old = value;
                    }
                }
                Entry::Vacant(place) => {
                    place.insert(all.len());
                    all.push((name, value));
                }
            }
        }
        Self(all)
    }

    /// The member of that name.
    pub fn get(&self, name: &str) -> Option<&Json> {
        let mut members = self.0.iter();
        members
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    /// Sets a member, in its place where it is there.
    pub fn set(&mut self, name: String, value: Json) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// See [`Json::strings_mut`].
    pub fn strings_mut<'a>(&'a mut self, all: &mut Vec<&'a mut String>) {
        self.0
            .iter_mut()
            .for_each(|(_, value)| value.strings_mut(all));
    }

    /// See [`Json::each_string`].
    ///
    /// # Errors
    /// The first of `visit`.
    pub fn each_string<E>(&self, visit: &mut impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
        self.0.iter().try_for_each(|(name, value)| {
            visit(name)?;
            value.each_string(visit)
        })
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Members(members) => members.serialize(serializer),
        }
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Json::deserialize(deserializer)? {
            Json::Members(members) => Ok(members),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::List(_) => {
                Err(Error::custom("send an object"))
            }
        }
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        Number::from_f64(value)
            .map(Json::Number)
            .ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Json::Members(Members::new(members)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order() {
        let text = r#"{"z":1,"a":[null,true,-2,1.5,"x"],"m":{"y":{},"b":[]}}"#;
        let json: Json = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&json).unwrap(), text);
        let twice: Json = serde_json::from_str(r#"{"a":1,"b":2,"a":3}"#).unwrap();
        assert_eq!(serde_json::to_string(&twice).unwrap(), r#"{"a":3,"b":2}"#);
    }

    #[test]
    fn every_string_is_seen() {
        let mut json: Json = serde_json::from_str(r#"{"a":["x",{"b":"y"}]}"#).unwrap();
        let mut seen = Vec::new();
        let all = json.each_string(&mut |text| {
            seen.push(text.to_owned());
            Ok::<_, ()>(())
        });
        assert_eq!((all, seen.join("")), (Ok(()), "axby".to_owned()));
        let mut strings = Vec::new();
        json.strings_mut(&mut strings);
        assert_eq!(strings, ["x", "y"]);
    }
}
