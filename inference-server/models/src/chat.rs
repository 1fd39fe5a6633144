//! Chat templates: from messages to the text that a decoder was trained on.
//!
//! Owns the dialect of Jinja that transformers renders templates in. Must not know of tokens, or of
//! the clock: the date is given. Invariants: the same messages give the same text on every day and
//! machine; a template that loops ends, because fuel bounds its steps and its memory, and `guard`
//! what the engine writes without fuel; no value holds itself. What is still without a bound is how
//! long the engine itself compares lists that hold one list many times over, makes a key of them, or
//! turns them into text in an operator or a filter.

mod guard;
mod namespaces;

use std::collections::BTreeMap;
use std::thread;

use jiff::civil::Date;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, context};

use crate::error::LoadError;
use crate::input::{ChatMessage, InputError};

/// Steps of one rendering; each also pays for 64 bytes, so that none takes more than 32 MB.
const FUEL: u64 = 500_000;
const NAME: &str = "chat";
/// Of the thread that parses and renders. What is within something else takes some frames for each
/// step inwards; a source of [`LONGEST`] and the fuel are enough for as many steps as would overflow
/// the stack of a thread of the server.
const STACK: usize = 256 << 20;
/// Bytes of a template; those of models have some thousands.
const LONGEST: usize = 64 << 10;

/// Whose template it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The model's, in this file.
    Model(&'static str),
    /// That of `--prompt-template`, which may also use `prompt` and `response`.
    Flag,
}

/// A parsed template with what it may use.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    special_tokens: Value,
    origin: Origin,
    date: Option<Date>,
}

impl ChatTemplate {
    /// Parses `source`. `special_tokens` are `bos_token` and its kin, `date` is today in the eyes of
    /// the template.
    ///
    /// # Errors
    /// `ModelInvalid` when it is not a template.
    pub fn parse(
        source: &str,
        origin: Origin,
        special_tokens: &BTreeMap<String, String>,
        date: Date,
    ) -> Result<Self, LoadError> {
        let name = match origin {
            Origin::Model(file) => file,
            Origin::Flag => "--prompt-template",
        };
        let failed = |why: String| {
            LoadError::invalid(format!(
                "{name} is no chat template that can be rendered ({why}): correct it"
            ))
        };
        if source.len() > LONGEST {
            return Err(failed(format!("it has more than {LONGEST} bytes")));
        }
        let environment = on_a_large_stack(|| {
            let mut environment = environment(origin, date)?;
            let source = without_generation_tags(source);
            namespaces::check(&source, environment.syntax().clone())?;
            environment.add_template_owned(NAME, source)?;
            Ok(environment)
        });
        Ok(Self {
            environment: environment.map_err(failed)?,
            special_tokens: Value::from_pairs(special_tokens.clone()),
            origin,
            date: source.contains("strftime_now").then_some(date),
        })
    }

    /// The date that the template sees, where it asks for it.
    pub const fn date(&self) -> Option<Date> {
        self.date
    }

    /// The text of a conversation.
    ///
    /// # Errors
    /// `Template` when the template raises, loops, or cannot take such messages.
    pub fn render(&self, messages: &[ChatMessage]) -> Result<String, InputError> {
        let turns: Vec<_> = messages
            .iter()
            .map(|message| context! { role => message.role.as_str(), content => message.content.as_str() })
            .collect();
        let (prompt, response) = match (self.origin, messages) {
            (Origin::Flag, [prompt, response])
                if prompt.role == "user" && response.role == "assistant" =>
            {
                (
                    Value::from(prompt.content.as_str()),
                    Value::from(response.content.as_str()),
                )
            }
            (Origin::Flag | Origin::Model(_), _) => (Value::UNDEFINED, Value::UNDEFINED),
        };
        // `tools` and `documents` are there and none, as transformers passes them: templates ask
        // whether they are none, which undefined is not.
        let context = context! {
            messages => turns,
            prompt => prompt,
            response => response,
            add_generation_prompt => false,
            tools => (),
            documents => (),
            ..self.special_tokens.clone()
        };
        on_a_large_stack(|| self.environment.get_template(NAME)?.render(context))
            .map_err(InputError::Template)
    }
}

/// What the engine makes, or why it does not.
fn on_a_large_stack<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK);
        let thread = thread
            .spawn_scoped(scope, || work().map_err(|error| reason(&error)))
            .map_err(|error| format!("there is no thread for it: {error}"))?;
        thread
            .join()
            .unwrap_or_else(|_panic| Err("the engine failed".to_owned()))
    })
}

fn environment(origin: Origin, date: Date) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()?;
    environment.set_syntax(syntax);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(guard::method);
    environment.set_formatter(guard::print);
    // It writes all values, and templates of models do not know it.
    environment.remove_global("debug");
    environment.add_filter("tojson", to_json);
    environment.add_filter("format", guard::printf);
    environment.add_function(
        "raise_exception",
        |state: &State, message: &Value| -> Result<Value, Error> {
            let message = guard::text(state, message)?;
            Err(Error::new(ErrorKind::InvalidOperation, message))
        },
    );
    environment.add_function("strftime_now", move |state: &State, format: &Value| {
        let format = guard::text(state, format)?;
        // A directive of five bytes may be padded to hundreds.
        state.consume_fuel(format.len() as u64)?;
        jiff::fmt::strtime::format(format, date.at(0, 0, 0, 0))
            .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
    });
    // A template of the flag that uses `prompt` must not score a longer conversation without it.
    environment.set_undefined_behavior(match origin {
        Origin::Model(_) => UndefinedBehavior::Lenient,
        Origin::Flag => UndefinedBehavior::Strict,
    });
    Ok(environment)
}

/// What a template says when it fails, without where in which file.
fn reason(error: &Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        return "it takes too many steps, or makes too much text".to_owned();
    }
    let kind = error.kind().to_string();
    let place = error
        .line()
        .map(|line| format!(" in line {line}"))
        .unwrap_or_default();
    match error.detail() {
        Some(detail) if error.kind() == ErrorKind::InvalidOperation => detail.to_owned(),
        Some(detail) => format!("{kind}{place}: {detail}"),
        None => format!("{kind}{place}"),
    }
}

/// `{% generation %}` marks what a model is trained on; its tags become ones that do nothing, so that
/// white space around them is treated as around all tags.
fn without_generation_tags(source: &str) -> String {
    let mut result = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, after)) = rest.split_once("{%") {
        result.push_str(before);
        result.push_str("{%");
        rest = after;
        let Some((tag, after)) = after.split_once("%}") else {
            break;
        };
        let word = tag.trim_matches(|c: char| c.is_whitespace() || matches!(c, '-' | '+'));
        let replacement = match word {
            "generation" => "if true",
            "endgeneration" => "endif",
            _ => continue,
        };
        result.push_str(&tag.replacen(word, replacement, 1));
        result.push_str("%}");
        rest = after;
    }
    result.push_str(rest);
    result
}

/// `tojson` as transformers has it: Python's `json.dumps(value, ensure_ascii=False)`.
fn to_json(state: &State, value: &Value, options: Kwargs) -> Result<String, Error> {
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
            ValueKind::Number => out.push_str(&value.to_string()),
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

    fn write_map(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        let mut keys: Vec<Value> = value.try_iter()?.collect();
        for key in &keys {
            guard::pay(self.state, key)?;
        }
        if self.sort {
            keys.sort();
        }
        self.list(&keys, ('{', '}'), depth, out, |key, out| {
            quote(&key.to_string(), out)?;
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

#[cfg(test)]
mod tests;
