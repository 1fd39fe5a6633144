//! The filter `tojson`, which writes as Python's `json.dumps` does.
//!
//! Must not know of templates. Invariant: a value is paid for before it is written.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::{guard, python};

/// `tojson` as transformers has it: Python's `json.dumps(value, ensure_ascii=False)`.
pub(super) fn filter(state: &State, value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent = options.get::<Option<usize>>("indent")?;
    let sort = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let ascii = options
        .get::<Option<bool>>("ensure_ascii")?
        .unwrap_or(false);
    options.assert_all_used()?;
    let mut text = String::new();
    let style = JsonStyle {
        state,
        indent,
        sort,
    };
    style.write(value, 0, &mut text)?;
    Ok(if ascii { escape_non_ascii(&text) } else { text })
}

fn escape_non_ascii(text: &str) -> String {
    let mut units = [0; 2];
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            result.push(c);
        } else {
            for unit in c.encode_utf16(&mut units) {
                result.extend(format!("\\u{unit:04x}").chars());
            }
        }
    }
    result
}

struct JsonStyle<'a> {
    /// Pays for what is written.
    state: &'a State<'a, 'a>,
    indent: Option<usize>,
    sort: bool,
}

impl JsonStyle<'_> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum is open: whatever has no form in JSON is refused"
    )]
    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        guard::check_depth(depth)?;
        guard::pay_one(self.state, value)?;
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(&python::number(value)),
            ValueKind::String => quote(value.as_str().unwrap_or_default(), out)?,
            ValueKind::Map => self.write_map(value, depth, out)?,
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.list(&items, ('[', ']'), depth, out, |item, out| {
                    self.write(item, depth + 1, out)
                })?;
            }
            kind => return Err(not_serializable(kind)),
        }
        Ok(())
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum is open: all other keys are their texts"
    )]
    fn write_map(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        let mut keys: Vec<Value> = value.try_iter()?.collect();
        for key in &keys {
            guard::pay(self.state, key)?;
        }
        if self.sort {
            keys.sort();
        }
        self.list(&keys, ('{', '}'), depth, out, |key, out| {
            let name = match key.kind() {
                ValueKind::None => "null".to_owned(),
                ValueKind::Number => python::number(key),
                _ => key.to_string(),
            };
            quote(&name, out)?;
            out.push_str(": ");
            self.write(&value.get_item(key)?, depth + 1, out)
        })
    }

    /// Python's separators: `, ` on one line, `,` and a new line where there is an indent.
    fn list(
        &self,
        items: &[Value],
        (open, close): (char, char),
        depth: usize,
        out: &mut String,
        write: impl Fn(&Value, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let new_line = |depth: usize, out: &mut String| -> Result<(), Error> {
            if let Some(indent) = self.indent {
                let spaces = indent.min(64) * depth;
                guard::pay_bytes(self.state, spaces)?;
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', spaces));
            }
            Ok(())
        };
        out.push(open);
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                out.push_str(if self.indent.is_some() { "," } else { ", " });
            }
            new_line(depth + 1, out)?;
            write(item, out)?;
        }
        if !items.is_empty() {
            new_line(depth, out)?;
        }
        out.push(close);
        Ok(())
    }
}

fn not_serializable(kind: ValueKind) -> Error {
    Error::new(
        ErrorKind::BadSerialization,
        format!("{kind} is nothing that tojson can write"),
    )
}

fn quote(text: &str, out: &mut String) -> Result<(), Error> {
    let quoted = serde_json::to_string(text)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    out.push_str(&quoted);
    Ok(())
}
