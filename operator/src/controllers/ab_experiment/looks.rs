//! A look at an experiment: what was counted is put together, analysed, and kept.
//!
//! Owns when one is due. It must not decide. Invariant: an operator that starts goes on with what the one before
//! it has kept.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crds::{ABExperiment, RewardModel, labels};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use operator_core::experiment::analysis::{self, Look, Looked};
use operator_core::experiment::ledger::{self, Ledger};
use operator_core::experiment::spec::{Design, Source, Variant};
use operator_core::experiment::state::{Epoch, State};
use operator_core::experiment::totals::Totals;
use operator_core::experiment::{machine, table};
use operator_core::gates::PrometheusAnswer;

use super::Context;
use super::evidence::Router;
use crate::controllers::reward_model::address;
use crate::controllers::shared::Owner;
use crate::controllers::shared::error::Error;

impl Context {
    /// The look that is due; `None` where none is, or there is nothing to look at.
    pub(super) async fn look(
        &self,
        experiment: &ABExperiment,
        models: &BTreeMap<String, RewardModel>,
    ) -> Result<Option<(Totals, Look)>, Error> {
        let Some(endpoint) = models.get(&experiment.spec.endpoint.name) else {
            return Ok(None);
        };
        let key = endpoint
            .spec
            .traffic
            .as_ref()
            .and_then(|traffic| traffic.key.as_ref());
        let (Ok(design), Ok(state)) = (
            Design::read(experiment, key),
            State::read(experiment.status.as_ref()),
        ) else {
            return Ok(None);
        };
        let Some(epoch) = &state.epoch else {
            return Ok(None);
        };
        self.follow_routers(experiment, &design, epoch, endpoint)
            .await?;
        let uid = experiment.uid().unwrap_or_default();
        if !self.is_due(&uid, design.interval) {
            return Ok(None);
        }
        let ledgers = self.fetching.ledgers(&uid);
        let answers = self.answers(&Owner::of(experiment), &design, epoch);
        let totals = ledger::totals(&design, &ledgers, &answers);
        let out: Vec<String> = state.out.keys().cloned().collect();
        let look = analysis::look(&Looked {
            design: &design,
            strata: std::slice::from_ref(&totals),
            tracks: &ledger::tracks(&ledgers),
            slots: &table::slots(&design, epoch),
            out: &out,
            elapsed: machine::elapsed(state.started_at, Timestamp::now()),
            sample_ratio_before: 0.0,
        });
        Ok(Some((totals, look)))
    }

    /// What Prometheus has answered since the last look, by metric and then by arm; the next answers are on their
    /// way then.
    fn answers(
        &self,
        owner: &Owner,
        design: &Design,
        epoch: &Epoch,
    ) -> BTreeMap<String, Vec<Option<f64>>> {
        let answer = |query: &str, variant: &Variant| {
            let revision = epoch.revisions.get(&variant.name);
            let query = query
                .replace("$variant", &variant.name)
                .replace("$revision", revision.map_or("", String::as_str));
            let answer = self.prometheus.answer(owner, &query)?;
            self.prometheus.answer(owner, &query);
            match answer {
                PrometheusAnswer::Value(value) => Some(value),
                PrometheusAnswer::Empty
                | PrometheusAnswer::NotANumber
                | PrometheusAnswer::Several(_)
                | PrometheusAnswer::NotAVector(_)
                | PrometheusAnswer::Unreachable(_) => None,
            }
        };
        let asked = design
            .metrics
            .iter()
            .filter_map(|metric| match &metric.source {
                Source::Prometheus(query) => {
                    let each = design.variants.iter();
                    let each = each.map(|variant| answer(query, variant));
                    Some((metric.name.clone(), each.collect()))
                }
                Source::Score
                | Source::Latency
                | Source::SlowerThan(_)
                | Source::Errors
                | Source::Event(_)
                | Source::Preferences => None,
            });
        asked.collect()
    }

    /// Whether it is time for a look; then the next is an interval away.
    fn is_due(&self, uid: &str, interval: Duration) -> bool {
        let now = Instant::now();
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = looked
            .get(uid)
            .is_none_or(|last| now.duration_since(*last) >= interval);
        if is_due {
            looked.insert(uid.to_owned(), now);
        }
        is_due
    }

    /// Asks the routers of the endpoint that are there.
    async fn follow_routers(
        &self,
        experiment: &ABExperiment,
        design: &Design,
        epoch: &Epoch,
        endpoint: &RewardModel,
    ) -> Result<(), Error> {
        let uid = experiment.uid().unwrap_or_default();
        let namespace = experiment.namespace().unwrap_or_default();
        if !self.fetching.knows(&uid, epoch.id) {
            let subjects = ledger::subjects(design, epoch);
            let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &namespace);
            let mut kept = BTreeMap::new();
            for metric in subjects.keys() {
                let name = Ledger::name(&experiment.name_any(), metric);
                let found = maps.get_opt(&name).await;
                let found = found.map_err(Error::api(format!("read ConfigMap {name}")))?;
                kept.extend(found.map(|object| (metric.clone(), object)));
            }
            self.fetching.begin(&uid, epoch.id, &subjects, &kept);
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let selector = format!(
            "{}={},{}={}",
            labels::MODEL,
            endpoint.name_any(),
            labels::COMPONENT,
            labels::component::ROUTER
        );
        let listed = pods.list(&ListParams::default().labels(&selector)).await;
        let listed = listed.map_err(Error::api("list the routers"))?;
        let routers = listed.items.iter().map(|pod| Router {
            pod: pod.name_any(),
            address: address(pod),
        });
        let routers: Vec<Router> = routers.collect();
        self.fetching.fetch(&uid, &Owner::of(endpoint), &routers);
        Ok(())
    }

    /// Keeps what a look rests on, and what it leaves for the next.
    pub(super) async fn keep(&self, experiment: &ABExperiment, look: &Look) -> Result<(), Error> {
        let uid = experiment.uid().unwrap_or_default();
        self.fetching
            .change(&uid, |ledgers| ledger::keep(ledgers, &look.tracks));
        let namespace = experiment.namespace().unwrap_or_default();
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &namespace);
        for (metric, ledger) in &self.fetching.ledgers(&uid) {
            let name = Ledger::name(&experiment.name_any(), metric);
            let object = ledger.object(experiment, metric);
            let params = PatchParams::apply(labels::AB_EXPERIMENT_MANAGER).force();
            let written = maps.patch(&name, &params, &Patch::Apply(&object)).await;
            written.map_err(Error::api(format!("write ConfigMap {name}")))?;
            self.metrics.wrote("ConfigMap", "apply");
        }
        Ok(())
    }
}
