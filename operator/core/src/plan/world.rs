//! A cluster in miniature for tests: it keeps what a plan writes and answers as the API server and
//! the controllers of Kubernetes would, through caches that may be behind. Beside it stand the
//! cluster tests, with the real ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::RewardModel;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Override, Plan, plan};
use crate::golden::SetFile;
use crate::identity::{AdminKey, RevisionHash};
use crate::objects::router::table;
use crate::objects::{Desired, Write};
use crate::observed::{
    Children, Claim, Elsewhere, GatewayApi, Holder, Kind, ObjectKey, Observed, Question, Settings,
};

pub(crate) const DIGEST_1: &str =
    "sha256:1111111111111111111111111111111111111111111111111111111111111111";
pub(crate) const DIGEST_2: &str =
    "sha256:2222222222222222222222222222222222222222222222222222222222222222";

pub(crate) const FREE: Claim = Claim::Present {
    lost: false,
    one_pod_only: false,
};

/// How pods that do not serve yet turn out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pods {
    Ready,
    Starting,
    Failing,
    /// No node has room.
    Unplaced,
    /// A queue holds them back.
    Gated,
    /// A quota lets none be made.
    Refused,
}

/// What the verify pod does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verify {
    Answers,
    /// Its image cannot be pulled.
    PullsInVain,
    Unplaced,
    /// A quota lets none be made.
    Refused,
    /// Its Secret is not there.
    LacksSecret,
}

/// How a fetch ends whose source does not answer: its Job tries again.
pub(crate) const TRY_AGAIN: i32 = 75;

#[expect(clippy::struct_excessive_bools, reason = "each spoils one thing")]
pub(crate) struct World {
    pub(crate) observed: Observed,
    pub(crate) claim: Claim,
    /// Contents of the records, as the API server keeps them.
    contents: BTreeMap<RevisionHash, Arc<str>>,
    /// What the caches show; they follow when told.
    seen: Children,
    pub(crate) caches_follow: bool,
    version: u64,
    pub(crate) second: i64,
    /// What verification answers, by the folder that the Job reads.
    pub(crate) answers: BTreeMap<String, (i32, String)>,
    pub(crate) pods: Pods,
    pub(crate) verify: Verify,
    /// Whether pods that are told to go stay for one more round.
    pub(crate) pods_linger: bool,
    /// How many scoring pods the nodes have room for, where they have not for all.
    pub(crate) room: Option<usize>,
    /// Whether a mesh puts its container before ours.
    pub(crate) sidecar: bool,
    /// Pods of others that have our labels.
    pub(crate) strangers: Vec<Arc<Pod>>,
    /// Whether a router is away that was there.
    pub(crate) routers_away: bool,
    /// What the kubelet says of the routers' containers, where they do not come to run.
    pub(crate) routers_stuck: Option<Value>,
    /// Whether the routers follow their table and say so.
    pub(crate) routers_follow: bool,
    /// What the Job controller said of pods that it could not make.
    pub(crate) job_events: Vec<String>,
    /// Whether there are `HTTPRoute`s.
    pub(crate) gateway_api: GatewayApi,
    /// What the Gateway says of the route: its status, reason and message.
    pub(crate) gateway: Option<(&'static str, &'static str, &'static str)>,
    /// The golden set, as somebody finds it who looks.
    pub(crate) golden_set: SetFile,
    /// How the golden set's pod ends; `None` while it works.
    pub(crate) scores: Option<(i32, Value)>,
    /// Golden sets that were scored, and against whom.
    pub(crate) scored: Vec<Vec<String>>,
    /// Who holds the GPUs.
    pub(crate) holders: Vec<Holder>,
    /// What a router has cut the canary off for.
    pub(crate) cut_off: Option<(String, String)>,
    /// Requests that each router answers between two looks, by the weights of its table.
    pub(crate) requests: u64,
    /// What each router answered in all, by revision.
    pub(crate) answered: BTreeMap<String, u64>,
    /// Writes that changed nothing.
    pub(crate) empty_writes: usize,
}

impl World {
    pub(crate) fn new(spec: Value) -> Self {
        let model: RewardModel = serde_json::from_value(json!({
            "apiVersion": "betterai.dev/v1alpha1",
            "kind": "RewardModel",
            "metadata": {"name": "helpfulness", "namespace": "team", "uid": "u", "generation": 1},
            "spec": spec,
            // What the API server answers where there is no status.
            "status": {"observedGeneration": -1},
        }))
        .unwrap();
        let sound = |digest: &str| {
            let document = json!({"ok": true, "digest": digest, "bytes": 3});
            (0, document.to_string())
        };
        let mismatch = json!({"ok": false, "reason": "DigestMismatch", "message": "other files"});
        Self {
            observed: Observed {
                model,
                children: Children::default(),
                contents: BTreeMap::new(),
                claim: Claim::NotAsked,
                in_use: std::collections::BTreeSet::new(),
                gateway_api: GatewayApi::NotAsked,
                golden_set: None,
                job_events: None,
                holders: None,
                conflicts: Vec::new(),
                refusal: None,
                reports: Vec::new(),
                first_reports: Vec::new(),
                measured_reports: Vec::new(),
                gathered: crate::gates::Gathered::default(),
                ledger: None,
                experiment: None,
                elsewhere: Elsewhere {
                    loading: 0,
                    at_once: 10,
                },
                settings: Settings {
                    server_image: "server:1".to_owned(),
                    server_image_cuda: Some("server:1-cuda".to_owned()),
                    asks_prometheus: true,
                    operator_namespace: "betterai-system".to_owned(),
                    admin_key: AdminKey::new(vec![7; 32]),
                },
            },
            claim: FREE,
            contents: BTreeMap::new(),
            seen: Children::default(),
            caches_follow: true,
            version: 0,
            second: 0,
            answers: BTreeMap::from([
                ("/models/v1".to_owned(), sound(DIGEST_1)),
                ("/models/v2".to_owned(), sound(DIGEST_2)),
                ("/models/bad".to_owned(), (1, mismatch.to_string())),
            ]),
            pods: Pods::Ready,
            verify: Verify::Answers,
            pods_linger: false,
            room: None,
            sidecar: false,
            routers_away: false,
            routers_stuck: None,
            strangers: Vec::new(),
            routers_follow: true,
            job_events: Vec::new(),
            gateway_api: GatewayApi::Present,
            gateway: None,
            golden_set: SetFile::Missing,
            scores: None,
            scored: Vec::new(),
            holders: Vec::new(),
            cut_off: None,
            requests: 0,
            answered: BTreeMap::new(),
            empty_writes: 0,
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

    pub(crate) fn command(&mut self, text: &str) {
        self.respec(|model| {
            let annotations = model.annotations_mut();
            annotations.insert(crds::labels::COMMAND.to_owned(), text.to_owned());
        });
    }

    pub(crate) fn rollout(&mut self, rollout: Value) {
        self.respec(|model| {
            model.spec.rollout = Some(serde_json::from_value(rollout).unwrap());
        });
    }

    /// The plan that the shell would come to: from the caches, and before a decisive step from the
    /// API server itself; with what it asks for answered.
    pub(crate) fn plan(&self) -> Plan {
        self.planned().1
    }

    fn planned(&self) -> (Observed, Plan) {
        let cached = Observed {
            children: if self.caches_follow {
                self.observed.children.clone()
            } else {
                self.seen.clone()
            },
            ..self.observed.clone()
        };
        let (cached, wanted) = self.answered(cached);
        if wanted.is_decisive(self.observed.model.status.as_ref()) {
            return self.answered(self.observed.clone());
        }
        (cached, wanted)
    }

    fn answered(&self, mut observed: Observed) -> (Observed, Plan) {
        if observed.gateway_api == GatewayApi::NotAsked {
            observed.children.routes.clear();
        }
        for _ in 0..4 {
            let wanted = plan(&observed, self.now());
            if wanted.questions.is_empty() {
                return (observed, wanted);
            }
            for question in wanted.questions {
                match question {
                    Question::Claim => observed.claim = self.claim,
                    Question::JobEvents(_) => observed.job_events = Some(self.job_events.clone()),
                    Question::GoldenSet => observed.golden_set = Some(self.golden_set.clone()),
                    Question::Route => {
                        observed.gateway_api = self.gateway_api;
                        observed
                            .children
                            .routes
                            .clone_from(&self.observed.children.routes);
                    }
                    Question::Holders => observed.holders = Some(self.holders.clone()),
                    Question::Content(hash) => {
                        let content = self.contents.get(&hash).cloned();
                        observed
                            .contents
                            .insert(hash, content.unwrap_or_else(|| "".into()));
                    }
                }
            }
        }
        panic!("the plan never stops asking");
    }

    /// Plans, acts, lets the cluster follow, and goes on until nothing changes.
    pub(crate) fn settle(&mut self) {
        for _ in 0..80 {
            let before = (self.observed.model.clone(), self.version);
            let (_, wanted) = self.planned();
            self.act(usize::MAX);
            self.follow();
            self.second += 1;
            let after = (self.observed.model.clone(), self.version);
            if before == after && wanted.requeue.as_secs() > 5 {
                return;
            }
        }
        panic!("it does not settle: {:?}", self.observed.model.status);
    }

    /// One round: plan, act, follow.
    pub(crate) fn round(&mut self) {
        self.act(usize::MAX);
        self.follow();
        self.second += 1;
    }

    /// So many rounds.
    pub(crate) fn rounds(&mut self, count: usize) {
        (0..count).for_each(|_| self.round());
    }

    /// Carries out the first `writes` writes of the plan, as an operator that is killed would; a
    /// write that the API server refuses ends it.
    pub(crate) fn act(&mut self, writes: usize) {
        let (observed, wanted) = self.planned();
        let mut left = writes;
        let mut may = || {
            let may = left > 0;
            left = left.saturating_sub(1);
            may
        };
        if Some(&wanted.status) != self.observed.model.status.as_ref() {
            if !may() {
                return;
            }
            self.observed.model.status = Some(wanted.status.clone());
        }
        for object in &wanted.apply {
            let live = observed.children.live(&object.key).unwrap();
            if live.as_ref().is_some_and(|live| object.is_met_by(live)) {
                continue;
            }
            if !may() || !self.write(object, live.as_ref()) {
                return;
            }
        }
        for key in &wanted.delete {
            if !may() {
                return;
            }
            self.remove(key);
        }
        if let (Some(replicas), true) = (wanted.set_replicas, may()) {
            self.respec(|model| model.spec.replicas = Some(replicas));
        }
        if let (Some(change), true) = (&wanted.set_override, may()) {
            let annotations = &mut self.observed.model.metadata.annotations;
            let annotations = annotations.get_or_insert_default();
            let key = crds::labels::OVERRIDE.to_owned();
            match change {
                Override::Ahead(text) => annotations.insert(key, text.clone()),
                Override::Ended => annotations.remove(&key),
            };
        }
    }

    /// Whether the API server takes the write: one that was decided on an old version is refused.
    fn write(&mut self, object: &Desired, seen: Option<&Value>) -> bool {
        let real = self.observed.children.live(&object.key).unwrap();
        let version = |object: Option<&Value>| {
            object.and_then(|object| object.pointer("/metadata/resourceVersion").cloned())
        };
        if version(real.as_ref()) != version(seen) {
            return false;
        }
        let mut body = object.body.clone();
        if let (Some(real), Write::Marks) = (&real, object.write) {
            body = real.clone();
            for part in ["labels", "annotations", "ownerReferences"] {
                body["metadata"][part] = object.body["metadata"][part].clone();
            }
        }
        if let Some(real) = &real {
            body["status"] = real["status"].clone();
            if substance(real) == substance(&body) && object.write == Write::Replace {
                self.empty_writes += 1;
            }
        }
        self.version += 1;
        body["metadata"]["resourceVersion"] = self.version.to_string().into();
        let made = real.as_ref().map_or_else(
            || json!({"uid": format!("{}-{}", object.key.name, self.version), "creationTimestamp": Time(self.now())}),
            |real| real["metadata"].clone(),
        );
        for part in ["uid", "creationTimestamp"] {
            body["metadata"][part] = made[part].clone();
        }
        if let (Kind::ControllerRevision, None) = (object.key.kind, &real) {
            let hash = body["metadata"]["labels"][crds::labels::REVISION].as_str();
            let hash = RevisionHash::parse(hash.unwrap()).unwrap();
            self.contents.insert(hash, body["data"].to_string().into());
        }
        self.keep(object.key.kind, body);
        true
    }

    fn keep(&mut self, kind: Kind, mut body: Value) {
        let children = &mut self.observed.children;
        match kind {
            Kind::ControllerRevision => put(&mut children.records, body),
            Kind::Deployment => put(&mut children.deployments, body),
            Kind::Service => put(&mut children.services, body),
            Kind::PodDisruptionBudget => put(&mut children.budgets, body),
            Kind::Job => put(&mut children.jobs, body),
            Kind::ConfigMap => put(&mut children.tables, body),
            Kind::ServiceAccount => put(&mut children.accounts, body),
            Kind::Role => put(&mut children.roles, body),
            Kind::RoleBinding => put(&mut children.bindings, body),
            Kind::NetworkPolicy => put(&mut children.policies, body),
            Kind::HttpRoute => {
                body["metadata"]["generation"] = self.version.into();
                put(&mut children.routes, body);
            }
        }
    }

    /// Changes an object as somebody else would.
    pub(crate) fn meddle(&mut self, key: &ObjectKey, change: impl FnOnce(&mut Value)) {
        let mut body = self.observed.children.live(key).unwrap().unwrap();
        change(&mut body);
        self.version += 1;
        body["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.keep(key.kind, body);
    }

    fn remove(&mut self, key: &ObjectKey) {
        let children = &mut self.observed.children;
        self.version += 1;
        match key.kind {
            Kind::ControllerRevision => children.records.retain(|o| o.name_any() != key.name),
            Kind::Deployment => children.deployments.retain(|o| o.name_any() != key.name),
            Kind::Service => children.services.retain(|o| o.name_any() != key.name),
            Kind::PodDisruptionBudget => children.budgets.retain(|o| o.name_any() != key.name),
            Kind::Job => children.jobs.retain(|o| o.name_any() != key.name),
            Kind::HttpRoute => children.routes.clear(),
            Kind::ConfigMap => children.tables.retain(|o| o.name_any() != key.name),
            Kind::ServiceAccount | Kind::Role | Kind::RoleBinding | Kind::NetworkPolicy => {
                panic!("nobody deletes these")
            }
        }
    }

    /// What the cluster's own controllers would do.
    pub(crate) fn follow(&mut self) {
        self.seen = self.observed.children.clone();
        self.collect_pods();
        self.run_deployments();
        self.run_jobs();
        self.follow_endpoints();
        self.follow_route();
        self.report();
    }

    /// The routers read their table and say what they do.
    fn report(&mut self) {
        if !self.routers_follow {
            return;
        }
        let children = &self.observed.children;
        let table = children
            .tables
            .first()
            .and_then(|object| table::read(object));
        let Some(table) = table else { return };
        let pods = children
            .pods
            .iter()
            .filter(|pod| is_router(pod) && crate::reading::pods::is_ready(pod));
        let (requests, answered) = (self.requests, &mut self.answered);
        let mut revision = |row: &traffic::table::Row| {
            let (name, weight) = (row.revision.to_string(), row.weight.get());
            let count = answered.entry(name.clone()).or_default();
            *count += requests * u64::from(weight) / 10_000;
            json!({"revision": name, "endpoints": 1, "ready": 1, "effectiveWeight": weight, "answered": *count})
        };
        let revisions: Vec<Value> = table.revisions().iter().map(&mut revision).collect();
        let cut_off = self.cut_off.as_ref().map(|(revision, cause)| {
            json!({"revision": revision, "cause": cause, "message": "5 of 5", "ageMs": 3})
        });
        let reports: Vec<_> = pods
            .map(|pod| {
                let report = json!({
                    "schemaVersion": 1, "pod": pod.name_any(), "instance": "i", "sequence": table.generation.0, "synced": true,
                    "table": {"modelUid": "u", "generation": table.generation.0}, "revisions": revisions, "cutOff": cut_off,
                });
                serde_json::from_value(report).unwrap()
            })
            .collect();
        self.version += u64::from(reports != self.observed.reports);
        let generation = |reports: &[traffic::status::Report]| {
            reports.first().map(|report| report.table.clone())
        };
        if generation(&reports) != generation(&self.observed.first_reports) {
            self.observed.first_reports.clone_from(&reports);
        }
        self.observed.measured_reports.clone_from(&reports);
        self.observed.reports = reports;
    }

    /// Pods that nobody wants go; those that were going are gone.
    fn collect_pods(&mut self) {
        let children = &mut self.observed.children;
        let wanted: BTreeMap<String, i32> = children
            .deployments
            .iter()
            .map(|d| (d.name_any(), d.spec.as_ref().unwrap().replicas.unwrap()))
            .collect();
        let jobs: Vec<String> = children.jobs.iter().map(|job| job.name_any()).collect();
        let (now, lingers) = (self.second, self.pods_linger);
        let mut kept = Vec::new();
        for pod in &children.pods {
            let (owner, index) = owner(pod);
            let wanted = jobs.contains(&owner) || wanted.get(&owner).is_some_and(|n| index < *n);
            if wanted && pod.metadata.deletion_timestamp.is_none() {
                kept.push(pod.clone());
            } else if pod.metadata.deletion_timestamp.is_none() && lingers {
                let mut leaving = pod.as_ref().clone();
                leaving.metadata.deletion_timestamp =
                    Some(Time(Timestamp::from_second(now).unwrap()));
                kept.push(Arc::new(leaving));
            }
        }
        if kept.len() != children.pods.len() || lingers && kept != children.pods {
            self.version += 1;
        }
        kept.extend(self.strangers.clone());
        self.observed.children.pods = kept;
    }

    /// Scoring pods that have a place.
    pub(crate) fn placed(&self) -> usize {
        let pods = self.observed.children.pods.iter();
        let scoring = pods.filter(|pod| pod.labels().contains_key(crds::labels::REVISION));
        scoring
            .filter(|pod| crate::reading::pods::unplaced(pod).is_none())
            .count()
    }

    /// Pods that serve, of all revisions.
    pub(crate) fn serving(&self) -> usize {
        let pods = self.observed.children.pods.iter();
        let scoring = pods.filter(|pod| pod.labels().contains_key(crds::labels::REVISION));
        scoring
            .filter(|pod| crate::reading::pods::is_ready(pod))
            .count()
    }

    /// The pods of the revision on its way are lost, and those that come in their place are as `pods` says.
    pub(crate) fn lose(&mut self, count: usize) {
        let canary = self.observed.model.status.clone().unwrap().canary.unwrap();
        let children = &mut self.observed.children;
        let mut left = count;
        children.pods.retain(|pod| {
            let is_one = pod.labels().get(crds::labels::REVISION) == Some(&canary.revision);
            let lost = is_one && left > 0;
            left -= usize::from(lost);
            !lost
        });
        for deployment in &mut children.deployments {
            if deployment.name_any().ends_with(&canary.revision) {
                Arc::make_mut(deployment).status = None;
            }
        }
        self.version += 1;
    }

    /// The share of whatever is not the revision `old`.
    pub(crate) fn weight_of_the_new(&self, old: &str) -> i32 {
        let tables = self.observed.children.tables.first();
        let table = tables.and_then(|object| table::read(object)).unwrap();
        let rows = table.revisions().iter();
        let new = rows.filter(|row| row.revision.as_str() != old);
        new.map(|row| i32::from(row.weight.get()) / 100).sum()
    }

    /// The revisions that have a record.
    pub(crate) fn revision_hashes(&self) -> Vec<String> {
        self.contents.keys().map(ToString::to_string).collect()
    }

    /// Changes the content of a record, as it was written by another version.
    pub(crate) fn change_record(&mut self, revision: &str, change: impl FnOnce(&mut Value)) {
        let hash = RevisionHash::parse(revision).unwrap();
        let mut content = serde_json::from_str(&self.contents[&hash]).unwrap();
        change(&mut content);
        self.contents.insert(hash, content.to_string().into());
    }

    fn run_deployments(&mut self) {
        let now = Time(self.now());
        for at in 0..self.observed.children.deployments.len() {
            let deployment = self.observed.children.deployments[at].clone();
            let wanted = deployment.spec.as_ref().unwrap().replicas.unwrap();
            let served = deployment
                .status
                .as_ref()
                .is_some_and(|s| s.ready_replicas > Some(0));
            let alone = !self.one_pod_only() || self.is_alone(&deployment);
            let is_router = deployment.name_any().ends_with("-router");
            let has_table = !self.observed.children.tables.is_empty();
            let pods = match (served, alone) {
                _ if is_router && self.routers_away => Pods::Unplaced,
                _ if is_router && self.routers_stuck.is_some() => Pods::Starting,
                _ if is_router && has_table => Pods::Ready,
                _ if is_router => Pods::Starting,
                (true, _) => Pods::Ready,
                (false, true) => self.pods,
                (false, false) => Pods::Unplaced,
            };
            if pods != Pods::Refused {
                self.make_pods(&deployment, wanted, pods, &now);
            }
            let ready = if self.room.is_some() && !is_router {
                self.ready_of(&deployment)
            } else if pods == Pods::Ready {
                wanted
            } else {
                0
            };
            let mut followed = deployment.as_ref().clone();
            followed.status = Some(DeploymentStatus {
                observed_generation: deployment.metadata.generation,
                replicas: Some(if pods == Pods::Refused { 0 } else { wanted }),
                updated_replicas: Some(wanted),
                ready_replicas: Some(ready),
                conditions: (pods == Pods::Refused).then(|| {
                    vec![DeploymentCondition {
                        type_: "ReplicaFailure".to_owned(),
                        status: "True".to_owned(),
                        message: Some("exceeded quota: gpus".to_owned()),
                        ..DeploymentCondition::default()
                    }]
                }),
                ..DeploymentStatus::default()
            });
            if followed != *deployment {
                self.version += 1;
                self.observed.children.deployments[at] = Arc::new(followed);
            }
        }
    }

    fn ready_of(&self, deployment: &Deployment) -> i32 {
        let pods = self.observed.children.pods.iter();
        let own = pods.filter(|pod| pod.name_any().starts_with(&deployment.name_any()));
        let ready = own.filter(|pod| crate::reading::pods::is_ready(pod));
        i32::try_from(ready.count()).unwrap()
    }

    fn one_pod_only(&self) -> bool {
        matches!(
            self.claim,
            Claim::Present {
                one_pod_only: true,
                ..
            }
        )
    }

    /// Whether no pod of another Deployment holds the claim.
    fn is_alone(&self, deployment: &Deployment) -> bool {
        let pods = &self.observed.children.pods;
        !pods.iter().any(|pod| {
            !crate::reading::pods::is_over(pod)
                && !is_router(pod)
                && owner(pod).0 != deployment.name_any()
        })
    }

    fn make_pods(&mut self, deployment: &Deployment, wanted: i32, kind: Pods, now: &Time) {
        for index in 0..wanted {
            let name = format!("{}.{index}", deployment.name_any());
            let children = &mut self.observed.children;
            let old = children.pods.iter().position(|pod| pod.name_any() == name);
            let over = |pod: &Pod| crate::reading::pods::is_over(pod);
            let pod = match old.and_then(|at| children.pods.get(at)) {
                // Another one takes its place.
                Some(pod) if over(pod) => format!("{name}+"),
                Some(_) | None => name,
            };
            let template = deployment.spec.as_ref().unwrap().template.metadata.as_ref();
            let labels = template.unwrap().labels.clone();
            let born = children.pods.iter().find(|old| old.name_any() == pod);
            let placed = born.is_some_and(|old| crate::reading::pods::unplaced(old).is_none());
            let taken = children.pods.iter().filter(|pod| {
                pod.labels().contains_key(crds::labels::REVISION)
                    && crate::reading::pods::unplaced(pod).is_none()
            });
            let fits = placed || self.room.is_none_or(|room| taken.count() < room);
            let since = born
                .and_then(|old| crate::reading::pods::unplaced(old)?.1)
                .map_or_else(|| now.clone(), Time);
            let born = born.and_then(|old| old.metadata.creation_timestamp.clone());
            let pod = Pod {
                metadata: ObjectMeta {
                    uid: Some(format!("uid-{pod}")),
                    name: Some(pod),
                    labels,
                    creation_timestamp: Some(born.unwrap_or_else(|| now.clone())),
                    owner_references: Some(vec![OwnerReference {
                        kind: "ReplicaSet".to_owned(),
                        name: format!("{}-5d4f", deployment.name_any()),
                        controller: Some(true),
                        ..OwnerReference::default()
                    }]),
                    ..ObjectMeta::default()
                },
                status: Some(match &self.routers_stuck {
                    Some(said) if deployment.name_any().ends_with("-router") => {
                        serde_json::from_value(
                            json!({"phase": "Pending", "containerStatuses": [said]}),
                        )
                        .unwrap()
                    }
                    Some(_) | None => pod_status(
                        if fits { kind } else { Pods::Unplaced },
                        self.sidecar,
                        &since,
                    ),
                }),
                ..Pod::default()
            };
            let same = children.pods.iter().any(|old| old.as_ref() == &pod);
            self.version += u64::from(!same);
            put_typed(&mut children.pods, pod);
        }
    }

    fn run_jobs(&mut self) {
        let one_pod_only = self.one_pod_only();
        let holders = self.observed.children.pods.iter();
        let held = holders
            .filter(|pod| !owner(pod).0.contains("-verify-") && !is_router(pod))
            .count()
            > 0;
        let verify = if one_pod_only && held {
            Verify::Unplaced
        } else {
            self.verify
        };
        for at in 0..self.observed.children.jobs.len() {
            let job = self.observed.children.jobs[at].clone();
            if job
                .status
                .as_ref()
                .is_some_and(|status| status.conditions.is_some())
            {
                continue;
            }
            if crate::golden::is_one(&job) {
                self.run_golden(at);
                continue;
            }
            if verify == Verify::Refused {
                continue;
            }
            let answer = self.answers[&folder(&job)].clone();
            let pod = verify_pod(&job, verify, &answer);
            let mut followed = job.as_ref().clone();
            if verify == Verify::Answers && answer.0 != TRY_AGAIN {
                let kind = if answer.0 == 0 { "Complete" } else { "Failed" };
                followed.status = Some(JobStatus {
                    conditions: Some(vec![JobCondition {
                        type_: kind.to_owned(),
                        status: "True".to_owned(),
                        ..JobCondition::default()
                    }]),
                    ..JobStatus::default()
                });
            }
            let children = &mut self.observed.children;
            let same = children.pods.iter().any(|old| old.as_ref() == &pod) && followed == *job;
            self.version += u64::from(!same);
            put_typed(&mut children.pods, pod);
            children.jobs[at] = Arc::new(followed);
        }
    }

    /// The Gateway's controller.
    fn follow_route(&mut self) {
        let Some((status, reason, message)) = self.gateway else {
            return;
        };
        for route in &mut self.observed.children.routes {
            let told = json!({"parents": [{
                "parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public"},
                "controllerName": "example.com/gateway",
                "conditions": [{"type": "Accepted", "status": status, "reason": reason, "message": message, "observedGeneration": route.metadata.generation}],
            }]});
            self.version += u64::from(route.data["status"] != told);
            Arc::make_mut(route).data["status"] = told;
        }
    }

    /// The pod of a golden set's Job, which ends as it is told.
    fn run_golden(&mut self, at: usize) {
        let job = self.observed.children.jobs[at].clone();
        let mut followed = job.as_ref().clone();
        let spec = job.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
        let mut status = json!({"phase": "Running", "containerStatuses": [running()]});
        if let Some((code, document)) = &self.scores {
            self.scored.push(spec.containers[0].args.clone().unwrap());
            status = json!({"phase": if *code == 0 {"Succeeded"} else {"Failed"}, "containerStatuses": [ended(*code, &document.to_string())]});
            followed.status = Some(JobStatus {
                conditions: Some(vec![JobCondition {
                    type_: if *code == 0 { "Complete" } else { "Failed" }.to_owned(),
                    status: "True".to_owned(),
                    last_transition_time: Some(Time(self.now())),
                    ..JobCondition::default()
                }]),
                ..JobStatus::default()
            });
        }
        let pod = job_pod(&job, status);
        let children = &mut self.observed.children;
        let same = children.pods.iter().any(|old| old.as_ref() == &pod) && followed == *job;
        self.version += u64::from(!same);
        put_typed(&mut children.pods, pod);
        children.jobs[at] = Arc::new(followed);
    }

    fn follow_endpoints(&mut self) {
        let children = &mut self.observed.children;
        let endpoint =
            |s: &&Arc<k8s_openapi::api::core::v1::Service>| s.name_any() == "helpfulness";
        let Some(service) = children.services.iter().find(endpoint) else {
            return;
        };
        let selector = service.spec.as_ref().unwrap().selector.clone().unwrap();
        let chosen = children.pods.iter().filter(|pod| {
            let mut selector = selector.iter();
            selector.all(|(key, value)| pod.labels().get(key) == Some(value))
        });
        let endpoints: Vec<Value> = chosen
            .map(|pod| {
                let ready = crate::reading::pods::is_ready(pod) && pod.metadata.deletion_timestamp.is_none();
                json!({"addresses": ["10.0.0.1"], "conditions": {"ready": ready}, "targetRef": {"uid": pod.metadata.uid}})
            })
            .collect();
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": {"name": "s", "labels": {"kubernetes.io/service-name": "helpfulness"}},
            "addressType": "IPv4", "ports": [], "endpoints": endpoints,
        }))
        .unwrap();
        let same = children.slices.iter().any(|old| old.as_ref() == &slice);
        self.version += u64::from(!same);
        children.slices = vec![Arc::new(slice)];
    }

    /// Ends a pod of the stable revision as an eviction does: it stays behind, failed.
    pub(crate) fn evict(&mut self, index: usize) {
        let stable = self.stable();
        let children = &mut self.observed.children;
        let mut own: Vec<&mut Arc<Pod>> = children
            .pods
            .iter_mut()
            .filter(|pod| pod.labels().get(crds::labels::REVISION) == Some(&stable))
            .collect();
        let pod = Arc::make_mut(own[index]);
        pod.status = Some(PodStatus {
            phase: Some("Failed".to_owned()),
            reason: Some("Evicted".to_owned()),
            ..PodStatus::default()
        });
        self.version += 1;
    }

    pub(crate) fn condition(&self, kind: &str) -> Option<(String, String)> {
        let status = self.observed.model.status.as_ref()?;
        let found = status
            .conditions
            .iter()
            .find(|condition| condition.type_ == kind)?;
        Some((found.status.clone(), found.reason.clone()))
    }

    pub(crate) fn message(&self) -> String {
        let status = self.observed.model.status.clone();
        status.and_then(|status| status.message).unwrap_or_default()
    }

    pub(crate) fn stable(&self) -> String {
        let status = self.observed.model.status.clone().unwrap();
        status.stable.unwrap().revision
    }

    pub(crate) fn stable_digest(&self) -> Option<String> {
        let status = self.observed.model.status.as_ref()?;
        Some(status.stable.as_ref()?.digest.as_ref()?.to_string())
    }

    /// Ready endpoints of the Service that clients call.
    pub(crate) fn reachable(&self) -> usize {
        let slices = self.observed.children.slices.iter();
        let endpoints = slices.flat_map(|slice| &slice.endpoints);
        let ready = |e: &&k8s_openapi::api::discovery::v1::Endpoint| {
            e.conditions.as_ref().and_then(|c| c.ready) == Some(true)
        };
        endpoints.filter(ready).count()
    }

    /// The share of the traffic that the routers were told to send the revision on its way.
    pub(crate) fn weight(&self) -> i32 {
        let table = self
            .observed
            .children
            .tables
            .first()
            .and_then(|object| table::read(object));
        let table = table.unwrap();
        let canary = table.row(traffic::table::Role::Canary);
        canary.map_or(0, |row| i32::from(row.weight.get()) / 100)
    }

    /// Goes on until nothing is kept warm any more.
    pub(crate) fn cool(&mut self) {
        self.second += 1_800;
        self.settle();
    }

    /// The revisions' Deployments.
    pub(crate) fn revisions(&self) -> Vec<Arc<Deployment>> {
        let all = self.observed.children.deployments.iter();
        all.filter(|d| !d.name_any().ends_with("-router"))
            .cloned()
            .collect()
    }

    /// Their sizes.
    pub(crate) fn sizes(&self) -> Vec<i32> {
        self.revisions()
            .iter()
            .map(|d| d.spec.as_ref().unwrap().replicas.unwrap())
            .collect()
    }
}

/// What an object says, whoever wrote it and when.
fn substance(object: &Value) -> Value {
    let mut all = object.clone();
    if let Some(all) = all.as_object_mut() {
        all.remove("metadata");
        all.remove("status");
    }
    all
}

fn is_router(pod: &Pod) -> bool {
    pod.labels()
        .get(crds::labels::COMPONENT)
        .map(String::as_str)
        == Some(crds::labels::component::ROUTER)
}

fn put<T: Resource + DeserializeOwned>(list: &mut Vec<Arc<T>>, body: Value) {
    put_typed(list, serde_json::from_value(body).unwrap());
}

fn put_typed<T: Resource>(list: &mut Vec<Arc<T>>, new: T) {
    let name = |object: &T| object.meta().name.clone();
    match list.iter_mut().find(|old| name(old) == name(&new)) {
        Some(old) => *old = Arc::new(new),
        None => list.push(Arc::new(new)),
    }
}

/// The name of what a pod was made for, and which of its pods it is.
fn owner(pod: &Pod) -> (String, i32) {
    let name = pod.name_any();
    let (owner, index) = name.split_once('.').unwrap();
    (
        owner.to_owned(),
        index.trim_end_matches('+').parse().unwrap(),
    )
}

fn folder(job: &Job) -> String {
    let spec = job.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
    let args = spec.containers[0].args.clone().unwrap();
    args.into_iter()
        .find(|arg| arg.starts_with("/models"))
        .unwrap()
}

fn pod_status(kind: Pods, sidecar: bool, since: &Time) -> PodStatus {
    let mut status = match kind {
        Pods::Ready => {
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})
        }
        Pods::Starting => json!({"phase": "Running", "containerStatuses": [running()]}),
        Pods::Failing => {
            let message = r#"{"ok":false,"reason":"ModelInvalid","message":"broken"}"#;
            json!({"phase": "Running", "containerStatuses": [ended(1, message)]})
        }
        Pods::Unplaced | Pods::Refused => unplaced(),
        Pods::Gated => {
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]})
        }
    };
    if let Some(conditions) = status["conditions"].as_array_mut() {
        let unplaced = conditions.iter_mut().filter(|c| c["status"] == "False");
        unplaced.for_each(|condition| condition["lastTransitionTime"] = json!(since));
    }
    if let (true, Some(containers)) = (sidecar, status["containerStatuses"].as_array_mut()) {
        let mut proxy = running();
        proxy["name"] = "istio-proxy".into();
        containers.insert(0, proxy);
    }
    serde_json::from_value(status).unwrap()
}

fn running() -> Value {
    json!({"name": "server", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"running": {}}})
}

fn ended(code: i32, message: &str) -> Value {
    json!({"name": "server", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": code, "message": message}}})
}

fn unplaced() -> Value {
    json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: no GPU"}]})
}

fn verify_pod(job: &Job, verify: Verify, answer: &(i32, String)) -> Pod {
    let status = match verify {
        Verify::Answers => {
            json!({"phase": if answer.0 == 0 {"Succeeded"} else {"Failed"}, "containerStatuses": [ended(answer.0, &answer.1)]})
        }
        Verify::Unplaced | Verify::Refused => unplaced(),
        Verify::LacksSecret => {
            json!({"phase": "Pending", "containerStatuses": [{"name": "verify", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"hub\" not found"}}}]})
        }
        Verify::PullsInVain => {
            json!({"phase": "Pending", "containerStatuses": [{"name": "verify", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"x\""}}}]})
        }
    };
    job_pod(job, status)
}

fn job_pod(job: &Job, mut status: Value) -> Pod {
    if crate::golden::is_one(job)
        && let Some(container) = status.pointer_mut("/containerStatuses/0/name")
    {
        *container = "golden".into();
    }
    serde_json::from_value(json!({
        "metadata": {
            "name": format!("{}.0", job.name_any()), "uid": format!("uid-{}", job.uid().unwrap()), "labels": job.labels(),
            "creationTimestamp": job.metadata.creation_timestamp,
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": job.name_any(), "uid": job.uid().unwrap()}],
        },
        "status": status,
    }))
    .unwrap()
}
