//! What a plan asks for and nobody watches: looked up at the API server.
//!
//! Owns the asking. It must not conclude anything. Invariant: what cannot be looked up for want of a
//! permission is a refusal that the status tells, or is left out where a plan can do without it.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crds::RewardModel;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::{ConfigMap, Event, PersistentVolumeClaim, Pod};
use kube::api::{DynamicObject, ListParams};
use kube::core::Status;
use kube::{Api, ResourceExt};
use operator_core::golden::SetFile;
use operator_core::identity::{RevisionHash, names};
use operator_core::objects::pod::GPU;
use operator_core::observed::{Claim, GatewayApi, Holder, Observed, Question};
use operator_core::spec;

use super::context::{Context, Held};
use crate::controllers::shared::Owner;
use crate::controllers::shared::error::Error;
use crate::controllers::shared::writer::http_route;

/// How long what is known of the holders of GPUs is good enough.
const FRESH: Duration = Duration::from_secs(20);

impl Context {
    /// Looks up what a plan asks for.
    pub(super) async fn answer(
        &self,
        observed: &mut Observed,
        questions: &BTreeSet<Question>,
    ) -> Result<(), Error> {
        for question in questions {
            match question {
                Question::Claim => match self.claim(&observed.model).await {
                    Ok(claim) => observed.claim = claim,
                    Err(error) => {
                        let refusal = error.refusal().ok_or(error)?;
                        observed.refusal = Some(refusal);
                        observed.claim = Claim::Present {
                            lost: false,
                            one_pod_only: false,
                        };
                    }
                },
                Question::JobEvents(job) => {
                    observed.job_events = Some(self.job_events(&observed.model, job).await?);
                }
                Question::Holders => {
                    observed.holders = Some(self.holders(&observed.model).await?);
                }
                Question::Route => self.route(observed).await?,
                Question::GoldenSet => {
                    observed.golden_set = Some(self.golden_set(&observed.model).await?);
                }
                Question::Content(hash) => {
                    let content = self.content(&observed.model, hash).await?;
                    observed.contents.insert(hash.clone(), content);
                }
            }
        }
        Ok(())
    }

    async fn claim(&self, model: &RewardModel) -> Result<Claim, Error> {
        let Some((name, _)) = spec::claim(&model.spec) else {
            return Ok(Claim::NotNeeded);
        };
        let claims: Api<PersistentVolumeClaim> = self.api(model.namespace());
        let found = claims.get_opt(name).await;
        let found = found.map_err(Error::api(format!("read PersistentVolumeClaim {name}")))?;
        let Some(claim) = found else {
            return Ok(Claim::Missing);
        };
        let phase = claim.status.and_then(|status| status.phase);
        let access = claim
            .spec
            .and_then(|spec| spec.access_modes)
            .unwrap_or_default();
        if spec::writes_claim(&model.spec) && access == ["ReadOnlyMany"] {
            return Ok(Claim::ReadOnly);
        }
        Ok(Claim::Present {
            lost: phase.as_deref() == Some("Lost"),
            one_pod_only: access == ["ReadWriteOncePod"],
        })
    }

    /// The HTTPRoute of the model, and whether the cluster knows such a thing. One of somebody else counts as
    /// none, so that writing ours finds its name taken.
    async fn route(&self, observed: &mut Observed) -> Result<(), Error> {
        let owner = Owner::of(&observed.model);
        let name = names::endpoint(&owner.name);
        let (client, namespace) = (self.client.clone(), &owner.namespace);
        let routes: Api<DynamicObject> = Api::namespaced_with(client, namespace, &http_route());
        let found = match routes.get(&name).await {
            Ok(route) => Some(route).filter(|route| owner.has(route)),
            Err(kube::Error::Api(status)) if status.code == 404 => {
                if !is_absent_object(&status) {
                    observed.gateway_api = GatewayApi::Absent;
                    return Ok(());
                }
                None
            }
            Err(error) => {
                let error = Error::api(format!("read HTTPRoute {name}"))(error);
                observed.refusal = Some(error.refusal().ok_or(error)?);
                None
            }
        };
        observed.gateway_api = GatewayApi::Present;
        observed.children.routes = found.into_iter().map(Arc::new).collect();
        Ok(())
    }

    /// The golden set as it is now. What keeps it from being read is told with its gate.
    async fn golden_set(&self, model: &RewardModel) -> Result<SetFile, Error> {
        let rollout = model.spec.rollout.as_ref();
        let Some(set) = rollout.and_then(|rollout| rollout.golden_set.as_ref()) else {
            return Ok(SetFile::Missing);
        };
        let found = match (&set.config_map_ref, &set.claim) {
            (Some(map), _) => {
                let maps: Api<ConfigMap> = self.api(model.namespace());
                let found = maps.get_opt(&map.name).await;
                found.map(|found| SetFile::of_config_map(found.as_ref(), &map.key))
            }
            (None, Some(claim)) => {
                let claims: Api<PersistentVolumeClaim> = self.api(model.namespace());
                let found = claims.get_metadata_opt(&claim.claim_name).await;
                found.map(|found| found.map_or(SetFile::Missing, |_| SetFile::InClaim))
            }
            (None, None) => Ok(SetFile::Missing),
        };
        match found {
            Ok(file) => Ok(file),
            Err(error) => {
                let error = Error::api("read the golden set")(error);
                let refusal = error.refusal().ok_or(error)?;
                Ok(SetFile::Unreadable(refusal.message))
            }
        }
    }

    /// The content of a record as JSON; empty where there is none, which reads as broken.
    async fn content(&self, model: &RewardModel, hash: &RevisionHash) -> Result<Arc<str>, Error> {
        let name = names::revision(&model.name_any(), hash);
        let records: Api<ControllerRevision> = self.api(model.namespace());
        let found = records.get_opt(&name).await;
        let found = found.map_err(Error::api(format!("read ControllerRevision {name}")))?;
        let Some(record) = found else {
            return Ok(Arc::from(""));
        };
        let text = record.data.as_ref().map(|data| data.0.to_string());
        let content: Arc<str> = Arc::from(text.unwrap_or_default());
        let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of models that are gone are never asked for again.
        if contents.len() > 64 + 3 * self.stores.records.owners() {
            contents.clear();
        }
        contents.extend(record.uid().map(|uid| (uid, content.clone())));
        Ok(content)
    }

    /// Why no pod of a Job could be made: what its controller said, the last word last. Without the
    /// permission to read Events nothing is known.
    async fn job_events(&self, model: &RewardModel, job: &str) -> Result<Vec<String>, Error> {
        let events: Api<Event> = self.api(model.namespace());
        let about =
            format!("involvedObject.kind=Job,involvedObject.name={job},reason=FailedCreate");
        let mut found = match events.list(&ListParams::default().fields(&about)).await {
            Ok(found) => found.items,
            Err(kube::Error::Api(status)) if status.code == 403 => return Ok(Vec::new()),
            Err(error) => return Err(Error::api("list the Events of the verify Job")(error)),
        };
        found.sort_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
        Ok(found
            .into_iter()
            .filter_map(|event| event.message)
            .collect())
    }

    /// Pods that hold GPUs, the youngest first, less those of `model`.
    async fn holders(&self, model: &RewardModel) -> Result<Vec<Holder>, Error> {
        let known = {
            let held = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
            held.clone().filter(|(at, _)| at.elapsed() < FRESH)
        };
        let all = match known {
            Some((_, all)) => all,
            None => self.look_for_holders().await?,
        };
        let (name, namespace) = (model.name_any(), model.namespace().unwrap_or_default());
        let others = all.into_iter().filter(|(holder, of)| {
            holder.namespace != namespace || of.as_deref() != Some(name.as_str())
        });
        Ok(others.map(|(holder, _)| holder).collect())
    }

    async fn look_for_holders(&self) -> Result<Vec<Held>, Error> {
        let pods: Api<Pod> = self.scope.api(&self.client);
        let placed = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed";
        // From the API server's cache: it is only told.
        let params = ListParams::default().fields(placed).match_any();
        let mut found = pods
            .list(&params)
            .await
            .map_err(Error::api("list the pods"))?
            .items;
        found.sort_by_key(|pod| {
            std::cmp::Reverse(pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
        });
        let all: Vec<_> = found.iter().filter_map(holder).collect();
        let mut held = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some((Instant::now(), all.clone()));
        Ok(all)
    }
}

/// Whether a 404 is of an object: where its kind is not known, the API server names none.
fn is_absent_object(status: &Status) -> bool {
    let details = status.details.as_ref();
    status.reason == "NotFound" && details.is_some_and(|details| !details.name.is_empty())
}

fn holder(pod: &Pod) -> Option<Held> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let gpus = containers
        .filter_map(|container| container.resources.as_ref()?.limits.as_ref()?.get(GPU))
        .filter_map(|quantity| quantity.0.parse::<i64>().ok())
        .sum();
    let model = pod.labels().get(crds::labels::MODEL).cloned();
    let holder = || Holder {
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        gpus,
    };
    (gpus > 0).then(|| (holder(), model))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kind_that_is_not_known_is_no_object_that_is_not_there() {
        // As the API server answers, and as kube reads "404 page not found".
        let object: Status = serde_json::from_value(json!({
            "status": "Failure", "reason": "NotFound", "code": 404,
            "message": "httproutes.gateway.networking.k8s.io \"a\" not found",
            "details": {"name": "a", "group": "gateway.networking.k8s.io", "kind": "httproutes"},
        }))
        .unwrap();
        assert!(is_absent_object(&object));
        let kind =
            Status::failure("404 page not found", "Failed to parse error data").with_code(404);
        assert!(!is_absent_object(&kind));
        let resource: Status = serde_json::from_value(json!({
            "status": "Failure", "reason": "NotFound", "code": 404, "details": {},
            "message": "the server could not find the requested resource",
        }))
        .unwrap();
        assert!(!is_absent_object(&resource));
    }
}
