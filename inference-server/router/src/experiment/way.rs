//! The way of a request of an experiment.
//!
//! Owns who answers where an arm's variant does not, and what the request counts as. Invariants: a request
//! counts once, for the arm that its user is in, whoever answers (intention to treat); what a client sees is
//! within its deadline; stable is asked in a variant's place within the budget of fallbacks, and without one
//! for a variant that is left alone because it keeps failing; either counts as an error of the variant.

use std::sync::Arc;
use std::time::{Duration, Instant};

use inference_scoring::{ScoreError, Scores};
use traffic::breaker::Leave;
use traffic::evidence::experiment::Ended;
use traffic::table::Role;
use traffic::table::experiment::Mode;

use super::{Enrolled, Exposed, Guard, Outcome, pairs};
use crate::ask::Unasked;
use crate::endpoints::Group;
use crate::events::Takeover;
use crate::router::Shared;
use crate::score::{Way, Whose, measured_by, refused};
use crate::tracked::{Tried, is_declined, is_good, is_scored};

/// A request of an arm, until it is counted.
struct Counted<'a> {
    shared: &'a Arc<Shared>,
    exposed: Option<Exposed>,
    /// That of its variant, where that was asked.
    guard: Option<&'a Guard>,
    began: Instant,
    /// How long a variant is waited for: who leaves before says nothing of it.
    patience: Duration,
}

impl Counted<'_> {
    /// The request is done; `other` is stable's answer where it was asked in the variant's place.
    fn end(&mut self, tried: Option<&Tried>, other: Option<&Tried>) {
        self.ended(tried, other, Some(self.began.elapsed()));
    }

    fn ended(&mut self, tried: Option<&Tried>, other: Option<&Tried>, took: Option<Duration>) {
        let is_error = is_error(tried, other);
        let is_open = tried.is_some_and(is_declined) && !is_error;
        if let Some(guard) = self.guard.take().filter(|_| !is_open) {
            guard.lock().ended(!is_error, self.shared.clock.now());
        }
        let Some(exposed) = self.exposed.take() else {
            return;
        };
        let shown = if is_error { other } else { tried };
        let scores = shown.and_then(|shown| shown.as_ref().ok());
        let is_remembered = !is_error && scores.is_some_and(|scores| scores.timings.cached);
        let ended = Ended {
            is_error,
            is_remembered,
            is_fallback: is_error && other.is_some_and(Result::is_ok),
            took,
        };
        self.shared
            .trials()
            .ended(exposed, Outcome { ended, scores });
    }
}

impl Drop for Counted<'_> {
    /// Its client left. Where that took longer than any answer should, the variant has not answered.
    fn drop(&mut self) {
        if self.began.elapsed() >= self.patience {
            self.end(None, None);
        }
    }
}

impl<'a> Way<'a> {
    /// By the arm of its user.
    pub(crate) async fn on_trial(&self, enrolled: Enrolled<'a>) -> Result<Scores, ScoreError> {
        let now = self.shared.clock.now();
        {
            let mut counting = self.shared.counting();
            counting.fallbacks.arrived(now);
            counting.retries.arrived(now);
        }
        let counted = Counted {
            shared: self.shared,
            exposed: enrolled.exposed,
            guard: None,
            began: Instant::now(),
            patience: self.view.table.fallback.hedge_after,
        };
        let name = enrolled.trial.name(enrolled.arm);
        let answer = match enrolled.trial.group(enrolled.arm) {
            None => self.by_control(&enrolled, counted).await,
            Some(group) => self.by_variant(group, &enrolled, counted).await,
        };
        answer.map(|scores| Scores {
            variant: name,
            ..scores
        })
    }

    /// By stable, or by who serves in its place.
    async fn by_control(
        &self,
        enrolled: &Enrolled<'_>,
        mut counted: Counted<'_>,
    ) -> Result<Scores, ScoreError> {
        let stable = self.view.of(Role::Stable).filter(|group| group.is_usable());
        let heir = || measured_by(self.shared, self.view);
        let Some(group) = stable.or_else(heir) else {
            counted.end(None, None);
            return Err(ScoreError::NotReady);
        };
        let began = self.shared.clock.now();
        let revision = &group.target.revision;
        self.shared.counting().of(revision).assigned += 1;
        let tried = self.counted(group).await;
        if let Ok(scores) = &tried
            && !scores.timings.cached
        {
            let now = self.shared.clock.now();
            let mut counting = self.shared.counting();
            counting.took(revision, self.bytes, now.since(began), now);
        }
        if stable.is_some() {
            let exposed = counted.exposed;
            counted.end(Some(&tried), None);
            if let (Mode::Paired, Some(exposed), Ok(scores)) = (enrolled.mode, exposed, &tried)
                && is_good(&tried)
            {
                pairs::answered(self.shared, enrolled.trial, self.request, exposed, scores);
            }
        } else {
            counted.end(None, Some(&tried));
        }
        tried.map_err(Unasked::error)
    }

    /// By a variant, and by stable where that does not answer.
    async fn by_variant<'b>(
        &self,
        group: &Group,
        enrolled: &Enrolled<'b>,
        mut counted: Counted<'b>,
    ) -> Result<Scores, ScoreError> {
        let may = self.view.table.fallback.enabled;
        let stable = self.view.of(Role::Stable);
        let stable = stable.filter(|stable| may && stable.is_usable());
        let guard = enrolled.trial.guard(enrolled.arm);
        if let (Some(guard), Some(stable)) = (guard, stable) {
            let patience = self.until.saturating_duration_since(Instant::now());
            let may = guard.lock().asks(patience, self.shared.clock.now());
            match may {
                Leave::Ask => counted.guard = Some(guard),
                Leave::LeaveAlone => return self.instead_of_it(stable, counted).await,
            }
        }
        let held = match self.take(group, None) {
            Ok(held) => held,
            Err(nobody) => {
                return self
                    .in_its_place(stable, Err(refused(nobody)), counted)
                    .await;
            }
        };
        let Some(stable) = stable else {
            let tried = self.by(group, held).await;
            counted.end(Some(&tried), None);
            return tried.map_err(Unasked::error);
        };
        let mut first = Box::pin(self.asked(Whose::Variant(enrolled.arm)).answer(held));
        let patience = self.view.table.fallback.hedge_after;
        if let Ok(tried) = tokio::time::timeout(patience, &mut first).await {
            return self.in_its_place(Some(stable), tried, counted).await;
        }
        let taken = match self.take(stable, None) {
            Ok(held) if self.spend(Some(Takeover::Slow)) => held,
            Ok(_) | Err(_) => {
                let tried = first.await;
                return self.in_its_place(Some(stable), tried, counted).await;
            }
        };
        let second = self.by(stable, taken);
        tokio::pin!(second);
        let (tried, other) = tokio::select! {
            tried = &mut first => {
                if is_scored(&tried) {
                    counted.end(Some(&tried), None);
                    return tried.map_err(Unasked::error);
                }
                (tried, second.await)
            }
            other = &mut second => {
                if is_good(&other) {
                    self.overtaken(counted, &other, first);
                    self.count(stable, &other);
                    return other.map_err(Unasked::error);
                }
                (first.await, other)
            }
        };
        self.count(stable, &other);
        counted.end(Some(&tried), Some(&other));
        decided(tried, other)
    }

    /// By stable, where the variant is left alone.
    async fn instead_of_it(
        &self,
        stable: &Group,
        mut counted: Counted<'_>,
    ) -> Result<Scores, ScoreError> {
        let other = self.counted(stable).await;
        counted.ended(None, Some(&other), None);
        other.map_err(Unasked::error)
    }

    /// The variant has answered, well or not.
    async fn in_its_place(
        &self,
        stable: Option<&Group>,
        tried: Tried,
        mut counted: Counted<'_>,
    ) -> Result<Scores, ScoreError> {
        let taken = match stable.filter(|_| !is_scored(&tried)) {
            Some(stable) => self.take(stable, None).ok().map(|held| (stable, held)),
            None => None,
        };
        let Some((stable, held)) = taken.filter(|_| self.spend(Takeover::of(&tried))) else {
            counted.end(Some(&tried), None);
            return tried.map_err(Unasked::error);
        };
        let took = counted.began.elapsed();
        let other = self.by(stable, held).await;
        self.count(stable, &other);
        counted.ended(Some(&tried), Some(&other), Some(took));
        decided(tried, other)
    }

    /// Stable was faster. How long the variant takes is waited for where that is measured, and not by the
    /// client.
    fn overtaken(
        &self,
        mut counted: Counted<'_>,
        other: &Tried,
        first: impl Future<Output = Tried> + Send + 'static,
    ) {
        let (exposed, began) = (counted.exposed, counted.began);
        let patience = self.shared.trials().patience();
        // What stable declines, the variant need not have scored.
        counted.ended(
            Some(other).filter(|other| is_declined(other)),
            Some(other),
            None,
        );
        let Some((exposed, patience)) = exposed.zip(patience) else {
            return;
        };
        let (shared, until) = (self.shared.clone(), self.until);
        let left = patience.saturating_sub(began.elapsed());
        let left = left.min(until.saturating_duration_since(Instant::now()));
        tokio::spawn(async move {
            let _ = tokio::time::timeout(left, first).await;
            shared.trials().took(exposed, began.elapsed());
        });
    }
}

/// Whether a variant owes an answer: stable has scored what it declined, or it has not answered at all.
fn is_error(tried: Option<&Tried>, other: Option<&Tried>) -> bool {
    match tried {
        Some(tried) if is_declined(tried) => other.is_some_and(is_scored),
        Some(tried) => !is_good(tried),
        None => true,
    }
}

/// What the client sees where the variant's answer is bad, and stable was asked.
fn decided(tried: Tried, other: Tried) -> Result<Scores, ScoreError> {
    match (other, tried) {
        (Ok(scores), _) | (Err(_), Ok(scores)) => Ok(scores),
        (Err(declined @ Unasked::Declined(_)), Err(_)) => Err(declined.error()),
        (Err(_), Err(unasked)) => Err(unasked.error()),
    }
}
