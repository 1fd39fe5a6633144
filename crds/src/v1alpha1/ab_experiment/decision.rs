//! `spec.schedule`, `spec.analysis`, `spec.decision`: when, how strictly, and what follows.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::value::{Decimal, Duration};

/// When an experiment begins and ends.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("!has(self.minDuration) || !has(self.maxDuration) || duration(self.minDuration) <= duration(self.maxDuration)")
        .message("minDuration must be at most maxDuration: shorten the one or lengthen the other"),
)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Nothing begins before; at once when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Time>,
    /// Nothing is promoted before; when absent one hour, or 24 where a goal is a human's feedback, which
    /// has a daily cycle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_duration: Option<Duration>,
    /// When it ends without a verdict; 14 days when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<Duration>,
}

/// When the goals are met.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum GoalPolicy {
    /// Each is.
    #[default]
    All,
    /// One is.
    Any,
}

/// How an experiment is analysed.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Analysis {
    /// The probability of a wrong promotion and a wrong rollback together.
    #[serde(default = "alpha")]
    #[x_kube(
        validation = Rule::new("double(self) > 0.0 && double(self) <= 0.5")
            .message("alpha must be above 0 and at most 0.5: write \"0.05\""),
    )]
    pub alpha: Decimal,
    /// How often it is looked at.
    #[serde(default = "thirty_seconds")]
    pub interval: Duration,
    /// The probability of a false alarm on the numbers of users.
    #[serde(default = "srm_alpha")]
    #[x_kube(
        validation = Rule::new("double(self) > 0.0 && double(self) <= 0.5")
            .message("srmAlpha must be above 0 and at most 0.5: write \"0.001\""),
    )]
    pub srm_alpha: Decimal,
    /// Which tests are used.
    #[serde(default)]
    pub method: Method,
    /// Ends early where no variant can be better by `minimumEffect`.
    #[serde(default)]
    pub futility: bool,
}

impl Default for Analysis {
    fn default() -> Self {
        Self {
            alpha: alpha(),
            interval: thirty_seconds(),
            srm_alpha: srm_alpha(),
            method: Method::default(),
            futility: false,
        }
    }
}

/// Which tests are used.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// The one that needs the fewest users.
    #[default]
    Auto,
    /// The exact one, where there is one: Proportion and `PairedAccuracy`.
    Exact,
}

/// What follows from the verdict.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionPolicy {
    /// Where a variant is better.
    #[serde(default)]
    pub on_win: OnWin,
    /// Where a variant harms.
    #[serde(default)]
    pub on_loss: OnLoss,
    /// Where the time is up.
    #[serde(default)]
    pub on_inconclusive: OnInconclusive,
    /// Waits for the command `approve` before it promotes.
    #[serde(default = "yes")]
    pub require_approval: bool,
}

impl Default for DecisionPolicy {
    fn default() -> Self {
        Self {
            on_win: OnWin::default(),
            on_loss: OnLoss::default(),
            on_inconclusive: OnInconclusive::default(),
            require_approval: yes(),
        }
    }
}

/// Where a variant is better.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnWin {
    /// The endpoint rolls it out.
    #[default]
    Promote,
    /// Says so.
    Report,
}

/// Where a variant harms.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnLoss {
    /// Its users are control's from then on.
    #[default]
    RollBack,
    /// Says so.
    Report,
}

/// Where the time is up.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnInconclusive {
    /// Everybody is control's.
    #[default]
    KeepControl,
    /// The variant that was shown to be no worse on all metrics is rolled out.
    PromoteIfNonInferior,
    /// Says so; the split stays as it is.
    Report,
}

fn alpha() -> Decimal {
    "0.05".into()
}

fn srm_alpha() -> Decimal {
    "0.001".into()
}

fn thirty_seconds() -> Duration {
    "30s".into()
}

const fn yes() -> bool {
    true
}
