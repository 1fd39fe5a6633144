//! The runs: a sound canary at its share, its fault, and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use kube::Client as Cluster;
use serde::Serialize;
use serde_json::json;

use super::Case;
use super::load::{Asking, LATE, Load, Text};
use super::routers::Routers;
use super::scene::Scene;
use crate::accuracy::Pair;
use crate::faulty::{CONTROL_PORT, Moment};

/// How long a canary may go unnoticed until a run is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long harm is counted on, once it has no share.
const AFTER: Duration = Duration::from_secs(1);
/// Answers that stable has given at this rate before anything is measured: it is known how fast it is.
const KNOWN: usize = 400;
/// Answers of the canary before its fault.
const SOUND: usize = 10;
/// Texts that are sent.
const TEXTS: usize = 200;

/// Runs of a case that may come to nothing.
const AGAIN: usize = 3;
/// How long the operator has for taking a canary back by itself.
const SOON: Duration = Duration::from_secs(5);

/// What is to be measured, and where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The namespace, with a claim `models` that has the demo models.
    pub namespace: String,
    /// The image of the faulty server.
    pub image: String,
    /// Which cases.
    pub cases: Vec<Case>,
    /// How often each.
    pub runs: usize,
}

/// What came of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Seconds from the first spoiled request to no share in any router.
    pub seconds: Option<f64>,
    /// Seconds of those until the first decision.
    pub decided: Option<f64>,
    /// Milliseconds from the first decision on.
    pub flip_ms: Option<f64>,
    /// Requests that were harmed, by how.
    pub harmed: BTreeMap<String, usize>,
    /// Requests that left in that time.
    pub requests: usize,
    /// Requests that were harmed while it was sound: noise of the machine.
    pub noise: usize,
    /// Milliseconds that 99 of 100 requests took at most while it was sound.
    pub sound_p99_ms: f64,
    /// Why the routers cut it off, where they did.
    pub causes: BTreeSet<String>,
    /// Whether a router gave it a share again.
    pub came_back: bool,
    /// Whether the operator took it back by itself.
    pub rolled_back: bool,
}

/// Runs all cases, and tells of each run.
///
/// # Errors
/// When the cluster does not do what a run needs.
pub async fn measure(
    cluster: Cluster,
    plan: &Plan,
    pairs: &[Pair],
    tell: &mut (dyn FnMut(Case, &anyhow::Result<Outcome>) + Send),
) -> anyhow::Result<Vec<(Case, Vec<Outcome>)>> {
    let scene = Scene::new(cluster, &plan.namespace, &plan.image);
    scene.begin().await?;
    let mut bench = Bench::new(scene, pairs).await?;
    let mut outcomes = Vec::new();
    for case in &plan.cases {
        let mut own = Vec::new();
        let mut spoiled = 0;
        while own.len() < plan.runs {
            let outcome = bench.run(*case).await;
            tell(*case, &outcome);
            match outcome {
                Ok(outcome) => own.push(outcome),
                // A canary that was cut off while it was sound is told of, and measures nothing.
                Err(_) if spoiled < AGAIN => {
                    spoiled += 1;
                    bench.scene.clear(SOON).await?;
                }
                Err(error) => return Err(error.context(case.to_string())),
            }
        }
        outcomes.push((*case, own));
    }
    Ok(outcomes)
}

struct Bench {
    scene: Scene,
    routers: Arc<Routers>,
    clients: Asking,
    bodies: Vec<Bytes>,
    /// Their scores by the stable revision.
    stable: Vec<f64>,
    texts: Option<Arc<[Text]>>,
    load: Option<(u32, Load)>,
    runs: usize,
    began: Moment,
}

impl Bench {
    async fn new(scene: Scene, pairs: &[Pair]) -> anyhow::Result<Self> {
        let body = |pair: &Pair| json!({"context": pair.prompt, "text": pair.chosen}).to_string();
        let bodies: Vec<Bytes> = pairs
            .iter()
            .take(TEXTS)
            .map(|pair| body(pair).into())
            .collect();
        let (ports, token) = scene.routers().await?;
        let routers = Arc::new(Routers::watch(ports, &token));
        let heard = routers.clone();
        // Should it end, no decision of the operator is known: the flip is measured from the routers' own.
        tokio::spawn(scene.clone().tables(move |canary| heard.decided(canary)));
        let stable = scores(&scene.servers(None).await?, &bodies).await?;
        Ok(Self {
            clients: Asking::new(scene.url().await?),
            scene,
            routers,
            bodies,
            stable,
            texts: None,
            load: None,
            runs: 0,
            began: Moment::now(),
        })
    }

    async fn run(&mut self, case: Case) -> anyhow::Result<Outcome> {
        self.runs += 1;
        let name = format!("{}-{}", self.began.0, self.runs);
        let canary = self.scene.start(case, &name).await?;
        self.routers.follow(&canary);
        let (share, wait) = (case.weight * 100, Duration::from_secs(20));
        let has = |heard: &super::routers::Heard| heard.all_have(share).then_some(());
        self.routers
            .until("the canary has its share", wait, has)
            .await?;
        let servers = self.scene.servers(Some(&canary)).await?;
        let sound = self.flow(case.rate, &servers).await?;
        let (first, triggered) = self.spoil(case, &servers).await?;
        let count = self.routers.count;
        let gone = |heard: &super::routers::Heard| heard.timeline.gone(count, first);
        // A router that has not noticed by then is a result too.
        let gone = self.routers.until("gone", PATIENCE, gone).await.ok();
        let end = Moment::now();
        tokio::time::sleep(AFTER + LATE).await;
        let rolled_back = self.scene.clear(SOON).await?;
        self.outcome(first, (sound, triggered), gone, end, rolled_back)
    }

    /// Load at this rate, until both revisions have answered for long enough to be known.
    async fn flow(&mut self, rate: u32, canary: &[String]) -> anyhow::Result<Moment> {
        if self.texts.is_none() {
            let canary = scores(canary, &self.bodies).await?;
            let scores = self.stable.iter().zip(&canary);
            let all = self.bodies.iter().zip(scores);
            let text = |(body, (stable, canary)): (&Bytes, (&f64, &f64))| Text {
                body: body.clone(),
                stable: *stable,
                canary: *canary,
            };
            self.texts = Some(all.map(text).collect());
        }
        let texts = self.texts.clone().context("no texts")?;
        if self.load.as_ref().is_none_or(|(old, _)| *old != rate) {
            let load = Load::start(self.clients.clone(), texts, rate);
            self.load = Some((rate, load));
        }
        let (_, load) = self.load.as_ref().context("no load")?;
        let since = Moment::now();
        let all = |from| load.between(from, Moment::now());
        let of = |counted: BTreeMap<String, usize>, whose| counted.get(whose).copied();
        let patience = Duration::from_mins(1);
        tokio::time::timeout(patience, async {
            while of(all(since), "canary").unwrap_or(0) < SOUND
                || of(all(Moment(0)), "stable").unwrap_or(0) < KNOWN
            {
                let gone = self.routers.timeline().gone(self.routers.count, since);
                anyhow::ensure!(gone.is_none(), "the canary was cut off while it was sound");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        })
        .await
        .with_context(|| format!("too few sound answers: {:?}", all(since)))??;
        Ok(since)
    }

    /// Asks for the fault in all pods: when the first request met it, and when it was asked for.
    async fn spoil(&self, case: Case, servers: &[String]) -> anyhow::Result<(Moment, Moment)> {
        let triggered = Moment::now();
        let ask = |server: &String| {
            let path = format!("http://{server}:{CONTROL_PORT}/fault/{}", case.fault);
            async move {
                let client = Client::builder(TokioExecutor::new()).build_http();
                let request = Request::post(path).body(Empty::<Bytes>::new())?;
                let body = client.request(request).await?.into_body();
                let text = body.collect().await?.to_bytes();
                anyhow::Ok(Moment(std::str::from_utf8(&text)?.parse()?))
            }
        };
        let mut asked: FuturesUnordered<_> = servers.iter().map(ask).collect();
        let first = tokio::time::timeout(PATIENCE, asked.next()).await;
        let first = first.context("no request met the fault")?;
        Ok((first.context("no pod")??, triggered))
    }

    fn outcome(
        &self,
        first: Moment,
        (sound, triggered): (Moment, Moment),
        gone: Option<Moment>,
        end: Moment,
        rolled_back: bool,
    ) -> anyhow::Result<Outcome> {
        let (_, load) = self.load.as_ref().context("no load")?;
        let counted = load.between(triggered.before(LATE), end.after(AFTER));
        let harmed = |counted: &BTreeMap<String, usize>| {
            let mut counted = counted.clone();
            counted.retain(|word, _| word != "stable" && word != "canary");
            counted
        };
        let noise = load.between(sound, triggered.before(LATE));
        let timeline = self.routers.timeline();
        let decision = timeline.first_decision(first);
        let decision = decision.filter(|decided| gone.is_some_and(|gone| *decided <= gone));
        let both = decision.zip(gone);
        Ok(Outcome {
            seconds: gone.map(|gone| gone.since(first).as_secs_f64()),
            decided: decision.map(|at| at.since(first).as_secs_f64()),
            flip_ms: both.map(|(decided, gone)| gone.since(decided).as_secs_f64() * 1e3),
            requests: counted.values().sum(),
            harmed: harmed(&counted),
            sound_p99_ms: load.p99_ms(sound, triggered),
            noise: harmed(&noise).values().sum(),
            came_back: gone.is_some_and(|gone| timeline.came_back(gone)),
            causes: timeline.causes,
            rolled_back,
        })
    }
}

/// The scores of all texts by one of the servers.
async fn scores(servers: &[String], bodies: &[Bytes]) -> anyhow::Result<Vec<f64>> {
    let server = servers.first().context("no server")?;
    let asking = Asking::new(format!("{server}:8000"));
    let ask = |body: &Bytes| {
        let (asking, body) = (asking.clone(), body.clone());
        async move { asking.score(0, body).await }
    };
    let all = futures::stream::iter(bodies).map(ask).buffered(4);
    all.try_collect().await.context("a server's own scores")
}
