//! Why a fetch failed, in the words that the operator passes on, and whether trying again may help.
//!
//! Owns the reading of errors of sources and disks. Invariant: no message has a secret of the
//! environment in it.

use std::fmt;
use std::io::ErrorKind;

use inference_models::{LoadError, Reason};
use reqwest::StatusCode;

use super::remote::Settings;

/// The source does not answer, or says no.
const UNREACHABLE: &str = "SourceUnreachable";
const VOLUME: &str = "VolumeUnavailable";
/// Parts of the names of variables that hold secrets.
const SECRETS: [&str; 7] = [
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "KEY",
    "SAS",
    "CREDENTIAL",
    "SIGNATURE",
];
/// Shorter ones would hide half of a message, and are no secrets.
const SHORTEST_SECRET: usize = 6;

/// What a source says instead of the model.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Refusal {
    message: String,
    passes: bool,
}

impl Refusal {
    /// One that may be over the next time.
    pub(super) fn passing(message: String) -> Self {
        Self {
            message,
            passes: true,
        }
    }

    /// An answer of HTTP that is no success. `what` was asked for.
    pub(super) fn of(status: StatusCode, what: &str) -> Self {
        let (why, passes) = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (
                "access is refused: check the token (tokenSecretRef or secretRef; HF_TOKEN, HTTP_TOKEN), that it may read this, and that the model's terms are accepted",
                false,
            ),
            StatusCode::NOT_FOUND => (
                "there is no such model or revision: correct its name; a private one needs a token",
                false,
            ),
            StatusCode::TOO_MANY_REQUESTS => ("the source wants fewer requests", true),
            status if status.is_client_error() => ("the source does not take the request", false),
            _ => ("the source is in trouble", true),
        };
        Self {
            message: format!("{what} answers {}: {why}", status.as_u16()),
            passes,
        }
    }
}

/// Why a fetch failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// A reason of the condition `Stalled`.
    pub(super) reason: String,
    /// What happened and what to do.
    pub(super) message: String,
    /// Whether trying again may help.
    pub(crate) passes: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

impl std::error::Error for Failure {}

/// What `error` means, without the secrets of `settings`.
pub(super) fn of(error: &anyhow::Error, settings: &Settings) -> Failure {
    let (reason, advice) = reason(error);
    let said = match found::<object_store::Error>(error) {
        Some(trouble) => format!("{error}: {}", said_by_store(trouble)),
        None => format!("{error:#}"),
    };
    Failure {
        reason,
        message: without_secrets(format!("{said}{advice}"), settings),
        passes: passes(error),
    }
}

/// Whether trying again may help.
pub(super) fn passes(error: &anyhow::Error) -> bool {
    if let Some(refusal) = found::<Refusal>(error) {
        return refusal.passes;
    }
    if let Some(trouble) = found::<reqwest::Error>(error) {
        return !trouble.is_builder() && !trouble.is_redirect();
    }
    found::<object_store::Error>(error)
        .is_some_and(|trouble| !refuses(trouble) && disk(error).is_none())
}

fn reason(error: &anyhow::Error) -> (String, &'static str) {
    if let Some(load) = found::<LoadError>(error) {
        return (load.reason.to_string(), "");
    }
    if let Some(advice) = disk(error) {
        return (VOLUME.to_owned(), advice);
    }
    if let Some(trouble) = found::<object_store::Error>(error) {
        let advice = if refuses(trouble) {
            ": check the keys in secretRef, that they may list and read this, and the bucket's name"
        } else {
            ""
        };
        return (UNREACHABLE.to_owned(), advice);
    }
    let remote = found::<Refusal>(error).is_some() || found::<reqwest::Error>(error).is_some();
    let reason = if remote {
        UNREACHABLE.to_owned()
    } else {
        Reason::LoadFailed.to_string()
    };
    (reason, "")
}

/// The HTTP status of a store's answer, which stands in its words alone.
fn status(trouble: &object_store::Error) -> Option<u16> {
    let words = trouble.to_string();
    let (_, rest) = words.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

/// What a store says, less the rest of its answer, in which it repeats what it was sent.
fn said_by_store(trouble: &object_store::Error) -> String {
    let words = trouble.to_string();
    let code = words
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"))
        .map(|(code, _)| code);
    match (status(trouble), code) {
        (Some(status), Some(code)) => format!("it answers {status} {code}"),
        (Some(status), None) => format!("it answers {status}"),
        (None, _) => words,
    }
}

/// Whether a store says no for good.
fn refuses(trouble: &object_store::Error) -> bool {
    if status(trouble).is_some_and(|status| matches!(status, 400..=407 | 409..=428)) {
        return true;
    }
    matches!(
        trouble,
        object_store::Error::NotFound { .. }
            | object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. }
            | object_store::Error::InvalidPath { .. }
            | object_store::Error::NotSupported { .. }
            | object_store::Error::NotImplemented { .. }
            | object_store::Error::UnknownConfigurationKey { .. }
    )
}

/// What to do about a volume that takes no more.
fn disk(error: &anyhow::Error) -> Option<&'static str> {
    let trouble = found::<std::io::Error>(error)?;
    let is = |kinds: [ErrorKind; 2]| kinds.contains(&trouble.kind());
    if is([ErrorKind::StorageFull, ErrorKind::QuotaExceeded]) {
        return Some(
            ": the volume is full: enlarge its claim, or lower revisionHistoryLimit so that older models go",
        );
    }
    is([ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied]).then_some(
        ": the volume cannot be written to: its claim has to be ReadWriteOnce or ReadWriteMany, and to let user 1000 write",
    )
}

fn found<E: std::error::Error + Send + Sync + 'static>(error: &anyhow::Error) -> Option<&E> {
    error.chain().find_map(|cause| cause.downcast_ref::<E>())
}

fn without_secrets(mut message: String, settings: &Settings) -> String {
    let is_secret = |name: &str| {
        let name = name.to_ascii_uppercase();
        SECRETS.iter().any(|part| name.contains(part))
    };
    for (name, value) in settings {
        let value = value.trim();
        if value.len() >= SHORTEST_SECRET && is_secret(name) {
            message = message.replace(value, "***");
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    fn failure(error: anyhow::Error) -> Failure {
        of(&error, &Settings::new())
    }

    #[test]
    fn what_a_source_answers_has_its_reason_and_says_what_to_do() {
        for (status, passes, words) in [
            (401, false, "tokenSecretRef"),
            (403, false, "terms"),
            (404, false, "no such model or revision"),
            (400, false, "does not take"),
            (429, true, "fewer"),
            (503, true, "trouble"),
        ] {
            let refusal = Refusal::of(StatusCode::from_u16(status).unwrap(), "x");
            let failure = failure(anyhow!(refusal).context("listing"));
            assert_eq!(failure.reason, UNREACHABLE);
            assert_eq!(failure.passes, passes, "{status}");
            assert!(failure.message.contains(words), "{}", failure.message);
        }
    }

    #[test]
    fn a_full_disk_is_no_trouble_of_the_source() {
        let full = std::io::Error::from(ErrorKind::StorageFull);
        let failure = failure(Err::<(), _>(full).context("a file").unwrap_err());
        assert_eq!((failure.reason.as_str(), failure.passes), (VOLUME, false));
        assert!(failure.message.contains("enlarge"), "{}", failure.message);
    }

    #[test]
    fn a_model_that_is_bad_keeps_its_reason() {
        let bad = LoadError::new(Reason::DigestMismatch, "other files");
        let failure = failure(anyhow!(bad));
        assert_eq!(failure.to_string(), "DigestMismatch: other files");
        assert!(!failure.passes);
    }

    #[test]
    fn a_secret_is_in_no_message_whoever_says_it() {
        let names = ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "azure_storage_sas"];
        for name in names {
            let settings = Settings::from([(name.to_owned(), "hunter2!\n".to_owned())]);
            let error = anyhow!("the store says: hunter2! is unknown");
            let failure = of(&error, &settings);
            assert!(!failure.to_string().contains("hunter2"), "{failure}");
        }
    }
}
