//! The figures: how long many models take to settle, and what that costs the operator's process.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde::Serialize;
use serde_json::json;

/// What so many models cost.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// How many.
    pub models: usize,
    /// Seconds until all were Ready.
    pub settle_seconds: f64,
    /// CPU seconds of the operator until then.
    pub settle_cpu_seconds: f64,
    /// Its CPU seconds in a minute in which nothing happened.
    pub idle_cpu_seconds_a_minute: f64,
    /// Its resident memory after that, in MB.
    pub resident_mb: u64,
    /// Most of its resident memory at any time, in MB.
    pub peak_mb: u64,
}

/// Makes `models` RewardModels, waits until all are Ready and then `idle` long, and reads the figures
/// of the operator's process `pid`.
///
/// # Errors
/// When they are not Ready within `patience`, or the process is gone.
pub async fn measure(
    client: &Client,
    pid: u32,
    models: usize,
    patience: Duration,
    idle: Duration,
) -> anyhow::Result<Figures> {
    let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(client.clone());
    let claim = serde_json::from_value(json!({
        "metadata": {"name": "models"},
        "spec": {"accessModes": ["ReadOnlyMany"], "resources": {"requests": {"storage": "1Gi"}}},
    }))?;
    if claims.get_opt("models").await?.is_none() {
        claims.create(&PostParams::default(), &claim).await?;
    }
    let (began, cpu) = (Instant::now(), cpu_seconds(pid)?);
    let api = models_of(client);
    stream::iter(0..models)
        .map(|index| {
            let api = api.clone();
            async move {
                let model = serde_json::from_value(json!({
                    "apiVersion": "betterai.dev/v1alpha1", "kind": "RewardModel",
                    "metadata": {"name": format!("m{index}")},
                    "spec": {"model": {"source": {"pvc": {"claimName": "models", "path": "v1"}}}, "replicas": 2},
                }))?;
                api.create(&PostParams::default(), &model).await?;
                anyhow::Ok(())
            }
        })
        .buffer_unordered(16)
        .try_collect::<Vec<()>>()
        .await?;
    while ready(&api).await? < models {
        ensure!(
            began.elapsed() < patience,
            "{} of {models} are Ready",
            ready(&api).await?
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let settled = (began.elapsed(), cpu_seconds(pid)?);
    // Resyncs and late events of the last models are not idle yet.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = cpu_seconds(pid)?;
    tokio::time::sleep(idle).await;
    let idle_cpu = (cpu_seconds(pid)? - before) * 60.0 / idle.as_secs_f64();
    Ok(Figures {
        models,
        settle_seconds: settled.0.as_secs_f64(),
        settle_cpu_seconds: settled.1 - cpu,
        idle_cpu_seconds_a_minute: idle_cpu,
        resident_mb: memory_mb(pid, "VmRSS:")?,
        peak_mb: memory_mb(pid, "VmHWM:")?,
    })
}

fn models_of(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("betterai.dev", "v1alpha1", "RewardModel");
    Api::default_namespaced_with(client.clone(), &ApiResource::from_gvk(&kind))
}

async fn ready(api: &Api<DynamicObject>) -> anyhow::Result<usize> {
    let all = api.list(&ListParams::default()).await?;
    let is_ready = |object: &&DynamicObject| {
        let conditions = object.data.pointer("/status/conditions");
        conditions
            .and_then(|conditions| conditions.as_array())
            .is_some_and(|all| {
                all.iter()
                    .any(|c| c["type"] == "Ready" && c["status"] == "True")
            })
    };
    Ok(all.items.iter().filter(is_ready).count())
}

/// CPU seconds that a process has used, in and for it (`/proc/PID/stat`, in ticks of 10 ms).
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat =
        std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the operator is gone")?;
    let fields = stat.rsplit_once(')').context("stat")?.1;
    let ticks = |at: usize| -> anyhow::Result<f64> {
        Ok(fields.split_whitespace().nth(at).context("stat")?.parse()?)
    };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

fn memory_mb(pid: u32, line: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let found = status.lines().find_map(|text| text.strip_prefix(line));
    let kilobytes: u64 = found
        .context("status")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?;
    Ok(kilobytes / 1024)
}
