//! How many pods each revision has: one pure function of the state.
//!
//! Invariant: a revision that clients rely on is made smaller only where the strategy is Recreate.

use crds::v1alpha1::reward_model::rollout::Strategy;

use crate::reading::Reading;
use crate::reading::resolution::Resolution;
use crate::state::State;

/// Pods of each revision; `None` where it has no part in the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) stable: Option<i32>,
    pub(crate) canary: Option<i32>,
}

/// The sizes that `state` takes. With Recreate the new revision's Deployment is made without pods
/// first: what the API server refuses is found out while the old pods still serve.
pub(crate) fn sizes(reading: &Reading<'_>, state: &State) -> Sizes {
    let wanted = reading.scale.replicas;
    let recreates = reading.strategy == Strategy::Recreate;
    let read_alone = recreates && is_read_alone(reading);
    let children = &reading.observed.children;
    let canary_is_made = state
        .canary()
        .is_some_and(|hash| children.deployment(hash).is_some());
    let stands_aside = read_alone || (recreates && canary_is_made);
    let old_pods = state.stable().is_some_and(|hash| reading.has_pods(hash));
    let waits = read_alone || (recreates && old_pods);
    let size = |none: bool| if none { 0 } else { wanted };
    Sizes {
        stable: state.stable().map(|_| size(stands_aside)),
        canary: state.canary().map(|_| size(waits)),
    }
}

/// Whether a model is being read from a claim that one pod at a time may use: then whoever has it
/// leaves it to the verify Job.
fn is_read_alone(reading: &Reading<'_>) -> bool {
    reading.one_pod_only()
        && !reading.held()
        && matches!(reading.resolution, Resolution::Running { .. })
}
