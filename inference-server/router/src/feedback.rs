//! Labelled preferences: which of two answers is better, as somebody says who knows.
//!
//! Owns how a pair is scored by both revisions and counted. It must not know who may send them.
//! Invariants: what has been accepted is scored by both, or counted as failed; a unit counts once; all
//! pairs of one call are accepted or none.

use std::sync::Arc;

use inference_api::{Input, InputOptions};
use inference_scoring::{Deadline, Inputs, Origin, ScoreRequest, Scores};
use traffic::assignment::{Assigner, Key, KeyHasNul};
use traffic::evidence::{Admission, Unit, Verdict};
use traffic::table::Role;

use crate::Router;
use crate::evidence::Epoch;
use crate::experiment::{Judged, Serial, Trial};
use crate::queue;
use crate::router::{Lane, Shared};
use crate::shadow::{Task, Unscored, asked, begin, is_finite};

/// One labelled pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preference {
    /// What was asked.
    pub prompt: String,
    /// The better answer.
    pub chosen: String,
    /// The worse one.
    pub rejected: String,
    /// Whose judgement or conversation it is: one pair of each counts. The prompt, where absent.
    pub user: Option<String>,
}

impl Preference {
    fn key(&self) -> Result<Key<'_>, KeyHasNul> {
        let user = self.user.as_deref().map(str::as_bytes);
        Key::choose(user, self.prompt.as_bytes())
    }

    fn bytes(&self) -> usize {
        // The prompt is sent with each answer.
        2 * self.prompt.len() + self.chosen.len() + self.rejected.len()
    }
}

/// What becomes of pairs that were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Will be scored by both revisions, and counted where their units were not before.
    pub accepted: usize,
    /// Of units that were counted before.
    pub repeated: usize,
    /// Of more units than are kept.
    pub beyond: usize,
}

/// Why pairs are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// There are not two revisions to be compared.
    NoRollout,
    /// There was no experiment since the router started.
    NoExperiment,
    /// There is no room just now.
    NoRoom,
    /// There would never be room for so many, or for such long ones, at once.
    TooMany,
    /// A user id that is none.
    User {
        /// Of which pair.
        index: usize,
    },
}

/// The most pairs that are taken at once.
pub const MOST_PREFERENCES: usize = queue::MOST;

/// A pair that waits for its scores.
#[derive(Debug)]
pub(crate) struct Labelled {
    preference: Preference,
    unit: Unit,
    epoch: Epoch,
}

impl Router {
    /// Takes labelled pairs, to be scored by both revisions soon.
    ///
    /// # Errors
    /// Why none of them is taken.
    pub fn prefer(&self, preferences: Vec<Preference>) -> Result<Taken, NotTaken> {
        let bytes: usize = preferences.iter().map(Preference::bytes).sum();
        if preferences.len() > queue::MOST || bytes > queue::MOST_BYTES {
            return Err(NotTaken::TooMany);
        }
        let view = self.0.view.load_full().ok_or(NotTaken::NoRollout)?;
        // Not in the condition, which would hold the lock all the way.
        let judging = self.0.trials().judging();
        if let Some((trial, serial)) = view.trial.as_ref().zip(judging) {
            return self.prefer_variants(trial, serial, preferences);
        }
        let units = units(&view.assigner, &preferences);
        let mut counting = self.0.counting();
        let epoch = counting.recording.epoch().ok_or(NotTaken::NoRollout)?;
        let recorder = counting.recording.of(epoch).ok_or(NotTaken::NoRollout)?;
        let admission = |unit| recorder.admission(unit);
        let (taken, tasks) = admitted(preferences, units?, admission, |preference, unit| {
            Task::Labelled(Labelled {
                preference,
                unit,
                epoch,
            })
        });
        let workers = self.0.labelled.add(tasks);
        let workers = workers.map_err(|queue::Full| NotTaken::NoRoom)?;
        recorder.not_admitted(taken.repeated, taken.beyond);
        drop(counting);
        begin(&self.0, Lane::Labelled, workers);
        Ok(taken)
    }

    /// The same for all variants of an experiment.
    fn prefer_variants(
        &self,
        trial: &Trial,
        serial: Serial,
        preferences: Vec<Preference>,
    ) -> Result<Taken, NotTaken> {
        let units = units(&trial.assigner, &preferences);
        let mut trials = self.0.trials();
        let recorder = trials.judge_of(serial).ok_or(NotTaken::NoExperiment)?;
        let admission = |unit| recorder.admission(unit);
        let (taken, tasks) = admitted(preferences, units?, admission, |preference, unit| {
            Task::Judged(Judged {
                preference,
                unit,
                serial,
            })
        });
        let workers = self.0.labelled.add(tasks);
        let workers = workers.map_err(|queue::Full| NotTaken::NoRoom)?;
        recorder.not_admitted(taken.repeated, taken.beyond);
        drop(trials);
        begin(&self.0, Lane::Labelled, workers);
        Ok(taken)
    }
}

/// The unit of each pair.
fn units(assigner: &Assigner, preferences: &[Preference]) -> Result<Vec<Unit>, NotTaken> {
    let unit = |(index, preference): (usize, &Preference)| {
        let key = preference.key();
        let key = key.map_err(|KeyHasNul| NotTaken::User { index })?;
        Ok(Unit::of(assigner, key))
    };
    preferences.iter().enumerate().map(unit).collect()
}

/// What becomes of pairs and their units: those that are to be counted are tasks, each with its bytes.
fn admitted(
    preferences: Vec<Preference>,
    units: Vec<Unit>,
    admission: impl Fn(Unit) -> Admission,
    task: impl Fn(Preference, Unit) -> Task,
) -> (Taken, Vec<(Task, usize)>) {
    let (mut taken, mut tasks) = (Taken::default(), Vec::new());
    for (preference, unit) in preferences.into_iter().zip(units) {
        match admission(unit) {
            Admission::Counted => {
                let bytes = preference.bytes();
                tasks.push((task(preference, unit), bytes));
            }
            Admission::Repeated => taken.repeated += 1,
            Admission::Full => taken.beyond += 1,
        }
    }
    taken.accepted = tasks.len();
    (taken, tasks)
}

impl Labelled {
    /// Has both revisions score the pair, and counts who was right.
    pub(crate) async fn judge(self, shared: &Arc<Shared>) {
        let Self {
            preference,
            unit,
            epoch,
        } = self;
        let request = request(preference);
        let by = |role| asked(shared, role, request.inputs.clone(), &request);
        let (stable, canary) = futures::join!(by(Role::Stable), by(Role::Canary));
        let mut counting = shared.counting();
        let Some(recorder) = counting.recording.of(epoch) else {
            return;
        };
        let stable = stable.ok().and_then(|scores| margin(&scores));
        match stable.zip(canary_margin(canary)) {
            Some((stable, canary)) => {
                recorder.preferred(unit, Verdict::of(stable, canary));
            }
            None => recorder.not_preferred(),
        }
    }
}

/// How much better the chosen answer is to the canary. A pair that it fails at, or is late with, it is wrong
/// about (stats.md 1.6): a model that scores easy pairs alone would be judged by these. `None` where its pods are
/// away or have no room.
fn canary_margin(canary: Result<Scores, Unscored>) -> Option<f64> {
    match canary {
        Ok(scores) => Some(margin(&scores).unwrap_or(f64::NEG_INFINITY)),
        Err(Unscored::Failed | Unscored::Late) => Some(f64::NEG_INFINITY),
        Err(Unscored::NoRoom | Unscored::Absent) => None,
    }
}

/// How much better the chosen answer is; `None` where that is no number.
pub(crate) fn margin(scores: &Scores) -> Option<f64> {
    let rewards: Vec<f64> = scores.rewards().collect();
    match rewards.as_slice() {
        [chosen, rejected] if is_finite(scores) => Some(chosen - rejected),
        _ => None,
    }
}

pub(crate) fn request(preference: Preference) -> ScoreRequest {
    let Preference {
        prompt,
        chosen,
        rejected,
        ..
    } = preference;
    let answer = |response| Input::Conversation {
        prompt: prompt.clone(),
        response,
    };
    ScoreRequest {
        inputs: Inputs::from(vec![answer(chosen), answer(rejected)]),
        options: InputOptions::default(),
        // Another one is set when it is asked.
        deadline: Deadline::At(std::time::Instant::now()),
        bulk: true,
        origin: Arc::new(Origin::default()),
    }
}
