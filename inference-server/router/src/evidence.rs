//! What is recorded of a rollout, and handed over.
//!
//! Owns which requests are evidence: those whose key an arm is assigned, while there are a stable revision
//! and a canary. It must not know what follows from it. Invariants: a request is recorded once, for the
//! rollout that it began in; the last document of a router that leaves has all that it saw.

use std::time::Duration;

use inference_scoring::Scores;
use tokio::time::Instant;
use traffic::Millis;
use traffic::cutoff::{Arm, Outcome};
use traffic::evidence::{Ended, Evidence, Recorder, Subject};
use traffic::table::{Role, Table};

use crate::Router;
use crate::router::Identity;

/// A request whose outcome is evidence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observed {
    arm: Arm,
    cell: u16,
    epoch: Epoch,
    began: Millis,
}

impl Observed {
    /// When it has taken longer than `patience`.
    pub(crate) fn slow_at(&self, patience: Duration) -> Millis {
        self.began.plus(patience + Duration::from_millis(1))
    }
}

/// Tells the rollouts of one router apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Epoch(u64);

/// The evidence of the rollout in flight, or of the last one.
#[derive(Debug)]
pub(crate) struct Recording {
    identity: Identity,
    recorder: Option<Recorder>,
    epoch: Epoch,
    is_in_flight: bool,
    is_leaving: bool,
}

impl Recording {
    pub(crate) const fn new(identity: Identity) -> Self {
        Self {
            identity,
            recorder: None,
            epoch: Epoch(0),
            is_in_flight: false,
            is_leaving: false,
        }
    }

    /// Another table holds. What was recorded of its rollout stays, also after the rollout has ended.
    pub(crate) fn apply(&mut self, table: &Table) {
        let named = |role| table.row(role).map(|row| row.revision.clone());
        let (stable, canary) = (named(Role::Stable), named(Role::Canary));
        let subject = stable.zip(canary).map(|(stable, canary)| Subject {
            rollout: table.rollout.clone(),
            stable,
            canary,
        });
        self.is_in_flight = subject.is_some();
        let Some(subject) = subject else {
            return;
        };
        if self.recorder.as_ref().map(Recorder::subject) != Some(&subject) {
            let Identity { instance, pod } = self.identity.clone();
            let mut recorder = Recorder::new(instance, pod, subject);
            if self.is_leaving {
                recorder.leave();
            }
            self.recorder = Some(recorder);
            self.epoch.0 += 1;
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.watch(&table.slower_than_ms);
        }
    }

    /// Whose evidence it is; `None` where no rollout is in flight.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        (self.is_in_flight && self.recorder.is_some()).then_some(self.epoch)
    }

    /// A request of an arm begins.
    pub(crate) fn began(&self, arm: Arm, cell: u16, began: Millis) -> Option<Observed> {
        Some(Observed {
            arm,
            cell,
            epoch: self.epoch()?,
            began,
        })
    }

    /// The longest that an answer is worth to be waited for.
    pub(crate) fn patience(&self) -> Duration {
        self.recorder
            .as_ref()
            .map_or(Duration::ZERO, Recorder::patience)
    }

    /// A request of an arm is done.
    pub(crate) fn ended(
        &mut self,
        observed: Observed,
        outcome: Outcome,
        scores: Option<&Scores>,
        now: Millis,
    ) {
        let (arm, cell) = (observed.arm, observed.cell);
        let took = now.since(observed.began);
        let Some(recorder) = self.of(observed.epoch) else {
            return;
        };
        recorder.ended(arm, cell, Ended { outcome, took });
        for score in scores.into_iter().flat_map(Scores::rewards) {
            recorder.scored(arm, cell, score);
        }
    }

    /// That of a rollout, as long as it is the last one.
    pub(crate) fn of(&mut self, epoch: Epoch) -> Option<&mut Recorder> {
        self.recorder.as_mut().filter(|_| self.epoch == epoch)
    }
}

impl Router {
    /// The document of `GET /evidence`: of the rollout in flight, or of the last one; `None` before the
    /// first.
    pub fn evidence(&self) -> Option<Evidence> {
        let snapshot = self.0.counting().recording.recorder.as_mut()?.snapshot();
        if snapshot.leaving {
            self.0.handed_over.send_replace(true);
        }
        Some(snapshot)
    }

    /// No request comes any more. Waits until what is asked beside the requests is done, and what is slow is
    /// counted, for half of
    /// `patience`, and then for the rest of it until somebody has fetched the evidence. Nobody is waited
    /// for where nobody may fetch it.
    pub async fn hand_over(&self, patience: Duration) {
        let began = Instant::now();
        let idle = async {
            futures::join!(self.0.idle(), self.0.counted());
        };
        if tokio::time::timeout(patience / 2, idle).await.is_err() {
            tracing::warn!(target: "router", "leaves before all was scored that was put aside, or all that is slow was counted: what was not is not");
        }
        if self.leave() && self.admin_token().is_some() {
            let mut fetched = self.0.handed_over.subscribe();
            let left = patience.saturating_sub(began.elapsed());
            let fetched = fetched.wait_for(|fetched| {
                let trials = self.0.trials();
                // Nobody fetches that of a rollout that is over while an experiment is in force.
                (*fetched || trials.is_in_force() && !self.is_rolling()) && trials.is_handed_over()
            });
            if tokio::time::timeout(left, fetched).await.is_err() {
                tracing::warn!(target: "router", "leaves before anybody has fetched its evidence: what was counted since the last time is lost");
            }
        }
        // Whoever waits for news has them.
        self.0.tell();
    }

    /// From now on the evidence says that it is the last. Says whether there is any.
    fn leave(&self) -> bool {
        let mut counting = self.0.counting();
        let recording = &mut counting.recording;
        recording.is_leaving = true;
        if let Some(recorder) = &mut recording.recorder {
            recorder.leave();
        }
        let is_any = recording.recorder.is_some();
        drop(counting);
        let mut trials = self.0.trials();
        trials.leave();
        is_any || trials.is_in_force()
    }

    fn is_rolling(&self) -> bool {
        let view = self.0.view.load();
        view.as_ref().is_some_and(|view| view.is_rolling())
    }
}
