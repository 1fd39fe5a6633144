//! `spec.rollout.gates`: what a new revision must show. Items of a list have no defaults in the
//! schema: the API server would write them into the live object, and a tool that compares it with
//! Git would see a difference for ever.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::value::{Decimal, Duration};

/// One requirement on a new revision: exactly one kind.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("[has(self.router), has(self.golden), has(self.paired), has(self.preferences), has(self.prometheus)].filter(x, x).size() == 1")
        .message("a gate has exactly one kind: router, golden, paired, preferences or prometheus"),
    validation = Rule::new("!has(self.alpha) || ((has(self.router) || has(self.paired) || has(self.preferences)) && double(self.alpha) > 0.0 && double(self.alpha) <= 0.025)")
        .message("alpha is of gates that compare (router, paired, preferences), whose alphas together are 0.025 at most: write one above 0, such as \"0.01\", or leave it out for an equal share"),
    validation = Rule::new("!has(self.minSamples) || !has(self.prometheus)")
        .message("minSamples is of gates on requests and pairs: remove it, and let the query itself ask for a count"),
    validation = Rule::new("!has(self.golden) || (!has(self.afterPromotion) && (!has(self.onNoData) || self.onNoData != 'Fail'))")
        .message("a golden gate is decided before the revision gets anything: remove afterPromotion, and write onNoData: Wait or Pause"),
    validation = Rule::new("!has(self.interval) || duration(self.interval) >= duration('1s')")
        .message("interval is shorter than 1s: write 1s or more"),
)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// Its name, by which steps mention it.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Its share of the rollout's 0.05; an equal share when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<Decimal>,
    /// How often it is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// Samples below which it has no verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub min_samples: Option<i64>,
    /// Errors of its source in a row that are borne.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub error_limit: Option<i32>,
    /// What is done while there is no data; Wait when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_no_data: Option<OnNoData>,
    /// What a failure after promotion does; `RollBack` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_promotion: Option<AfterPromotion>,
    /// Reports, and decides nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// On what the routers count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<RouterGate>,
    /// On the golden set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub golden: Option<GoldenGate>,
    /// On both scores of shadowed requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paired: Option<PairedGate>,
    /// On labelled pairs from `/feedback`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferences: Option<PreferencesGate>,
    /// On a Prometheus query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusGate>,
}

/// What is done while there is no data.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnNoData {
    /// Wait.
    #[default]
    Wait,
    /// Pause the rollout.
    Pause,
    /// Fail the gate.
    Fail,
}

/// What a failure after promotion does.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AfterPromotion {
    /// Rolls back, within the rollback window.
    #[default]
    RollBack,
    /// Reports.
    Report,
}

/// On what the routers count: exactly one of `threshold` and `compareToStable`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.threshold) != has(self.compareToStable)")
        .message("name exactly one of threshold and compareToStable"),
    validation = Rule::new("self.metric != 'SlowFraction' || has(self.slowerThan)")
        .message("SlowFraction needs slowerThan, such as 250ms"),
    validation = Rule::new("self.metric == 'SlowFraction' || !has(self.slowerThan)")
        .message("slowerThan is of the metric SlowFraction: remove it, or change the metric"),
    validation = Rule::new("self.metric == 'ScoreSpread' || !has(self.threshold) || (has(self.threshold.max) && double(self.threshold.max) >= 0.0 && double(self.threshold.max) < 1.0)")
        .message("ErrorRate, SlowFraction and NonFinite are shares of requests, of which less is better: write threshold.max, 0 or more and below 1, such as \"0.05\" for 5 %"),
    validation = Rule::new("self.metric == 'ScoreSpread' || !has(self.compareToStable) || (self.compareToStable.direction == 'Decrease' && (!has(self.compareToStable.margin) || double(self.compareToStable.margin) < 1.0))")
        .message("ErrorRate, SlowFraction and NonFinite are shares of requests, of which less is better: write compareToStable.direction: Decrease, and a margin below 1, such as \"0.01\" for 1 %"),
    validation = Rule::new("self.metric != 'ScoreSpread' || !has(self.threshold) || ((!has(self.threshold.min) || double(self.threshold.min) > 0.0) && (!has(self.threshold.max) || double(self.threshold.max) > 0.0))")
        .message("a spread is never below 0: write a threshold above 0, in units of the score"),
)]
#[serde(rename_all = "camelCase")]
pub struct RouterGate {
    /// What is counted.
    pub metric: RouterMetric,
    /// From when on a request is slow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slower_than: Option<Duration>,
    /// A fixed bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<Threshold>,
    /// A bound against the stable revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare_to_stable: Option<Comparison>,
}

/// What the routers count.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouterMetric {
    /// Share of requests that failed.
    ErrorRate,
    /// Share of requests slower than `slowerThan`.
    SlowFraction,
    /// Scores that are not finite.
    NonFinite,
    /// Spread of the scores.
    ScoreSpread,
}

/// A fixed bound: exactly one of the fields.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.min) != has(self.max)")
        .message("a threshold has exactly one of min and max"),
)]
#[serde(rename_all = "camelCase")]
pub struct Threshold {
    /// At least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Decimal>,
    /// At most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Decimal>,
}

/// A bound against the stable revision.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("!has(self.margin) || double(self.margin) >= 0.0")
        .message("compareToStable.margin is how much worse is borne: write 0 or more"),
)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// How much worse is borne.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<Decimal>,
    /// Which way is better.
    pub direction: Direction,
}

/// Which way is better.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// More.
    Increase,
    /// Less.
    Decrease,
}

/// On the golden set.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.minAccuracy) || has(self.maxAccuracyDrop) || has(self.minRankCorrelation) || has(self.maxScoreShift)")
        .message("a golden gate needs at least one of minAccuracy, maxAccuracyDrop, minRankCorrelation and maxScoreShift"),
    validation = Rule::new("(!has(self.minAccuracy) || (double(self.minAccuracy) >= 0.0 && double(self.minAccuracy) <= 1.0)) && (!has(self.maxAccuracyDrop) || (double(self.maxAccuracyDrop) >= 0.0 && double(self.maxAccuracyDrop) <= 1.0)) && (!has(self.minRankCorrelation) || (double(self.minRankCorrelation) >= -1.0 && double(self.minRankCorrelation) <= 1.0)) && (!has(self.maxScoreShift) || double(self.maxScoreShift) >= 0.0)")
        .message("minAccuracy and maxAccuracyDrop are shares, from 0 to 1; minRankCorrelation lies between -1 and 1; maxScoreShift is 0 or more: write such as \"0.7\" for 70 %"),
)]
#[serde(rename_all = "camelCase")]
pub struct GoldenGate {
    /// The least accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_accuracy: Option<Decimal>,
    /// The most that accuracy may lose against the stable revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_accuracy_drop: Option<Decimal>,
    /// The least rank correlation with the stable revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_rank_correlation: Option<Decimal>,
    /// The most that the mean score may move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_score_shift: Option<Decimal>,
}

/// On both scores of shadowed requests: equivalence, for releases that should not change the
/// ranking.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("self.metric == 'ScoreShift' ? double(self.within) > 0.0 : self.metric == 'RankAgreement' ? (double(self.within) > -1.0 && double(self.within) < 1.0) : (double(self.within) > 0.0 && double(self.within) < 1.0)")
        .message("within of ScoreShift is the most that the mean score may differ, above 0; of RankAgreement the least Kendall's tau, above -1 and below 1; of PreferenceFlips a share of requests, between 0 and 1"),
)]
#[serde(rename_all = "camelCase")]
pub struct PairedGate {
    /// What is compared.
    pub metric: PairedMetric,
    /// How far apart the two may be.
    pub within: Decimal,
}

/// What is compared of two scores of one request.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PairedMetric {
    /// The mean difference.
    ScoreShift,
    /// Agreement of the rankings.
    RankAgreement,
    /// Pairs that change their order.
    PreferenceFlips,
}

/// On labelled pairs from `/feedback`: exactly one of the fields.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.minAccuracy) != has(self.compareToStable)")
        .message("name exactly one of minAccuracy and compareToStable"),
    validation = Rule::new("!has(self.minAccuracy) || (double(self.minAccuracy) > 0.0 && double(self.minAccuracy) < 1.0)")
        .message("minAccuracy is a share between 0 and 1: write such as \"0.7\" for 70 %"),
    validation = Rule::new("!has(self.compareToStable) || (self.compareToStable.direction == 'Increase' && (!has(self.compareToStable.margin) || double(self.compareToStable.margin) < 1.0))")
        .message("more is better of an accuracy: write compareToStable.direction: Increase, and a margin below 1, such as \"0.02\" for 2 %"),
)]
#[serde(rename_all = "camelCase")]
pub struct PreferencesGate {
    /// The least accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_accuracy: Option<Decimal>,
    /// A bound against the stable revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare_to_stable: Option<Comparison>,
}

/// On a Prometheus query. The server's address is a flag of the operator.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusGate {
    /// The query; it must answer one number.
    #[schemars(length(min = 1, max = 8192))]
    pub query: String,
    /// The bound on it.
    pub threshold: Threshold,
}
