//! What a request counts as.
//!
//! Owns the way from an answer to an outcome. Invariants: a request counts once, for the arm that its
//! key is assigned to; one whose client leaves counts as left, wherever it was.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use inference_api::Input;
use inference_scoring::{Inputs, Score, Scores};
use traffic::cutoff::{Arm, COLD_ANSWERS, Outcome, Size, Start, Ticket, fingerprint};
use traffic::table::Role;
use traffic::{Millis, Revision, Weight};

use crate::ask::Unasked;
use crate::counting::Counts;
use crate::endpoints::{Group, Held};
use crate::evidence::Observed;
use crate::router::{Shared, View};

/// What one revision made of a request.
pub(crate) type Tried = Result<Scores, Unasked>;

/// Whether it is what the client may see.
pub(crate) fn is_good(tried: &Tried) -> bool {
    match tried {
        Ok(scores) => scores.scores.iter().all(Score::is_finite),
        Err(Unasked::Declined(_)) => true,
        Err(
            Unasked::Unreachable
            | Unasked::Refused(_)
            | Unasked::Failed(_)
            | Unasked::Late
            | Unasked::Another,
        ) => false,
    }
}

/// Whether it is scored: what was declined may be somebody else's to score.
pub(crate) fn is_scored(tried: &Tried) -> bool {
    tried.is_ok() && is_good(tried)
}

pub(crate) const fn is_declined(tried: &Tried) -> bool {
    matches!(tried, Err(Unasked::Declined(_)))
}

/// An answer of the canary beside stable's to the same. What it declines and stable scores is not wrong:
/// it failed.
pub(crate) fn beside(tried: Tried, stable_scored: bool) -> Tried {
    match tried {
        Err(Unasked::Declined(error)) if stable_scored => Err(Unasked::Failed(error)),
        tried => tried,
    }
}

/// Whether both failed in one way, so that the request is to blame.
pub(crate) fn are_alike(tried: &Tried, other: &Tried) -> bool {
    let is_no_number = |tried: &Tried| tried.is_ok() && !is_good(tried);
    let has_failed = |tried: &Tried| matches!(tried, Err(Unasked::Failed(_)));
    is_no_number(tried) && is_no_number(other) || has_failed(tried) && has_failed(other)
}

/// Counts what became of a request, for the revision that it was sent to.
pub(crate) fn note(counts: &mut Counts, tried: &Tried) {
    let failures = &mut counts.failures;
    match tried {
        Ok(_) if is_good(tried) => counts.answered += 1,
        Ok(_) => failures.non_finite += 1,
        Err(Unasked::Declined(_)) => counts.answered += 1,
        Err(Unasked::Unreachable) => failures.unreachable += 1,
        Err(Unasked::Refused(_)) => failures.refused += 1,
        Err(Unasked::Failed(_)) => failures.failed += 1,
        Err(Unasked::Late) => failures.late += 1,
        Err(Unasked::Another) => failures.misdelivered += 1,
    }
}

fn outcome(tried: &Tried) -> Outcome {
    match tried {
        Ok(scores) => {
            let wrong = scores.scores.iter().filter(|score| !score.is_finite());
            match u64::try_from(wrong.count()).unwrap_or(u64::MAX) {
                0 if scores.timings.cached => Outcome::Remembered,
                0 => Outcome::Answered,
                wrong => Outcome::NonFinite(wrong),
            }
        }
        Err(Unasked::Declined(_)) => Outcome::Answered,
        Err(Unasked::Refused(_)) => Outcome::Refused,
        Err(Unasked::Failed(_) | Unasked::Late) => Outcome::Failed,
        // An address that another revision has got is lost, and no fault of this one.
        Err(Unasked::Unreachable | Unasked::Another) => Outcome::Unreachable,
    }
}

/// What is known of a request before it is sent.
#[derive(Clone, Copy)]
pub(crate) struct Counted<'a> {
    pub(crate) inputs: &'a Inputs,
    pub(crate) bytes: usize,
    /// The hash of its key.
    pub(crate) user: u64,
    /// The canary's share, where arms are compared.
    pub(crate) weight: Option<Weight>,
    /// The cell of its key, while a rollout is in flight.
    pub(crate) cell: Option<u16>,
}

/// What a request is counted by: for the cut-off, and as evidence.
struct Noted {
    ticket: Ticket,
    observed: Option<Observed>,
    /// When its own answer came, where stable was asked after that.
    answered: Option<Millis>,
}

/// Whether the table gives both revisions a share. Where one has all the same, because the other one's pods are
/// away, what it is asked is no sample of that share: the evidence would compare two crowds of other sizes.
fn is_shared(view: &View) -> bool {
    let has_share = |role| {
        let row = view.table.row(role);
        row.is_some_and(|row| row.weight.get() > 0)
    };
    has_share(Role::Stable) && has_share(Role::Canary)
}

/// A request that is counted.
pub(crate) struct Tracked<'a> {
    shared: &'a Arc<Shared>,
    view: &'a View,
    group: &'a Group,
    request: Counted<'a>,
    began: Millis,
    /// Until it is counted; `None` where no rollout is.
    ticket: Mutex<Option<Noted>>,
    has_ended: AtomicBool,
}

impl<'a> Tracked<'a> {
    pub(crate) fn begin(
        shared: &'a Arc<Shared>,
        view: &'a View,
        group: &'a Group,
        held: &Result<Held, Unasked>,
        request: Counted<'a>,
    ) -> Self {
        let now = shared.clock.now();
        let mut counting = shared.counting();
        let cold = held.as_ref().is_ok_and(|held| held.endpoint.is_cold());
        let ticket = arm(group)
            .filter(|_| counting.subject().is_some())
            .map(|arm| {
                let answers = if cold && arm == Arm::Canary {
                    0
                } else {
                    COLD_ANSWERS
                };
                let factor = view.table.cut_off.slow_factor.get();
                let size = Size::of(request.bytes);
                let start = Start {
                    arm,
                    user: request.user,
                    weight: request.weight,
                    limit: counting.latency.limit(size, factor, answers),
                };
                let observed = request
                    .cell
                    .filter(|_| request.weight.is_some() || !is_shared(view))
                    .and_then(|cell| counting.recording.began(arm, cell, now));
                Noted {
                    ticket: counting.recorder.begin(start, now),
                    observed,
                    answered: None,
                }
            });
        drop(counting);
        Self {
            shared,
            view,
            group,
            request,
            began: now,
            ticket: Mutex::new(ticket),
            has_ended: AtomicBool::new(false),
        }
    }

    /// The revision that its key is assigned to.
    pub(crate) fn revision(&self) -> &Revision {
        &self.group.target.revision
    }

    /// It was answered, well or not. Only the first time counts.
    pub(crate) fn end(&self, tried: &Tried) {
        if self.has_ended.swap(true, Ordering::Relaxed) {
            return;
        }
        let now = self.shared.clock.now();
        let noted = self.noted();
        let seen = tried.as_ref().ok().filter(|_| noted.is_some());
        let seen = seen.map(|scores| self.seen(scores)).unwrap_or_default();
        let mut counting = self.shared.counting();
        note(counting.of(self.revision()), tried);
        if let (Ok(scores), Some(Role::Stable)) = (tried, self.group.role)
            && !scores.timings.cached
        {
            let took = now.since(self.began);
            counting.took(self.revision(), self.request.bytes, took, now);
        }
        let outcome = outcome(tried);
        if let Some(Noted {
            ticket,
            observed,
            answered,
        }) = noted
        {
            counting.recorder.scored_together(&ticket, &seen);
            counting.recorder.end(ticket, outcome, now);
            if let Some(observed) = observed {
                let scores = tried.as_ref().ok();
                let then = answered.unwrap_or(now);
                counting.recording.ended(observed, outcome, scores, then);
            }
        }
        let is_calm = matches!(outcome, Outcome::Answered | Outcome::Remembered)
            && !counting.recorder.repeats();
        drop(counting);
        // Successes alone are no reason, and what is slow is looked at with each tick.
        if !is_calm {
            self.shared.judge(now);
        }
    }

    /// Stable was faster, and took so long. Where it is known when the request is slow, and it is not yet,
    /// nobody knows what it is before: it has to be waited for, though its client does not.
    pub(crate) fn overtaken(&self, stable: Duration) -> Option<Waiting> {
        let now = self.shared.clock.now();
        let Noted {
            ticket, observed, ..
        } = self.noted()?;
        let mut counting = self.shared.counting();
        let patience = counting.recording.patience();
        let waited = |observed: &Observed| observed.slow_at(patience) > now;
        let waiting = Waiting {
            uncounted: Uncounted::new(self.shared),
            ticket: None,
            observed: observed
                .filter(waited)
                .map(|observed| (observed, observed.slow_at(patience))),
        };
        if let (None, Some(observed)) = (&waiting.observed, observed) {
            let outcome = Outcome::Overtaken;
            counting.recording.ended(observed, outcome, None, now);
        }
        if let Some(slow_at) = ticket.slow_at().filter(|at| *at > now) {
            return Some(Waiting {
                ticket: Some((ticket, slow_at)),
                ..waiting
            });
        }
        let factor = self.view.table.cut_off.slow_factor.get();
        let far = now.since(self.began) >= stable.mul_f64(factor.clamp(1.0, 1e6));
        let outcome = if far {
            Outcome::Overtaken
        } else {
            Outcome::Abandoned
        };
        counting.recorder.end(ticket, outcome, now);
        drop(counting);
        self.shared.judge(now);
        waiting.observed.is_some().then_some(waiting)
    }

    /// It was answered, and stable is asked what that is worth: it takes no longer by that.
    pub(crate) fn answered(&self) {
        let now = self.shared.clock.now();
        let mut noted = self.ticket.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(noted) = noted.as_mut() {
            let recorder = &mut self.shared.counting().recorder;
            recorder.answered(&mut noted.ticket, now);
            noted.answered = Some(now);
        }
    }

    /// It was declined, and nobody knows whether stable would score it: it counts for nobody.
    pub(crate) fn undecided(&self, tried: &Tried) {
        if !self.has_ended.swap(true, Ordering::Relaxed) {
            note(self.shared.counting().of(self.revision()), tried);
            self.left();
        }
    }

    /// Its client left.
    fn left(&self) {
        self.count(Outcome::Abandoned, self.shared.clock.now());
    }

    /// Stable failed at it as well.
    pub(crate) fn excused(&self) {
        self.count(Outcome::Excused, self.shared.clock.now());
    }

    fn count(&self, outcome: Outcome, now: Millis) {
        if let Some(Noted {
            ticket,
            observed,
            answered,
        }) = self.noted()
        {
            let mut counting = self.shared.counting();
            counting.recorder.end(ticket, outcome, now);
            if let Some(observed) = observed {
                let then = answered.unwrap_or(now);
                counting.recording.ended(observed, outcome, None, then);
            }
        }
    }

    /// Whoever has it counts the request.
    fn noted(&self) -> Option<Noted> {
        let mut ticket = self.ticket.lock().unwrap_or_else(PoisonError::into_inner);
        ticket.take()
    }

    /// What stands for the inputs and their scores, where one score for everything is looked for.
    fn seen(&self, scores: &Scores) -> Vec<(u64, u64)> {
        if !self.view.table.cut_off.constant_scores {
            return Vec::new();
        }
        let inputs = self.request.inputs.as_slice().iter();
        inputs
            .zip(&scores.scores)
            .map(|(input, score)| (of_input(input), of_score(score)))
            .collect()
    }
}

/// A router does not leave while it has one.
struct Uncounted(Arc<Shared>);

impl Uncounted {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.uncounted.send_modify(|count| *count += 1);
        Self(shared.clone())
    }
}

impl Drop for Uncounted {
    fn drop(&mut self) {
        let one_less = |count: &mut usize| *count = count.saturating_sub(1);
        self.0.uncounted.send_modify(one_less);
    }
}

/// A request whose client has stable's answer, and whose own is waited for until it is slow.
pub(crate) struct Waiting {
    uncounted: Uncounted,
    /// For the cut-off, until it is slow.
    ticket: Option<(Ticket, Millis)>,
    /// As evidence, until it is slower than any threshold.
    observed: Option<(Observed, Millis)>,
}

impl Waiting {
    /// Waits for `answer`, and drops it when it is slow.
    pub(crate) async fn counted(self, answer: impl Future<Output = Tried>, stable_scored: bool) {
        let answer = async { beside(answer.await, stable_scored) };
        let Self {
            uncounted,
            ticket,
            observed,
        } = self;
        let shared = &uncounted.0;
        let mut answer = pin!(answer);
        let mut tried = None;
        if let Some((ticket, slow_at)) = ticket {
            let left = slow_at.since(shared.clock.now());
            tried = tokio::time::timeout(left, &mut answer).await.ok();
            let (outcome, now) = by_then(shared, tried.as_ref(), slow_at);
            shared.counting().recorder.end(ticket, outcome, now);
            shared.judge(now);
        }
        let Some((observed, slow_at)) = observed else {
            return;
        };
        if tried.is_none() {
            let left = slow_at.since(shared.clock.now());
            tried = tokio::time::timeout(left, answer).await.ok();
        }
        let (outcome, now) = by_then(shared, tried.as_ref(), slow_at);
        let scores = tried.as_ref().and_then(|tried| tried.as_ref().ok());
        let mut counting = shared.counting();
        counting.recording.ended(observed, outcome, scores, now);
    }
}

/// What became of a request until it is slow, and when that is known.
fn by_then(shared: &Shared, tried: Option<&Tried>, slow_at: Millis) -> (Outcome, Millis) {
    let now = shared.clock.now();
    match tried {
        Some(tried) => (outcome(tried), now),
        None => (Outcome::Abandoned, now.max(slow_at)),
    }
}

impl Drop for Tracked<'_> {
    fn drop(&mut self) {
        self.left();
    }
}

const fn arm(group: &Group) -> Option<Arm> {
    match group.role {
        Some(Role::Stable) => Some(Arm::Stable),
        Some(Role::Canary) => Some(Arm::Canary),
        Some(Role::Previous) | None => None,
    }
}

fn of_input(input: &Input) -> u64 {
    match input {
        Input::Text(text) => fingerprint([text.as_bytes()]),
        Input::Pair(first, second) => fingerprint([first.as_bytes(), second.as_bytes()]),
        Input::Conversation { prompt, response } => {
            fingerprint([prompt.as_bytes(), response.as_bytes()])
        }
        Input::Messages(chat) => {
            let turns = chat.messages.iter().filter_map(|turn| turn.content());
            fingerprint(turns.map(str::as_bytes))
        }
    }
}

fn of_score(score: &Score) -> u64 {
    let bits: Vec<u8> = score
        .logits
        .iter()
        .flat_map(|logit| logit.to_bits().to_le_bytes())
        .collect();
    fingerprint([bits.as_slice()])
}
