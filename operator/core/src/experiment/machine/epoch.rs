//! When an epoch begins, and why.
//!
//! Invariants: an epoch has one set of variants, weights, revisions and metrics from its beginning to its
//! end, so that two allocations are never mixed in one analysis; where variants come or go, the others' users
//! stay where they are as far as that can be.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::seen::Seen;
use super::super::slots::Slots;
use super::super::spec::{Design, Variant};
use super::{Action, Epoch, Notice, Standing, State, Step};
use crate::identity::canonical;

/// A verdict is left behind where what is compared was changed after it, and the endpoint is free: one that
/// is over has given it up. Where it is not, the verdict stays, and this is what it waits for.
pub(super) fn reopen(step: &mut Step, seen: &Seen<'_>, design: &Design) -> Option<Standing> {
    let conclusion = step.state.conclusion.as_ref()?;
    let has_endpoint = !conclusion.is_over();
    // What won and waits for a human is to be what serves.
    let follows = conclusion.approved_at.is_none();
    let changed = step.state.epoch.as_ref().is_some_and(|epoch| {
        epoch.fingerprint != design.fingerprint()
            || epoch.weights != weights(design)
            || (follows && revised(epoch, seen, design).is_some())
    });
    // Stopped before it began: there is nothing that could have changed.
    if !changed {
        return None;
    }
    if let Some(first) = super::first(seen, has_endpoint) {
        return Some(super::conflict(first, design));
    }
    step.state = State {
        epoch: step.state.epoch.take(),
        ..State::default()
    };
    None
}

/// A report stays one; but users who stay in their arms would meet a revision that nobody has compared, such as
/// the winner that was committed to the endpoint. So they are control's from then on, and the endpoint is free.
pub(super) fn retire(step: &mut Step, seen: &Seen<'_>, design: &Design) {
    let epoch = step.state.epoch.as_ref();
    let Some(why) = epoch.and_then(|epoch| revised(epoch, seen, design)) else {
        return;
    };
    let conclusion = step.state.conclusion.as_mut();
    if let Some(conclusion) = conclusion.filter(|conclusion| conclusion.action == Action::Report) {
        conclusion.action = Action::ReturnToControl;
        conclusion.applied_at = None;
        conclusion.message = format!(
            "{}; since then {why}, so that everybody is control's",
            conclusion.message
        );
    }
}

/// What is compared was changed while nothing was dealt, and then the experiment was stopped: the verdict is of
/// what it is now.
pub(super) fn settle(step: &mut Step, design: &Design) {
    if let Some(epoch) = &mut step.state.epoch {
        epoch.fingerprint = design.fingerprint();
        epoch.weights = weights(design);
    }
}

/// Opens the first epoch, or the next where what it rests on has changed.
pub(super) fn advance(step: &mut Step, seen: &Seen<'_>, design: &Design) {
    let fingerprint = design.fingerprint();
    let weights = weights(design);
    gone(step, seen, design);
    let reason = match &step.state.epoch {
        None => "the experiment begins".to_owned(),
        Some(epoch) => {
            let change = change(epoch, seen, design, &fingerprint, &weights);
            match change.or_else(|| returned(&step.state, seen, design)) {
                Some(reason) => reason,
                None => return,
            }
        }
    };
    let before = step.state.epoch.as_ref();
    // Where the weights are the same, nobody is moved.
    let slots = before.map_or_else(
        || Slots::new(&design.variants),
        |epoch| epoch.slots.dealt_anew(&design.variants),
    );
    let id = before.map_or(1, |epoch| epoch.id.saturating_add(1));
    let revisions: BTreeMap<String, String> = design
        .variants
        .iter()
        .filter_map(|variant| {
            let model = seen.models.get(&variant.model)?;
            Some((variant.name.clone(), model.revision.clone()?))
        })
        .collect();
    step.notices.push(Notice {
        reason: "EpochBegun",
        message: format!("epoch {id}: {reason}"),
    });
    step.state = State {
        started_at: Some(seen.now),
        epoch: Some(Epoch {
            id,
            started_at: seen.now,
            reason,
            slots,
            fingerprint,
            weights,
            revisions,
        }),
        paused: step.state.paused,
        ..State::default()
    };
    gone(step, seen, design);
}

/// A candidate whose RewardModel is gone is out.
fn gone(step: &mut Step, seen: &Seen<'_>, design: &Design) {
    for variant in design.candidates() {
        if step.state.epoch.is_some() && !seen.models.contains_key(&variant.model) {
            let why = why_gone(variant);
            step.state.out.entry(variant.name.clone()).or_insert(why);
        }
    }
}

fn why_gone(variant: &Variant) -> String {
    format!("its RewardModel {} is gone", variant.model)
}

/// Where all candidates are out: one whose RewardModel is gone, or was.
pub(super) fn deserter<'d>(
    state: &State,
    seen: &Seen<'_>,
    design: &'d Design,
) -> Option<&'d Variant> {
    let candidates = || design.candidates().iter();
    let is_gone = |one: &Variant| {
        !seen.models.contains_key(&one.model) || state.out.get(&one.name) == Some(&why_gone(one))
    };
    if candidates().any(|one| !state.out.contains_key(&one.name) && !is_gone(one)) {
        return None;
    }
    candidates().find(|one| is_gone(one))
}

/// The only candidate that could be compared is there again, in words. What was counted before is not: nobody
/// knows what was done to its users meanwhile. An endpoint that took the time for a rollout ends that first.
fn returned(state: &State, seen: &Seen<'_>, design: &Design) -> Option<String> {
    deserter(state, seen, design)?;
    let endpoint = seen.models.get(&design.endpoint)?;
    let is_back = |one: &&Variant| {
        let model = seen.models.get(&one.model);
        model.is_some_and(|model| model.ready && model.revision.is_some())
            && state.out.get(&one.name) == Some(&why_gone(one))
    };
    let back = design.candidates().iter().find(is_back)?;
    (!endpoint.rolling).then(|| format!("the RewardModel of variant {} is there again", back.name))
}

/// What has changed, if anything.
fn change(
    epoch: &Epoch,
    seen: &Seen<'_>,
    design: &Design,
    fingerprint: &str,
    weights: &str,
) -> Option<String> {
    if epoch.weights != weights {
        return Some("the variants have changed".to_owned());
    }
    if epoch.fingerprint != fingerprint {
        return Some(
            "what is compared has changed: metrics, margins, levels, or the user key".to_owned(),
        );
    }
    revised(epoch, seen, design)
}

/// A variant that serves another revision than the one that is compared, in words.
fn revised(epoch: &Epoch, seen: &Seen<'_>, design: &Design) -> Option<String> {
    design.variants.iter().find_map(|variant| {
        let revision = seen.models.get(&variant.model)?.revision.as_ref()?;
        let before = epoch.revisions.get(&variant.name)?;
        (before != revision).then(|| {
            format!(
                "variant {} has another revision: {revision} instead of {before}",
                variant.name
            )
        })
    })
}

/// A hash of the variants, their models and weights.
fn weights(design: &Design) -> String {
    let each = design.variants.iter();
    let each = each.map(|one| json!([one.name, one.model, one.weight]));
    canonical::short_hash(&each.collect())
}
