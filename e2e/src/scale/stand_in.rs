//! The stand-in: Deployments get ready pods, verify Jobs a sound answer, Services their slices.

use std::fmt::Debug;
use std::hash::Hash;

use anyhow::Context;
use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, PodTemplateSpec, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::routers::Routers;

/// Objects that are worked on at once.
const AT_ONCE: usize = 16;

/// Plays the controllers until one of the watches ends.
///
/// # Errors
/// When the API server refuses what a controller writes.
pub async fn run(client: Client) -> anyhow::Result<()> {
    let routers = Routers::default();
    tokio::try_join!(
        routers.clone().serve(),
        each::<ConfigMap, _>(&client, |_, object| {
            routers.table(&object);
            Box::pin(async { Ok(()) })
        }),
        each::<Deployment, _>(&client, |client, object| Box::pin(deployment(
            client,
            object,
            routers.clone()
        ))),
        each::<Job, _>(&client, |client, object| Box::pin(job(client, object))),
        each::<Service, _>(&client, |client, object| Box::pin(service(client, object))),
    )?;
    Ok(())
}

type Done = futures::future::BoxFuture<'static, anyhow::Result<()>>;

async fn each<K, F>(client: &Client, act: F) -> anyhow::Result<()>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Default + Eq + Hash + Clone,
    F: Fn(Client, K) -> Done,
{
    let ours = watcher::Config::default().labels("betterai.dev/model");
    let act = &act;
    watcher(Api::<K>::all(client.clone()), ours)
        .default_backoff()
        .applied_objects()
        .map_err(anyhow::Error::from)
        .try_for_each_concurrent(AT_ONCE, |object| act(client.clone(), object))
        .await
}

async fn deployment(client: Client, object: Deployment, routers: Routers) -> anyhow::Result<()> {
    let spec = object.spec.clone().context("a Deployment without spec")?;
    let wanted = spec.replicas.unwrap_or(1);
    let generation = object.metadata.generation;
    let namespace = object.namespace().unwrap_or_default();
    let model = object.labels().get("betterai.dev/model");
    let status = object.status.clone().unwrap_or_default();
    if status.observed_generation == generation && status.ready_replicas == Some(wanted) {
        return Ok(());
    }
    for index in 0..wanted {
        let name = format!("{}-{index}", object.name_any());
        let address = model
            .filter(|_| object.name_any().ends_with("-router"))
            .map(|model| routers.address(&namespace, model, &name));
        let ready = json!({"phase": "Running", "podIP": address, "conditions": [
            {"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"},
        ]});
        // There is no ReplicaSet, and nobody who collects what has no owner.
        let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true,
            "name": format!("{}-0", object.name_any()), "uid": object.uid()}]);
        make_pod(&client, &object, &name, &spec.template, owner, ready).await?;
    }
    let followed = json!({"status": {
        "observedGeneration": generation, "replicas": wanted, "updatedReplicas": wanted,
        "readyReplicas": wanted, "availableReplicas": wanted,
    }});
    let api: Api<Deployment> = namespaced(&client, &object);
    let patch = Patch::Merge(&followed);
    api.patch_status(&object.name_any(), &PatchParams::default(), &patch)
        .await?;
    slices(&client, &namespace, model).await
}

async fn job(client: Client, object: Job) -> anyhow::Result<()> {
    if object
        .status
        .as_ref()
        .is_some_and(|status| status.conditions.is_some())
    {
        return Ok(());
    }
    let spec = object.spec.clone().context("a Job without spec")?;
    let digest = format!("sha256:{}", "1".repeat(64));
    let answer = json!({"ok": true, "digest": digest, "bytes": 1, "architecture": "X"}).to_string();
    let ended = json!({"phase": "Succeeded", "containerStatuses": [{
        "name": "verify", "image": "x", "imageID": "x", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 0, "message": answer}},
    }]});
    let name = format!("{}-0", object.name_any());
    let owner = json!([{"apiVersion": "batch/v1", "kind": "Job", "name": object.name_any(), "uid": object.uid()}]);
    make_pod(&client, &object, &name, &spec.template, owner, ended).await?;
    let now = k8s_openapi::jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string();
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now});
    let done = json!({"status": {
        "startTime": now, "completionTime": now, "succeeded": 1, "terminating": 0, "ready": 0,
        "uncountedTerminatedPods": {},
        "conditions": [condition("SuccessCriteriaMet"), condition("Complete")],
    }});
    let api: Api<Job> = namespaced(&client, &object);
    let patch = Patch::Merge(&done);
    api.patch_status(&object.name_any(), &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

async fn service(client: Client, object: Service) -> anyhow::Result<()> {
    let model = object.labels().get("betterai.dev/model");
    if model == Some(&object.name_any()) {
        let namespace = object.namespace().unwrap_or_default();
        slices(&client, &namespace, model).await?;
    }
    Ok(())
}

/// The slice of the Service that clients call, by its selector as it is now.
async fn slices(client: &Client, namespace: &str, model: Option<&String>) -> anyhow::Result<()> {
    let Some(model) = model else {
        return Ok(());
    };
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let Some(service) = services.get_opt(model).await? else {
        return Ok(());
    };
    let selector = service
        .spec
        .and_then(|spec| spec.selector)
        .unwrap_or_default();
    let pairs: Vec<String> = selector
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let found = pods
        .list(&ListParams::default().labels(&pairs.join(",")))
        .await?;
    let endpoints: Vec<Value> = found
        .items
        .iter()
        .map(|pod| json!({"addresses": ["10.1.0.1"], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": pod.name_any(), "uid": pod.uid()}}))
        .collect();
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": model, "namespace": namespace, "labels": {"kubernetes.io/service-name": model, "betterai.dev/model": model}},
        "addressType": "IPv4", "ports": [], "endpoints": endpoints,
    });
    let api: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
    let params = PatchParams::apply("stand-in").force();
    api.patch(model, &params, &Patch::Apply(&slice)).await?;
    Ok(())
}

async fn make_pod<K: ResourceExt>(
    client: &Client,
    object: &K,
    name: &str,
    template: &PodTemplateSpec,
    owners: Value,
    status: Value,
) -> anyhow::Result<()> {
    let api: Api<Pod> = namespaced(client, object);
    let metadata = template.metadata.clone().unwrap_or_default();
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": metadata.labels, "ownerReferences": owners},
        "spec": template.spec,
    }))?;
    match api.create(&PostParams::default(), &pod).await {
        Ok(_) => {}
        Err(kube::Error::Api(said)) if said.is_already_exists() => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let patch = json!({ "status": status });
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await?;
    Ok(())
}

fn namespaced<K>(client: &Client, object: &impl ResourceExt) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    Api::namespaced(client.clone(), &object.namespace().unwrap_or_default())
}
