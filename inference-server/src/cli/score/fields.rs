//! The fields of a line, as they were written.
//!
//! Invariant: what is not set here is written again as it was read: the order of the fields, names that
//! come twice, and numbers that no type of ours could hold.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// A JSON object whose values were not looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(Vec<(String, Box<RawValue>)>);

impl Fields {
    /// Whether there is one of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// Removes all of that name.
    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    /// Puts a value in place of the one of that name, or at the end.
    ///
    /// # Errors
    /// When the value cannot be JSON.
    pub(super) fn set(&mut self, name: &str, value: &impl Serialize) -> serde_json::Result<()> {
        let value = to_raw_value(value)?;
        let place = self.0.iter().position(|(known, _)| known == name);
        match place.and_then(|place| self.0.get_mut(place)) {
            Some((_, slot)) => *slot = value,
            None => self.0.push((name.to_owned(), value)),
        }
        Ok(())
    }

    /// Whether both have the same fields, in whatever order.
    pub(super) fn same(&self, other: &Self) -> bool {
        let sorted = |fields: &Self| {
            let fields = fields.0.iter();
            let mut all: Vec<_> = fields
                .map(|(name, value)| (name.clone(), value.get().to_owned()))
                .collect();
            all.sort();
            all
        };
        sorted(self) == sorted(other)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_written_as_it_was_read() {
        let line = r#"{"z":1.0,"a":1e400,"n":123456789012345678901234567890,"z":-0,"o":{"b":1.50,"a":[1E5]},"s":"\u00e9"}"#;
        let mut fields: Fields = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&fields).unwrap(), line);
        fields.set("a", &0.5_f32).unwrap();
        fields.set("score", &0.25_f32).unwrap();
        fields.remove("z");
        let expected = r#"{"a":0.5,"n":123456789012345678901234567890,"o":{"b":1.50,"a":[1E5]},"s":"\u00e9","score":0.25}"#;
        assert_eq!(serde_json::to_string(&fields).unwrap(), expected);
    }
}
