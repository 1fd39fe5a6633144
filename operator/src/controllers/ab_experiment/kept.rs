//! The part of a status that outlives its loss, in a ConfigMap.

use std::sync::PoisonError;

use crds::{ABExperiment, ABExperimentStatus};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use operator_core::experiment::kept;

use super::Context;
use crate::controllers::shared::error::Error;

impl Context {
    /// The way to what is kept beside an experiment.
    pub(super) fn maps(&self, experiment: &ABExperiment) -> Api<ConfigMap> {
        Api::namespaced(
            self.client.clone(),
            &experiment.namespace().unwrap_or_default(),
        )
    }

    /// The status as it is, or as it was kept where it is lost.
    pub(super) async fn restored(
        &self,
        experiment: &ABExperiment,
    ) -> Result<Option<ABExperimentStatus>, Error> {
        let status = experiment.status.as_ref();
        if status.is_some_and(|status| status.phase.is_some()) {
            return Ok(experiment.status.clone());
        }
        let name = kept::name(experiment);
        let found = self.maps(experiment).get_opt(&name).await;
        let found = found.map_err(Error::api(format!("read ConfigMap {name}")))?;
        let kept = found.and_then(|found| kept::read(experiment, &found));
        if kept.is_some() {
            tracing::info!(
                namespace = experiment.namespace(),
                name = experiment.name_any(),
                "a status was lost, and is made anew"
            );
        }
        Ok(kept.or_else(|| experiment.status.clone()))
    }

    /// Keeps what the status is about to say, where that is new. It is a copy: that it cannot be written holds
    /// nothing up.
    pub(super) async fn remember(&self, experiment: &ABExperiment, next: &ABExperimentStatus) {
        let (uid, part) = (experiment.uid().unwrap_or_default(), kept::part(next));
        let known = {
            let all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            all.get(&uid).cloned()
        };
        if known.as_ref() == Some(&part) {
            return;
        }
        match self.keep_part(experiment, &part).await {
            Ok(()) => {
                let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                all.insert(uid, part);
            }
            Err(error) => {
                tracing::warn!(namespace = experiment.namespace(), name = experiment.name_any(), %error, "a status that is lost will not be made anew");
            }
        }
    }

    /// Writes the copy at the version that is there, where that is ours.
    async fn keep_part(
        &self,
        experiment: &ABExperiment,
        part: &ABExperimentStatus,
    ) -> Result<(), Error> {
        let (maps, name) = (self.maps(experiment), kept::name(experiment));
        let mut object = kept::object(experiment, part);
        let there = maps.get_metadata_opt(&name).await;
        let there = there.map_err(Error::api(format!("look for ConfigMap {name}")))?;
        let written = match there {
            None => maps.create(&PostParams::default(), &object).await,
            Some(there) if kept::is_own(experiment, &there.metadata) => {
                object.metadata.resource_version = there.metadata.resource_version;
                maps.replace(&name, &PostParams::default(), &object).await
            }
            Some(_) => return Err(Error::Taken(name)),
        };
        written.map_err(Error::api(format!("write ConfigMap {name}")))?;
        self.metrics.wrote("ConfigMap", "replace");
        Ok(())
    }
}
