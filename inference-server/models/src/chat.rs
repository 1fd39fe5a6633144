//! Chat templates: from messages to the text that a decoder was trained on.
//!
//! Owns the dialect of Jinja that transformers renders templates in. Must not know of tokens, or of
//! the clock: the date is given. Invariants: the same messages give the same text on every day and
//! machine; a template that loops ends, because fuel bounds its steps and its memory, and `guard`
//! what the engine writes without fuel; no value holds itself. What is still without a bound is how
//! long the engine itself compares lists that hold one list many times over, makes a key of them, or
//! turns them into text in an operator or a filter.

mod concat;
mod guard;
mod methods;
mod namespaces;
mod python;
mod to_json;

use std::collections::BTreeMap;
use std::thread;

use jiff::civil::Date;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior};

use crate::error::LoadError;
use crate::input::{Chat, ChatMessage, InputError};

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

impl Origin {
    const fn name(self) -> &'static str {
        match self {
            Self::Model(file) => file,
            Self::Flag => "--prompt-template",
        }
    }
}

/// A parsed template with what it may use.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    special_tokens: BTreeMap<String, Value>,
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
        let name = origin.name();
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
            let source = concat::with_texts(&source, environment.syntax().clone())?;
            environment.add_template_owned(NAME, source)?;
            Ok(environment)
        });
        Ok(Self {
            environment: environment.map_err(|failure| failed(failure.why))?,
            special_tokens: special_tokens
                .iter()
                .map(|(name, text)| (name.clone(), Value::from(text.as_str())))
                .collect(),
            origin,
            date: source.contains("strftime_now").then_some(date),
        })
    }

    /// The date that the template sees, where it asks for it.
    pub const fn date(&self) -> Option<Date> {
        self.date
    }

    /// Renders conversations of the usual shapes, so that a template that can render none is told
    /// before traffic comes. One that raises an exception does so on purpose, and stays.
    ///
    /// # Errors
    /// `ModelInvalid` when it uses what the engine has not, or can render none of them.
    pub fn try_out(&self) -> Result<(), LoadError> {
        let turn = ChatMessage::new;
        let pair = [turn("user", "Hello"), turn("assistant", "Hi")];
        let longer = [pair.clone(), pair.clone()].concat();
        let system = [&[turn("system", "Be kind")], pair.as_slice()].concat();
        let mut failures = Vec::new();
        for messages in [pair.to_vec(), longer, system] {
            match self.try_render(&Chat::from(messages)) {
                Ok(_) => {}
                // What is missing here would be missing in every conversation that comes so far.
                Err(failure) if failure.missing => return Err(self.unusable(&failure.why)),
                Err(failure) => failures.push(failure),
            }
        }
        match failures.as_slice() {
            [first, _, _] if !failures.iter().any(|failure| failure.raised) => {
                Err(self.unusable(&first.why))
            }
            _ => Ok(()),
        }
    }

    fn unusable(&self, why: &str) -> LoadError {
        LoadError::invalid(format!(
            "{} cannot render a conversation ({why}): correct it",
            self.origin.name()
        ))
    }

    /// The text of a conversation.
    ///
    /// # Errors
    /// `Template` when the template raises, loops, or cannot take such messages.
    pub fn render(&self, chat: &Chat) -> Result<String, InputError> {
        self.try_render(chat)
            .map_err(|failure| InputError::Template(failure.why))
    }

    fn try_render(&self, chat: &Chat) -> Result<String, Failure> {
        let options = &chat.options;
        if options.continue_final_message && options.add_generation_prompt {
            return Err(Failure::of(
                "continue_final_message and add_generation_prompt exclude each other",
            ));
        }
        let mut messages: Vec<&ChatMessage> = chat.messages.iter().collect();
        let tagged = match messages.pop() {
            Some(last) if options.continue_final_message => {
                let tagged = last.tagged(CONTINUE);
                Some(tagged.ok_or_else(|| Failure::of(NOTHING_TO_CONTINUE))?)
            }
            Some(last) => {
                messages.push(last);
                None
            }
            None => None,
        };
        messages.extend(&tagged);
        let turns: Vec<Value> = messages.iter().map(|message| message.value()).collect();
        let context = self.context(chat, turns)?;
        let text = on_a_large_stack(|| self.environment.get_template(NAME)?.render(context))?;
        if tagged.is_some() {
            return continued(&text);
        }
        Ok(text)
    }

    /// What the template sees. `tools` and `documents` are there and none, as transformers passes
    /// them: templates ask whether they are none, which undefined is not.
    fn context(&self, chat: &Chat, turns: Vec<Value>) -> Result<Value, Failure> {
        let options = &chat.options;
        let mut context: BTreeMap<String, Value> = self.special_tokens.clone();
        context.extend(options.kwargs.clone());
        let (prompt, response) = match (self.origin, chat.messages.as_slice()) {
            (Origin::Flag, [prompt, response])
                if prompt.role() == "user" && response.role() == "assistant" =>
            {
                (prompt.content(), response.content())
            }
            (Origin::Flag | Origin::Model(_), _) => (None, None),
        };
        for (name, text) in [("prompt", prompt), ("response", response)] {
            if let Some(text) = text {
                context.insert(name.to_owned(), Value::from(text));
            }
        }
        for (name, value) in [
            ("messages", Value::from(turns)),
            ("tools", options.tools.clone().unwrap_or_else(none)),
            ("documents", options.documents.clone().unwrap_or_else(none)),
            (
                "add_generation_prompt",
                Value::from(options.add_generation_prompt),
            ),
        ] {
            if options.kwargs.contains_key(name) {
                return Err(Failure::of(&format!(
                    "chat_template_kwargs holds {name}: send it beside messages"
                )));
            }
            context.insert(name.to_owned(), value);
        }
        Ok(Value::from_pairs(context))
    }
}

/// What stands behind the content of the turn that is continued, while it is rendered.
const CONTINUE: &str = "CONTINUE_FINAL_MESSAGE_TAG ";
const NOTHING_TO_CONTINUE: &str = "continue_final_message: the last message has no content";

fn none() -> Value {
    Value::from(())
}

/// The text up to where the last turn's content ends. A template that trims contents has cut the
/// white space behind it, too.
fn continued(text: &str) -> Result<String, Failure> {
    let (before, after) = text.rsplit_once(CONTINUE.trim_end()).ok_or_else(|| {
        Failure::of("continue_final_message: the template leaves out the last message's content")
    })?;
    let before = if after.starts_with(' ') {
        before
    } else {
        before.trim_end()
    };
    Ok(before.to_owned())
}

/// Why a template did not render.
#[derive(Debug)]
struct Failure {
    why: String,
    /// Whether it raised an exception of its own.
    raised: bool,
    /// Whether it uses a filter, a test, a function or a method that there is not.
    missing: bool,
}

impl Failure {
    fn of(why: &str) -> Self {
        Self {
            why: why.to_owned(),
            raised: false,
            missing: false,
        }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let missing = matches!(
            error.kind(),
            ErrorKind::UnknownFilter
                | ErrorKind::UnknownTest
                | ErrorKind::UnknownFunction
                | ErrorKind::UnknownMethod
        );
        let source = std::error::Error::source(error);
        Self {
            why: reason(error),
            raised: source.is_some_and(<dyn std::error::Error>::is::<Raised>),
            missing,
        }
    }
}

/// Marks the errors that a template raises itself.
#[derive(Debug, thiserror::Error)]
#[error("raised")]
struct Raised;

/// What the engine makes, or why it does not.
fn on_a_large_stack<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Failure> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK);
        let thread = thread
            .spawn_scoped(scope, || work().map_err(|error| Failure::from(&error)))
            .map_err(|error| Failure::of(&format!("there is no thread for it: {error}")))?;
        thread
            .join()
            .unwrap_or_else(|_panic| Err(Failure::of("the engine failed")))
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
    environment.add_filter("tojson", to_json::filter);
    environment.add_filter("format", guard::printf);
    environment.add_filter("string", methods::string);
    environment.add_filter("trim", methods::trim);
    environment.add_filter("upper", methods::upper);
    environment.add_filter("lower", methods::lower);
    environment.add_filter("join", methods::join);
    // It finds the members of a map, which Python's does not.
    environment.remove_filter("attr");
    environment.add_test("sequence", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::Seq | ValueKind::Map | ValueKind::String
        )
    });
    environment.add_function(
        "raise_exception",
        |state: &State, message: &Value| -> Result<Value, Error> {
            let message = guard::text(state, message)?;
            Err(Error::new(ErrorKind::InvalidOperation, message).with_source(Raised))
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

#[cfg(test)]
mod tests;
