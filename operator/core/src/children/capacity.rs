//! How many pods each revision has: one pure function of the state.
//!
//! Invariant: a revision that clients rely on is made smaller only where the strategy is Recreate.

use crds::v1alpha1::reward_model::rollout::Strategy;

use crate::reading::Reading;
use crate::reading::resolution::Resolution;
use crate::state::State;

/// Pods of each revision; `None` where its Deployment is left as it is, or not made yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) stable: Option<i32>,
    pub(crate) canary: Option<i32>,
}

/// The sizes that `state` takes.
pub(crate) fn sizes(reading: &Reading<'_>, state: &State) -> Sizes {
    let wanted = reading.scale.replicas;
    let recreates = reading.strategy == Strategy::Recreate;
    let stands_aside = recreates && (state.canary().is_some() || is_read_alone(reading));
    let old_pods = state.stable().is_some_and(|hash| reading.has_pods(hash));
    let in_the_way = recreates && old_pods;
    Sizes {
        stable: state
            .stable()
            .map(|_| if stands_aside { 0 } else { wanted }),
        canary: state.canary().filter(|_| !in_the_way).map(|_| wanted),
    }
}

/// Whether a model is being read from a claim that one pod at a time may use: then the one that
/// serves leaves the claim to the verify Job.
fn is_read_alone(reading: &Reading<'_>) -> bool {
    reading.one_pod_only()
        && !reading.held()
        && matches!(reading.resolution, Resolution::Running { .. })
}
