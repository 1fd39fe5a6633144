//! What the shell has seen: snapshots, as they came from the API server, and what a plan may ask it
//! to look up.
//!
//! It must not say what any of it means; [`crate::reading`] does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crds::RewardModel;
use crds::v1alpha1::reward_model::model::Model;
use crds::value::Digest;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::{DynamicObject, PartialObjectMeta};
use serde::Serialize;
use serde_json::Value;
use traffic::status::Report;

use crate::Failure;
use crate::evidence::Ledger;
use crate::gates::Gathered;
use crate::golden::SetFile;
use crate::identity::{AdminKey, RevisionHash};
use crate::objects::http_route;
use crate::records::ModelFacts;

/// Everything that a plan is made of.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The resource, as it is now.
    pub model: RewardModel,
    /// The objects that it owns.
    pub children: Children,
    /// The contents of records that were read, as JSON. They are written once, so that one that was
    /// read stays true.
    pub contents: BTreeMap<RevisionHash, Arc<str>>,
    /// The claim that its source or cache names.
    pub claim: Claim,
    /// Digests that anybody in its namespace names: a cache keeps those.
    pub in_use: BTreeSet<Digest>,
    /// The golden set; `None` where nobody has looked.
    pub golden_set: Option<SetFile>,
    /// Why no pod of the verify Job could be made, by its Events; `None` where nobody has looked.
    pub job_events: Option<Vec<String>>,
    /// Who holds GPUs, the last one first; `None` where nobody has looked.
    pub holders: Option<Vec<Holder>>,
    /// Objects of a needed name that are not ours.
    pub conflicts: Vec<ObjectKey>,
    /// What the API server said when it refused an object of the last plan.
    pub refusal: Option<Failure>,
    /// What the routers said last, one for each pod that answered.
    pub reports: Vec<Report>,
    /// What each of them said first of the table that it acts upon.
    pub first_reports: Vec<Report>,
    /// What they said when their shares were measured last, which is not at each news.
    pub measured_reports: Vec<Report>,
    /// Whether the cluster knows `HTTPRoute`s.
    pub gateway_api: GatewayApi,
    /// What was measured for the gates that were due.
    pub gathered: Gathered,
    /// What the routers have told of the rollout in flight, or of the last one.
    pub ledger: Option<Arc<Ledger>>,
    /// What goes on in other resources.
    pub elsewhere: Elsewhere,
    /// The experiment on this endpoint, where there is one.
    pub experiment: Option<Standing>,
    /// Settings of this operator.
    pub settings: Settings,
}

/// A variant that is to become its endpoint's model.
#[derive(Clone, Debug, PartialEq)]
pub struct Winner {
    /// What its own `RewardModel` says of its model.
    pub model: Model,
    /// What is known of its files.
    pub facts: ModelFacts,
    /// The revision of its endpoint that it was compared with.
    pub against: Option<RevisionHash>,
}

/// How an experiment deals users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Split {
    /// As the table that was given says: the experiment is about to say something else.
    AsGiven,
    /// By this member `experiment` of the traffic table.
    By(Value),
}

/// What an experiment wants of its endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// How users are dealt.
    pub split: Split,
    /// Whether new rollouts wait for its end.
    pub holds: bool,
    /// The variant that has won, and is to be the endpoint's model.
    pub winner: Option<Winner>,
}

impl Observed {
    /// Takes what the routers have told of a rollout.
    pub fn know(&mut self, ledger: Option<Arc<Ledger>>) {
        self.gathered.pairs = ledger.as_ref().map_or(0, |ledger| ledger.pairs());
        self.ledger = ledger;
    }
}

/// What goes on in other resources: a new image for two hundred models is no stampede.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// How many of them load a model, or exchange their routers.
    pub loading: usize,
    /// How many may at once.
    pub at_once: usize,
}

impl Elsewhere {
    /// Whether one more may begin.
    pub const fn lets_one_start(self) -> bool {
        self.loading < self.at_once
    }
}

/// Something that a plan cannot do without, and that is not watched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// The claim that the source or cache names.
    Claim,
    /// The content of a revision's record.
    Content(RevisionHash),
    /// Why the Job of that name has no pod.
    JobEvents(String),
    /// Who holds the GPUs that a new revision waits for.
    Holders,
    /// The golden set that the spec names.
    GoldenSet,
    /// The HTTPRoute, for [`Children::routes`].
    Route,
}

/// A pod that holds GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How many.
    pub gpus: i64,
}

/// A ControllerRevision without its content.
pub type RecordObject = PartialObjectMeta<ControllerRevision>;

/// The objects that one owner has.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the fields are the plural of their types")]
pub struct Children {
    pub records: Vec<Arc<RecordObject>>,
    pub deployments: Vec<Arc<Deployment>>,
    pub services: Vec<Arc<Service>>,
    pub budgets: Vec<Arc<PodDisruptionBudget>>,
    pub jobs: Vec<Arc<Job>>,
    pub pods: Vec<Arc<Pod>>,
    pub slices: Vec<Arc<EndpointSlice>>,
    pub tables: Vec<Arc<ConfigMap>>,
    pub accounts: Vec<Arc<ServiceAccount>>,
    pub roles: Vec<Arc<Role>>,
    pub bindings: Vec<Arc<RoleBinding>>,
    pub policies: Vec<Arc<NetworkPolicy>>,
    /// The HTTPRoute, where it was looked up: its kind may be missing in a cluster, and is not watched.
    pub routes: Vec<Arc<DynamicObject>>,
}

impl Children {
    /// The Deployment of a revision.
    pub fn deployment(&self, hash: &RevisionHash) -> Option<&Deployment> {
        self.deployments
            .iter()
            .map(Arc::as_ref)
            .find(|object| revision_of(&object.metadata).as_ref() == Some(hash))
    }

    /// The Deployment of a name.
    pub fn deployment_named(&self, name: &str) -> Option<&Deployment> {
        let mut all = self.deployments.iter().map(Arc::as_ref);
        all.find(|object| object.metadata.name.as_deref() == Some(name))
    }

    /// The router's pods.
    pub fn routers(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.iter().filter(|pod| {
            label(&pod.metadata, crds::labels::COMPONENT) == Some(crds::labels::component::ROUTER)
                && is_of(pod, "router")
        })
    }

    /// The pods that score with a revision.
    pub fn pods_of<'a>(&'a self, hash: &'a RevisionHash) -> impl Iterator<Item = &'a Arc<Pod>> {
        self.pods.iter().filter(move |pod| {
            revision_of(&pod.metadata).as_ref() == Some(hash)
                && label(&pod.metadata, crds::labels::COMPONENT)
                    == Some(crds::labels::component::SERVER)
                && is_of(pod, hash.as_str())
        })
    }

    /// The object of that kind and name, as JSON.
    ///
    /// # Errors
    /// Only when it cannot be written as JSON.
    pub fn live(&self, key: &ObjectKey) -> Result<Option<Value>, serde_json::Error> {
        match key.kind {
            Kind::ControllerRevision => found(&self.records, &key.name),
            Kind::Deployment => found(&self.deployments, &key.name),
            Kind::Service => found(&self.services, &key.name),
            Kind::PodDisruptionBudget => found(&self.budgets, &key.name),
            Kind::Job => found(&self.jobs, &key.name),
            Kind::ConfigMap => found(&self.tables, &key.name),
            Kind::ServiceAccount => found(&self.accounts, &key.name),
            Kind::Role => found(&self.roles, &key.name),
            Kind::RoleBinding => found(&self.bindings, &key.name),
            Kind::NetworkPolicy => found(&self.policies, &key.name),
            Kind::HttpRoute => found(&self.routes, &key.name),
        }
    }
}

/// Whether a pod was made by the Deployment whose name ends so, and not by somebody who took its labels:
/// a `ReplicaSet`'s name is its Deployment's with a hash behind it.
fn is_of(pod: &Pod, ending: &str) -> bool {
    let owners = pod.metadata.owner_references.iter().flatten();
    let mut controllers = owners.filter(|owner| owner.controller == Some(true));
    controllers.any(|owner| {
        let deployment = owner.name.rsplit_once('-').map(|(name, _)| name);
        let ending = deployment.and_then(|name| name.strip_suffix(ending));
        owner.kind == "ReplicaSet" && ending.is_some_and(|rest| rest.ends_with('-'))
    })
}

fn found<K>(list: &[Arc<K>], name: &str) -> Result<Option<Value>, serde_json::Error>
where
    K: Resource + Serialize,
{
    let object = list
        .iter()
        .find(|object| object.meta().name.as_deref() == Some(name));
    object
        .map(|object| serde_json::to_value(object.as_ref()))
        .transpose()
}

/// The claim that the source or cache names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The source needs none.
    NotNeeded,
    /// Nobody has looked yet.
    NotAsked,
    /// There is none of that name.
    Missing,
    /// It is there, and is to be written to, which none of its access modes allows.
    ReadOnly,
    /// It is there.
    Present {
        /// Its volume is gone for good.
        lost: bool,
        /// One pod at a time may use it.
        one_pod_only: bool,
    },
}

/// Whether the cluster has the Gateway API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayApi {
    /// Nobody has looked, or nobody needs to know.
    NotAsked,
    /// It knows no HTTPRoute.
    Absent,
    /// It does.
    Present,
}

/// Settings of this operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The server's image where the spec names none.
    pub server_image: String,
    /// The same where pods ask for a GPU.
    pub server_image_cuda: Option<String>,
    /// Whether there is a Prometheus that gates may ask.
    pub asks_prometheus: bool,
    /// The namespace that it runs in: the routers tell nobody else of their traffic.
    pub operator_namespace: String,
    /// What the tokens of the routers' admin ports are made of.
    pub admin_key: Option<AdminKey>,
}

/// Kinds of the objects that the operator makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the variants are Kubernetes kinds")]
pub enum Kind {
    ControllerRevision,
    Deployment,
    Service,
    PodDisruptionBudget,
    Job,
    ConfigMap,
    ServiceAccount,
    Role,
    RoleBinding,
    NetworkPolicy,
    HttpRoute,
}

impl Kind {
    /// The kind's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ControllerRevision => "ControllerRevision",
            Self::Deployment => "Deployment",
            Self::Service => "Service",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::Job => "Job",
            Self::ConfigMap => "ConfigMap",
            Self::ServiceAccount => "ServiceAccount",
            Self::Role => "Role",
            Self::RoleBinding => "RoleBinding",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::HttpRoute => http_route::KIND,
        }
    }
}

/// One object in the namespace of the resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// The value of a label.
pub fn label<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// The value of an annotation.
pub fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The revision that an object belongs to.
pub fn revision_of(metadata: &ObjectMeta) -> Option<RevisionHash> {
    label(metadata, crds::labels::REVISION).and_then(RevisionHash::parse)
}
