//! What gates are held against, gathered for a plan.
//!
//! Owns which measurement a gate is given. It must not judge. Invariant: what an operator before us has kept of a
//! rollout is known before any of its gates is looked at.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};
use operator_core::evidence;
use operator_core::gates::{Gate, Kind, Measurement};
use operator_core::identity::names;
use operator_core::observed::{Children, Observed};
use operator_core::plan::{Needed, Plan};

use super::context::Context;
use crate::controllers::shared::Owner;
use crate::controllers::shared::error::Error;

impl Context {
    /// Asks the routers for what a plan is judged by, as long as it is.
    pub(super) fn collect(&self, owner: &Owner, children: &Children, wanted: &Plan) {
        match &wanted.evidence {
            Needed::Collected(collects) => self.fetching.fetch(owner, children, collects),
            Needed::Kept => self.fetching.rest(&owner.uid),
            Needed::Nothing => self.fetching.forget(&owner.uid),
        }
    }

    /// Makes sure that what was told of the rollout before us is known; answers whether that is news.
    pub(super) async fn recall(
        &self,
        observed: &mut Observed,
        owner: &Owner,
        wanted: &Plan,
    ) -> Result<bool, Error> {
        let known = match &wanted.evidence {
            Needed::Nothing => true,
            Needed::Kept => self.fetching.knows_any(&owner.uid),
            Needed::Collected(collects) => self.fetching.knows(&owner.uid, collects),
        };
        if known {
            return Ok(false);
        }
        let kept = self.kept(owner, &observed.children).await?;
        match &wanted.evidence {
            Needed::Collected(collects) => {
                self.fetching.begin(owner, &collects.subject, kept.as_ref());
            }
            Needed::Kept | Needed::Nothing => self.fetching.remember(owner, kept.as_ref()),
        }
        let ledger = self.fetching.ledger(&owner.uid);
        let is_news = ledger.is_some();
        observed.know(ledger);
        Ok(is_news)
    }

    /// What an operator before us has kept; the caches have it without its bytes.
    async fn kept(&self, owner: &Owner, children: &Children) -> Result<Option<ConfigMap>, Error> {
        let name = names::evidence(&owner.name);
        if !children.tables.iter().any(|map| map.name_any() == name) {
            return Ok(None);
        }
        let maps: Api<ConfigMap> = self.api(Some(owner.namespace.clone()));
        let found = maps.get_opt(&name).await;
        found.map_err(Error::api(format!("read ConfigMap {name}")))
    }

    /// Measures the gates that are due; those that somebody has to be asked for are measured once there is an
    /// answer.
    pub(super) fn gather(&self, observed: &mut Observed, owner: &Owner, due: &[Gate]) {
        for gate in due {
            if observed.gathered.measurements.contains_key(&gate.name) {
                continue;
            }
            let measured = match &gate.kind {
                Kind::Prometheus { query, .. } => {
                    let answer = self.prometheus.answer(owner, query);
                    answer.map(Measurement::Prometheus)
                }
                Kind::Router(_) | Kind::Paired(_) | Kind::Preferences(_) | Kind::Golden(_) => {
                    evidence::measurement(gate, observed.ledger.as_deref())
                }
            };
            if let Some(measured) = measured {
                let all = &mut observed.gathered.measurements;
                all.insert(gate.name.clone(), measured);
            }
        }
    }
}
