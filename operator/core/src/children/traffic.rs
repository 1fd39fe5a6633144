//! The router and its table: what stands between clients and the revisions.
//!
//! Invariants: a revision that only loads is in no table; a table is written only where it says something
//! new, and then with a number above all that anybody has; while a rollout is in flight no router is
//! exchanged.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde_json::Value;
use traffic::table::Role;

use super::Objects;
use crate::capacity::Percent;
use crate::gates;
use crate::identity::{RevisionHash, names};
use crate::objects::router::table::{Content, Keyed, Row};
use crate::objects::router::{self, table};
use crate::objects::{Write, http_route, service};
use crate::observed::{Kind, Split};
use crate::reading::{Reading, Route};
use crate::rollout::{Decision, Ending};
use crate::state::{Rollout, Stage, State};

/// The Service that clients call.
pub(super) fn endpoint(reading: &Reading<'_>, state: &State, objects: &mut Objects) {
    if state.stable().is_none() && state.rollout.is_none() && reading.source.is_err() {
        return;
    }
    let model = &reading.observed.model;
    let front = front(reading, state);
    objects.want(
        Kind::Service,
        &service::endpoint(model, front),
        Write::Replace,
    );
}

/// The way from Gateways to that Service.
pub(super) fn route(reading: &Reading<'_>, objects: &mut Objects) {
    let model = &reading.observed.model;
    match reading.route() {
        Route::NoApi | Route::Unwanted { is_there: false } => {}
        Route::Unwanted { is_there: true } => {
            objects.remove(Kind::HttpRoute, names::endpoint(&model.name_any()));
        }
        Route::Waits(_) | Route::Refused(_) | Route::Accepted(_) => {
            let gateway = model.spec.traffic.as_ref();
            if let Some(gateway) = gateway.and_then(|traffic| traffic.gateway.as_ref()) {
                let object = http_route::build(model, gateway);
                objects.want(Kind::HttpRoute, &object, Write::Replace);
            }
        }
    }
}

/// Clients stay with a stable revision whose servers do not know the router's route until another one has all
/// the traffic.
fn front<'s>(reading: &Reading<'_>, state: &'s State) -> service::Front<'s> {
    if reading.leads_to_router() {
        return service::Front::Router;
    }
    let Some(stable) = state.stable() else {
        return if reading.reports.live.is_empty() {
            service::Front::Nobody
        } else {
            service::Front::Router
        };
    };
    let rollout = state.rollout.as_ref();
    let is_known = reading.knows_routers(stable)
        || rollout.is_some_and(|rollout| reading.reports.follow(reading.observed, rollout));
    if reading.reports.live.is_empty() || !is_known {
        return service::Front::Revision(stable);
    }
    service::Front::Router
}

/// The router's pods, and what they may read.
pub(super) fn routers(reading: &Reading<'_>, state: &State, objects: &mut Objects) {
    if state.stable().is_none() && state.rollout.is_none() {
        return;
    }
    let observed = reading.observed;
    let (model, settings) = (&observed.model, &observed.settings);
    let name = names::router(&model.name_any());
    let mut deployment = router::deployment(model, settings);
    let live = observed.children.deployment_named(&name);
    let live = live.filter(|_| state.rollout.is_some() || !observed.elsewhere.lets_one_start());
    if let (Some(spec), Some(now)) = (
        &mut deployment.spec,
        live.and_then(|live| live.spec.as_ref()),
    ) {
        spec.template = now.template.clone();
    }
    let replace = Write::Replace;
    objects.want(Kind::ServiceAccount, &router::account(model), replace);
    objects.want(Kind::Role, &router::role(model), replace);
    objects.want(Kind::RoleBinding, &router::binding(model), replace);
    objects.want(
        Kind::NetworkPolicy,
        &router::policy(model, settings),
        replace,
    );
    // Clients that are led to the pods themselves need the way to them.
    if reading.leads_to_router() {
        objects.want(Kind::NetworkPolicy, &router::servers_policy(model), replace);
    }
    objects.want(Kind::Deployment, &deployment, replace);
    objects.want(Kind::PodDisruptionBudget, &router::budget(model), replace);
}

/// The traffic table of a decision.
pub(super) fn table(
    reading: &Reading<'_>,
    decision: &Decision,
    objects: &mut Objects,
    now: Timestamp,
) {
    let content = content(reading, decision, now);
    if content.rows.is_empty() {
        return;
    }
    let observed = reading.observed;
    let given = reading.reports.table.as_ref();
    let numbered = |generation| {
        let wanted = table::table(&observed.model, &content, generation);
        // An experiment that no router would take is none: the model serves as it would without.
        let wanted = wanted.or_else(|why| {
            content.experiment.as_ref().ok_or(why)?;
            let plain = Content {
                experiment: None,
                ..content.clone()
            };
            table::table(&observed.model, &plain, generation)
        });
        match (wanted, given) {
            (Err(_), Some(given)) => {
                table::with_shares(&observed.model, given, &content, generation)
            }
            (wanted, _) => wanted,
        }
    };
    let next = numbered(0).map(|mut wanted| match given {
        Some(given) if table::says_the_same(&wanted, given) && !reading.reports.is_outdated() => {
            given.clone()
        }
        Some(_) | None => {
            wanted.generation = reading.reports.next_generation();
            wanted
        }
    });
    match next {
        Ok(next) => objects.want(
            Kind::ConfigMap,
            &table::object(&observed.model, &next),
            Write::Replace,
        ),
        Err(why) => objects.fail(format!("the traffic table cannot be made: {why}")),
    }
}

fn content(reading: &Reading<'_>, decision: &Decision, now: Timestamp) -> Content {
    let state = &decision.state;
    let public = state
        .rollout
        .as_ref()
        .filter(|rollout| rollout.stage.is_public());
    let uid = reading.observed.model.uid().unwrap_or_default();
    let key = reading.observed.settings.admin_key.as_ref();
    let canary = public.map_or(Percent::NONE, |rollout| rollout.weight);
    let row = |revision: &RevisionHash, role, weight| {
        let record = reading.record(revision);
        let written = &reading.observed.model.spec.model.calibration;
        let is_asked_for = Some(revision) == reading.target.revision();
        Row {
            digest: record.and_then(|record| record.digest.clone()),
            calibration: if is_asked_for {
                written.clone()
            } else {
                record.and_then(|record| record.calibration.clone())
            },
            revision: revision.clone(),
            role,
            weight,
        }
    };
    let mut rows = Vec::new();
    match (state.stable(), public) {
        (Some(stable), Some(rollout)) => {
            rows.push(row(stable, Role::Stable, canary.rest()));
            rows.push(row(&rollout.revision, Role::Canary, canary));
        }
        (Some(stable), None) => {
            rows.push(row(stable, Role::Stable, Percent::ALL));
            let previous = state.previous();
            rows.extend(previous.map(|hash| row(hash, Role::Previous, Percent::NONE)));
        }
        // The first one has nobody to be compared with.
        (None, Some(rollout)) => rows.push(row(&rollout.revision, Role::Stable, Percent::ALL)),
        (None, None) => {}
    }
    let collection = public.and_then(|_| gates::collection(state, &reading.gates(), now));
    let rollout = public.filter(|_| state.stable().is_some()).map(Rollout::id);
    Content {
        rows,
        collection,
        key: self::key(reading, rollout.as_deref()),
        // A table without a stable revision has no control.
        experiment: state.stable().and_then(|_| split(reading)),
        rollout,
        cut_off: cut_off(reading, decision),
        token: key.map(|key| key.token_hash(&uid)),
    }
}

/// The user key of a rollout in flight: by another one users would go back and forth between its revisions.
fn key(reading: &Reading<'_>, rollout: Option<&str>) -> Keyed {
    let given = reading.reports.table.as_ref();
    match given.filter(|given| rollout.is_some() && given.rollout.as_deref() == rollout) {
        Some(given) => Keyed::AsGiven(given.key.clone()),
        None => Keyed::AsWritten,
    }
}

/// How the experiment on this endpoint deals users.
fn split(reading: &Reading<'_>) -> Option<Value> {
    match &reading.observed.experiment.as_ref()?.split {
        Split::By(member) => Some(member.clone()),
        Split::AsGiven => {
            let given: Value =
                serde_json::from_str(&reading.reports.table.as_ref()?.to_json()).ok()?;
            given.get("experiment").cloned()
        }
    }
}

/// The canary that is cut off everywhere, until it is gone.
fn cut_off(reading: &Reading<'_>, decision: &Decision) -> Option<(RevisionHash, String)> {
    let rollout = decision.state.rollout.as_ref()?;
    if rollout.stage != Stage::RollBack {
        return None;
    }
    if let Some(Ending::Failed(_, failure)) = &decision.ending {
        let cause = failure.cut_off?;
        return Some((rollout.revision.clone(), cause.word().to_owned()));
    }
    let given = reading.reports.table.as_ref()?;
    let confirmed = given.cut_off.confirmed.as_ref()?;
    (confirmed.revision.as_str() == rollout.revision.as_str())
        .then(|| (rollout.revision.clone(), confirmed.cause.clone()))
}
