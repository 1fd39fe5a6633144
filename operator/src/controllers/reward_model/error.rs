//! What keeps a reconcile from being done, and when to try again. A user's mistake is none of
//! these: it is a condition.

use std::time::Duration;

/// What keeps a reconcile from being done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The API server refused, or did not answer.
    #[error("{doing}: {source}")]
    Api {
        /// What was tried.
        doing: String,
        /// What it said.
        #[source]
        source: Box<kube::Error>,
    },
    /// An object of an earlier resource of the same name is still going.
    #[error("{0} belongs to an earlier RewardModel of this name and is still going")]
    Leftover(String),
    /// An object cannot be written as JSON.
    #[error("an object cannot be written: {0}")]
    Serialise(#[from] serde_json::Error),
    /// It took too long.
    #[error("no end within a minute")]
    Slow,
}

impl Error {
    pub(super) fn api(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Api {
            doing,
            source: Box::new(source),
        }
    }

    /// One word of a closed set, for metrics.
    pub(super) fn category(&self) -> &'static str {
        match self {
            Self::Api { .. } if self.is_conflict() => "conflict",
            Self::Api { .. } => "api",
            Self::Leftover(_) => "leftover",
            Self::Serialise(_) => "serialise",
            Self::Slow => "slow",
        }
    }

    /// The resource moved on while it was looked at.
    pub(super) fn is_conflict(&self) -> bool {
        match self {
            Self::Api { source, .. } => {
                matches!(source.as_ref(), kube::Error::Api(status) if status.code == 409)
            }
            Self::Leftover(_) | Self::Serialise(_) | Self::Slow => false,
        }
    }

    /// When to try again after `failures` in a row.
    pub(super) fn retry_after(&self, failures: u32) -> Duration {
        if self.is_conflict() {
            return Duration::from_millis(200);
        }
        let seconds = 1_u64.checked_shl(failures.min(9)).unwrap_or(300).min(300);
        match self {
            Self::Leftover(_) => Duration::from_secs(1),
            Self::Api { .. } | Self::Serialise(_) | Self::Slow => Duration::from_secs(seconds),
        }
    }
}
