//! Namespaces that hold themselves, which are kept out.
//!
//! `{% set ns.x = ns %}` makes a value without an end; the engine follows it until the stack is full,
//! and the process ends. Owns the rule that no template makes one: a namespace has a name from the
//! beginning, and is used by its attributes alone, as the templates of real models use theirs. Must
//! not know what a template says. Invariant: the words are read as the engine reads them.

use std::collections::BTreeSet;

use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Error, ErrorKind};

const NAMESPACE: &str = "namespace";

/// Refuses a template that uses a namespace whole.
pub(super) fn check(source: &str, syntax: SyntaxConfig) -> Result<(), Error> {
    let mut tokens = Vec::new();
    for token in tokenize(source, false, syntax) {
        tokens.push(token?.0);
    }
    let mut names = BTreeSet::new();
    // How many tokens follow the word `namespace` where it makes one as it may.
    let mut at_beginnings = BTreeSet::new();
    let mut rest = tokens.as_slice();
    while let [_, after @ ..] = rest {
        if let Some(name) = made(rest) {
            names.insert(name);
            at_beginnings.insert(rest.len() - 4);
        }
        rest = after;
    }
    let mut last: Option<&Token<'_>> = None;
    let mut rest = tokens.as_slice();
    while let [token, after @ ..] = rest {
        // What follows a dot is an attribute, and what is assigned to is no value.
        let is_value = !matches!(last, Some(Token::Dot)) && !matches!(after, [Token::Assign, ..]);
        let Token::Ident(word) = token else {
            (last, rest) = (Some(token), after);
            continue;
        };
        let whole = if *word == NAMESPACE {
            !at_beginnings.contains(&after.len())
        } else {
            names.contains(word)
                && !matches!(last, Some(Token::Ident("set")))
                && !is_of_attribute(after)
        };
        if is_value && whole {
            return Err(Error::new(
                ErrorKind::SyntaxError,
                format!(
                    "{word} is used whole, and could be made to hold itself: {{% set %}} it and use its attributes"
                ),
            ));
        }
        (last, rest) = (Some(token), after);
    }
    Ok(())
}

/// The name in `set NAME = namespace(...)` and nothing more.
fn made<'a>(tokens: &[Token<'a>]) -> Option<&'a str> {
    let [
        Token::Ident("set"),
        Token::Ident(name),
        Token::Assign,
        Token::Ident(NAMESPACE),
        Token::ParenOpen,
        rest @ ..,
    ] = tokens
    else {
        return None;
    };
    let mut open = 1_usize;
    let mut rest = rest.iter();
    while open > 0 {
        let token = rest.next()?;
        open += usize::from(matches!(token, Token::ParenOpen));
        open -= usize::from(matches!(token, Token::ParenClose));
    }
    matches!(rest.next(), Some(Token::BlockEnd)).then_some(*name)
}

/// Whether an attribute is asked for, or what kind of value it is: a method lends the whole.
fn is_of_attribute(rest: &[Token<'_>]) -> bool {
    match rest {
        [Token::Dot, Token::Ident(_), rest @ ..] => {
            let mut rest = rest.iter();
            let next = rest.find(|token| !matches!(token, Token::ParenClose));
            !matches!(next, Some(Token::ParenOpen))
        }
        [Token::BracketOpen | Token::Ident("is"), ..] => true,
        _ => false,
    }
}
