//! Methods of Python's strings that the engine's own collection lacks, and filters that make texts.
//!
//! Owns what they answer. Must not know of templates. Invariant: what they make was paid for.

use minijinja::value::{Kwargs, Value, from_args};
use minijinja::{Error, ErrorKind, State};

use super::{guard, python};

/// The widest field: what is wider is no text of a chat.
const WIDEST: usize = 1 << 16;

/// Calls a method of the string, where it is one of these.
pub(super) fn call(
    state: &State,
    text: &str,
    method: &str,
    args: &[Value],
) -> Option<Result<Value, Error>> {
    Some(match method {
        "rsplit" => rsplit(state, text, args),
        "partition" => partition(
            args,
            |by| text.split_once(by),
            |by, parts| match parts {
                Some((before, after)) => [before, by, after],
                None => [text, "", ""],
            },
        ),
        "rpartition" => partition(
            args,
            |by| text.rsplit_once(by),
            |by, parts| match parts {
                Some((before, after)) => [before, by, after],
                None => ["", "", text],
            },
        ),
        "removeprefix" => {
            one(args).map(|part| Value::from(text.strip_prefix(part).unwrap_or(text)))
        }
        "removesuffix" => {
            one(args).map(|part| Value::from(text.strip_suffix(part).unwrap_or(text)))
        }
        "ljust" => fill(state, text, args, |free| (0, free)),
        "rjust" => fill(state, text, args, |free| (free, 0)),
        "zfill" => zfill(state, text, args),
        "swapcase" => {
            none(args).map(|()| Value::from(text.chars().flat_map(swapped).collect::<String>()))
        }
        _ => return None,
    })
}

fn swapped(c: char) -> Vec<char> {
    if c.is_uppercase() {
        c.to_lowercase().collect()
    } else {
        c.to_uppercase().collect()
    }
}

fn one(args: &[Value]) -> Result<&str, Error> {
    from_args::<(&str,)>(args).map(|(part,)| part)
}

fn none(args: &[Value]) -> Result<(), Error> {
    from_args::<()>(args)
}

fn rsplit(state: &State, text: &str, args: &[Value]) -> Result<Value, Error> {
    guard::pay_bytes(state, text.len())?;
    let (by, most): (Option<&str>, Option<i64>) = from_args(args)?;
    let most = most.and_then(|most| usize::try_from(most).ok());
    let parts = most.map_or(usize::MAX, |most| most.saturating_add(1));
    let mut found: Vec<Value> = match by {
        Some("") => {
            return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
        }
        Some(by) => text.rsplitn(parts, by).map(Value::from).collect(),
        None => {
            let mut rest = text.trim();
            let mut found = Vec::new();
            while !rest.is_empty() {
                if found.len() + 1 == parts {
                    found.push(Value::from(rest));
                    break;
                }
                let (before, last) = match rest.rsplit_once(char::is_whitespace) {
                    Some((before, last)) => (before.trim_end(), last),
                    None => ("", rest),
                };
                found.push(Value::from(last));
                rest = before;
            }
            found
        }
    };
    found.reverse();
    Ok(Value::from(found))
}

fn partition<'a>(
    args: &'a [Value],
    split: impl Fn(&str) -> Option<(&'a str, &'a str)>,
    three: impl Fn(&'a str, Option<(&'a str, &'a str)>) -> [&'a str; 3],
) -> Result<Value, Error> {
    let by = one(args)?;
    if by.is_empty() {
        return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
    }
    let parts = three(by, split(by)).map(Value::from);
    Ok(Value::from(parts.to_vec()))
}

fn free(state: &State, text: &str, width: i64) -> Result<usize, Error> {
    let width = usize::try_from(width).unwrap_or(0);
    if width > WIDEST {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "the field is too wide",
        ));
    }
    guard::pay_bytes(state, width)?;
    Ok(width.saturating_sub(text.chars().count()))
}

fn fill(
    state: &State,
    text: &str,
    args: &[Value],
    sides: impl Fn(usize) -> (usize, usize),
) -> Result<Value, Error> {
    let (width, letter): (i64, Option<char>) = from_args(args)?;
    let letter = letter.unwrap_or(' ');
    let (before, after) = sides(free(state, text, width)?);
    let fill = |count| std::iter::repeat_n(letter, count);
    let all = fill(before).chain(text.chars()).chain(fill(after));
    Ok(Value::from(all.collect::<String>()))
}

fn zfill(state: &State, text: &str, args: &[Value]) -> Result<Value, Error> {
    let (width,): (i64,) = from_args(args)?;
    let zeros = "0".repeat(free(state, text, width)?);
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => text.split_at(text.len() - digits.len()),
        None => ("", text),
    };
    Ok(Value::from(format!("{sign}{zeros}{digits}")))
}

/// The filter `string`.
pub(super) fn string(state: &State, value: &Value) -> Result<String, Error> {
    python::text(state, value)
}

/// The filter `trim`.
pub(super) fn trim(state: &State, value: &Value, letters: Option<&str>) -> Result<String, Error> {
    let text = python::text(state, value)?;
    Ok(match letters {
        None => text.trim().to_owned(),
        Some(letters) => text.trim_matches(|c| letters.contains(c)).to_owned(),
    })
}

/// The filter `upper`.
pub(super) fn upper(state: &State, value: &Value) -> Result<String, Error> {
    Ok(python::text(state, value)?.to_uppercase())
}

/// The filter `lower`.
pub(super) fn lower(state: &State, value: &Value) -> Result<String, Error> {
    Ok(python::text(state, value)?.to_lowercase())
}

/// The filter `join`.
pub(super) fn join(
    state: &State,
    value: &Value,
    between: Option<&Value>,
    options: Kwargs,
) -> Result<String, Error> {
    let attribute = options.get::<Option<String>>("attribute")?;
    let named = options.get::<Option<Value>>("d")?;
    options.assert_all_used()?;
    let between = match between.or(named.as_ref()) {
        Some(between) => python::text(state, between)?,
        None => String::new(),
    };
    let mut all = String::new();
    if value.is_undefined() {
        return Ok(all);
    }
    for (i, item) in value.try_iter()?.enumerate() {
        if i > 0 {
            guard::pay_bytes(state, between.len())?;
            all.push_str(&between);
        }
        let item = match &attribute {
            Some(name) => item.get_attr(name)?,
            None => item,
        };
        all.push_str(&python::text(state, &item)?);
    }
    Ok(all)
}
