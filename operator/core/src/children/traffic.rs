//! The router and its table: what stands between clients and the revisions.
//!
//! Invariants: a revision that only loads is in no table; a table is written only where it says something
//! new, and then with a number above all that anybody has; while a rollout is in flight no router is
//! exchanged.

use kube::ResourceExt;
use traffic::table::Role;

use super::Objects;
use crate::capacity::Percent;
use crate::identity::{RevisionHash, names};
use crate::objects::router::table::{Content, Row};
use crate::objects::router::{self, table};
use crate::objects::{Write, service};
use crate::observed::Kind;
use crate::reading::{Reading, routers};
use crate::rollout::{Decision, Ending};
use crate::state::{Rollout, Stage, State};

/// The Service that clients call.
pub(super) fn endpoint(reading: &Reading<'_>, state: &State, objects: &mut Objects) {
    if state.stable().is_none() && state.rollout.is_none() && reading.source.is_err() {
        return;
    }
    let model = &reading.observed.model;
    let front = if reading.reports.live.is_empty() && !leads_to_router(reading) {
        state
            .stable()
            .map_or(service::Front::Nobody, service::Front::Revision)
    } else {
        service::Front::Router
    };
    objects.want(
        Kind::Service,
        &service::endpoint(model, front),
        Write::Replace,
    );
}

/// Whether clients are led to the router already: then they stay, should it be away for a while.
fn leads_to_router(reading: &Reading<'_>) -> bool {
    let model = &reading.observed.model;
    let name = names::endpoint(&model.name_any());
    let mut services = reading.observed.children.services.iter();
    let selector = services
        .find(|service| service.name_any() == name)
        .and_then(|service| service.spec.as_ref()?.selector.clone());
    selector == Some(router::selector(model))
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
    let live = live.filter(|_| state.rollout.is_some());
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
    objects.want(Kind::Deployment, &deployment, replace);
    objects.want(Kind::PodDisruptionBudget, &router::budget(model), replace);
}

/// The traffic table of a decision.
pub(super) fn table(reading: &Reading<'_>, decision: &Decision, objects: &mut Objects) {
    let content = content(reading, decision);
    if content.rows.is_empty() {
        return;
    }
    let observed = reading.observed;
    let given = reading.reports.table.as_ref();
    let numbered = |generation| table::table(&observed.model, &content, generation);
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

fn content(reading: &Reading<'_>, decision: &Decision) -> Content {
    let state = &decision.state;
    let public = state
        .rollout
        .as_ref()
        .filter(|rollout| rollout.stage.is_public());
    let uid = reading.observed.model.uid().unwrap_or_default();
    let key = reading.observed.settings.admin_key.as_ref();
    let canary = public.map_or(Percent::NONE, |rollout| rollout.weight);
    let row = |revision: &RevisionHash, role, weight| Row {
        digest: reading
            .record(revision)
            .and_then(|record| record.digest.clone()),
        revision: revision.clone(),
        role,
        weight,
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
    Content {
        rows,
        rollout: public.filter(|_| state.stable().is_some()).map(Rollout::id),
        cut_off: cut_off(reading, decision),
        token: key.map(|key| key.token_hash(&uid)),
    }
}

/// The canary that is cut off everywhere, until it is gone.
fn cut_off(reading: &Reading<'_>, decision: &Decision) -> Option<(RevisionHash, String)> {
    let rollout = decision.state.rollout.as_ref()?;
    if rollout.stage != Stage::RollBack {
        return None;
    }
    if let Some(Ending::Failed(_, failure)) = &decision.ending {
        let is_cut = failure.reason == crds::conditions::StalledReason::CutOff;
        return is_cut.then(|| (rollout.revision.clone(), routers::cause(failure)));
    }
    let given = reading.reports.table.as_ref()?;
    let confirmed = given.cut_off.confirmed.as_ref()?;
    (confirmed.revision.as_str() == rollout.revision.as_str())
        .then(|| (rollout.revision.clone(), confirmed.cause.clone()))
}
