//! A cluster in miniature for tests: it keeps what a plan applies and answers as the controllers of
//! Kubernetes would. Beside it stand the cluster tests, with the real ones.

use std::collections::BTreeMap;

use crds::RewardModel;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};
use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStatus, ObjectReference, Pod, PodStatus,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{Plan, plan};
use crate::observed::{Children, Claim, Kind, Observed, Settings};
use crate::resources::Desired;

pub(crate) const DIGEST_1: &str =
    "sha256:1111111111111111111111111111111111111111111111111111111111111111";
pub(crate) const DIGEST_2: &str =
    "sha256:2222222222222222222222222222222222222222222222222222222222222222";

/// How the pods of a revision turn out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pods {
    Ready,
    Starting,
    Failing,
}

pub(crate) struct World {
    pub(crate) observed: Observed,
    pub(crate) second: i64,
    /// What verification answers, by the folder that the Job reads.
    pub(crate) answers: BTreeMap<String, (i32, String)>,
    pub(crate) pods: Pods,
}

impl World {
    pub(crate) fn new(spec: Value) -> Self {
        let model: RewardModel = serde_json::from_value(json!({
            "apiVersion": "betterai.dev/v1alpha1",
            "kind": "RewardModel",
            "metadata": {"name": "helpfulness", "namespace": "team", "uid": "u", "generation": 1},
            "spec": spec,
        }))
        .unwrap();
        let sound = |digest: &str| {
            (
                0,
                json!({"ok": true, "digest": digest, "bytes": 3}).to_string(),
            )
        };
        let mismatch = json!({"ok": false, "reason": "DigestMismatch", "message": "other files"});
        Self {
            observed: Observed {
                model,
                children: Children::default(),
                claim: Claim::Present {
                    lost: false,
                    one_pod_only: false,
                },
                conflicts: Vec::new(),
                refusal: None,
                settings: Settings {
                    server_image: "server:1".to_owned(),
                    server_image_cuda: None,
                },
            },
            second: 0,
            answers: BTreeMap::from([
                ("/models/v1".to_owned(), sound(DIGEST_1)),
                ("/models/v2".to_owned(), sound(DIGEST_2)),
                ("/models/bad".to_owned(), (1, mismatch.to_string())),
            ]),
            pods: Pods::Ready,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_second(self.second).unwrap()
    }

    pub(crate) fn respec(&mut self, change: impl FnOnce(&mut RewardModel)) {
        change(&mut self.observed.model);
        let generation = self.observed.model.metadata.generation.get_or_insert(0);
        *generation += 1;
    }

    pub(crate) fn path(&mut self, path: &str) {
        self.respec(|model| {
            model.spec.model.source.pvc.as_mut().unwrap().path = Some(path.to_owned());
        });
    }

    pub(crate) fn plan(&self) -> Plan {
        plan(&self.observed, self.now())
    }

    /// Plans, acts, lets the cluster follow, and goes on until nothing changes.
    pub(crate) fn settle(&mut self) {
        for _ in 0..60 {
            let before = (self.observed.model.clone(), self.observed.children.clone());
            let plan = self.plan();
            self.act(&plan, usize::MAX);
            self.follow();
            self.second += 1;
            let after = (self.observed.model.clone(), self.observed.children.clone());
            if before == after && plan.requeue.as_secs() > 60 {
                return;
            }
        }
        panic!("it does not settle: {:?}", self.observed.model.status);
    }

    /// Carries out the first `actions` writes of a plan, as an operator that is killed would.
    pub(crate) fn act(&mut self, plan: &Plan, actions: usize) {
        let mut left = actions;
        let mut may = || {
            let may = left > 0;
            left = left.saturating_sub(1);
            may
        };
        if may() {
            self.observed.model.status = Some(plan.status.clone());
        }
        if let (Some(replicas), true) = (plan.set_replicas, may()) {
            self.respec(|model| model.spec.replicas = Some(replicas));
        }
        for object in &plan.apply {
            if may() {
                self.upsert(object);
            }
        }
        for key in &plan.delete {
            if may() {
                self.remove(key.kind, &key.name);
            }
        }
    }

    fn upsert(&mut self, object: &Desired) {
        let children = &mut self.observed.children;
        match object {
            Desired::ControllerRevision(new) => put(&mut children.revisions, new),
            Desired::Deployment(new) => {
                let mut new = new.clone();
                let old = children
                    .deployments
                    .iter()
                    .find(|old| old.name_any() == new.name_any());
                new.status = old.and_then(|old| old.status.clone());
                put(&mut children.deployments, &new);
            }
            Desired::Service(new) => put(&mut children.services, new),
            Desired::PodDisruptionBudget(new) => put(&mut children.budgets, new),
            Desired::Job(new) => {
                let mut new = new.clone();
                new.metadata.uid = Some(format!("job-{}", new.name_any()));
                put(&mut children.jobs, &new);
            }
        }
    }

    fn remove(&mut self, kind: Kind, name: &str) {
        let children = &mut self.observed.children;
        match kind {
            Kind::ControllerRevision => children.revisions.retain(|o| o.name_any() != name),
            Kind::Deployment => children.deployments.retain(|o| o.name_any() != name),
            Kind::Service => children.services.retain(|o| o.name_any() != name),
            Kind::PodDisruptionBudget => children.budgets.retain(|o| o.name_any() != name),
            Kind::Job => children.jobs.retain(|o| o.name_any() != name),
        }
    }

    /// What the cluster's own controllers would do.
    pub(crate) fn follow(&mut self) {
        self.observed.children.pods.clear();
        self.run_jobs();
        self.run_deployments();
        self.follow_endpoints();
    }

    fn run_jobs(&mut self) {
        let children = &mut self.observed.children;
        for job in &mut children.jobs {
            let spec = job.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
            let args = spec.containers[0].args.clone().unwrap();
            let folder = args.iter().find(|arg| arg.starts_with("/models")).unwrap();
            let (code, message) = self.answers[folder].clone();
            let kind = if code == 0 { "Complete" } else { "Failed" };
            job.status = Some(JobStatus {
                conditions: Some(vec![JobCondition {
                    type_: kind.to_owned(),
                    status: "True".to_owned(),
                    ..JobCondition::default()
                }]),
                ..JobStatus::default()
            });
            let owner = OwnerReference {
                uid: job.metadata.uid.clone().unwrap(),
                ..OwnerReference::default()
            };
            let name = format!("{}-pod", job.name_any());
            children.pods.push(ended_pod(
                name,
                job.metadata.labels.clone(),
                Some(owner),
                code,
                &message,
            ));
        }
    }

    fn run_deployments(&mut self) {
        let children = &mut self.observed.children;
        for deployment in &mut children.deployments {
            let wanted = deployment
                .spec
                .as_ref()
                .and_then(|spec| spec.replicas)
                .unwrap_or(1);
            let serving = deployment
                .status
                .as_ref()
                .is_some_and(|s| s.ready_replicas > Some(0));
            let pods = if serving { Pods::Ready } else { self.pods };
            let ready = if pods == Pods::Ready { wanted } else { 0 };
            deployment.status = Some(DeploymentStatus {
                replicas: Some(wanted),
                updated_replicas: Some(wanted),
                ready_replicas: Some(ready),
                ..DeploymentStatus::default()
            });
            for i in 0..wanted {
                let name = format!("{}-{i}", deployment.name_any());
                let labels = pod_labels(deployment);
                let message = r#"{"ok":false,"reason":"ModelInvalid","message":"broken"}"#;
                let mut pod = ended_pod(name, labels, None, 1, message);
                if pods != Pods::Failing {
                    pod.status = None;
                }
                children.pods.push(pod);
            }
        }
    }

    fn follow_endpoints(&mut self) {
        let children = &mut self.observed.children;
        let Some(service) = children
            .services
            .iter()
            .find(|s| s.name_any() == "helpfulness")
        else {
            return;
        };
        let selector = service.spec.as_ref().unwrap().selector.clone().unwrap();
        let chosen = children.pods.iter().filter(|pod| {
            selector
                .iter()
                .all(|(key, value)| pod.labels().get(key) == Some(value))
        });
        let endpoints = chosen.map(|pod| Endpoint {
            target_ref: Some(ObjectReference {
                uid: pod.metadata.uid.clone(),
                ..ObjectReference::default()
            }),
            ..Endpoint::default()
        });
        children.slices = vec![EndpointSlice {
            metadata: ObjectMeta {
                labels: Some(BTreeMap::from([(
                    "kubernetes.io/service-name".to_owned(),
                    "helpfulness".to_owned(),
                )])),
                ..ObjectMeta::default()
            },
            endpoints: endpoints.collect(),
            ..EndpointSlice::default()
        }];
    }

    pub(crate) fn condition(&self, kind: &str) -> Option<(String, String)> {
        let status = self.observed.model.status.as_ref()?;
        let found = status
            .conditions
            .iter()
            .find(|condition| condition.type_ == kind)?;
        Some((found.status.clone(), found.reason.clone()))
    }

    pub(crate) fn stable_digest(&self) -> Option<String> {
        let status = self.observed.model.status.as_ref()?;
        Some(status.stable.as_ref()?.digest.as_ref()?.to_string())
    }
}

fn put<T: ResourceExt + Clone>(list: &mut Vec<T>, new: &T) {
    match list.iter_mut().find(|old| old.name_any() == new.name_any()) {
        Some(old) => *old = new.clone(),
        None => list.push(new.clone()),
    }
}

fn pod_labels(deployment: &Deployment) -> Option<BTreeMap<String, String>> {
    deployment
        .spec
        .as_ref()?
        .template
        .metadata
        .as_ref()?
        .labels
        .clone()
}

fn ended_pod(
    name: String,
    labels: Option<BTreeMap<String, String>>,
    owner: Option<OwnerReference>,
    exit_code: i32,
    message: &str,
) -> Pod {
    Pod {
        metadata: ObjectMeta {
            uid: Some(format!("uid-{name}")),
            name: Some(name),
            labels,
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        status: Some(PodStatus {
            container_statuses: Some(vec![ContainerStatus {
                state: Some(ContainerState {
                    terminated: Some(ContainerStateTerminated {
                        exit_code,
                        message: Some(message.to_owned()),
                        ..ContainerStateTerminated::default()
                    }),
                    ..ContainerState::default()
                }),
                ..ContainerStatus::default()
            }]),
            ..PodStatus::default()
        }),
        ..Pod::default()
    }
}
