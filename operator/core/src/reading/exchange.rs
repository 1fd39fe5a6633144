//! The router's pods as pods: whether they have the form that is asked for, and whether they may be exchanged
//! now.
//!
//! It must not know what they say ([`super::routers`]).

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::health::Health;
use super::{Reading, health, pods};
use crate::compare;
use crate::identity::names;
use crate::objects::router;
use crate::observed::Observed;
use crate::state::State;

impl Reading<'_> {
    /// What routers of the newest form wait for, where some are still missing: what `traffic` asks for is not
    /// in force before.
    pub(crate) fn router_waits(&self) -> Option<String> {
        let router = self.router()?;
        let wanted = health::size(router).unwrap_or(0);
        let status = router.status.as_ref();
        let updated = status
            .and_then(|status| status.updated_replicas)
            .unwrap_or(0);
        let ready = health::ready_replicas(router);
        let total = status.and_then(|status| status.replicas).unwrap_or(0);
        if updated >= wanted && ready >= wanted && total <= wanted {
            return None;
        }
        Some(format!(
            "{} of {wanted} routers follow spec.traffic: {}",
            updated.min(ready),
            self.router_trouble()
                .unwrap_or_else(|| "they start".to_owned())
        ))
    }

    /// What keeps pods of the router from starting, by the same reading as a revision's: a Secret or claim
    /// that is not there, an image, a crash, a quota, no room. `None` where nothing is known to.
    pub(crate) fn router_trouble(&self) -> Option<String> {
        let children = &self.observed.children;
        let router = self.router()?;
        let pods = || children.routers().filter(|pod| pods::is_active(pod));
        let wanted = health::size(router).unwrap_or(0);
        let words = match health::of(Some(router), pods(), wanted) {
            Health::Absent | Health::Ready => return None,
            Health::Failed(failure) => match failure.pod {
                Some(pod) => format!("{pod}: {}", failure.message),
                None => failure.message,
            },
            Health::Refused { message } => format!("its pods are refused: {message}"),
            Health::Unschedulable { message, .. } => format!("its pods have no place: {message}"),
            Health::Starting { .. } => {
                let waiting = |pod: &Arc<Pod>| !pods::waits_for_volumes(pod);
                let stuck = pods().filter(|pod| waiting(pod));
                let mut stuck = stuck.filter_map(|pod| pods::waiting(pod));
                // Nothing is wrong with a pod whose volumes are on their way, but one may not be there.
                let mounting = || {
                    let mut pods = pods().filter(|pod| pods::waits_for_volumes(pod));
                    pods.find_map(|pod| pods::waiting(pod))
                        .filter(|_| router::secret(&self.observed.model).is_some())
                };
                stuck.next().or_else(mounting)?
            }
        };
        Some(match router::secret(&self.observed.model) {
            Some(secret) if !words.contains(&secret.name) => format!(
                "{words} (it mounts key {:?} of Secret {:?}, which traffic.auth.jwt.secretRef names: create it if it is not there, and the routers go on by themselves)",
                secret.key, secret.name
            ),
            Some(_) | None => words,
        })
    }

    /// Whether clients are led to the router: then they stay, should it be away for a while.
    pub(crate) fn leads_to_router(&self) -> bool {
        let model = &self.observed.model;
        let name = names::endpoint(&model.name_any());
        let mut services = self.observed.children.services.iter();
        let selector = services
            .find(|service| service.name_any() == name)
            .and_then(|service| service.spec.as_ref()?.selector.clone());
        selector == Some(router::selector(model))
    }

    /// Whether no client was ever answered: there is no revision that clients could be led to without a
    /// router, and none has been ready.
    pub(crate) fn has_no_router_yet(&self, state: &State) -> bool {
        state.stable().is_none() && self.reports.live.is_empty() && !self.leads_to_router()
    }

    /// Whether there is a revision to roll out, and no rollout.
    pub(crate) fn waits_to_begin(&self, state: &State) -> bool {
        let target = self.target.revision();
        target.is_some() && state.stable() != target && state.rollout.is_none()
    }

    /// Whether something new stands back because as many others as may are at work.
    pub(crate) fn waits_its_turn(&self, state: &State) -> bool {
        let wanted = self.waits_to_begin(state);
        !self.observed.elsewhere.lets_one_start()
            && (wanted && !self.held() || self.router_differs())
    }

    /// Whether routers of another form take the place of those that are there. One that is only away takes
    /// nobody's turn, and neither does one that cannot start.
    pub(crate) fn exchanges_routers(&self) -> bool {
        if self.router_differs() {
            return self.observed.elsewhere.lets_one_start();
        }
        let Some(router) = self.router() else {
            return false;
        };
        let status = router.status.clone().unwrap_or_default();
        let unseen = status.observed_generation < router.metadata.generation;
        let fresh = status.updated_replicas.unwrap_or(0) < health::size(router).unwrap_or(0);
        let mut conditions = status.conditions.iter().flatten();
        let stuck = conditions.any(|c| c.type_ == "Progressing" && c.status == "False");
        (unseen || fresh) && !stuck
    }

    /// Whether what `spec.traffic` says is not what the routers were started with; another image of this
    /// operator's own is none of the user's.
    pub(crate) fn traffic_differs(&self) -> bool {
        self.form == Form::Other
    }

    /// Whether the router's pods are another form than the spec and this operator ask for.
    pub(crate) fn router_differs(&self) -> bool {
        self.form != Form::AsWanted
    }

    fn router(&self) -> Option<&Deployment> {
        router_of(self.observed)
    }
}

/// What the router's pods are beside what the spec and this operator ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The same, or there are none yet.
    AsWanted,
    /// Of another image, where the spec names none.
    OtherImage,
    /// Something else.
    Other,
}

/// The form of the router's pods.
pub(super) fn form(observed: &Observed) -> Form {
    let model = &observed.model;
    let template = |object: &Deployment| {
        let spec = object.spec.as_ref()?;
        serde_json::to_value(&spec.template).ok()
    };
    let wanted = template(&router::deployment(model, &observed.settings));
    let (Some(mut wanted), Some(live)) = (wanted, router_of(observed).and_then(template)) else {
        return Form::AsWanted;
    };
    if compare::holds(&wanted, &live) {
        return Form::AsWanted;
    }
    let image = "/spec/containers/0/image";
    let own = model.spec.traffic.as_ref();
    let own = own.and_then(|traffic| traffic.router.as_ref()?.image.as_ref());
    if let (None, Some(there), Some(wanted)) = (own, live.pointer(image), wanted.pointer_mut(image))
    {
        wanted.clone_from(there);
    }
    if compare::holds(&wanted, &live) {
        Form::OtherImage
    } else {
        Form::Other
    }
}

fn router_of(observed: &Observed) -> Option<&Deployment> {
    let name = names::router(&observed.model.name_any());
    observed.children.deployment_named(&name)
}
