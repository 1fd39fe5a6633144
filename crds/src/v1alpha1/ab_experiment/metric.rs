//! `spec.metrics`: what is compared. Items of a list have no defaults in the schema: the API server would
//! write them into the live object, and a tool that compares it with Git would see a difference for ever.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::value::{Decimal, Duration};

pub use crate::v1alpha1::reward_model::gate::Direction;

/// One thing that is compared.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("(self.kind == 'PairedAccuracy') == has(self.source.preferences)")
        .message("kind PairedAccuracy and source preferences go together: labelled pairs are counted, and nothing else is"),
    validation = Rule::new("self.kind == 'SlowFraction' ? has(self.slowerThan) && has(self.source.router) && self.source.router.signal == 'Latency' : !has(self.slowerThan)")
        .message("kind SlowFraction needs source {router: {signal: Latency}} and slowerThan, such as 250ms; no other kind has slowerThan"),
    validation = Rule::new("!has(self.source.router) || (self.source.router.signal == 'Score' ? self.kind in ['Mean', 'Ratio', 'Equivalence'] : self.source.router.signal == 'Latency' ? self.kind in ['Mean', 'Ratio', 'SlowFraction'] : self.kind in ['Ratio', 'Proportion'])")
        .message("this kind does not fit the signal: Score has Mean, Ratio and Equivalence; Latency has Mean, Ratio and SlowFraction; Errors has Ratio (of requests) and Proportion (of users)"),
    validation = Rule::new("!has(self.source.feedback) || self.kind in ['Mean', 'Ratio', 'Proportion']")
        .message("a feedback event has kind Mean (per user), Ratio (per event) or Proportion (of users)"),
    validation = Rule::new("!has(self.source.prometheus) || self.role == 'Info' || (self.role == 'Guardrail' && has(self.absoluteMax))")
        .message("a Prometheus query is not dealt to users, so that it decides nothing by comparison: give it role Info, or Guardrail with absoluteMax"),
    validation = Rule::new("self.kind != 'Equivalence' || (self.role != 'Goal' && has(self.margin) && has(self.margin.absolute))")
        .message("kind Equivalence needs margin.absolute, how far apart is still the same, and is a Guardrail or Info"),
    validation = Rule::new("!has(self.test) || (self.role == 'Goal' ? self.test != 'NoHarm' : self.role != 'Guardrail' || self.test != 'Superiority')")
        .message("a Goal is tested for Superiority or NonInferiority, a Guardrail for NoHarm or NonInferiority"),
    validation = Rule::new("!has(self.test) || self.test != 'NonInferiority' || has(self.margin)")
        .message("test NonInferiority needs margin: {absolute} or {relative}, how much worse is still good enough"),
    validation = Rule::new("!(self.kind in ['Proportion', 'SlowFraction', 'PairedAccuracy'] || (has(self.source.router) && self.source.router.signal == 'Errors')) || ((!has(self.minimumEffect) || !has(self.minimumEffect.absolute) || double(self.minimumEffect.absolute) < 1.0) && (!has(self.margin) || !has(self.margin.absolute) || double(self.margin.absolute) < 1.0) && (!has(self.absoluteMax) || (double(self.absoluteMax) >= 0.0 && double(self.absoluteMax) < 1.0)))")
        .message("this metric is a share, from 0 to 1: write minimumEffect.absolute, margin.absolute and absoluteMax below 1, such as \"0.05\" for 5 %"),
    validation = Rule::new("!has(self.absoluteMax) || has(self.source.prometheus) || self.kind in ['Proportion', 'SlowFraction'] || (has(self.source.router) && self.source.router.signal == 'Errors')")
        .message("absoluteMax is for shares (Ratio of Errors, Proportion, SlowFraction) and Prometheus: leave it out, or give a margin"),
    validation = Rule::new("!has(self.source.prometheus) || (!has(self.test) && !has(self.margin) && !has(self.minimumEffect))")
        .message("a Prometheus query is held against absoluteMax alone: remove test, margin and minimumEffect"),
    validation = Rule::new("!has(self.clip) || (has(self.source.router) && self.source.router.signal != 'Errors' && self.kind != 'SlowFraction') || (has(self.source.feedback) && self.kind != 'Proportion')")
        .message("clip is of values: what is counted here is 0 or 1, or comes from a query; remove it"),
    validation = Rule::new("!has(self.source.router) || self.source.router.signal != 'Latency' || self.kind == 'SlowFraction' || ((!has(self.margin) || !has(self.margin.absolute)) && (!has(self.minimumEffect) || !has(self.minimumEffect.absolute)))")
        .message("latencies are compared as ratios: write margin and minimumEffect as {relative: \"0.1\"} for 10 %"),
    validation = Rule::new("!(has(self.source.preferences) || (has(self.source.router) && self.source.router.signal == 'Score')) || ((!has(self.margin) || !has(self.margin.relative)) && (!has(self.minimumEffect) || !has(self.minimumEffect.relative)))")
        .message("scores and labelled pairs have no zero that a part could be of: write margin and minimumEffect as {absolute: ...}"),
)]
#[serde(rename_all = "camelCase")]
pub struct Metric {
    /// Its name.
    #[schemars(
        length(min = 1, max = 40),
        regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// What it decides.
    pub role: Role,
    /// What is made of what is counted.
    pub kind: Kind,
    /// What is counted.
    pub source: MetricSource,
    /// Which way is better.
    pub direction: Direction,
    /// What has to be shown; Superiority of a Goal, `NoHarm` of a Guardrail when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Test>,
    /// How much worse is still good enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<Amount>,
    /// The smallest effect that matters: what the analysis is tuned for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_effect: Option<Amount>,
    /// A variant that is surely above is rolled back, whatever control does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absolute_max: Option<Decimal>,
    /// From when on a request is slow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slower_than: Option<Duration>,
    /// Values beyond are taken for the nearer of both: one user then cannot decide alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<Clip>,
    /// How important it is beside the others of its role; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: Option<i32>,
}

/// What a metric decides.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Whether a variant is promoted.
    Goal,
    /// Whether it is rolled back.
    Guardrail,
    /// Nothing: it is reported.
    Info,
}

/// What is made of what is counted.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The mean: of feedback per user who was served, of scores and latencies per request.
    Mean,
    /// The sum of values per event or request.
    Ratio,
    /// The part of users that had the event at least once.
    Proportion,
    /// The part of requests that took longer than `slowerThan`.
    SlowFraction,
    /// The part of labelled pairs that are put in the right order.
    PairedAccuracy,
    /// That the difference is no larger than the margin, either way.
    Equivalence,
}

/// What is counted: exactly one of the fields.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("[has(self.router), has(self.feedback), has(self.preferences), has(self.prometheus)].filter(x, x).size() == 1")
        .message("name exactly one source: router, feedback, preferences or prometheus"),
)]
#[serde(rename_all = "camelCase")]
pub struct MetricSource {
    /// What the routers see of each request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<RouterSource>,
    /// Events of users, sent to `/feedback`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedback: Option<FeedbackSource>,
    /// Labelled pairs, sent to `/feedback`, that every variant scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferences: Option<PreferencesSource>,
    /// A query of Prometheus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusSource>,
}

/// What the routers see of each request.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouterSource {
    /// Which signal.
    pub signal: Signal,
}

/// A signal of requests.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signal {
    /// The score.
    Score,
    /// How long the variant took; compared as a logarithm, so that effects are ratios.
    Latency,
    /// Whether the variant failed to answer.
    Errors,
}

/// Events of users.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeedbackSource {
    /// The event's name.
    #[schemars(length(min = 1, max = 63))]
    pub event: String,
}

/// Labelled pairs.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreferencesSource {}

/// A query of Prometheus; `$variant` in it is the variant's name, `$model` its RewardModel.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusSource {
    /// The query; it must answer one number.
    #[schemars(length(min = 1, max = 8192))]
    pub query: String,
}

/// What has to be shown.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Test {
    /// That the variant is better.
    Superiority,
    /// That it is not worse by the margin.
    NonInferiority,
    /// Nothing but that no harm is seen.
    NoHarm,
}

/// A size of an effect: exactly one of the fields.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.absolute) != has(self.relative)")
        .message("name exactly one of absolute (in the units of the metric) and relative (a part of control's value)"),
    validation = Rule::new("(!has(self.absolute) || double(self.absolute) >= 0.0) && (!has(self.relative) || double(self.relative) >= 0.0)")
        .message("the size of an effect or margin is 0 or more, whichever way is better: remove the sign"),
)]
#[serde(rename_all = "camelCase")]
pub struct Amount {
    /// In the units of the metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absolute: Option<Decimal>,
    /// As a part of control's value: "0.02" is 2 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative: Option<Decimal>,
}

/// Between what values are taken.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("double(self.min) < double(self.max)")
        .message("clip.min must be below clip.max"),
)]
#[serde(rename_all = "camelCase")]
pub struct Clip {
    /// The lowest.
    pub min: Decimal,
    /// The highest.
    pub max: Decimal,
}
