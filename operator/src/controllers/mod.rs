//! The controllers, one folder a kind, and their common start.

mod ab_experiment;
mod experiments;
mod reward_model;
mod shared;
mod surroundings;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use crds::{ABExperiment, RewardModel};
use futures::channel::mpsc::unbounded;
use futures::{Stream, StreamExt, stream};
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::experiments::{Experiments, Touched};
use self::shared::access::Access;
use self::shared::scope::Scope;
use crate::args::Run;
use crate::metrics::Metrics;
use crate::runtime::admin::{self, Readiness};
use crate::runtime::leader::Candidate;
use crate::runtime::{admin_key, leader, shutdown, telemetry};

/// How long reconciles may still run after the stop; less than the pod's grace period.
const LAST_WORDS: Duration = Duration::from_secs(12);

/// Runs the operator until it is told to stop.
///
/// # Errors
/// When it cannot start: no cluster, no address.
pub(crate) async fn run(args: Run) -> anyhow::Result<()> {
    telemetry::start(&args.log, args.log_format)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), server_image = %args.server_image, "starting");
    let stop = shutdown::token()?;
    let metrics = Arc::new(Metrics::new());
    let readiness = Readiness::default();
    // Health and metrics are answered until the last reconcile has ended.
    let served = CancellationToken::new();
    let _served = served.clone().drop_guard();
    let admin = tokio::spawn(admin::serve(
        args.listen,
        readiness.clone(),
        metrics.clone(),
        served,
    ));
    let client = Client::try_default()
        .await
        .context("no Kubernetes cluster to talk to")?;
    let prometheus = args.prometheus_url.as_deref().map(|url| {
        let (ca, token) = (&args.prometheus_ca, &args.prometheus_token_file);
        Access::new(url, ca.as_deref(), token.as_deref())
    });
    let prometheus = prometheus.transpose()?;
    let scope = match &args.namespace_selector {
        Some(selector) => Scope::of(selector).context("--namespace-selector")?,
        None => Scope::All,
    };
    let work = async {
        await_definitions(&client, &scope, &metrics).await?;
        scope
            .follow(&client)
            .await
            .context("--namespace-selector")?;
        let namespace = args
            .namespace
            .clone()
            .unwrap_or_else(|| client.default_namespace().to_owned());
        let settings = operator_core::observed::Settings {
            server_image: args.server_image.clone(),
            server_image_cuda: args.server_image_cuda.clone(),
            asks_prometheus: prometheus.is_some(),
            admin_key: Some(admin_key::of(&client, &namespace).await?),
            operator_namespace: namespace.clone(),
        };
        let me = identity();
        let candidate = Candidate {
            namespace: &namespace,
            lease: &args.lease,
            me: &me,
        };
        let (leads, leading) = watch::channel(false);
        let election = leader::run(client.clone(), candidate, &metrics, &leads, &stop);
        let (experiments, touched) = Experiments::watch(&client, &scope);
        let (endpoints, affected) = spread(&experiments, touched);
        let judging = ab_experiment::run(
            client.clone(),
            ab_experiment::Options {
                key: settings.admin_key.clone(),
                prometheus: prometheus.clone(),
                scope: scope.clone(),
                experiments: experiments.clone(),
            },
            affected,
            metrics.clone(),
            leading.clone(),
            stop.clone(),
        );
        let controller = reward_model::run(
            client.clone(),
            settings,
            reward_model::Options {
                experiments,
                endpoints,
                max_loading: args.max_loading,
                scope: scope.clone(),
                prometheus,
            },
            metrics.clone(),
            readiness,
            leading,
            stop.clone(),
        );
        let judging = async {
            judging.await;
            anyhow::Ok(())
        };
        let outcome = tokio::try_join!(election, controller, judging);
        leader::give_back(client.clone(), candidate).await;
        outcome.map(|_| ())
    };
    tokio::select! {
        outcome = until_stopped(work, &stop) => outcome,
        outcome = admin => outcome.context("admin server")?,
    }
}

/// Tells both controllers what has changed: the endpoints of experiments, and the experiments themselves.
fn spread(
    experiments: &Arc<Experiments>,
    touched: impl Stream<Item = Touched> + Send + 'static,
) -> (
    impl Stream<Item = ObjectRef<PartialObjectMeta<RewardModel>>> + Send + 'static,
    impl Stream<Item = ObjectRef<PartialObjectMeta<ABExperiment>>> + Send + 'static,
) {
    let (to_models, models) = unbounded();
    let (to_experiments, all) = unbounded();
    let experiments = experiments.clone();
    tokio::spawn(touched.for_each(move |touched| {
        let (namespace, endpoint) = touched.endpoint;
        // An error means that a controller is ending.
        let _ = to_models.unbounded_send(ObjectRef::new(&endpoint).within(&namespace));
        // Whoever waits for the endpoint hears of it.
        for other in experiments.of(&namespace, &endpoint) {
            let name = ObjectRef::new(&other.name_any()).within(&namespace);
            let _ = to_experiments.unbounded_send(name);
        }
        std::future::ready(())
    }));
    (models, all)
}

/// The moment in which we begin to act.
fn begins(leads: watch::Receiver<bool>) -> impl Stream<Item = ()> + Send {
    stream::once(async move {
        let mut leads = leads;
        // An error means that the election has ended, and we with it.
        let _ = leads.wait_for(|leads| *leads).await;
    })
}

/// Names this process among the operators: its pod, and another one after each start.
fn identity() -> String {
    let pod = std::env::var("POD_NAME").unwrap_or_else(|_| "operator".to_owned());
    let start = k8s_openapi::jiff::Timestamp::now().as_millisecond();
    format!("{pod}_{}_{start}", std::process::id())
}

/// `work`, which ends by itself after the stop; before its start the stop ends it.
async fn until_stopped(
    work: impl Future<Output = anyhow::Result<()>>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let patience = async {
        stop.cancelled().await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        outcome = work => outcome,
        () = patience => Ok(()),
    }
}

/// Waits until the API server knows the resources: the operator may be applied before them.
async fn await_definitions(
    client: &Client,
    scope: &Scope,
    metrics: &Metrics,
) -> anyhow::Result<()> {
    let models: Api<RewardModel> = scope.api(client);
    loop {
        match models.list_metadata(&ListParams::default().limit(1)).await {
            Ok(_) => {
                metrics.definitions_missing(false);
                return Ok(());
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {
                metrics.definitions_missing(true);
                tracing::warn!(
                    "the custom resource definitions are missing; apply the output of `operator crds`"
                );
            }
            Err(error) => tracing::warn!(%error, "the API server does not answer yet"),
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}
