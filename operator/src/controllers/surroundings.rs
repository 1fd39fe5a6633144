//! The RewardModels that an experiment names, as the API server has them.
//!
//! Invariant: one that is not there, or that cannot be read, is left out.

use std::collections::{BTreeMap, BTreeSet};

use crds::{ABExperiment, RewardModel};
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::core::DeserializeGuard;
use kube::{Api, Client, ResourceExt};

use operator_core::experiment::standing::Chosen;

use super::shared::error::Error;

/// The endpoint and the variants' models, by name; `known` is one that was read just now.
pub(super) async fn models(
    client: &Client,
    experiment: &ABExperiment,
    known: Option<&RewardModel>,
) -> Result<BTreeMap<String, RewardModel>, Error> {
    let namespace = experiment.namespace().unwrap_or_default();
    let api: Api<DeserializeGuard<RewardModel>> = Api::namespaced(client.clone(), &namespace);
    let variants = experiment.spec.variants.iter();
    let mut names: BTreeSet<&str> = variants.map(|one| one.model_ref.name.as_str()).collect();
    names.insert(&experiment.spec.endpoint.name);
    let mut models = BTreeMap::new();
    for name in names {
        let known = known.filter(|known| known.name_any() == name).cloned();
        let model = if known.is_some() {
            known
        } else {
            let found = api.get_opt(name).await;
            let found = found.map_err(Error::api(format!("read RewardModel {name}")))?;
            found.and_then(|found| found.0.ok())
        };
        models.extend(model.map(|model| (name.to_owned(), model)));
    }
    Ok(models)
}

/// The record of the revision that has won.
pub(super) async fn record(
    client: &Client,
    namespace: &str,
    chosen: &Chosen,
) -> Result<Option<ControllerRevision>, Error> {
    let api: Api<ControllerRevision> = Api::namespaced(client.clone(), namespace);
    let name = chosen.record();
    let found = api.get_opt(&name).await;
    found.map_err(Error::api(format!("read ControllerRevision {name}")))
}
