//! Changes of JSON that leave it JSON: bytes that are changed blindly rarely get past the parser.
//!
//! Owns the choice of what is changed. Must not know what the values mean: names and values come
//! from a dictionary of libFuzzer. Invariant: the same seed makes the same change.

use serde_json::Value;

/// Numbers that look random and are the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let high = usize::try_from(self.0 >> 33).unwrap_or_default();
        high % end.max(1)
    }

    fn pick<T: Clone + Default>(&mut self, all: &[T]) -> T {
        all.get(self.below(all.len())).cloned().unwrap_or_default()
    }
}

/// Names of fields, and values, that the readers know.
#[derive(Debug)]
pub struct Words {
    names: Vec<String>,
    values: Vec<Value>,
}

impl Words {
    /// Of a dictionary: a word that ends in a colon is the name of a field.
    pub fn of(dictionary: &str) -> Self {
        let mut words = Self {
            names: Vec::new(),
            values: Vec::new(),
        };
        for line in dictionary.lines() {
            let word = line.trim_matches('"').replace("\\\"", "\"");
            if let Some(name) = word.strip_suffix(':') {
                words.names.push(name.trim_matches('"').to_owned());
            } else if let Ok(value) = serde_json::from_str(&word) {
                words.values.push(value);
            }
        }
        words
    }

    /// The text with some values changed; `None` where it is no JSON, or where blind changes have
    /// their turn.
    pub fn change(&self, text: &[u8], seed: u32) -> Option<Vec<u8>> {
        let mut random = Random(seed.into());
        if random.below(16) == 0 {
            return None;
        }
        let mut root: Value = serde_json::from_slice(text).ok()?;
        for _ in 0..=random.below(3) {
            let all = count(&root);
            let other = nth(&mut root, &mut random.below(all))?.clone();
            let chosen = nth(&mut root, &mut random.below(all))?;
            self.change_value(chosen, other, &mut random);
        }
        serde_json::to_vec(&root).ok()
    }

    /// Changes the text that follows the first byte of what libFuzzer's mutators are given. The size
    /// of the whole, or `None` as of [`Self::change`].
    pub fn change_after_first(&self, data: &mut [u8], size: usize, seed: u32) -> Option<usize> {
        let text = self.change(data.get(1..size)?, seed)?;
        replace(data, 1, &text, &[])
    }

    fn change_value(&self, value: &mut Value, other: Value, random: &mut Random) {
        let new = match random.below(4) {
            0 => other,
            1 => Value::from(i64::from_ne_bytes(random.0.to_ne_bytes()) >> random.below(64)),
            _ => random.pick(&self.values),
        };
        match (value, random.below(4)) {
            (Value::Object(fields), 0) => {
                let names: Vec<String> = fields.keys().cloned().collect();
                fields.remove(&random.pick(&names));
            }
            (Value::Object(fields), 1..) => {
                fields.insert(random.pick(&self.names), new);
            }
            (Value::Array(items), 0) => drop(items.pop()),
            (Value::Array(items), 1 | 2) => items.push(new),
            (Value::Bool(value), 0 | 1) => *value = !*value,
            (value, _) => *value = new,
        }
    }
}

fn children(value: &mut Value) -> Vec<&mut Value> {
    match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn count(value: &Value) -> usize {
    let within: usize = match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    };
    1 + within
}

/// The value that has so many before it.
fn nth<'a>(value: &'a mut Value, before: &mut usize) -> Option<&'a mut Value> {
    if *before == 0 {
        return Some(value);
    }
    *before -= 1;
    children(value)
        .into_iter()
        .find_map(|child| nth(child, before))
}

/// What libFuzzer's mutators are given: puts the changed text after `head` bytes, and `tail` after it.
/// The size of the whole, or `None` where nothing was changed.
pub fn replace(data: &mut [u8], head: usize, text: &[u8], tail: &[u8]) -> Option<usize> {
    let end = head + text.len() + tail.len();
    let place = data.get_mut(head..end)?;
    for (byte, new) in place.iter_mut().zip(text.iter().chain(tail)) {
        *byte = *new;
    }
    Some(end)
}
