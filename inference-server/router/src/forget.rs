//! Scores that the servers of the revisions remember, and are to forget.
//!
//! Owns whom it is said to. Invariant: what is called forgotten was confirmed by every endpoint that is
//! known to answer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::Router;
use crate::ask::{self, Forgetting};
use crate::experiment::Trial;

/// How long an endpoint may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Endpoints that have forgotten.
    pub by: usize,
    /// Endpoints that remember nothing in any case.
    pub without_cache: usize,
    /// Those that did not say so: revision and address.
    pub failed: Vec<String>,
}

impl Router {
    /// Lets every endpoint of every revision forget the scores of a version of the model.
    pub async fn forget(&self, version: &str) -> Forgotten {
        let view = self.0.view.load_full();
        let groups = view.iter().flat_map(|view| {
            let trial = view.trial.iter().flat_map(Trial::groups);
            view.groups.iter().chain(trial)
        });
        let mut asked = tokio::task::JoinSet::new();
        for group in groups {
            for endpoint in &group.endpoints {
                let answers = endpoint.ready.load(Ordering::Relaxed)
                    || endpoint.serving.load(Ordering::Relaxed);
                if !answers {
                    continue;
                }
                let (endpoint, version) = (endpoint.clone(), version.to_owned());
                let name = format!("{} at {}", group.target.revision, endpoint.pool.address());
                asked
                    .spawn(async move { (name, ask::forget(&endpoint, &version, PATIENCE).await) });
            }
        }
        let mut forgotten = Forgotten::default();
        while let Some(one) = asked.join_next().await {
            match one {
                Ok((_, Ok(Forgetting::Done))) => forgotten.by += 1,
                Ok((_, Ok(Forgetting::NoCache))) => forgotten.without_cache += 1,
                Ok((name, Err(_))) => forgotten.failed.push(name),
                Err(_) => forgotten.failed.push("an endpoint".to_owned()),
            }
        }
        forgotten.failed.sort_unstable();
        forgotten
    }
}
