//! What a request counts as.
//!
//! Owns the way from an answer to an outcome. Invariants: a request counts once, for the arm that its
//! key is assigned to; one whose client leaves counts as left, wherever it was.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use inference_api::Input;
use inference_scoring::{Inputs, Score, Scores};
use traffic::cutoff::{Arm, COLD_ANSWERS, Outcome, Size, Start, Ticket, fingerprint};
use traffic::table::Role;
use traffic::{Millis, Revision, Weight};

use crate::ask::Unasked;
use crate::counting::Counts;
use crate::endpoints::{Group, Held};
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
}

/// A request that is counted.
pub(crate) struct Tracked<'a> {
    shared: &'a Shared,
    view: &'a View,
    group: &'a Group,
    request: Counted<'a>,
    began: Millis,
    /// Until it is counted; `None` where no rollout is.
    ticket: Mutex<Option<Ticket>>,
    has_ended: AtomicBool,
}

impl<'a> Tracked<'a> {
    pub(crate) fn begin(
        shared: &'a Shared,
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
                counting.recorder.begin(start, now)
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
        &self.group.row.revision
    }

    /// It was answered, well or not. Only the first time counts.
    pub(crate) fn end(&self, tried: &Tried) {
        if self.has_ended.swap(true, Ordering::Relaxed) {
            return;
        }
        let now = self.shared.clock.now();
        {
            let mut counting = self.shared.counting();
            note(counting.of(self.revision()), tried);
            if let (Ok(scores), Role::Stable) = (tried, self.group.row.role)
                && !scores.timings.cached
            {
                let size = Size::of(self.request.bytes);
                counting.latency.answered(size, now.since(self.began), now);
            }
        }
        if let Ok(scores) = tried {
            self.see(scores);
        }
        self.count(outcome(tried), now);
        self.shared.judge(now);
    }

    /// Stable was faster, and took so long.
    pub(crate) fn overtaken(&self, stable: Duration) {
        let now = self.shared.clock.now();
        let factor = self.view.table.cut_off.slow_factor.get();
        let far = now.since(self.began) >= stable.mul_f64(factor.clamp(1.0, 1e6));
        self.count(
            if far {
                Outcome::Overtaken
            } else {
                Outcome::Abandoned
            },
            now,
        );
        self.shared.judge(now);
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
        let ticket = self
            .ticket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(ticket) = ticket {
            self.shared.counting().recorder.end(ticket, outcome, now);
        }
    }

    /// Notes the scores, where one score for everything is looked for.
    fn see(&self, scores: &Scores) {
        let looks = self.view.table.cut_off.constant_scores;
        let counted = self
            .ticket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some();
        let Some(arm) = arm(self.group).filter(|_| looks && counted) else {
            return;
        };
        let seen: Vec<(u64, u64)> = self
            .request
            .inputs
            .as_slice()
            .iter()
            .zip(&scores.scores)
            .map(|(input, score)| (of_input(input), of_score(score)))
            .collect();
        let mut counting = self.shared.counting();
        for (input, score) in seen {
            counting.recorder.scored(arm, input, score);
        }
    }
}

impl Drop for Tracked<'_> {
    fn drop(&mut self) {
        self.left();
    }
}

const fn arm(group: &Group) -> Option<Arm> {
    match group.row.role {
        Role::Stable => Some(Arm::Stable),
        Role::Canary => Some(Arm::Canary),
        Role::Previous => None,
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
