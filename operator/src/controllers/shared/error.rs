//! What keeps a reconcile from being done, and when to try again. A user's mistake is none of
//! these: it is a condition.

use std::time::Duration;

use crds::conditions::StalledReason;
use kube::core::Status;
use operator_core::Failure;

/// What keeps a reconcile from being done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
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
    /// An object of ours that the caches do not have yet.
    #[error("{0} is there already, and not seen yet")]
    Unseen(String),
    /// An object of a name that we would take is somebody else's.
    #[error("{0} is there already, and belongs to somebody else")]
    Taken(String),
    /// The resource was written by another version, in a form that this one cannot read.
    #[error("the RewardModel cannot be read, so that nothing is changed: {0}")]
    Unreadable(serde_json::Error),
    /// An object cannot be written as JSON.
    #[error("an object cannot be written: {0}")]
    Serialise(#[from] serde_json::Error),
    /// It took too long.
    #[error("no end within a minute")]
    Slow,
}

impl Error {
    pub(crate) fn api(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Api {
            doing,
            source: Box::new(source),
        }
    }

    /// One word of a closed set, for metrics.
    pub(crate) fn category(&self) -> &'static str {
        match self {
            Self::Api { .. } if self.is_conflict() => "conflict",
            Self::Api { .. } => "api",
            Self::Leftover(_) => "leftover",
            Self::Unseen(_) => "unseen",
            Self::Taken(_) => "taken",
            Self::Unreadable(_) => "unreadable",
            Self::Serialise(_) => "serialise",
            Self::Slow => "slow",
        }
    }

    /// The resource moved on while it was looked at.
    pub(crate) fn is_conflict(&self) -> bool {
        self.status().is_some_and(|status| status.code == 409)
    }

    /// What the API server said, if it was the one that refused.
    fn status(&self) -> Option<&Status> {
        match self {
            Self::Api { source, .. } => {
                if let kube::Error::Api(status) = source.as_ref() {
                    Some(status)
                } else {
                    None
                }
            }
            Self::Leftover(_)
            | Self::Unseen(_)
            | Self::Taken(_)
            | Self::Unreadable(_)
            | Self::Serialise(_)
            | Self::Slow => None,
        }
    }

    /// What a human has to mend, where it is for one to mend: what the API server says of an object
    /// that it will not have, or of a permission that the operator lacks.
    pub(crate) fn refusal(&self) -> Option<Failure> {
        let Self::Api { doing, .. } = self else {
            return None;
        };
        let status = self.status()?;
        let said = &status.message;
        let (reason, advice) = match status.code {
            400 | 422 => (StalledReason::InvalidSpec, ""),
            403 if said.contains("being terminated") => return None,
            // The authorizer names a user and a verb; admission plugins name neither.
            403 if said.contains("User \"") && said.contains(" cannot ") => (
                StalledReason::Forbidden,
                "; give the operator the permission (manifests/base/rbac.yaml has all that it needs)",
            ),
            403 => (StalledReason::QuotaExceeded, ""),
            _ => return None,
        };
        Some(Failure::new(
            reason,
            format!("the API server refuses to {doing}: {said}{advice}"),
        ))
    }

    /// When to try again after `failures` in a row.
    pub(crate) fn retry_after(&self, failures: u32) -> Duration {
        if self.is_conflict() {
            return Duration::from_millis(200);
        }
        let seconds = 1_u64.checked_shl(failures.min(9)).unwrap_or(300).min(300);
        match self {
            Self::Leftover(_) => Duration::from_secs(1),
            Self::Unseen(_) => Duration::from_millis(200),
            Self::Api { .. }
            | Self::Taken(_)
            | Self::Unreadable(_)
            | Self::Serialise(_)
            | Self::Slow => Duration::from_secs(seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: u16, message: &str) -> Option<Failure> {
        let mut status = Status::failure(message, "");
        status.code = code;
        let error = kube::Error::Api(Box::new(status));
        Error::api("create Deployment a")(error).refusal()
    }

    #[test]
    fn a_missing_permission_is_named_and_is_no_quota() {
        let said = "deployments.apps is forbidden: User \"system:serviceaccount:a:b\" cannot create resource \"deployments\" in API group \"apps\" in the namespace \"n\"";
        let failure = refusal(403, said).unwrap();
        assert_eq!(failure.reason, StalledReason::Forbidden);
        assert!(
            failure
                .message
                .contains("cannot create resource \"deployments\"")
        );
        let quota = "pods \"a\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1";
        assert_eq!(
            refusal(403, quota).unwrap().reason,
            StalledReason::QuotaExceeded
        );
        assert_eq!(
            refusal(422, "no").unwrap().reason,
            StalledReason::InvalidSpec
        );
        assert_eq!(refusal(403, "namespace is being terminated"), None);
        assert_eq!(refusal(500, "no"), None);
    }
}
