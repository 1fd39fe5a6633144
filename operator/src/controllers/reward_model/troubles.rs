//! What went wrong with resources of late.
//!
//! Invariant: nothing is kept of one that is gone. Lost at a restart, which costs one more try each.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use operator_core::Failure;
use operator_core::observed::ObjectKey;

/// What went wrong with one.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble {
    /// Reconciles in a row that were not done.
    pub(super) failures: u32,
    /// What the API server will not have.
    pub(super) refusal: Option<Failure>,
    /// Names that others have.
    pub(super) conflicts: Vec<ObjectKey>,
}

/// What went wrong, by the uid of the resource.
#[derive(Debug, Default)]
pub(super) struct Troubles(Mutex<HashMap<String, Trouble>>);

impl Troubles {
    /// That of a resource.
    pub(super) fn of(&self, uid: &str) -> Trouble {
        let troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.get(uid).cloned().unwrap_or_default()
    }

    /// Changes that of a resource; answers what it is then.
    pub(super) fn change(&self, uid: &str, change: impl FnOnce(&mut Trouble)) -> Trouble {
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let trouble = troubles.entry(uid.to_owned()).or_default();
        change(trouble);
        trouble.clone()
    }

    /// A resource was done with as it should be.
    pub(super) fn recovered(&self, uid: &str) {
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trouble) = troubles.get_mut(uid) {
            trouble.failures = 0;
        }
    }

    /// A resource is gone.
    pub(super) fn forget(&self, uid: &str) {
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.remove(uid);
    }
}
