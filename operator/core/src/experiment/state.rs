//! Where an experiment stands, and how a status stores it.
//!
//! Invariant: what was stored is read back as it was; a word that this version does not know is held, never
//! guessed at.

use std::collections::BTreeMap;

use crds::ABExperimentStatus;
use crds::v1alpha1::ab_experiment::status::{DecisionStatus, EpochStatus, Verdict};
use crds::value::Word;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::slots::Slots;

/// Where an experiment stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// When the analysis began.
    pub started_at: Option<Timestamp>,
    /// The epoch; `None` before the first.
    pub epoch: Option<Epoch>,
    /// A human has asked it to stay where it is.
    pub paused: bool,
    /// Candidates that are out of this epoch, and why.
    pub out: BTreeMap<String, String>,
    /// The verdict.
    pub conclusion: Option<Conclusion>,
}

/// A time in which nothing that the analysis rests on has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Counted from 1.
    pub id: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// Why.
    pub reason: String,
    /// Who owns which slots.
    pub slots: Slots,
    /// Hash of what was asked for, variants apart.
    pub fingerprint: String,
    /// Hash of the variants and their weights.
    pub weights: String,
    /// The revision of each variant.
    pub revisions: BTreeMap<String, String>,
}

/// What is done about a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The endpoint rolls the variant out.
    Promote,
    /// Everybody is control's.
    ReturnToControl,
    /// Nothing: it is said.
    Report,
}

impl Action {
    const ALL: [(&'static str, Self); 3] = [
        ("Promote", Self::Promote),
        ("ReturnToControl", Self::ReturnToControl),
        ("Report", Self::Report),
    ];

    /// The word in the status.
    pub fn as_str(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, action)| *action == self);
        found.map_or("Report", |(word, _)| word)
    }

    fn parse(text: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(word, _)| *word == text);
        found.map(|(_, action)| *action)
    }
}

/// A verdict, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conclusion {
    /// In one word.
    pub verdict: Verdict,
    /// The variant that it is about.
    pub variant: Option<String>,
    /// Why, in one word.
    pub reason: String,
    /// In words.
    pub message: String,
    /// When.
    pub decided_at: Timestamp,
    /// Of which epoch.
    pub epoch: u64,
    /// What is done about it.
    pub action: Action,
    /// When a human agreed, or nobody had to.
    pub approved_at: Option<Timestamp>,
    /// When it was done.
    pub applied_at: Option<Timestamp>,
}

impl Conclusion {
    /// Whether what follows from it is done and the endpoint's users are nobody's: where only a report was
    /// asked for, they stay as they are dealt.
    pub fn is_over(&self) -> bool {
        self.applied_at.is_some() && self.action != Action::Report
    }
}

/// The reason of a conclusion that a human asked for.
pub const ABORTED: &str = "Aborted";

impl State {
    /// As a status has it.
    ///
    /// # Errors
    /// What is not known, where another version wrote it.
    pub fn read(status: Option<&ABExperimentStatus>) -> Result<Self, String> {
        let Some(status) = status else {
            return Ok(Self::default());
        };
        if let Some(word) = status.phase.as_ref().and_then(Word::unknown) {
            return Err(format!("the phase is {word:?}"));
        }
        let variants = || status.variants.iter().flatten();
        let epoch = status.epoch.as_ref();
        let epoch = epoch.map(|epoch| {
            let revisions = variants()
                .filter_map(|variant| Some((variant.name.clone(), variant.revision.clone()?)));
            read_epoch(epoch, revisions.collect())
        });
        let decision = status.decision.as_ref();
        let decision = decision.filter(|decision| decision.verdict.is_some());
        let out = variants()
            .filter_map(|variant| Some((variant.name.clone(), variant.rolled_back.clone()?)));
        Ok(Self {
            started_at: status.started_at.as_ref().map(|time| time.0),
            epoch: epoch.transpose()?,
            paused: status.paused.unwrap_or(false),
            out: out.collect(),
            conclusion: decision.map(read_conclusion).transpose()?,
        })
    }

    /// The epoch as a status has it.
    pub fn epoch_status(&self) -> Option<EpochStatus> {
        let epoch = self.epoch.as_ref()?;
        Some(EpochStatus {
            id: i64::try_from(epoch.id).unwrap_or(i64::MAX),
            started_at: Some(Time(epoch.started_at)),
            reason: epoch.reason.clone(),
            slots: epoch.slots.ranges().to_vec(),
            fingerprint: epoch.fingerprint.clone(),
            weights: epoch.weights.clone(),
        })
    }

    /// The verdict as a status has it.
    pub fn decision_status(&self) -> Option<DecisionStatus> {
        let conclusion = self.conclusion.as_ref()?;
        Some(DecisionStatus {
            verdict: Some(conclusion.verdict.into()),
            variant: conclusion.variant.clone(),
            reason: conclusion.reason.clone(),
            message: conclusion.message.clone(),
            decided_at: Some(Time(conclusion.decided_at)),
            // Nobody has approved what a human has stopped.
            approved_at: conclusion
                .approved_at
                .filter(|_| conclusion.reason != ABORTED)
                .map(Time),
            applied_at: conclusion.applied_at.map(Time),
            epoch: i64::try_from(conclusion.epoch).ok(),
            action: conclusion.action.as_str().to_owned(),
        })
    }
}

fn read_epoch(epoch: &EpochStatus, revisions: BTreeMap<String, String>) -> Result<Epoch, String> {
    let slots = Slots::read(&epoch.slots);
    Ok(Epoch {
        id: u64::try_from(epoch.id).map_err(|_| format!("the epoch is {}", epoch.id))?,
        started_at: epoch
            .started_at
            .as_ref()
            .map(|time| time.0)
            .ok_or("the epoch has no beginning")?,
        reason: epoch.reason.clone(),
        slots: slots.ok_or("the slots overlap")?,
        fingerprint: epoch.fingerprint.clone(),
        weights: epoch.weights.clone(),
        revisions,
    })
}

fn read_conclusion(decision: &DecisionStatus) -> Result<Conclusion, String> {
    let verdict = decision.verdict.as_ref();
    let known = verdict.and_then(Word::known);
    let decided_at = decision.decided_at.as_ref().map(|time| time.0);
    Ok(Conclusion {
        verdict: known.ok_or_else(|| format!("the verdict is {verdict:?}"))?,
        variant: decision.variant.clone(),
        reason: decision.reason.clone(),
        message: decision.message.clone(),
        decided_at: decided_at.ok_or("the verdict has no time")?,
        epoch: decision
            .epoch
            .and_then(|epoch| u64::try_from(epoch).ok())
            .unwrap_or(0),
        action: Action::parse(&decision.action)
            .ok_or_else(|| format!("the action is {:?}", decision.action))?,
        approved_at: decision
            .approved_at
            .as_ref()
            .map(|time| time.0)
            .or_else(|| decided_at.filter(|_| decision.reason == ABORTED)),
        applied_at: decision.applied_at.as_ref().map(|time| time.0),
    })
}
