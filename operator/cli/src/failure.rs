//! Why a command gives no answer, and its exit code.

use std::fmt;

/// Why there is no answer, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// What was given cannot be used: the caller has to change it.
    Usage(String),
    /// What was needed could not be had: a file, the cluster.
    Failed(String),
}

impl Failure {
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(why) | Self::Failed(why) => out.write_str(why),
        }
    }
}
