//! Why a model cannot be served. The reasons are those of the operator's condition `Stalled`.

use std::fmt;

/// Why a model cannot be served, in one word that the operator passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Reason {
    /// The folder is not there.
    VolumeUnavailable,
    /// The files are not the pinned ones.
    DigestMismatch,
    /// The files are of a kind that is not served.
    UnsupportedFormat,
    /// A file is missing or broken.
    ModelInvalid,
    /// Anything else, such as a disk that does not answer.
    LoadFailed,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why a model cannot be served, and what to do. Messages name files relative to the model's
/// folder, never absolute paths.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LoadError {
    /// One word.
    pub reason: Reason,
    /// What is wrong and what to do.
    pub message: String,
}

impl LoadError {
    /// An error of that reason.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// A file of the model is missing or broken.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Reason::ModelInvalid, message)
    }

    /// The model is of a kind that is not served.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(Reason::UnsupportedFormat, message)
    }

    /// The tensor library refused.
    pub fn tensor(what: &str) -> impl FnOnce(candle_core::Error) -> Self {
        let what = what.to_owned();
        move |error| Self::new(Reason::LoadFailed, format!("{what}: {error}"))
    }
}
