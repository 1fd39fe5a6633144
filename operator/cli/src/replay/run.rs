//! The operator's look, step and status, without a cluster.
//!
//! Invariant: the order is the controller's: look at the state of the last status, step, render.

use std::collections::BTreeMap;
use std::time::Duration;

use crds::v1alpha1::ab_experiment::status::SlotRange;
use crds::value::Word;
use crds::{ABExperiment, ABExperimentStatus};
use jiff::{SignedDuration, Timestamp};
use operator_core::experiment::analysis::{self, Looked as Look};
use operator_core::experiment::ledger::{self, Ledger, Ledgers};
use operator_core::experiment::seen::{Model, Seen};
use operator_core::experiment::spec::Design;
use operator_core::experiment::standing::Promotion;
use operator_core::experiment::state::{Epoch, State};
use operator_core::experiment::totals::Totals;
use operator_core::experiment::{machine, status, table};

use crate::failure::Failure;
use crate::manifest;
use crate::text::count;

/// After a look.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    pub(super) status: ABExperimentStatus,
    pub(super) elapsed: Duration,
}

impl Looked {
    pub(super) fn is_over(&self) -> bool {
        self.status.decision.is_some()
    }

    /// For people: when, users, the verdict, the leader.
    pub(super) fn row(&self) -> Vec<String> {
        let status = &self.status;
        let decided = status.decision.as_ref().and_then(|of| of.verdict.as_ref());
        let verdict = decided.map_or_else(|| "Running".to_owned(), word);
        let leader = status.leader.as_ref();
        let leader = leader.map(|of| format!("{} {} {}", of.variant, of.effect, of.interval));
        vec![
            crate::text::days(super::days(self.elapsed)),
            format!("{} users", count(status.users.unwrap_or(0))),
            verdict,
            leader.unwrap_or_default(),
        ]
    }
}

/// A word of a status as it stands there.
fn word<T: Copy + std::fmt::Debug>(word: &Word<T>) -> String {
    match word {
        Word::Known(known) => format!("{known:?}"),
        Word::Unknown(text) => text.clone(),
    }
}

/// An experiment that is replayed.
pub(super) struct Replay {
    experiment: ABExperiment,
    models: BTreeMap<String, Model>,
    design: Design,
    began: Timestamp,
    pub(super) ledgers: Ledgers,
}

impl Replay {
    /// From its first moment on, with the slots of its status where it has them. `epoch` is the number of the one
    /// that the evidence is of, and `uid` that of the experiment then.
    pub(super) fn new(
        given: &ABExperiment,
        uid: &str,
        epoch: u64,
        began: Timestamp,
    ) -> Result<Self, Failure> {
        let mut experiment = given.clone();
        experiment.metadata.uid = Some(uid.to_owned());
        experiment.metadata.annotations = None;
        experiment.spec.suspend = false;
        if let Some(schedule) = &mut experiment.spec.schedule {
            schedule.start_at = None;
        }
        let assignment = experiment.spec.assignment.get_or_insert_default();
        assignment
            .key
            .get_or_insert_with(|| crds::v1alpha1::reward_model::traffic::Key {
                header: Some("x-user-id".to_owned()),
                ..Default::default()
            });
        let before = experiment.status.take();
        let design = manifest::design(&experiment)?;
        let models = design.variants.iter().map(|variant| {
            let model = Model {
                revision: Some("recorded".to_owned()),
                ready: true,
                ..Model::default()
            };
            (variant.model.clone(), model)
        });
        let mut replay = Self {
            models: models.collect(),
            experiment,
            design,
            began,
            ledgers: Ledgers::new(),
        };
        replay.step(None, began);
        replay.begin(
            epoch,
            before.as_ref().and_then(|status| slots_of(status, epoch)),
        );
        let state = replay.state()?;
        let current = state.epoch.as_ref().ok_or_else(unready)?;
        let subjects = ledger::subjects(&replay.design, current);
        replay.ledgers = subjects
            .into_iter()
            .map(|(metric, subject)| (metric, Ledger::new(subject)))
            .collect();
        Ok(replay)
    }

    /// The epoch has the number of the recorded one, and its slots.
    fn begin(&mut self, epoch: u64, slots: Option<Vec<SlotRange>>) {
        let status = self.experiment.status.as_mut();
        if let Some(written) = status.and_then(|status| status.epoch.as_mut()) {
            written.id = i64::try_from(epoch).unwrap_or(i64::MAX);
            if let Some(slots) = slots {
                written.slots = slots;
            }
        }
    }

    fn state(&self) -> Result<State, Failure> {
        State::read(self.experiment.status.as_ref()).map_err(Failure::Failed)
    }

    /// A hash of what is compared, and how.
    pub(super) fn fingerprint(&self) -> String {
        self.design.fingerprint()
    }

    pub(super) const fn design(&self) -> &Design {
        &self.design
    }

    /// A look at what the ledgers have, so long after the beginning.
    pub(super) fn look(&mut self, elapsed: Duration) -> Result<Looked, Failure> {
        let state = self.state()?;
        let epoch: &Epoch = state.epoch.as_ref().ok_or_else(unready)?;
        let passed = SignedDuration::try_from(elapsed).ok();
        let now = passed.and_then(|passed| self.began.checked_add(passed).ok());
        let now =
            now.ok_or_else(|| Failure::Usage("the time is beyond all calendars".to_owned()))?;
        let totals = ledger::totals(&self.design, &self.ledgers, &BTreeMap::new());
        let out: Vec<String> = state.out.keys().cloned().collect();
        let look = analysis::look(&Look {
            design: &self.design,
            strata: std::slice::from_ref(&totals),
            tracks: &ledger::tracks(&self.ledgers),
            slots: &table::slots(&self.design, epoch),
            out: &out,
            elapsed: machine::elapsed(state.started_at, now),
            sample_ratio_before: 0.0,
        });
        ledger::keep(&mut self.ledgers, &look.tracks);
        self.step(Some((&totals, &look)), now);
        Ok(Looked {
            status: self.experiment.status.clone().unwrap_or_default(),
            elapsed,
        })
    }

    fn step(&mut self, looked: Option<(&Totals, &analysis::Look)>, now: Timestamp) {
        let seen = Seen {
            experiment: &self.experiment,
            models: &self.models,
            rivals: &[],
            look: looked.map(|(_, look)| look),
            promotion: &Promotion::UnderWay,
            asks_prometheus: true,
            dealt: true,
            now,
        };
        let step = machine::step(&seen);
        let status = status::render(&step, &seen, looked.map(|(totals, _)| totals));
        self.experiment.status = Some(status);
    }
}

/// The slots of a status, where they are of that epoch.
fn slots_of(status: &ABExperimentStatus, epoch: u64) -> Option<Vec<SlotRange>> {
    let written = status.epoch.as_ref()?;
    let same = u64::try_from(written.id).ok() == Some(epoch);
    (same && !written.slots.is_empty()).then(|| written.slots.clone())
}

fn unready() -> Failure {
    Failure::Failed("the experiment does not begin: apply it to see why".to_owned())
}
