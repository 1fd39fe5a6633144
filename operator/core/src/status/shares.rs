//! What share of the traffic each revision has: the wish, the fact, and the measurement.
//!
//! Invariant: what is measured is of the weights that stand beside it, and changes twice a minute at most: a status is
//! no gauge.

use std::collections::BTreeMap;

use crds::v1alpha1::reward_model::status::{RevisionStatus, TrafficShare};
use crds::value::Decimal;
use traffic::status::Report;

use crate::capacity::Percent;
use crate::identity::RevisionHash;
use crate::reading::Reading;
use crate::state::State;

/// Answers that a share is measured on.
const MEASURED: u64 = 200;

pub(super) fn traffic(reading: &Reading<'_>, state: &State) -> Option<Vec<TrafficShare>> {
    let all = reading.reports.acknowledged.as_ref();
    let mut shares = shares(state, all.map(|all| format!("{}/{}", all.routers, all.of)))?;
    // Wish and fact differ while the table of these weights is still on its way: what was counted is of others then.
    let is_applied = |share: &TrafficShare| share.applied_weight == share.spec_weight;
    let measured = shares
        .iter()
        .all(is_applied)
        .then(|| measured(reading))
        .flatten();
    for share in &mut shares {
        let told = || {
            let mut before = reading.before.traffic.iter().flatten();
            let same = |old: &&TrafficShare| {
                (&old.revision, old.spec_weight) == (&share.revision, share.spec_weight)
            };
            before
                .find(same)
                .and_then(|old| old.observed_percent.clone())
        };
        share.observed_percent = match &measured {
            None => told(),
            Some(measured) => percent(measured, &share.revision),
        };
    }
    Some(shares)
}

/// Of a revision that answered nothing: none of it.
fn percent(measured: &BTreeMap<traffic::Revision, u16>, revision: &str) -> Option<Decimal> {
    let name = traffic::Revision::parse(revision)?;
    let hundredths = measured.get(&name).copied().unwrap_or(0);
    let percent = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    Some(Decimal::from(percent.as_str()))
}

/// What each revision answered of what was asked since the table is in force, where that is enough to say.
fn measured(reading: &Reading<'_>) -> Option<BTreeMap<traffic::Revision, u16>> {
    let observed = reading.observed;
    let in_force = reading
        .reports
        .acknowledged
        .as_ref()
        .is_some_and(traffic::status::Acknowledged::by_all);
    let (first, last) = (&observed.first_reports, &observed.measured_reports);
    (in_force && is_enough(first, last)).then(|| traffic::status::observed(first, last))?
}

/// Whether routers have answered enough between these reports to say which part was whose.
pub fn is_enough(first: &[Report], last: &[Report]) -> bool {
    let answered = |reports: &[Report]| -> u64 {
        let revisions = reports.iter().flat_map(|report| &report.revisions);
        revisions.map(|revision| revision.answered).sum()
    };
    answered(last).saturating_sub(answered(first)) >= MEASURED
}

/// The stable revision first, then the one beside it: the wish, and what every router was seen to do.
pub(super) fn shares(state: &State, routers: Option<String>) -> Option<Vec<TrafficShare>> {
    let (weight, applied) = match &state.rollout {
        Some(rollout) => (rollout.weight, rollout.applied),
        None => (Percent::NONE, Percent::NONE),
    };
    let share = |hash: &RevisionHash, weight: Percent, applied: Percent| TrafficShare {
        revision: hash.to_string(),
        spec_weight: Some(weight.get()),
        applied_weight: Some(applied.get()),
        observed_percent: None,
        routers: routers.clone(),
    };
    let stable = state
        .stable()
        .map(|hash| share(hash, weight.rest(), applied.rest()));
    let beside = state
        .canary()
        .map(|hash| share(hash, weight, applied))
        .or_else(|| {
            let previous = state.previous()?;
            Some(share(previous, Percent::NONE, Percent::NONE))
        });
    let shares: Vec<_> = stable.into_iter().chain(beside).collect();
    (!shares.is_empty()).then_some(shares)
}

/// Requests that the stable revision has answered for the canary.
pub(super) fn fallbacks(reading: &Reading<'_>, canary: Option<&RevisionStatus>) -> Option<i64> {
    let name = &canary?.revision;
    let reports = &reading.observed.reports;
    let of_canary = reports
        .iter()
        .flat_map(|report| &report.revisions)
        .filter(|row| row.revision.as_str() == name);
    let sum: u64 = of_canary.map(|row| row.fallbacks).sum();
    (!reports.is_empty()).then(|| i64::try_from(sum).unwrap_or(i64::MAX))
}
