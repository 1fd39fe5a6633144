//! Whose turn it is: how many resources load a model or exchange their routers at once.
//!
//! Owns the count. Invariant: no more than the bound hold a turn, but those that were at it already when
//! this operator began to act.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use operator_core::observed::Elsewhere;

/// The turns that are taken, by the uid of the resource.
#[derive(Debug)]
pub(super) struct Turns {
    at_once: usize,
    taken: Mutex<HashSet<String>>,
}

impl Turns {
    /// `at_once` of them.
    pub(super) fn new(at_once: usize) -> Self {
        Self {
            at_once,
            taken: Mutex::default(),
        }
    }

    /// What goes on elsewhere, for the resource `uid`.
    pub(super) fn elsewhere(&self, uid: &str) -> Elsewhere {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        self.of(&taken, uid)
    }

    fn of(&self, taken: &HashSet<String>, uid: &str) -> Elsewhere {
        Elsewhere {
            loading: taken.len() - usize::from(taken.contains(uid)),
            at_once: self.at_once,
        }
    }

    /// Takes a turn, or gives it back; answers what goes on elsewhere where somebody else was faster.
    /// One that `was` at it already needs none to go on.
    pub(super) fn take(&self, uid: &str, wants: bool, was: bool) -> Result<(), Elsewhere> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if !wants {
            taken.remove(uid);
            return Ok(());
        }
        let elsewhere = self.of(&taken, uid);
        if was || taken.contains(uid) || elsewhere.lets_one_start() {
            taken.insert(uid.to_owned());
            return Ok(());
        }
        Err(elsewhere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_when_all_turns_are_taken_waits_until_one_is_given_back() {
        let turns = Turns::new(1);
        assert_eq!(turns.take("a", true, false), Ok(()));
        assert_eq!(turns.take("a", true, false), Ok(()), "it has its turn");
        assert!(turns.elsewhere("a").lets_one_start());
        assert!(!turns.elsewhere("b").lets_one_start());
        assert!(turns.take("b", true, false).is_err());
        assert_eq!(turns.take("c", true, true), Ok(()), "it was at it before");
        assert_eq!(turns.take("a", false, false), Ok(()));
        assert!(turns.take("b", true, false).is_err(), "c is at it still");
        assert_eq!(turns.take("c", false, true), Ok(()));
        assert_eq!(turns.take("b", true, false), Ok(()));
    }
}
