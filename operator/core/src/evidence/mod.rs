//! The routers' evidence of one rollout, kept and added up.
//!
//! Owns which documents count, where one share of the traffic ends and the next begins, and the object that
//! keeps all of it ([`object`]). It must not judge ([`crate::gates`] does), and it never sees a text, a score
//! or a user: the routers' documents have none. Invariants: a document that comes twice, late or through two
//! operators changes nothing; what a router that is gone has told stays; documents of another rollout are
//! never added.

mod measure;
mod object;
#[cfg(test)]
mod tests;

use traffic::Revision;
use traffic::cutoff::ByArm;
use traffic::evidence::{ArmSums, Evidence, Subject, Sums, Together};

use crate::capacity::Percent;
use crate::identity::RevisionHash;
use crate::state::{Stage, State};

pub use measure::measurement;
pub use object::{KEPT_BYTES, Unreadable};

/// What the routers have told of a rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Ledger {
    together: Together,
    /// The shares that are over, in their order.
    over: Vec<Over>,
    /// The share that the new revision has.
    share: Percent,
}

/// What was counted up to the end of a share, of all routers, since the rollout began.
#[derive(Clone, Debug, PartialEq)]
struct Over {
    share: Percent,
    until: ByArm<ArmSums>,
}

impl Ledger {
    /// Nobody has told anything of the rollout.
    pub const fn new(subject: Subject) -> Self {
        Self {
            together: Together::new(subject),
            over: Vec::new(),
            share: Percent::NONE,
        }
    }

    /// Of which rollout.
    pub const fn subject(&self) -> &Subject {
        self.together.subject()
    }

    /// The share that what is counted now belongs to.
    pub const fn share(&self) -> Percent {
        self.share
    }

    /// Takes what a router tells, where it is of this rollout; answers whether it is news.
    pub fn take(&mut self, document: Evidence) -> bool {
        let is_news = self.together.of(&document.instance).is_none_or(|kept| {
            kept.sequence < document.sequence
                && (kept.sums != document.sums || kept.leaving != document.leaving)
        });
        self.together.fold(document).is_ok() && is_news
    }

    /// The new revision is about to have another share: what comes now is of that one, as far as it is known.
    /// A share of which nothing was told is none. Told before the routers are, so that nothing of a larger
    /// share counts as of a smaller one.
    pub fn enters(&mut self, share: Percent) {
        if share == self.share {
            return;
        }
        let until = self.together.total().arms;
        let begun = self.over.last().map(|over| &over.until);
        if begun.map_or_else(|| until != ByArm::default(), |begun| *begun != until) {
            let share = self.share;
            self.over.push(Over { share, until });
        }
        self.share = share;
    }

    /// Everything, of all routers and shares.
    pub fn total(&self) -> Sums {
        self.together.total()
    }

    /// Pairs of scores of shadowed requests.
    pub fn pairs(&self) -> u64 {
        let all = self.together.snapshots();
        let pairs = all.map(|kept| kept.sums.shadow.cross.pairs);
        pairs.fold(0, u64::saturating_add)
    }

    /// How far the rollout is, apart from counts: whoever keeps a ledger keeps it anew when this changes.
    pub fn progress(&self) -> String {
        let left = self.together.snapshots().filter(|kept| kept.leaving);
        let rollout = self.subject().rollout.as_deref().unwrap_or_default();
        let (shares, share) = (self.over.len(), self.share.get());
        format!("{rollout}/{shares}/{share}/{}", left.count())
    }

    /// Whether any router has told anything.
    pub fn is_empty(&self) -> bool {
        self.together.snapshots().next().is_none()
    }
}

/// The rollout that routers tell of in `state`: the one in flight, once users or their shadows may meet it.
/// It ends with the rollout: after it all traffic is of one revision, which there is nothing to compare with.
pub fn subject(state: &State) -> Option<Subject> {
    let rollout = state.rollout.as_ref()?;
    if rollout.stage == Stage::Load {
        return None;
    }
    let name = |hash: &RevisionHash| Revision::parse(hash.as_str());
    Some(Subject {
        rollout: Some(rollout.id()),
        stable: name(state.stable()?)?,
        canary: name(&rollout.revision)?,
    })
}
