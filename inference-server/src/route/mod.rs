//! `route`: the revisions of a model behind the API.
//!
//! Owns the wiring: the table's file, the router, and what is served of both. It must not know how a
//! revision is chosen. Invariant: what clients see is made by the code that `serve` runs.

mod evidence;
mod feedback;
mod metrics;
mod status;

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use arc_swap::ArcSwap;
use futures::FutureExt;
use futures::future::BoxFuture;
use inference_api::internal::Model;
use inference_api::tei::Token;
use inference_api::{InputOptions, Problem};
use inference_scoring::{Activation, Backbone, Description, Inputs, ScoreError, wire};
use router::{Forgotten, Identity, Router};

use crate::args::Route;
use crate::http::{self, App, CacheControl, ModelInfo, Served, Tokens, no_cache};
use crate::metrics::Metrics;
use crate::shell::{self, Requests, Shell};
use feedback::ByBoth;
use metrics::Figured;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When the table's file cannot be read or is refused, there is no cluster, or an address cannot be
/// listened on.
pub(crate) fn run(args: Route) -> anyhow::Result<()> {
    let api = args.api.clone();
    shell::run(&api, Requests::Apart, |shell| route(args, shell))
}

async fn route(args: Route, shell: Shell) -> anyhow::Result<()> {
    let router = start(&args, &shell).await?;
    let app = Arc::new(app(&args, &shell, router.clone()));
    shell.requests.spawn(follow(app.clone(), router.clone()));
    tracing::info!(target: "api", address = %shell.address()?, "routing");
    let admin = http::admin_router(app.clone(), status::routes(router.clone()));
    let hand_over = async |patience| router.hand_over(patience).await;
    shell.serve(&app, admin, hand_over).await;
    Ok(())
}

/// A router that learns of its table, and works on the threads of the requests.
async fn start(args: &Route, shell: &Shell) -> anyhow::Result<Router> {
    let identity = Identity {
        pod: args.pod.clone(),
        instance: format!(
            "{:x}-{:x}",
            jiff::Timestamp::now().as_nanosecond(),
            std::process::id()
        ),
    };
    let requests = &shell.requests;
    let router = requests.spawn(async { Router::new(identity) }).await?;
    match (&args.table, &args.name) {
        (Some(file), _) => {
            // What is wrong with the file shows at once; later, what is held stays.
            let bytes = tokio::fs::read(file).await;
            let bytes = bytes.with_context(|| format!("--table {}", file.display()))?;
            router.offer(&bytes).context("--table")?;
            requests.spawn(router::file::watch(router.clone(), file.clone()));
        }
        (None, Some(name)) => {
            let namespace = args.namespace.clone().context("--name needs --namespace")?;
            let client = requests.spawn(router::watch::client()).await?;
            let client = client.context("--name: there is no cluster to ask")?;
            let (watched, name) = (router.clone(), name.clone());
            requests.spawn(async move {
                router::watch::run(watched, client, &namespace, &name).await;
            });
        }
        (None, None) => anyhow::bail!("name a table: --table FILE, or --namespace NS --name NAME"),
    }
    requests.spawn(router.clone().probe());
    Ok(router)
}

fn app(args: &Route, shell: &Shell, router: Router) -> App<Router> {
    App {
        current: ArcSwap::from_pointee(served(router.clone(), unknown())),
        settings: args.api.settings(),
        edge: shell.edge.clone(),
        spans: shell.spans.clone(),
        metrics: Arc::new(Metrics::new().and(Box::new(Figured(router.clone())))),
        lifecycle: shell.lifecycle.clone(),
        cache: Arc::new(Elsewhere(router.clone())),
        updates: None,
        feedback: Some(Arc::new(ByBoth(router.clone()))),
    }
}

fn served(router: Router, model: ModelInfo) -> Served<Router> {
    Served {
        tokens: Some(Arc::new(ModelTokens(router.clone()))),
        scorer: router,
        model,
    }
}

/// Shows what the stable revision says that it is, for ever.
async fn follow(app: Arc<App<Router>>, router: Router) {
    let mut said = router.model();
    loop {
        let model = said.borrow_and_update().clone();
        if let Some(model) = model.and_then(info) {
            app.metrics.loaded(&model.about.version, 0.0);
            app.current.store(Arc::new(served(router.clone(), model)));
        }
        if said.changed().await.is_err() {
            return;
        }
    }
}

fn info(model: Model) -> Option<ModelInfo> {
    Some(ModelInfo {
        about: Arc::new(wire::description(model.by)?),
        architecture: model.architecture,
        parameters: model.parameters,
        dtype: model.dtype,
        device: model.device,
        engine: model.engine,
        max_tokens: model.max_tokens,
        special_date: model.special_date,
        loaded_at: model.loaded_at,
    })
}

/// What is said before any revision has answered.
fn unknown() -> ModelInfo {
    ModelInfo {
        about: Arc::new(Description {
            revision: None,
            version: "unknown".to_owned(),
            digest: String::new(),
            backbone: Backbone::Encoder,
            labels: Vec::new(),
            activation: Activation::Identity,
            label: 0,
            native: Activation::Identity,
            calibration: None,
        }),
        architecture: String::new(),
        parameters: 0,
        dtype: String::new(),
        device: String::new(),
        engine: String::new(),
        max_tokens: 0,
        special_date: None,
        loaded_at: 0,
    }
}

/// Shows a revision's tokens.
struct ModelTokens(Router);

impl Tokens for ModelTokens {
    fn tokens(
        &self,
        inputs: Inputs,
        options: InputOptions,
        until: Instant,
    ) -> BoxFuture<'_, Result<Vec<Vec<Token>>, ScoreError>> {
        self.0.tokens(inputs, options, until).boxed()
    }
}

/// The servers of the revisions remember scores: all of them are told.
struct Elsewhere(Router);

impl CacheControl for Elsewhere {
    fn clear<'a>(&'a self, model_version: &'a str) -> BoxFuture<'a, Result<(), Problem>> {
        async move { cleared(&self.0.forget(model_version).await) }.boxed()
    }
}

fn cleared(forgotten: &Forgotten) -> Result<(), Problem> {
    if !forgotten.failed.is_empty() {
        let (by, who) = (forgotten.by, forgotten.failed.join(", "));
        let detail = format!("{by} servers have forgotten the scores, and not {who}: try again");
        return Err(Problem::unavailable(detail).retry_after(1));
    }
    match (forgotten.by, forgotten.without_cache) {
        (0, 0) => Err(Problem::unavailable("no server can be asked now: try again").retry_after(1)),
        (0, _) => Err(no_cache()),
        (_, _) => Ok(()),
    }
}
