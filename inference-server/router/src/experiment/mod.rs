//! The experiment that is in force here: whose request it is, and who is asked.
//!
//! Owns the variants' endpoints and the choice of an arm, which is made once for a request. It must not know
//! what is concluded. Invariants: an arm is the same in every router, for what it is chosen by is the user's
//! hash and the table's slots alone; an experiment begins here for all arms at once, when it is known of each
//! of them who serves it, so that no arm has users that another one could not have.

mod happenings;
mod pairs;
mod recording;
mod way;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use inference_scoring::{ScoreError, Wanted};
use traffic::Millis;
use traffic::assignment::{Assigner, Key};
use traffic::breaker::Breaker;
use traffic::evidence::Unit;
use traffic::table::experiment::{Arm, Experiment, Mode, Name, OnMissingKey};
use traffic::table::{Place, Table, UserKey};

pub use happenings::{Happening, MOST_HAPPENINGS, Told};
pub(crate) use pairs::{Judged, Paired};
pub(crate) use recording::{Exposed, Outcome, Serial, Trials};
pub use recording::{NoEvidence, TrialFigures, VariantFigures};

use crate::endpoints::Group;
use crate::router::{Shared, View, endpoints};

/// What of the services is known.
pub(crate) struct Known<'a> {
    /// Endpoints by Service, as far as they are known.
    pub(crate) services: &'a dyn Fn(&str) -> Option<Vec<crate::Seen>>,
}

/// Whether a variant is asked.
#[derive(Debug, Default)]
pub(crate) struct Guard(Mutex<Breaker>);

impl Guard {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An experiment of the table, with those who serve its variants.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) assigner: Assigner,
    /// By arm; `None` for the control, which the stable revision serves.
    groups: Vec<Option<Group>>,
    /// By arm; shared with the views that come after.
    guards: Vec<Arc<Guard>>,
    names: Vec<Arc<str>>,
    wanted: Arc<Wanted>,
    /// Whether the epoch has begun here. Shared with the views that come after.
    has_begun: Arc<AtomicBool>,
}

impl Trial {
    /// That of a table, after `before`.
    pub(crate) fn of(
        table: &Table,
        before: Option<&View>,
        known: &Known<'_>,
        now: Millis,
    ) -> Option<Self> {
        let experiment = table.experiment.as_ref()?;
        let held = before.and_then(|view| view.table.experiment.as_ref());
        let is_epoch = held.is_some_and(|held| held.epoch == experiment.epoch);
        let is_same = held.is_some_and(|held| held.uid == experiment.uid);
        let before = before.and_then(|view| view.trial.as_ref());
        let before = before.filter(|_| is_same);
        let (groups, guards) = experiment
            .variants()
            .iter()
            .map(|variant| {
                let Some(target) = &variant.target else {
                    return (None, Arc::default());
                };
                let known_as = before.and_then(|trial| trial.named(&variant.name));
                let known_as = known_as.filter(|(group, _)| {
                    let of = &group.target;
                    of.revision == target.revision
                        && of.digest == target.digest
                        && of.calibration == target.calibration
                });
                let (group, guard) = known_as.unzip();
                let endpoints = endpoints(&target.place, group, known.services);
                let group = Group::new(target.clone(), None, endpoints, group, now);
                (Some(group), guard.cloned().unwrap_or_default())
            })
            .unzip();
        let names = experiment.variants().iter();
        // The next one may have a variant that nobody has looked for yet.
        let has_begun = before.filter(|_| is_epoch);
        let has_begun = has_begun.map(|trial| trial.has_begun.clone());
        Some(Self {
            assigner: Assigner::new(&experiment.salt),
            groups,
            guards,
            names: names.map(|variant| variant.name.as_str().into()).collect(),
            wanted: Arc::new(wanted(table, experiment)),
            has_begun: has_begun.unwrap_or_default(),
        })
    }

    fn named(&self, name: &Name) -> Option<(&Group, &Arc<Guard>)> {
        let mut names = self.names.iter();
        let place = names.position(|of| **of == *name.as_str())?;
        Some((self.groups.get(place)?.as_ref()?, self.guards.get(place)?))
    }

    /// Whether an arm's variant is asked.
    pub(crate) fn guard(&self, arm: Arm) -> Option<&Guard> {
        self.guards.get(arm.place()).map(Arc::as_ref)
    }

    pub(crate) fn guards(&self) -> impl Iterator<Item = &Guard> {
        self.guards.iter().map(Arc::as_ref)
    }

    /// Who serves an arm; `None` for the control.
    pub(crate) fn group(&self, arm: Arm) -> Option<&Group> {
        self.groups.get(arm.place())?.as_ref()
    }

    /// Those of all variants that are not the control.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().flatten()
    }

    /// The variants by arm, with their endpoints.
    pub(crate) fn variants(&self) -> impl Iterator<Item = (&Arc<str>, Option<&Group>)> {
        self.names
            .iter()
            .zip(self.groups.iter().map(Option::as_ref))
    }

    pub(crate) fn name(&self, arm: Arm) -> Option<Arc<str>> {
        self.names.get(arm.place()).cloned()
    }

    pub(crate) fn wanted(&self) -> Arc<Wanted> {
        self.wanted.clone()
    }

    /// Whether it is known of every variant who serves it, or was once.
    fn has_begun(&self, shared: &Shared) -> bool {
        if self.has_begun.load(Ordering::Relaxed) {
            return true;
        }
        let begins = self.is_known(shared);
        self.has_begun.fetch_or(begins, Ordering::Relaxed);
        begins
    }

    /// Whether it is known of every variant who serves it.
    pub(crate) fn is_known(&self, shared: &Shared) -> bool {
        self.groups().all(|group| match &group.target.place {
            Place::Service(name) => shared.knows(name),
            Place::Addresses(_) => {
                let is_known =
                    |e: &Arc<crate::endpoints::Endpoint>| e.is_known.load(Ordering::Relaxed);
                group.endpoints.iter().all(is_known)
            }
        })
    }
}

fn wanted(table: &Table, experiment: &Experiment) -> Wanted {
    let mut headers: Vec<String> = experiment
        .overrides
        .iter()
        .map(|rule| rule.header.clone())
        .collect();
    headers.sort_unstable();
    headers.dedup();
    Wanted {
        user: key(table, experiment).map(user_key),
        headers,
    }
}

/// Where the key of its users is.
fn key<'a>(table: &'a Table, experiment: &'a Experiment) -> Option<&'a UserKey> {
    experiment.key.as_ref().or(table.key.as_ref())
}

pub(crate) fn user_key(key: &UserKey) -> inference_scoring::UserKey {
    use inference_scoring::UserKey as Of;
    match key {
        UserKey::Header(name) => Of::Header(name.clone()),
        UserKey::JwtClaim(name) => Of::JwtClaim(name.clone()),
        UserKey::JsonPointer(pointer) => Of::JsonPointer(pointer.clone()),
    }
}

/// A request that is in the experiment.
pub(crate) struct Enrolled<'a> {
    pub(crate) trial: &'a Trial,
    pub(crate) mode: Mode,
    /// Who answers it.
    pub(crate) arm: Arm,
    /// `None` where it counts in nothing.
    pub(crate) exposed: Option<Exposed>,
}

/// Whether a request is in the experiment, and in which arm.
///
/// # Errors
/// Where it needs a user key and has none.
pub(crate) fn enrolled<'a>(
    shared: &Shared,
    view: &'a View,
    origin: &inference_scoring::Origin,
) -> Result<Option<Enrolled<'a>>, ScoreError> {
    let (Some(experiment), Some(trial)) = (&view.table.experiment, &view.trial) else {
        return Ok(None);
    };
    let Some(said) = origin.trial.as_ref().filter(|_| trial.has_begun(shared)) else {
        return Ok(None);
    };
    let enrolled = |arm, exposed| Enrolled {
        trial,
        mode: experiment.mode,
        arm,
        exposed,
    };
    // Whoever is not asked for a key is known by what is: the prompt.
    let key = match key(&view.table, experiment) {
        Some(_) => said.user.as_deref().filter(|user| !user.is_empty()),
        None => Some(origin.key.as_str()),
    };
    let key = key.map(|key| Key::prompt(key.as_bytes()));
    let value = |name: &str| {
        let mut headers = said.headers.iter();
        let (_, value) = headers.find(|(header, _)| header == name)?;
        Some(value.as_str())
    };
    if let Some(arm) = experiment.forced(value) {
        let unit = key.map(|key| Unit::of(&trial.assigner, key));
        shared.trials().overridden(unit, arm);
        return Ok(Some(enrolled(arm, None)));
    }
    let Some(key) = key else {
        let is_refused = experiment.on_missing_key == OnMissingKey::Reject;
        shared.trials().without_key(is_refused);
        return if is_refused {
            Err(without_key(&view.table, experiment))
        } else {
            Ok(None)
        };
    };
    let Some(own) = experiment.arm(trial.assigner.place(key).slot) else {
        return Ok(None);
    };
    let arm = match experiment.mode {
        Mode::Split => own,
        Mode::Paired => Arm::CONTROL,
    };
    let exposed = shared.trials().began(Unit::of(&trial.assigner, key), arm);
    Ok(Some(enrolled(arm, exposed)))
}

fn without_key(table: &Table, experiment: &Experiment) -> ScoreError {
    let place = match key(table, experiment) {
        Some(UserKey::Header(name)) => format!("header {name}"),
        Some(UserKey::JwtClaim(name)) => format!("claim {name} of the token"),
        Some(UserKey::JsonPointer(pointer)) => format!("{pointer} of the body"),
        None => "request".to_owned(),
    };
    ScoreError::Input {
        index: 0,
        message: format!(
            "the {place} has no user key, which the experiment {} asks for: send one",
            experiment.name
        ),
        too_long: false,
    }
}
