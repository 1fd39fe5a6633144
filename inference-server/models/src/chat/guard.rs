//! What a template pays before values are written.
//!
//! The engine counts steps, and bytes once they are there. Twenty times `x = [x, x]` are few steps to
//! a million numbers, and `'{:>999999999}'` is one to a gigabyte. Owns the price of such values; must
//! not know how they are written. Invariant: whatever is written here was paid for before, part by
//! part, and holds values within values no deeper than [`DEPTH`].

use minijinja::value::{Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Error, ErrorKind, Output, State, escape_formatter};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::{methods, python};

/// How deep values within values are followed.
const DEPTH: usize = 64;

/// Writes the value of `{{ }}`.
pub(super) fn print(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    if value.as_str().is_some() || value.is_undefined() {
        return escape_formatter(out, state, value);
    }
    out.write_str(&python::text(state, value)?)
        .map_err(|_| Error::new(ErrorKind::WriteFailure, "the text cannot be written"))
}

/// Calls a method that Python has and Jinja has not.
pub(super) fn method(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if method == "count" && value.kind() == ValueKind::Seq {
        pay(state, value)?;
    }
    match (method, value.as_str()) {
        ("format", Some(format)) => {
            check_keys(format, '[', ']')?;
            pay_format(state, format, args)?;
        }
        _ => {
            for arg in args.iter().filter(|arg| holds_values(arg)) {
                pay(state, arg)?;
            }
        }
    }
    if let Some(text) = value.as_str()
        && let Some(answer) = methods::call(state, text, method, args)
    {
        return answer;
    }
    unknown_method_callback(state, value, method, args)
}

/// The filter `format`, which pays for itself.
pub(super) fn printf(
    state: &mut State,
    format: &Value,
    args: Rest<ValueOrKwargs>,
) -> Result<Value, Error> {
    check_keys(format.as_str().unwrap_or_default(), '(', ')')?;
    minijinja::filters::format(state, format, args)
}

/// The value as a text.
pub(super) fn text(state: &State, value: &Value) -> Result<String, Error> {
    pay(state, value)?;
    Ok(value.to_string())
}

/// Pays for the value and all that it holds.
pub(super) fn pay(state: &State, value: &Value) -> Result<(), Error> {
    pay_within(state, value, 0)
}

/// Pays for the value without what it holds.
pub(super) fn pay_one(state: &State, value: &Value) -> Result<(), Error> {
    state.consume_fuel(1)?;
    pay_bytes(state, value.as_str().map_or(0, str::len))
}

/// Pays for so many bytes: 64 are a step.
pub(super) fn pay_bytes(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(bytes as u64 / 64)
}

/// Refuses what is nested too deeply.
pub(super) fn check_depth(depth: usize) -> Result<(), Error> {
    if depth > DEPTH {
        return Err(Error::new(
            ErrorKind::BadSerialization,
            "values are nested too deeply to be written",
        ));
    }
    Ok(())
}

fn holds_values(value: &Value) -> bool {
    matches!(
        value.kind(),
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable
    )
}

fn pay_within(state: &State, value: &Value, depth: usize) -> Result<(), Error> {
    check_depth(depth)?;
    pay_one(state, value)?;
    if holds_values(value) {
        let map = value.kind() == ValueKind::Map;
        for item in value.try_iter()? {
            pay_within(state, &item, depth + 1)?;
            if map {
                pay_within(state, &value.get_item(&item)?, depth + 1)?;
            }
        }
    }
    Ok(())
}

/// Refuses keys that the engine would read byte by byte, and panic between two bytes of a letter.
fn check_keys(format: &str, open: char, close: char) -> Result<(), Error> {
    let keys = format.split(open).skip(1);
    let mut keys = keys.map(|rest| rest.split(close).next().unwrap_or_default());
    if keys.all(str::is_ascii) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidOperation,
        "what stands in brackets in a format has to be ASCII",
    ))
}

/// Pays for each field as if it showed all of `args`, and for every width and precision.
fn pay_format(state: &State, format: &str, args: &[Value]) -> Result<(), Error> {
    for digits in format.split(|c: char| !c.is_ascii_digit()) {
        let width = if digits.is_empty() {
            0
        } else {
            // What is no number of bytes is more than any fuel.
            digits.parse().unwrap_or(usize::MAX)
        };
        pay_bytes(state, width)?;
    }
    for _field in format.matches('{') {
        for arg in args {
            pay(state, arg)?;
        }
    }
    Ok(())
}
