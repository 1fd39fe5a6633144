//! Flags of `inference-server serve` in the pods of a revision.
//!
//! Invariant: a flag that the spec's own args have is left to them.

use k8s_openapi::api::core::v1::PodTemplateSpec;

use super::HTTP_PORT;
use super::pod::{Frozen, literal};
use crate::identity::{RevisionHash, names};
use crds::RewardModelSpec;
use crds::v1alpha1::reward_model::model::{Activation, Truncation};
use crds::v1alpha1::reward_model::server::{Dtype, Server};

/// Who a server is to be. One that is told so knows the route that routers ask.
const REVISION: &str = "--revision";

/// Whether a server of `template` is told who it is: one of before the routers is not.
pub(crate) fn is_told(template: &PodTemplateSpec) -> bool {
    let mut containers = template.spec.iter().flat_map(|pod| &pod.containers);
    let server = containers.find(|container| container.name == names::SERVER);
    server.is_none_or(|server| has(server.args.as_deref().unwrap_or_default(), REVISION))
}

/// Whether a flag is among `args`, with its value behind it or in one word with it.
fn has(args: &[String], flag: &str) -> bool {
    args.iter().any(|arg| arg.split('=').next() == Some(flag))
}

/// Whether the spec itself says that its server computes on the CPU.
pub(crate) fn asks_for_cpu(server: &Server) -> bool {
    let own = server.args.as_deref().unwrap_or_default();
    let at = own
        .iter()
        .rposition(|arg| arg == "--device" || arg.starts_with("--device="));
    let said = at.and_then(|at| match own.get(at)?.split_once('=') {
        Some((_, value)) => Some(value),
        None => own.get(at + 1).map(String::as_str),
    });
    if let Some(device) = said {
        return device == "cpu";
    }
    let mut env = server.env.iter().flatten();
    env.any(|one| {
        let is = |field: &str, text: &str| one.0.get(field).is_some_and(|value| value == text);
        is("name", "REWARD_DEVICE") && is("value", "cpu")
    })
}

/// Tells a server who it is, where a record of before the routers does not.
pub(crate) fn tell(template: &mut PodTemplateSpec, revision: &RevisionHash) {
    if is_told(template) {
        return;
    }
    let mut containers = template.spec.iter_mut().flat_map(|pod| &mut pod.containers);
    if let Some(server) = containers.find(|container| container.name == names::SERVER) {
        let args = server.args.get_or_insert_default();
        args.extend([REVISION.to_owned(), revision.to_string()]);
    }
}

/// Flags of `inference-server serve` for the model in `folder`. A pod that asks for a GPU never falls
/// back to the CPU, unless its own args say so.
pub(super) fn of(
    spec: &RewardModelSpec,
    server: &Server,
    folder: String,
    frozen: &Frozen,
    on_gpu: bool,
) -> Vec<String> {
    let own = server.args.clone().unwrap_or_default();
    let mut flags: Vec<(&str, String)> = vec![
        ("--model", folder),
        ("--digest", frozen.digest.to_string()),
        ("--listen", format!("[::]:{HTTP_PORT}")),
    ];
    flags.push(("--special-date", frozen.date.clone()));
    flags.push((REVISION, frozen.revision.to_string()));
    if on_gpu {
        flags.push(("--device", "cuda".to_owned()));
    }
    flags.extend(model_flags(spec));
    flags.extend(
        server
            .dtype
            .and_then(dtype)
            .map(|name| ("--dtype", name.to_owned())),
    );
    flags.extend(cache_flags(server));
    std::iter::once("serve".to_owned())
        .chain(
            flags
                .into_iter()
                .filter(|(flag, _)| !has(&own, flag))
                .flat_map(|(flag, value)| argument(flag, value)),
        )
        .chain(own.iter().cloned())
        .collect()
}

/// A value that looks like a flag stands in one word with its own.
fn argument(flag: &str, value: String) -> Vec<String> {
    let value = literal(&value);
    if value.starts_with('-') {
        vec![format!("{flag}={value}")]
    } else {
        vec![flag.to_owned(), value]
    }
}

fn model_flags(spec: &RewardModelSpec) -> Vec<(&'static str, String)> {
    let mut flags = Vec::new();
    if let Some(head) = &spec.model.head {
        flags.extend(head.label.map(|label| ("--label", label.to_string())));
        if head.activation == Some(Activation::Sigmoid) {
            flags.push(("--activation", "sigmoid".to_owned()));
        }
    }
    if let Some(input) = &spec.model.input {
        flags.extend(
            input
                .max_tokens
                .map(|count| ("--max-tokens", count.to_string())),
        );
        flags.extend(
            input
                .truncation
                .map(|side| ("--truncation", truncation(side).to_owned())),
        );
        flags.extend(
            input
                .prompt_template
                .clone()
                .map(|text| ("--prompt-template", text)),
        );
    }
    flags
}

fn cache_flags(server: &Server) -> Vec<(&'static str, String)> {
    let Some(cache) = &server.cache else {
        return Vec::new();
    };
    let mut flags = Vec::new();
    flags.extend(
        cache
            .enabled
            .map(|enabled| ("--cache", enabled.to_string())),
    );
    // The server's own form of durations has one unit.
    let ttl = cache.ttl.as_ref().and_then(|ttl| ttl.to_std().ok());
    flags.extend(ttl.map(|ttl| ("--cache-ttl", format!("{}ms", ttl.as_millis()))));
    flags.extend(
        cache
            .max_entries
            .map(|count| ("--cache-max-entries", count.to_string())),
    );
    flags
}

const fn truncation(side: Truncation) -> &'static str {
    match side {
        Truncation::Left => "left",
        Truncation::Right => "right",
        Truncation::Reject => "reject",
    }
}

const fn dtype(dtype: Dtype) -> Option<&'static str> {
    match dtype {
        Dtype::Auto => None,
        Dtype::F32 => Some("f32"),
        Dtype::BF16 => Some("bf16"),
        Dtype::F16 => Some("f16"),
        Dtype::Int8 => Some("int8"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::identity::RevisionHash;

    fn args(server: serde_json::Value, input: serde_json::Value) -> Vec<String> {
        let spec: RewardModelSpec = serde_json::from_value(json!({
            "model": {"source": {"pvc": {"claimName": "models", "path": "v1"}}, "input": input},
            "server": server,
        }))
        .unwrap();
        let frozen = Frozen {
            digest: format!("sha256:{}", "a".repeat(64)).as_str().into(),
            bytes: None,
            date: "2026-11-26".to_owned(),
            revision: RevisionHash::parse("0123456789").unwrap(),
        };
        of(
            &spec,
            &spec.server.clone().unwrap(),
            "/models/v1".to_owned(),
            &frozen,
            false,
        )
    }

    fn value<'a>(args: &'a [String], flag: &str) -> Option<&'a str> {
        let at = args.iter().position(|arg| arg == flag)?;
        args.get(at + 1).map(String::as_str)
    }

    #[test]
    fn the_spec_is_told_in_the_words_of_the_server() {
        let server =
            json!({"dtype": "BF16", "cache": {"enabled": true, "ttl": "1h30m", "maxEntries": 5}});
        let args = args(server, json!({"maxTokens": 512, "truncation": "Left"}));
        for (flag, expected) in [
            ("--model", "/models/v1"),
            ("--special-date", "2026-11-26"),
            ("--revision", "0123456789"),
            ("--dtype", "bf16"),
            ("--cache", "true"),
            ("--cache-ttl", "5400000ms"),
            ("--cache-max-entries", "5"),
            ("--max-tokens", "512"),
            ("--truncation", "left"),
        ] {
            assert_eq!(value(&args, flag), Some(expected), "{args:?}");
        }
    }

    #[test]
    fn a_flag_of_the_spec_itself_has_the_last_word() {
        let args = args(json!({"dtype": "BF16", "args": ["--dtype=f32"]}), json!({}));
        assert_eq!(value(&args, "--dtype"), None);
        assert_eq!(args.last().map(String::as_str), Some("--dtype=f32"));
    }

    #[test]
    fn a_template_that_looks_like_a_flag_is_none() {
        let args = args(json!({}), json!({"promptTemplate": "--{{ prompt }}"}));
        assert!(
            args.contains(&"--prompt-template=--{{ prompt }}".to_owned()),
            "{args:?}"
        );
    }

    #[test]
    fn what_a_template_says_reaches_the_server_as_it_is_written() {
        // The kubelet would make $x$ of the first, and the password of the second.
        let template = "$$x$$ $(REWARD_REDIS_URL) {{ prompt }}";
        let args = args(
            json!({"args": ["--log=$(LEVEL)"]}),
            json!({"promptTemplate": template}),
        );
        let escaped = "$$$$x$$$$ $$(REWARD_REDIS_URL) {{ prompt }}";
        assert_eq!(value(&args, "--prompt-template"), Some(escaped));
        assert_eq!(args.last().map(String::as_str), Some("--log=$(LEVEL)"));
    }
}
