//! A look at an experiment: what was counted is put together, analysed, and kept.
//!
//! Owns when one is due. It must not decide. Invariant: an operator that starts goes on with what the one before
//! it has kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crds::{ABExperiment, RewardModel, labels};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use operator_core::experiment::analysis::{self, Look, Looked, Tracks};
use operator_core::experiment::ledger::{self, Ledger};
use operator_core::experiment::spec::{Design, Variant};
use operator_core::experiment::state::{Conclusion, Epoch, State};
use operator_core::experiment::totals::Totals;
use operator_core::experiment::{machine, table};
use operator_core::gates::PrometheusAnswer;

use super::Context;
use super::evidence::Router;
use crate::controllers::reward_model::address;
use crate::controllers::shared::Owner;
use crate::controllers::shared::error::Error;

/// The last look at an experiment.
pub(super) struct LastLook {
    at: Instant,
    epoch: u64,
    /// What it has left of metrics that Prometheus answers.
    asked: Tracks,
}

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
        if state.conclusion.as_ref().is_some_and(Conclusion::is_over) {
            return Ok(None);
        }
        self.follow_routers(experiment, &design, epoch, endpoint)
            .await?;
        let uid = experiment.uid().unwrap_or_default();
        if !self.is_due(&uid, design.interval) {
            return Ok(None);
        }
        let Some(answers) = self.answers(&Owner::of(experiment), &design, epoch) else {
            return Ok(None);
        };
        let ledgers = self.fetching.ledgers(&uid);
        let totals = ledger::totals(&design, &ledgers, &answers);
        let out: Vec<String> = state.out.keys().cloned().collect();
        let mut tracks = ledger::tracks(&ledgers);
        tracks.extend(self.asked(&uid, epoch.id));
        let look = analysis::look(&Looked {
            design: &design,
            strata: std::slice::from_ref(&totals),
            tracks: &tracks,
            slots: &table::slots(&design, epoch),
            out: &out,
            elapsed: machine::elapsed(state.started_at, Timestamp::now()),
            sample_ratio_before: 0.0,
        });
        let last = LastLook {
            at: Instant::now(),
            epoch: epoch.id,
            asked: ledger::unkept(&ledgers, &look.tracks),
        };
        self.looked().insert(uid, last);
        Ok(Some((totals, look)))
    }

    /// What Prometheus answers now, by metric and then by arm; `None` until it has answered all that is asked.
    fn answers(
        &self,
        owner: &Owner,
        design: &Design,
        epoch: &Epoch,
    ) -> Option<BTreeMap<String, Vec<Option<f64>>>> {
        let of = |query: &str, variant: &Variant| {
            let revision = epoch.revisions.get(&variant.name);
            query
                .replace("$variant", &variant.name)
                .replace("$model", &variant.model)
                .replace("$revision", revision.map_or("", String::as_str))
        };
        let asked = design.metrics.iter().filter_map(|metric| {
            let query = metric.source.query()?;
            let each = design.variants.iter();
            let each: Vec<_> = each.map(|variant| of(query, variant)).collect();
            Some((metric.name.clone(), each))
        });
        let asked: BTreeMap<_, _> = asked.collect();
        let answers = self
            .prometheus
            .answers(owner, &asked.values().flatten().cloned().collect())?;
        let value = |query: String| answers.get(&query).and_then(PrometheusAnswer::value);
        let each = asked.into_iter();
        let each = each.map(|(metric, of)| (metric, of.into_iter().map(value).collect()));
        Some(each.collect())
    }

    /// Whether it is time for a look.
    fn is_due(&self, uid: &str, interval: Duration) -> bool {
        let looked = self.looked();
        let last = looked.get(uid);
        last.is_none_or(|last| last.at.elapsed() >= interval)
    }

    /// What the last look at an epoch has left of metrics that Prometheus answers. An operator that starts
    /// begins to count anew what it answers in a row.
    fn asked(&self, uid: &str, epoch: u64) -> Tracks {
        let looked = self.looked();
        let last = looked.get(uid).filter(|last| last.epoch == epoch);
        last.map(|last| last.asked.clone()).unwrap_or_default()
    }

    fn looked(&self) -> MutexGuard<'_, HashMap<String, LastLook>> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
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
        let maps = self.maps(experiment);
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
