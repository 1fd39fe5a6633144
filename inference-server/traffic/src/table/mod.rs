//! The traffic table: who may serve, with which weight, and the rules that hold meanwhile.
//!
//! Owns what a table means and which are refused. The same document stands in the ConfigMap
//! `NAME-traffic` (key `table.json`) and in a local file. It must not know where it was read, nor which
//! endpoints are ready. Invariants: the weights of a table sum to 10,000 and no two revisions have one
//! role; equal tables have equal bytes ([`Table::to_json`]); a router never goes back to an older table
//! ([`accept`]).

mod document;
pub mod experiment;
mod read;
mod refusal;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;
use std::time::Duration;

use stats::Share;

#[cfg(test)]
pub(crate) use document::Document;
pub use experiment::{Experiment, Target};
pub use refusal::Refusal;

use crate::{Decimal, Revision, Weight};

/// The schema version that is written and read.
pub const SCHEMA_VERSION: u32 = 1;
/// The key of the ConfigMap that holds the document.
pub const KEY: &str = "table.json";
/// What a ConfigMap may hold.
pub const MAX_BYTES: usize = 1024 * 1024;

/// The number of a table, which rises with each change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A table that was read and found valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its number.
    pub generation: Generation,
    /// The model that it is of.
    pub model: Model,
    /// The rollout in flight; `None` at rest.
    pub rollout: Option<String>,
    /// What keys are hashed with. It has no zero byte.
    pub salt: String,
    /// By role: at most one of each, at least one.
    revisions: Vec<Row>,
    /// Where the user key is; the prompt where `None`.
    pub key: Option<UserKey>,
    /// Whether stable answers what the canary does not.
    pub fallback: Fallback,
    /// When the canary is cut off.
    pub cut_off: CutOff,
    /// Whose requests the canary scores too.
    pub shadow: Option<Shadow>,
    /// Thresholds of slowness that evidence is recorded by, in milliseconds: in order, each once, at most
    /// [`crate::evidence::MAX_THRESHOLDS`].
    pub slower_than_ms: Vec<u32>,
    /// The experiment that is in force.
    pub experiment: Option<Experiment>,
    /// SHA-256 of the admin port's token.
    pub admin_token: Option<TokenHash>,
}

/// The model that a table is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid: another one is another model, whose generations begin anew.
    pub uid: String,
}

/// What a revision is in a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It serves, and takes over what another one cannot.
    Stable,
    /// It is being tried.
    Canary,
    /// It served before, and is warm still.
    Previous,
}

impl Role {
    /// All, in the order of a table.
    pub const ALL: [Self; 3] = [Self::Stable, Self::Canary, Self::Previous];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "Stable",
            Self::Canary => "Canary",
            Self::Previous => "Previous",
        }
    }
}

/// One revision of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub revision: Revision,
    /// What it is.
    pub role: Role,
    /// The share that it is meant to have.
    pub weight: Weight,
    /// The digest that its endpoints have to echo.
    pub digest: Option<String>,
    /// Where it is served.
    pub place: Place,
    /// How its scores become confidences.
    pub calibration: Option<Calibration>,
    /// Requests that one endpoint may have in flight.
    pub capacity: Option<u32>,
}

impl Row {
    /// Who is asked for it.
    pub fn target(&self) -> Target {
        Target {
            revision: self.revision.clone(),
            digest: self.digest.clone(),
            place: self.place.clone(),
            calibration: self.calibration.clone(),
            capacity: self.capacity,
        }
    }
}

/// Where a revision is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// By the endpoints of a headless Service.
    Service(String),
    /// At these addresses, HOST:PORT.
    Addresses(Vec<String>),
}

/// Scale (above 0) and shift of the confidence's sigmoid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calibration {
    /// How steep it is.
    pub scale: Decimal,
    /// The score of a coin toss.
    pub shift: Decimal,
}

/// Where a request's user key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserKey {
    /// In a header.
    Header(String),
    /// In a claim of the JWT.
    JwtClaim(String),
    /// In the body.
    JsonPointer(String),
}

/// Whether stable answers what the canary does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// Whether it does.
    pub enabled: bool,
    /// How long the canary is waited for before stable is asked too.
    pub hedge_after: Duration,
    /// The most of the last ten seconds' requests, in percent.
    pub budget_percent: u32,
}

/// Whose requests the canary scores too, after the client has its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// The share of the keys, 1 to 100.
    pub percent: u8,
    /// How long the canary may take.
    pub timeout: Option<Duration>,
}

impl Shadow {
    /// How long the canary may take where nothing is said.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// How long the canary may take.
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(Self::TIMEOUT)
    }
}

/// When the canary is cut off: see [`crate::cutoff`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutOff {
    /// The time that is looked at.
    pub window: Duration,
    /// Requests in the window below which shares decide nothing.
    pub min_requests: u64,
    /// The share that is too much, above 0 and at most 1.
    pub error_rate: Decimal,
    /// Scores that are no numbers, in the window, that are too many.
    pub non_finite: u64,
    /// Whether one score for everything is too much.
    pub constant_scores: bool,
    /// How many times stable's p99 is slow, at least 1.
    pub slow_factor: Decimal,
    /// The probability that a healthy canary is cut off, all tests together.
    alpha: Decimal,
    /// The cut-off that the operator has made global.
    pub confirmed: Option<Confirmed>,
}

impl CutOff {
    /// The probability that a healthy canary is cut off, all tests together.
    pub fn alpha(&self) -> Option<Share> {
        Share::new(self.alpha.get())
    }
}

impl Default for CutOff {
    fn default() -> Self {
        let decimal = |text: &str| Decimal::parse(text).unwrap_or_else(Decimal::zero);
        Self {
            window: Duration::from_secs(5),
            min_requests: 5,
            error_rate: decimal("0.5"),
            non_finite: 1,
            constant_scores: true,
            slow_factor: decimal("3"),
            alpha: decimal("0.025"),
            confirmed: None,
        }
    }
}

/// A cut-off that holds in every router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// The canary that it is of.
    pub revision: Revision,
    /// The word of its cause.
    pub cause: String,
}

/// SHA-256 of a token, 64 lower-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenHash(String);

impl TokenHash {
    /// `None` unless it is 64 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        is_hex(text, 64).then(|| Self(text.to_owned()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.len() == digits && text.bytes().all(lower)
}

impl Table {
    /// Reads a document.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        read::parse(bytes)
    }

    /// The document; the same bytes for equal tables.
    pub fn to_json(&self) -> String {
        write::to_json(self)
    }

    /// Its revisions, by role.
    pub fn revisions(&self) -> &[Row] {
        &self.revisions
    }

    /// The revision of a role.
    pub fn row(&self, role: Role) -> Option<&Row> {
        self.revisions.iter().find(|row| row.role == role)
    }

    /// The revision of a name.
    pub fn named(&self, revision: &Revision) -> Option<&Row> {
        self.revisions.iter().find(|row| row.revision == *revision)
    }

    /// The cut-off of the canary that it has, made global by the operator.
    pub fn confirmed(&self) -> Option<&Confirmed> {
        let canary = self.row(Role::Canary)?;
        let confirmed = self.cut_off.confirmed.as_ref()?;
        (confirmed.revision == canary.revision).then_some(confirmed)
    }
}

/// What is to be done with a table that was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is the one that is held.
    Same,
    /// It takes the place of the one that is held.
    New(Box<Table>),
}

/// Whether `offered` takes the place of `held`.
///
/// # Errors
/// [`Refusal::Stale`] or [`Refusal::Reused`].
pub fn accept(held: Option<&Table>, offered: Table) -> Result<Accepted, Refusal> {
    let Some(held) = held.filter(|held| held.model.uid == offered.model.uid) else {
        return Ok(Accepted::New(Box::new(offered)));
    };
    match offered.generation.cmp(&held.generation) {
        std::cmp::Ordering::Less => Err(Refusal::Stale {
            held: held.generation,
            offered: offered.generation,
        }),
        std::cmp::Ordering::Equal if offered == *held => Ok(Accepted::Same),
        std::cmp::Ordering::Equal => Err(Refusal::Reused {
            generation: offered.generation,
        }),
        std::cmp::Ordering::Greater => Ok(Accepted::New(Box::new(offered))),
    }
}
