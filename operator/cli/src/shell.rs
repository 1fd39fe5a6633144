//! What reads files and asks the cluster. All of it reads; nothing is written anywhere.

use std::io::Read;
use std::path::Path;

use crds::{ABExperiment, RewardModel, labels};
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use crate::args;
use crate::explain::{self, Subject};
use crate::failure::Failure;
use crate::{manifest, plan, replay};

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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::Failed(error.to_string()))?;
    runtime.block_on(ask(cluster, &subject))
}

async fn ask(args: &args::Cluster, subject: &Subject) -> Result<String, Failure> {
    let config = config(args.context.as_deref()).await?;
    let namespace = args
        .namespace
        .clone()
        .unwrap_or_else(|| config.default_namespace.clone());
    let client =
        Client::try_from(config).map_err(|error| failed("connect to the cluster", &error))?;
    let experiments: Api<ABExperiment> = Api::namespaced(client.clone(), &namespace);
    match subject {
        Subject::Experiment(name) => {
            let found = experiments.get_opt(name).await;
            let found = found.map_err(|error| failed("read the ABExperiment", &error))?;
            let found = found.ok_or_else(|| absent("ABExperiment", name, &namespace))?;
            Ok(explain::experiment(&found))
        }
        Subject::Model(name) => {
            let models: Api<RewardModel> = Api::namespaced(client.clone(), &namespace);
            let found = models.get_opt(name).await;
            let found = found.map_err(|error| failed("read the RewardModel", &error))?;
            let found = found.ok_or_else(|| absent("RewardModel", name, &namespace))?;
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
