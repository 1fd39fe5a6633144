//! What happened to users after they had their scores.
//!
//! Owns the way from an event to the arm of its user. Invariant: an event is counted, or it is said why not.

use traffic::assignment::{Key, KeyHasNul};
use traffic::evidence::Unit;
use traffic::evidence::experiment::{self as evidence, Happened};

use crate::{NotTaken, Router};

/// The most events that are taken at once.
pub const MOST_HAPPENINGS: usize = 256;

/// Something that happened to a user.
#[derive(Clone, Debug, PartialEq)]
pub struct Happening {
    /// To whom: the user key of the requests, byte for byte.
    pub user: String,
    /// What.
    pub event: String,
    /// Its value, a number.
    pub value: f64,
    /// What tells it from others: of two with one id the first counts.
    pub id: Option<String>,
}

/// What became of events that were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Counted, or to be counted where another router has seen the user.
    pub accepted: usize,
    /// Their id was counted before.
    pub repeated: usize,
    /// No metric is of them.
    pub unknown_events: usize,
    /// Their user is in no arm, or more than are kept.
    pub unknown_users: usize,
    /// They came after the experiment was over.
    pub after: usize,
}

impl Router {
    /// Takes events of users.
    ///
    /// # Errors
    /// Why none of them is taken.
    pub fn happened(&self, happenings: &[Happening]) -> Result<Told, NotTaken> {
        if happenings.len() > MOST_HAPPENINGS {
            return Err(NotTaken::TooMany);
        }
        let keys: Result<Vec<Key<'_>>, NotTaken> = happenings
            .iter()
            .enumerate()
            .map(|(index, of)| {
                let key = Key::user(of.user.as_bytes());
                key.map_err(|KeyHasNul| NotTaken::User { index })
            })
            .collect();
        let keys = keys?;
        let view = self.0.view.load_full();
        let trial = view.as_ref().and_then(|view| {
            let experiment = view.table.experiment.as_ref()?;
            Some((experiment, view.trial.as_ref()?))
        });
        let mut told = Told::default();
        let mut trials = self.0.trials();
        if !trials.was_any() {
            return Err(NotTaken::NoExperiment);
        }
        for (happening, key) in happenings.iter().zip(keys) {
            let (unit, is_enrolled) = trial.map_or((Unit(0), false), |(experiment, trial)| {
                let slot = trial.assigner.place(key).slot;
                let unit = Unit::of(&trial.assigner, key);
                (unit, experiment.arm(slot).is_some())
            });
            let what = evidence::Happening {
                event: &happening.event,
                value: happening.value,
                id: happening.id.as_deref(),
            };
            let count = match trials.happened(unit, is_enrolled, what) {
                Some(Happened::Counted | Happened::Awaited) => &mut told.accepted,
                Some(Happened::Repeated) => &mut told.repeated,
                Some(Happened::UnknownEvent) => &mut told.unknown_events,
                Some(Happened::UnknownUser) => &mut told.unknown_users,
                None => &mut told.after,
            };
            *count += 1;
        }
        Ok(told)
    }
}
