//! What reads files and asks the cluster. Nothing is written but the annotation of a command.

use std::fmt::Debug;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use crds::v1alpha1::reward_model::status::LastCommand;
use crds::{ABExperiment, RewardModel, labels};
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::api::{ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource};
use operator_core::rollout::commands::Verb;
use serde::de::DeserializeOwned;

use crate::args;
use crate::explain::{self, Subject};
use crate::failure::Failure;
use crate::order::Order;
use crate::{history, manifest, plan, replay};

/// How long the operator is waited for: one that starts needs as long.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn plan(args: &args::Plan) -> Result<String, Failure> {
    let text = args.filename.as_deref().map(read).transpose()?;
    let experiment = text.map(|text| manifest::read(&text)).transpose()?;
    let design = experiment.as_ref().map(manifest::design).transpose()?;
    plan::answer(args, design.as_ref())
}

pub(crate) fn replay(args: &args::Replay) -> Result<String, Failure> {
    let manifest = read(&args.filename)?;
    let evidence: Result<Vec<(String, String)>, Failure> = args
        .evidence
        .iter()
        .map(|path| Ok((path.display().to_string(), read(path)?)))
        .collect();
    replay::answer(&replay::Asked {
        manifest: &manifest,
        evidence: &evidence?,
        elapsed: args.elapsed.as_deref(),
        looks: args.looks,
        each: args.each,
        output: args.output,
    })
}

fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::Failed(format!("{}: {error}", path.display()));
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
        return Ok(text);
    }
    std::fs::read_to_string(path).map_err(failed)
}

pub(crate) fn explain(args: &args::Explain, cluster: &args::Cluster) -> Result<String, Failure> {
    let subject = Subject::parse(&args.name)?;
    block_on(ask(cluster, &subject))
}

pub(crate) fn history(args: &args::History, cluster: &args::Cluster) -> Result<String, Failure> {
    let Subject::Model(name) = Subject::parse(&args.name)? else {
        return Err(Failure::Usage(
            "an experiment has no rollouts: name its endpoint, a RewardModel".to_owned(),
        ));
    };
    block_on(async {
        let (client, namespace) = connect(cluster).await?;
        let models: Api<RewardModel> = Api::namespaced(client, &namespace);
        let model = get(&models, &namespace, &name).await?;
        Ok(history::text(model.status.as_ref()))
    })
}

/// Gives a command, and waits for its answer.
#[expect(
    clippy::disallowed_methods,
    reason = "no click has the time of another: the shell asks for it"
)]
pub(crate) fn order(
    verb: Verb,
    args: &args::Order,
    cluster: &args::Cluster,
) -> Result<String, Failure> {
    let now = jiff::Timestamp::now().as_nanosecond();
    let nonce = format!("{now:x}-{:x}", std::process::id());
    let subject = Subject::parse(&args.name)?;
    let order = Order::new(verb, subject, args.revision.clone(), nonce)?;
    block_on(async {
        let (client, namespace) = connect(cluster).await?;
        match &order.subject {
            Subject::Model(name) => {
                let models: Api<RewardModel> = Api::namespaced(client, &namespace);
                give(&models, &namespace, name, &order, |model| {
                    model.status.and_then(|status| status.last_command)
                })
                .await
            }
            Subject::Experiment(name) => {
                let experiments: Api<ABExperiment> = Api::namespaced(client, &namespace);
                give(&experiments, &namespace, name, &order, |experiment| {
                    experiment.status.and_then(|status| status.last_command)
                })
                .await
            }
        }
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long an answer is waited for is the shell's"
)]
async fn give<K>(
    api: &Api<K>,
    namespace: &str,
    name: &str,
    order: &Order,
    last: impl Fn(K) -> Option<LastCommand>,
) -> Result<String, Failure>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    // First, so that one that is not there is told in the same words by every command.
    get(api, namespace, name).await?;
    let (params, patch) = (PatchParams::default(), Patch::Merge(order.patch()));
    let patched = api.patch(name, &params, &patch).await;
    patched.map_err(|error| failed(&format!("write to {name}"), &error))?;
    let asked = Instant::now();
    while asked.elapsed() < PATIENCE {
        if let Some(answer) = order.answer(last(get(api, namespace, name).await?).as_ref()) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(order.unanswered(PATIENCE.as_secs()))
}

async fn get<K>(api: &Api<K>, namespace: &str, name: &str) -> Result<K, Failure>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let found = api.get_opt(name).await;
    let kind = K::kind(&());
    let found = found.map_err(|error| failed(&format!("read the {kind}"), &error))?;
    found.ok_or_else(|| absent(&kind, name, namespace))
}

fn block_on(asked: impl Future<Output = Result<String, Failure>>) -> Result<String, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::Failed(error.to_string()))?;
    runtime.block_on(asked)
}

/// The cluster, and the namespace that is meant.
async fn connect(args: &args::Cluster) -> Result<(Client, String), Failure> {
    let config = config(args.context.as_deref()).await?;
    let namespace = args.namespace.clone();
    let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config);
    let client = client.map_err(|error| failed("connect to the cluster", &error))?;
    Ok((client, namespace))
}

async fn ask(args: &args::Cluster, subject: &Subject) -> Result<String, Failure> {
    let (client, namespace) = connect(args).await?;
    let experiments: Api<ABExperiment> = Api::namespaced(client.clone(), &namespace);
    match subject {
        Subject::Experiment(name) => {
            let found = get(&experiments, &namespace, name).await?;
            Ok(explain::experiment(&found))
        }
        Subject::Model(name) => {
            let models: Api<RewardModel> = Api::namespaced(client.clone(), &namespace);
            let found = get(&models, &namespace, name).await?;
            let own = ListParams::default().labels(&format!("{}={name}", labels::MODEL));
            let revisions: Api<ControllerRevision> = Api::namespaced(client, &namespace);
            let revisions = revisions.list(&own).await;
            let revisions =
                revisions.map_err(|error| failed("list the ControllerRevisions", &error))?;
            let all = experiments.list(&ListParams::default()).await;
            let all = all.map_err(|error| failed("list the ABExperiments", &error))?;
            explain::model(&found, &revisions.items, &all.items)
        }
    }
}

async fn config(context: Option<&str>) -> Result<Config, Failure> {
    let Some(context) = context else {
        return Config::infer()
            .await
            .map_err(|error| failed("find a cluster", &error));
    };
    let options = KubeConfigOptions {
        context: Some(context.to_owned()),
        ..KubeConfigOptions::default()
    };
    let kubeconfig = Kubeconfig::read().map_err(|error| failed("read the kubeconfig", &error))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    config.map_err(|error| failed("use the context", &error))
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::Failed(format!("cannot {what}: {error}"))
}

fn absent(kind: &str, name: &str, namespace: &str) -> Failure {
    Failure::Failed(format!(
        "there is no {kind} {name} in the namespace {namespace}: name another with -n"
    ))
}
