//! Members of a request that no field takes.
//!
//! Owns which of them are refused, and the nearest name that is known. In a peer's dialect those
//! that the peer would ignore are ignored; those that would change a score are not, nor are names
//! that are all but the name of such an option. Must not know what options do.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Problem;

/// Options of peers that change a score, and that no dialect here has.
const WITHOUT: [&str; 24] = [
    "chat_template",
    "dimensions",
    "image_data",
    "input_embeds",
    "input_ids",
    "instruction",
    "lora_path",
    "max_chunks_per_doc",
    "max_length",
    "media_io_kwargs",
    "mm_processor_kwargs",
    "normalize",
    "overlap_tokens",
    "padding",
    "pooling_task",
    "prompt_name",
    "prompt_token_ids",
    "rank_fields",
    "sampling_params",
    "step_tag_id",
    "task",
    "template",
    "token_type_ids",
    "tokenization_kwargs",
];

/// Refuses those of `rest` that would change a score; `known` are the names that there are.
///
/// # Errors
/// 422 with the name, and the nearest one where there is one.
pub(crate) fn check(rest: &BTreeMap<String, Value>, known: &[&str]) -> Result<(), Problem> {
    for (name, value) in rest {
        if value.is_null() {
            continue;
        }
        if WITHOUT.contains(&name.as_str()) {
            if *value == Value::Bool(false) {
                continue;
            }
            return Err(Problem::unprocessable(format!(
                "{name} is not served, and would change the score: remove it"
            )));
        }
        if let Some(near) = nearest(name, known.iter().copied()) {
            return Err(Problem::unprocessable(format!(
                "{name} is no option: do you mean {near}?"
            )));
        }
    }
    Ok(())
}

/// The known name that is spelt nearly so.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // As many wrong letters as leave most of a name in place.
    let near = |other: &str| (1..=1 + other.len() / 5).contains(&strsim::osa_distance(name, other));
    known
        .filter(|other| near(other))
        .min_by_key(|other| strsim::osa_distance(name, other))
}

/// What the JSON library says of a member that a type does not know, with the nearest name in front;
/// any other message stays.
pub fn with_nearest(message: String) -> String {
    let mut names = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown field");
    let (Some(name), true) = (names.next(), unknown) else {
        return message;
    };
    match nearest(name, names) {
        Some(near) => format!("{name} is no member: do you mean {near}? ({message})"),
        None => format!("{name} is no member: remove it ({message})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> Option<String> {
        let rest = serde_json::from_str(body).unwrap();
        let known = ["truncate_prompt_tokens", "use_activation", "top_n"];
        check(&rest, &known).err().map(|problem| problem.detail)
    }

    #[test]
    fn what_the_peer_ignores_is_ignored() {
        for body in [
            "{}",
            r#"{"user":"u","request_id":"r","priority":1,"model":"m"}"#,
            r#"{"chat_template":null,"normalize":false,"whatever":1}"#,
        ] {
            assert_eq!(refused(body), None, "{body}");
        }
    }

    #[test]
    fn what_would_change_a_score_is_refused_with_the_nearest_name() {
        let message = refused(r#"{"truncate_promt_tokens":5}"#).unwrap();
        assert!(message.contains("truncate_prompt_tokens"), "{message}");
        let message = refused(r#"{"chat_template":"{{ x }}"}"#).unwrap();
        assert!(message.contains("chat_template is not served"), "{message}");
    }

    #[test]
    fn an_unknown_member_is_named_with_the_nearest() {
        let message = "unknown field `contxt`, expected one of `text`, `context`".to_owned();
        assert!(with_nearest(message).starts_with("contxt is no member: do you mean context?"));
        let message = "unknown field `zzz`, expected `a` or `b` at line 1".to_owned();
        assert!(with_nearest(message).starts_with("zzz is no member: remove it"));
        assert_eq!(
            with_nearest("missing field `a`".to_owned()),
            "missing field `a`"
        );
    }
}
