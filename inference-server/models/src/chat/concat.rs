//! The operator `~`, which makes texts of its operands.
//!
//! The engine makes them in its own way, and cannot be told another; so each operand is given to the
//! filter `string`, which does as Python. Owns where an operand begins and ends. Must not know what
//! it is worth. Invariant: what is put in are parentheses around whole operands, and the filter.

use minijinja::Error;
use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;

/// The template with each operand of `~` made a text.
pub(super) fn with_texts(source: &str, syntax: SyntaxConfig) -> Result<String, Error> {
    let mut tokens = Vec::new();
    for token in tokenize(source, false, syntax) {
        let (token, span) = token?;
        tokens.push((token, span.start_offset as usize, span.end_offset as usize));
    }
    let mut inserts: Vec<(usize, &str)> = Vec::new();
    for (i, (token, ..)) in tokens.iter().enumerate() {
        if !matches!(token, Token::Tilde) {
            continue;
        }
        let (before, after) = (tokens.get(..i), tokens.get(i + 1..));
        let (Some(before), Some(after)) = (before, after) else {
            continue;
        };
        // The left operand of a chain was the right one of the operator before.
        let left = operand(before.iter().rev(), true);
        let first = before.len() - left;
        let chained = first > 0
            && before
                .get(first - 1)
                .is_some_and(|(token, ..)| matches!(token, Token::Tilde));
        if let (Some((_, start, _)), Some((.., end)), false) =
            (before.get(first), before.last(), chained)
        {
            inserts.push((*start, "("));
            inserts.push((*end, ")|string"));
        }
        let right = operand(after.iter(), false);
        if let (Some((_, start, _)), Some((.., end))) = (
            after.first(),
            right.checked_sub(1).and_then(|last| after.get(last)),
        ) {
            inserts.push((*start, "("));
            inserts.push((*end, ")|string"));
        }
    }
    inserts.sort_by_key(|(at, _)| *at);
    let mut result = String::with_capacity(source.len() + 9 * inserts.len());
    let mut done = 0;
    for (at, text) in inserts {
        result.push_str(source.get(done..at).unwrap_or_default());
        result.push_str(text);
        done = at;
    }
    result.push_str(source.get(done..).unwrap_or_default());
    Ok(result)
}

/// How many tokens the operand has that begins, or where `back` ends, here.
fn operand<'a, 's: 'a>(
    tokens: impl Iterator<Item = &'a (Token<'s>, usize, usize)>,
    back: bool,
) -> usize {
    let mut open = 0_usize;
    let mut count = 0;
    let mut after_dot = false;
    let mut tokens = tokens.peekable();
    while let Some((token, ..)) = tokens.next() {
        let opening = matches!(
            token,
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen
        );
        let closing = matches!(
            token,
            Token::ParenClose | Token::BracketClose | Token::BraceClose
        );
        let (opens, closes) = if back {
            (closing, opening)
        } else {
            (opening, closing)
        };
        if closes && open == 0 {
            break;
        }
        let of_dot = if back {
            matches!(tokens.peek(), Some((Token::Dot | Token::Pipe, ..)))
        } else {
            after_dot
        };
        if open == 0 && !of_dot && ends(token) && !(count == 0 && matches!(token, Token::Minus)) {
            break;
        }
        open = open + usize::from(opens) - usize::from(closes);
        after_dot = matches!(token, Token::Dot | Token::Pipe);
        count += 1;
    }
    count
}

/// Whether the token binds less than `~`, or is none of an expression.
fn ends(token: &Token<'_>) -> bool {
    let stands_between = matches!(
        token,
        Token::TemplateData(_)
            | Token::VariableStart
            | Token::VariableEnd
            | Token::BlockStart
            | Token::BlockEnd
            | Token::Plus
            | Token::Minus
            | Token::Comma
            | Token::Colon
            | Token::Tilde
            | Token::Assign
            | Token::Eq
            | Token::Ne
            | Token::Gt
            | Token::Gte
            | Token::Lt
            | Token::Lte
    );
    let is_word = matches!(
        token,
        Token::Ident("and" | "or" | "not" | "in" | "if" | "else" | "elif" | "recursive" | "do")
    );
    stands_between || is_word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operand_is_made_a_text() {
        for (source, expected) in [
            ("{{ a ~ b }}", "{{ (a)|string ~ (b)|string }}"),
            (
                "{{ a.b[0] ~ 'x' ~ f(1, 2) | trim }}",
                "{{ (a.b[0])|string ~ ('x')|string ~ (f(1, 2) | trim)|string }}",
            ),
            (
                "{% if x and a ~ -1 == 'b' %}",
                "{% if x and (a)|string ~ (-1)|string == 'b' %}",
            ),
            (
                "{% set x = (a + 1) ~ y.if %} ~ ",
                "{% set x = ((a + 1))|string ~ (y.if)|string %} ~ ",
            ),
            ("{{ f(a ~ b, c) }}", "{{ f((a)|string ~ (b)|string, c) }}"),
        ] {
            let found = with_texts(source, SyntaxConfig::default()).unwrap();
            assert_eq!(found, expected);
        }
    }
}
