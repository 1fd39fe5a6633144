//! What one Job scores, as its mark says it.

use std::fmt;

use crds::labels;
use crds::value::Digest;
use k8s_openapi::api::batch::v1::Job;

use crate::identity::RevisionHash;
use crate::observed::annotation;

/// What one Job scores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// The new revision.
    pub canary: RevisionHash,
    /// The stable one, where it is there to be asked too.
    pub stable: Option<RevisionHash>,
    /// The set.
    pub set: Named,
}

/// A set, by what is known of it beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// Its SHA-256.
    Digest(Digest),
    /// For which rollout it is read, of a claim that only a pod can read.
    Rollout(String),
}

impl Work {
    /// What `job` does, if it is one that scores a golden set.
    pub fn of(job: &Job) -> Option<Self> {
        annotation(&job.metadata, labels::GOLDEN).and_then(Self::parse)
    }

    /// What stands in a mark.
    pub fn parse(text: &str) -> Option<Self> {
        let (canary, rest) = text.split_once('/')?;
        let (stable, set) = rest.split_once('/')?;
        Some(Self {
            canary: RevisionHash::parse(canary)?,
            stable: match stable {
                "-" => None,
                stable => Some(RevisionHash::parse(stable)?),
            },
            set: if set.starts_with("sha256:") {
                Named::Digest(set.into())
            } else {
                Named::Rollout(set.to_owned())
            },
        })
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Digest(digest) => digest.as_str(),
            Self::Rollout(rollout) => rollout,
        })
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stable = self.stable.as_ref().map_or("-", RevisionHash::as_str);
        write!(f, "{}/{stable}/{}", self.canary, self.set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_back_as_it_was_written_and_another_one_is_none() {
        let hash = |text| RevisionHash::parse(text).unwrap();
        for (stable, set) in [
            (
                Some(hash("00000000bb")),
                Named::Rollout("00000000aa-7".to_owned()),
            ),
            (
                None,
                Named::Digest(format!("sha256:{}", "a".repeat(64)).as_str().into()),
            ),
        ] {
            let work = Work {
                canary: hash("00000000aa"),
                stable,
                set,
            };
            assert_eq!(Work::parse(&work.to_string()), Some(work));
        }
        for text in [
            "",
            "00000000aa",
            "00000000aa/-",
            "zz/-/a",
            "00000000aa/zz/a",
        ] {
            assert_eq!(Work::parse(text), None, "{text}");
        }
    }
}
