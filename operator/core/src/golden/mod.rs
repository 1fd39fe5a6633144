//! The golden set: labelled pairs that a new revision is scored on before a user meets it.
//!
//! Owns how far the scoring is, what it has found, and which Job does it. It must not judge ([`crate::gates`]
//! does). Invariants: what is missing or broken is never a result; a set is scored once for a revision, and
//! what is known of the stable revision is not found out again; a rollout is judged by one set alone, the one
//! that it was scored on, whatever becomes of the set meanwhile.

mod file;
mod jobs;
mod work;

use std::sync::Arc;

use crds::v1alpha1::reward_model::rollout::{GoldenSet, Strategy};
use crds::v1alpha1::reward_model::status::{GoldenSetStatus, Verdict};
use crds::value::Digest;
use k8s_openapi::api::batch::v1::Job;

pub use self::file::SetFile;
pub(crate) use self::jobs::{is_one, learned, make, spare};
pub use self::work::{Named, Work};
use crate::gates::{self, Gate, Golden, GoldenRule, Kind, Measurement, Scored};
use crate::identity::RevisionHash;
use crate::observed::Observed;
use crate::records::golden::{Beside, GoldenResult};
use crate::records::{self, Record};
use crate::state::{Rollout, Stage, State};

/// What has been measured for a golden gate; `None` while that is not known, so that nothing is looked at,
/// and where the gate is another one.
pub fn measurement(gate: &Gate, observed: &Observed, state: &State) -> Option<Measurement> {
    let Kind::Golden(rule) = &gate.kind else {
        return None;
    };
    let scoring = Scoring::of(observed, state)?;
    let mut tracks = state.gates.iter();
    let decided = tracks
        .find(|track| track.gate == gate.name)
        .is_some_and(|track| is_decided(track.verdict()));
    // Once users meet the revision a verdict stays.
    if decided && scoring.rollout.stage != Stage::Load {
        return None;
    }
    match scoring.progress() {
        Progress::Scored(found) => Some(Measurement::Golden(found.for_gate(rule))),
        Progress::Troubled(why) => Some(Measurement::Nothing(why)),
        Progress::Failed(why) => Some(Measurement::Failed(why)),
        Progress::Begins | Progress::Runs(_) => None,
    }
}

/// How far the scoring of a set is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Progress {
    /// Nobody has looked at the set, or no Job is there.
    Begins,
    /// The Job of this name is at work.
    Runs(String),
    /// Its pod does not come to work, and why.
    Troubled(String),
    /// There is no set, or the Job has failed, and why.
    Failed(String),
    /// It is done.
    Scored(Found),
}

/// What both revisions score.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    own: GoldenResult,
    stable: Option<GoldenResult>,
    /// How both order the answers, where they were scored together.
    beside: Option<Beside>,
}

impl Found {
    /// What `rule` is held against. Where it asks for more than is known, nothing is compared.
    fn for_gate(&self, rule: &GoldenRule) -> Golden {
        let known = rule.min_rank_correlation.is_none() || self.beside.is_some();
        let stable = self.stable.as_ref().filter(|_| known);
        Golden {
            pairs: self.own.pairs,
            right: self.own.right,
            against_stable: stable.map(|stable| Scored {
                right: stable.right,
                rank_correlation: self.beside.as_ref().and_then(|both| both.rank_correlation),
                score_shift: Some(self.own.mean_score - stable.mean_score),
            }),
        }
    }

    fn status(&self) -> GoldenSetStatus {
        GoldenSetStatus {
            digest: self.own.set.to_string(),
            pairs: i64::try_from(self.own.pairs).ok(),
        }
    }
}

/// The scoring that a rollout takes.
#[derive(Debug)]
pub(crate) struct Scoring<'a> {
    observed: &'a Observed,
    rollout: &'a Rollout,
    set: &'a GoldenSet,
    /// The revision that it is compared with.
    stable: Option<&'a RevisionHash>,
    /// Whether that one serves beside it, so that both can be asked.
    beside: bool,
    /// Whether a gate asks for what only both scores of each answer tell.
    ranks: bool,
    records: Vec<Record>,
    /// The set that the rollout is judged by.
    pinned: Option<Digest>,
}

impl<'a> Scoring<'a> {
    /// `None` where nothing is scored: without a golden gate, or where the gates are gone past.
    pub(crate) fn of(observed: &'a Observed, state: &'a State) -> Option<Self> {
        let written = observed.model.spec.rollout.as_ref()?;
        let set = written.golden_set.as_ref()?;
        let read = gates::read(written).ok()?;
        let rules = rules(&read);
        let rollout = state.rollout.as_ref()?;
        let open = match rollout.stage {
            Stage::Load => true,
            // A dry run holds nothing, and is told all the same.
            Stage::Step { .. } | Stage::Approval => is_undecided(&read, state),
            Stage::Promote | Stage::Retreat | Stage::RollBack => false,
        };
        if rules.is_empty() || rollout.fast || !open {
            return None;
        }
        let records = observed.children.records.iter();
        let stable = state.stable();
        Some(Self {
            observed,
            rollout,
            set,
            stable,
            beside: stable.is_some() && written.strategy == Strategy::Canary,
            ranks: rules.iter().any(|rule| rule.min_rank_correlation.is_some()),
            records: records.filter_map(|object| records::read(object)).collect(),
            pinned: pinned(observed, rollout),
        })
    }

    /// Whether the set has to be looked at before anything is known.
    pub(crate) fn asks(&self) -> bool {
        self.pinned.is_none() && self.observed.golden_set.is_none()
    }

    /// The set that the rollout `id` is judged by from now on.
    pub(crate) fn status_of(&self, id: &str) -> Option<GoldenSetStatus> {
        match self.progress() {
            Progress::Scored(found) if self.rollout.id() == id => Some(found.status()),
            Progress::Scored(_)
            | Progress::Begins
            | Progress::Runs(_)
            | Progress::Troubled(_)
            | Progress::Failed(_) => None,
        }
    }

    /// What is waited for, in words.
    pub(crate) fn words(&self) -> String {
        match self.progress() {
            Progress::Begins | Progress::Scored(_) => "it scores the golden set".to_owned(),
            Progress::Runs(job) => format!(
                "it scores the golden set; should that take long, `kubectl describe job {job}` names the quota, policy or permission in its way"
            ),
            Progress::Troubled(why) | Progress::Failed(why) => {
                format!("the golden set is not scored: {why}")
            }
        }
    }

    /// How far the scoring is.
    pub(crate) fn progress(&self) -> Progress {
        let Some(work) = self.work() else {
            let file = self.observed.golden_set.as_ref();
            let problem = file.and_then(|file| file.problem(self.set));
            return problem.map_or(Progress::Begins, Progress::Failed);
        };
        if let Some(found) = self.found(&work) {
            return Progress::Scored(found);
        }
        match self.job(&work) {
            None => Progress::Begins,
            Some(job) => jobs::progress(job, &self.observed.children, &work),
        }
    }

    /// What is to be done; `None` where there is no set that could be scored.
    fn work(&self) -> Option<Work> {
        let set = match (&self.pinned, &self.observed.golden_set) {
            (Some(digest), _) | (None, Some(SetFile::Holds(digest))) => {
                Named::Digest(digest.clone())
            }
            (None, Some(SetFile::InClaim)) => Named::Rollout(self.rollout.id()),
            (
                None,
                Some(
                    SetFile::Missing | SetFile::NoKey(_) | SetFile::Empty | SetFile::Unreadable(_),
                )
                | None,
            ) => return None,
        };
        Some(Work {
            canary: self.rollout.revision.clone(),
            stable: self.stable.filter(|_| self.beside).cloned(),
            set,
        })
    }

    /// The Job that does `work`.
    fn job(&self, work: &Work) -> Option<&'a Job> {
        let jobs = self.observed.children.jobs.iter().map(Arc::as_ref);
        let mut own = jobs.filter(|job| job.metadata.deletion_timestamp.is_none());
        own.find(|job| Work::of(job).as_ref() == Some(work))
    }

    /// What is known, where it is all that the gates ask for.
    fn found(&self, work: &Work) -> Option<Found> {
        let digest = match &work.set {
            Named::Digest(digest) => digest.clone(),
            // Who reads the file says what was in it.
            Named::Rollout(_) => {
                let job = self.job(work)?;
                jobs::report(job, &self.observed.children)?.ok()?.own.set
            }
        };
        let own = self.result(&work.canary, &digest)?;
        let stable = self.stable.and_then(|stable| self.result(stable, &digest));
        let beside = self.stable.and_then(|stable| own.beside(stable).cloned());
        let lacks = self.beside && (stable.is_none() || self.ranks && beside.is_none());
        (!lacks).then_some(Found {
            own,
            stable,
            beside,
        })
    }

    /// What `revision` scores on a set: as a Job has just told, or as its record keeps it.
    fn result(&self, revision: &RevisionHash, digest: &Digest) -> Option<GoldenResult> {
        let record = self.records.iter().find(|record| &record.hash == revision);
        let mut all = record
            .map(|record| record.golden.clone())
            .unwrap_or_default();
        jobs::add(&mut all, revision, &self.observed.children);
        all.into_iter().find(|result| &result.set == digest)
    }

    /// A set on which the stable revision's result is all that is asked of it.
    fn known(&self, work: &Work) -> Option<Digest> {
        if self.ranks {
            return None;
        }
        let mut records = self.records.iter();
        let record = records.find(|record| Some(&record.hash) == work.stable.as_ref())?;
        let mut sets = record.golden.iter().map(|result| &result.set);
        match &work.set {
            Named::Digest(digest) => sets.find(|set| *set == digest).cloned(),
            Named::Rollout(_) => sets.next().cloned(),
        }
    }
}

/// The set that a rollout in flight is judged by, as the status keeps it.
fn pinned(observed: &Observed, rollout: &Rollout) -> Option<Digest> {
    let status = observed.model.status.as_ref()?.rollout.as_ref()?;
    let set = status.golden_set.as_ref()?;
    (status.id == rollout.id()).then(|| set.digest.as_str().into())
}

/// Whether a golden gate is looked at that has no verdict yet.
fn is_undecided(gates: &[Gate], state: &State) -> bool {
    let golden = gates
        .iter()
        .filter(|gate| matches!(gate.kind, Kind::Golden(_)));
    golden
        .filter_map(|gate| state.gates.iter().find(|track| track.gate == gate.name))
        .any(|track| !is_decided(track.verdict()))
}

const fn is_decided(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Pass | Verdict::Fail => true,
        Verdict::Inconclusive | Verdict::NoData | Verdict::Error => false,
    }
}

fn rules(gates: &[Gate]) -> Vec<GoldenRule> {
    let rules = gates.iter().filter_map(|gate| match &gate.kind {
        Kind::Golden(rule) => Some(*rule),
        Kind::Router(_) | Kind::Paired(_) | Kind::Preferences(_) | Kind::Prometheus { .. } => None,
    });
    rules.collect()
}
