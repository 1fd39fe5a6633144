//! What is recorded of an experiment, and handed over.
//!
//! Owns which epoch is counted, the one before it, and what is said of both. Behind a lock of its own, which
//! is held for microseconds. Invariants: a request counts for the epoch that it began in; a user's event for
//! the epoch whose score the user had; without an experiment nothing is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use inference_scoring::Scores;
use traffic::evidence::Unit;
use traffic::evidence::experiment::{
    Admission, Ended, Evidence, Happened, Happening, Lacking, Recorder, Subject,
};
use traffic::table::experiment::{Arm, Signal, Source};
use traffic::table::{Role, Table};

use super::{Guard, Trial};
use crate::Router;
use crate::router::{Identity, View};

/// Tells the epochs of one router apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Serial(u64);

/// A request that counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exposed {
    serial: Serial,
    pub(crate) unit: Unit,
    pub(crate) arm: Arm,
}

/// What became of a request of an arm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome<'a> {
    pub(crate) ended: Ended,
    /// What the client got; `None` where it got no scores.
    pub(crate) scores: Option<&'a Scores>,
}

/// Why there is no evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEvidence {
    /// There was no experiment since the router started.
    NoExperiment,
    /// It is not of this epoch, nor of the one before.
    NoEpoch,
    /// The experiment has no such metric.
    NoMetric,
}

/// The numbers of an experiment, for whoever watches the router.
#[derive(Clone, Debug, Default)]
pub struct TrialFigures {
    /// The epoch that is counted; `None` where no experiment is in force.
    pub epoch: Option<u64>,
    /// By variant of the experiment that is in force.
    pub variants: Vec<(String, VariantFigures)>,
    /// Requests of it that are in no arm, by why.
    pub outside: Vec<(&'static str, u64)>,
    /// Events of users, by what became of them.
    pub events: Vec<(&'static str, u64)>,
}

/// The numbers of a variant.
#[derive(Clone, Copy, Debug, Default)]
pub struct VariantFigures {
    /// Requests of the arm that were counted.
    pub requests: u64,
    /// Of them, those that its variant did not answer.
    pub errors: u64,
    /// Those that stable answered in its place.
    pub fallbacks: u64,
    /// Requests that it scored after the control had.
    pub paired: u64,
    /// Requests that it was to score so and did not.
    pub missing: u64,
    /// Endpoints that take requests.
    pub ready: u32,
    /// Whether it is left alone because it keeps failing.
    pub is_left_alone: bool,
}

/// The evidence of the epoch that is counted, and of the one before.
#[derive(Debug)]
pub(crate) struct Trials {
    identity: Identity,
    open: Option<Recorder>,
    serial: Serial,
    closed: Option<Recorder>,
    is_in_force: bool,
    is_leaving: bool,
    /// Metrics whose last evidence was fetched.
    fetched: BTreeSet<String>,
    variants: BTreeMap<String, VariantFigures>,
    outside: [u64; 3],
    events: [u64; 6],
}

const OUTSIDE: [&str; 3] = ["MissingKey", "RefusedKey", "Overridden"];
const EVENTS: [&str; 6] = [
    "Counted",
    "Awaited",
    "Repeated",
    "UnknownEvent",
    "UnknownUser",
    "After",
];

impl Trials {
    pub(crate) const fn new(identity: Identity) -> Self {
        Self {
            identity,
            open: None,
            serial: Serial(0),
            closed: None,
            is_in_force: false,
            is_leaving: false,
            fetched: BTreeSet::new(),
            variants: BTreeMap::new(),
            outside: [0; 3],
            events: [0; 6],
        }
    }

    /// Another table holds. What was recorded of its epoch stays, also after the experiment is over.
    pub(crate) fn apply(&mut self, table: &Table) {
        self.is_in_force = table.experiment.is_some();
        let Some(experiment) = &table.experiment else {
            return;
        };
        let subject = Subject::of(experiment);
        if self.open.as_ref().map(Recorder::subject) == Some(&subject) {
            return;
        }
        let is_next = |open: &Recorder| open.subject().uid == subject.uid;
        self.closed = self.open.take().filter(is_next).map(|mut open| {
            open.close();
            open
        });
        if self.closed.is_none() {
            self.variants.clear();
        }
        self.variants
            .retain(|name, _| subject.variants.iter().any(|of| of.as_str() == name));
        for name in &subject.variants {
            self.variants.entry(name.to_string()).or_default();
        }
        let Identity { instance, pod } = self.identity.clone();
        let mut recorder = Recorder::new(instance, pod, subject);
        if self.is_leaving {
            recorder.leave();
        }
        self.open = Some(recorder);
        self.serial.0 += 1;
    }

    fn of(&mut self, serial: Serial) -> Option<&mut Recorder> {
        if serial == self.serial {
            self.open.as_mut()
        } else if serial.0 + 1 == self.serial.0 {
            self.closed.as_mut()
        } else {
            None
        }
    }

    fn in_force(&mut self) -> Option<&mut Recorder> {
        self.open.as_mut().filter(|_| self.is_in_force)
    }

    /// A request of a user comes; `None` where it counts in nothing.
    pub(crate) fn began(&mut self, unit: Unit, arm: Arm) -> Option<Exposed> {
        let serial = self.serial;
        let admission = self.in_force()?.expose(unit, arm);
        (admission == Admission::Counted).then_some(Exposed { serial, unit, arm })
    }

    /// It is done.
    pub(crate) fn ended(&mut self, exposed: Exposed, outcome: Outcome<'_>) {
        let Exposed { serial, unit, arm } = exposed;
        let ended = outcome.ended;
        self.figure(serial, arm, |of| {
            of.requests += 1;
            of.errors += u64::from(ended.is_error);
            of.fallbacks += u64::from(ended.is_fallback);
        });
        if let Some(recorder) = self.of(serial) {
            recorder.ended(unit, arm, ended);
            if let Some(scores) = outcome.scores {
                recorder.scored(unit, arm, scores.rewards());
            }
        }
    }

    /// It is known later how long it took.
    pub(crate) fn took(&mut self, exposed: Exposed, took: Duration) {
        let Exposed { serial, unit, arm } = exposed;
        if let Some(recorder) = self.of(serial) {
            recorder.took(unit, arm, took);
        }
    }

    /// How long an answer is worth to be waited for after the client has one: `None` where it is not, and
    /// for ever where every latency is a value.
    pub(crate) fn patience(&self) -> Option<Duration> {
        let metrics = self.open.as_ref()?.subject().metrics.iter();
        let of = |source: &Source| match source {
            Source::Signal(Signal::Latency) => Some(Duration::MAX),
            Source::Signal(Signal::SlowerThan(millis)) => {
                Some(Duration::from_millis(u64::from(*millis) + 1))
            }
            Source::Signal(Signal::Score | Signal::Errors)
            | Source::Event(_)
            | Source::Preferences => None,
        };
        metrics.filter_map(|metric| of(&metric.source)).max()
    }

    /// A request that the control has answered is to be scored by a variant too.
    pub(crate) fn eligible(&mut self, of: Exposed, arm: Arm) {
        if let Some(recorder) = self.of(of.serial) {
            recorder.eligible(arm);
        }
    }

    /// It was not.
    pub(crate) fn lacking(&mut self, of: Exposed, arm: Arm, why: Lacking) {
        self.figure(of.serial, arm, |of| of.missing += 1);
        if let Some(recorder) = self.of(of.serial) {
            recorder.lacking(of.unit, arm, why);
        }
    }

    /// It was.
    pub(crate) fn paired(&mut self, of: Exposed, arm: Arm, pairs: &[(f64, f64)]) {
        self.figure(of.serial, arm, |of| of.paired += 1);
        if let Some(recorder) = self.of(of.serial) {
            recorder.paired(of.unit, arm, pairs.iter().copied());
        }
    }

    pub(crate) fn without_key(&mut self, is_refused: bool) {
        let [missing, refused, _] = &mut self.outside;
        *if is_refused { refused } else { missing } += 1;
        if let Some(recorder) = self.in_force() {
            recorder.without_key(is_refused);
        }
    }

    pub(crate) fn overridden(&mut self, unit: Option<Unit>, arm: Arm) {
        let [.., overridden] = &mut self.outside;
        *overridden += 1;
        if let Some(recorder) = self.in_force() {
            recorder.overridden(unit, arm);
        }
    }

    /// Something happened to a user: what becomes of it; `None` where the experiment is over.
    pub(crate) fn happened(
        &mut self,
        unit: Unit,
        is_enrolled: bool,
        what: Happening<'_>,
    ) -> Option<Happened> {
        let has_seen = |of: &&mut Recorder| of.has_seen(unit);
        let is_in_force = self.is_in_force;
        let open = self.open.as_mut().filter(|_| is_in_force);
        let happened = match open {
            Some(open) if open.has_seen(unit) => open.happened(unit, is_enrolled, what),
            Some(open) => match self.closed.as_mut().filter(has_seen) {
                Some(closed) => closed.happened(unit, is_enrolled, what),
                None => open.happened(unit, is_enrolled, what),
            },
            None => {
                self.open.as_mut()?.happened_after();
                self.count_event(5);
                return None;
            }
        };
        self.count_event(match happened {
            Happened::Counted => 0,
            Happened::Awaited => 1,
            Happened::Repeated => 2,
            Happened::UnknownEvent => 3,
            Happened::UnknownUser => 4,
        });
        Some(happened)
    }

    fn count_event(&mut self, place: usize) {
        if let Some(count) = self.events.get_mut(place) {
            *count += 1;
        }
    }

    /// Whether there was an experiment since the start.
    pub(crate) const fn was_any(&self) -> bool {
        self.open.is_some()
    }

    /// The epoch whose labelled pairs are judged; `None` where none are.
    pub(crate) fn judging(&self) -> Option<Serial> {
        let open = self.open.as_ref().filter(|_| self.is_in_force)?;
        let mut metrics = open.subject().metrics.iter();
        metrics
            .any(|metric| metric.source == Source::Preferences)
            .then_some(self.serial)
    }

    pub(crate) fn judge_of(&mut self, serial: Serial) -> Option<&mut Recorder> {
        self.of(serial)
    }

    fn figure(&mut self, serial: Serial, arm: Arm, change: impl FnOnce(&mut VariantFigures)) {
        let recorder = self.of(serial).map(|recorder| &*recorder);
        let name = recorder.and_then(|recorder| recorder.subject().variants.get(arm.place()));
        let name = name.map(ToString::to_string);
        if let Some(of) = name.and_then(|name| self.variants.get_mut(&name)) {
            change(of);
        }
    }

    /// The document of an epoch, of one metric or of all.
    fn evidence(
        &mut self,
        metric: Option<&str>,
        epoch: Option<u64>,
        ready: Option<Vec<u32>>,
    ) -> Result<Evidence, NoEvidence> {
        let open = self.open.as_mut().ok_or(NoEvidence::NoExperiment)?;
        let is_it = |of: &Recorder| epoch.is_none_or(|epoch| of.subject().epoch == epoch);
        let is_open = is_it(open);
        let recorder = if is_open {
            open
        } else {
            let closed = self.closed.as_mut().filter(|closed| is_it(closed));
            closed.ok_or(NoEvidence::NoEpoch)?
        };
        if let Some(ready) = ready.filter(|of| of.len() == recorder.subject().variants.len()) {
            recorder.set_ready(ready);
        }
        let snapshot = recorder.snapshot();
        let names: Vec<String> = snapshot
            .subject
            .metrics
            .iter()
            .map(|of| of.name.to_string())
            .collect();
        let evidence = match metric {
            Some(metric) => snapshot.only(metric).ok_or(NoEvidence::NoMetric)?,
            None => snapshot,
        };
        if evidence.leaving && is_open {
            match metric {
                Some(metric) => self.fetched.extend([metric.to_owned()]),
                None => self
                    .fetched
                    .extend(names.into_iter().chain([String::new()])),
            }
        }
        Ok(evidence)
    }

    /// Whether nothing is left that somebody has to fetch.
    pub(crate) fn is_handed_over(&self) -> bool {
        let Some(open) = self.open.as_ref().filter(|_| self.is_in_force) else {
            return true;
        };
        let mut metrics = open.subject().metrics.iter();
        let all = metrics.all(|metric| self.fetched.contains(metric.name.as_str()));
        all && !self.fetched.is_empty()
    }

    /// Whether an experiment is in force.
    pub(crate) const fn is_in_force(&self) -> bool {
        self.is_in_force
    }

    /// From now on the evidence says that it is the last.
    pub(crate) fn leave(&mut self) {
        self.is_leaving = true;
        for recorder in [&mut self.open, &mut self.closed].into_iter().flatten() {
            recorder.leave();
        }
    }

    fn figures(&self, state: Vec<(u32, bool)>) -> TrialFigures {
        let open = self.open.as_ref().filter(|_| self.is_in_force);
        let names = open.map(|open| open.subject().variants.as_slice());
        let names = names.unwrap_or_default().iter();
        let mut state = state.into_iter();
        let variants = names.map(|name| {
            let of = self.variants.get(name.as_str()).copied();
            let (ready, is_left_alone) = state.next().unwrap_or_default();
            let figures = VariantFigures {
                ready,
                is_left_alone,
                ..of.unwrap_or_default()
            };
            (name.to_string(), figures)
        });
        TrialFigures {
            epoch: open.map(|open| open.subject().epoch),
            variants: variants.collect(),
            outside: OUTSIDE.into_iter().zip(self.outside).collect(),
            events: EVENTS.into_iter().zip(self.events).collect(),
        }
    }
}

impl Router {
    /// The document of `GET /evidence/experiment`: of the epoch that is counted, or was last, or of the one
    /// before it where its number is given; of one metric where one is named.
    ///
    /// # Errors
    /// Why there is none.
    pub fn experiment_evidence(
        &self,
        metric: Option<&str>,
        epoch: Option<u64>,
    ) -> Result<Evidence, NoEvidence> {
        let ready = self.ready_variants();
        let evidence = self.0.trials().evidence(metric, epoch, ready)?;
        if evidence.leaving {
            // Who waits looks whether it was all.
            self.0.handed_over.send_modify(|_| {});
        }
        Ok(evidence)
    }

    /// Endpoints that take requests, by arm of the experiment that is in force.
    fn ready_variants(&self) -> Option<Vec<u32>> {
        let view = self.0.view.load_full()?;
        Some(ready(&view, view.trial.as_ref()?).collect())
    }

    /// The numbers of the experiment as they are now.
    pub fn experiment_figures(&self) -> TrialFigures {
        let view = self.0.view.load_full();
        let trial = view
            .as_ref()
            .and_then(|view| Some((view, view.trial.as_ref()?)));
        let state = trial.map(|(view, trial)| {
            let is_open = |guard: &Guard| guard.lock().is_open();
            ready(view, trial)
                .zip(trial.guards().map(is_open))
                .collect()
        });
        self.0.trials().figures(state.unwrap_or_default())
    }
}

/// Endpoints that take requests, by arm.
fn ready<'a>(view: &'a View, trial: &'a Trial) -> impl Iterator<Item = u32> + 'a {
    trial.variants().map(|(_, group)| {
        let group = group.or_else(|| view.of(Role::Stable));
        group.map_or(0, |group| u32::try_from(group.ready()).unwrap_or(u32::MAX))
    })
}
