//! The evidence of several routers, read together.
//!
//! Owns which snapshot of an instance counts: the one with the highest sequence, which has all that the
//! others have. Invariant: folding is associative, commutative and idempotent.

use std::collections::BTreeMap;

use super::super::Refused;
use super::super::preferences::Lots;
use super::{Evidence, Subject, Sums};

/// The newest snapshot of each instance, of one subject.
#[derive(Clone, Debug, PartialEq)]
pub struct Together {
    subject: Subject,
    instances: BTreeMap<String, Evidence>,
}

impl Together {
    /// Nobody has told anything yet.
    pub const fn new(subject: Subject) -> Self {
        Self {
            subject,
            instances: BTreeMap::new(),
        }
    }

    /// Of what.
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Takes a snapshot, where it is newer than what its instance told before.
    ///
    /// # Errors
    /// Where it is of another experiment or epoch, or of other variants or metrics.
    pub fn fold(&mut self, snapshot: Evidence) -> Result<(), Refused> {
        if snapshot.subject != self.subject {
            return Err(Refused::AnotherExperiment {
                uid: snapshot.subject.uid,
                epoch: snapshot.subject.epoch,
            });
        }
        let kept = self.instances.get(&snapshot.instance);
        if kept.is_none_or(|kept| is_newer(&snapshot, kept)) {
            self.instances.insert(snapshot.instance.clone(), snapshot);
        }
        Ok(())
    }

    /// Takes all that another one has.
    ///
    /// # Errors
    /// Where it is of another subject; then nothing is taken.
    pub fn join(&mut self, other: Self) -> Result<(), Refused> {
        other
            .instances
            .into_values()
            .try_for_each(|snapshot| self.fold(snapshot))
    }

    /// The newest snapshots, by instance.
    pub fn snapshots(&self) -> impl Iterator<Item = &Evidence> {
        self.instances.values()
    }

    /// That of an instance.
    pub fn of(&self, instance: &str) -> Option<&Evidence> {
        self.instances.get(instance)
    }

    /// All together: the same to the last bit, in whatever order they came. [`Sums::settled`] has to be
    /// called before it is judged.
    pub fn total(&self) -> Sums {
        let (mut total, mut lots) = (Sums::new(&self.subject), Lots::default());
        for (instance, snapshot) in &self.instances {
            total.merge(&snapshot.sums, instance, &mut lots);
        }
        total
    }
}

/// An instance never writes two documents of one sequence; where somebody did, one of them is taken, and the
/// same one everywhere.
fn is_newer(snapshot: &Evidence, kept: &Evidence) -> bool {
    match snapshot.sequence.cmp(&kept.sequence) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => snapshot != kept && snapshot.to_bytes() > kept.to_bytes(),
    }
}
