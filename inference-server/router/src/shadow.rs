//! Requests that the canary scores too, after their clients have stable's answer.
//!
//! Owns who is shadowed, and what becomes of a pair of answers. Invariants: a client waits for nothing
//! here; the canary's part is no request of its arm, comes behind live ones, and costs no budget of
//! theirs; a request that was to be shadowed is paired or dropped, and counted as such.

use std::sync::Arc;
use std::time::Instant;

use inference_api::Input;
use inference_scoring::{Deadline, Inputs, Origin, ScoreRequest, Scores};
use traffic::assignment::Key;
use traffic::evidence::{Drop, Pair};
use traffic::table::{self, Role};

use crate::ask::Unasked;
use crate::endpoints::{Group, Nobody};
use crate::events::Shadowing;
use crate::evidence::Epoch;
use crate::experiment::{Judged, Paired};
use crate::feedback::Labelled;
use crate::router::{Lane, Shared, View};
use crate::score::Way;

/// What is asked beside the requests.
#[derive(Debug)]
pub(crate) enum Task {
    /// What stable has answered.
    Shadowed(Shadowed),
    /// A labelled pair of answers.
    Labelled(Labelled),
    /// What the control has answered.
    Paired(Paired),
    /// A labelled pair for all variants.
    Judged(Judged),
}

/// A request that stable has answered.
#[derive(Debug)]
pub(crate) struct Shadowed {
    request: ScoreRequest,
    /// Stable's scores.
    scores: Vec<f64>,
    cell: u16,
    epoch: Epoch,
}

/// Why a revision did not score what it was asked beside the requests.
pub(crate) enum Unscored {
    NoRoom,
    Failed,
    Late,
    /// Nobody of it could be asked.
    Absent,
}

/// Stable has answered a request: it is put aside for the canary, where it is to be.
pub(crate) fn answered(
    shared: &Arc<Shared>,
    view: &View,
    request: &ScoreRequest,
    cell: u16,
    scores: &Scores,
) {
    let Some(rule) = view.table.shadow else {
        return;
    };
    let key = Key::prompt(request.origin.key.as_bytes());
    if !view.assigner.is_shadowed(key, rule.percent) || view.table.confirmed().is_some() {
        return;
    }
    // A revision whose pods are away has missed nothing: that is no fault of the model, and would count
    // against what it answers for as long as the rollout lasts.
    if !view.of(Role::Canary).is_some_and(Group::is_usable) {
        return;
    }
    let mut counting = shared.counting();
    let is_cut_off = counting.cause().is_some();
    let Some(epoch) = counting.recording.epoch().filter(|_| !is_cut_off) else {
        return;
    };
    let Some(recorder) = counting.recording.of(epoch) else {
        return;
    };
    recorder.eligible();
    let task = Task::Shadowed(Shadowed {
        request: request.clone(),
        scores: scores.rewards().collect(),
        cell,
        epoch,
    });
    let bytes = request.inputs.as_slice().iter().map(Input::bytes).sum();
    if let Ok(workers) = shared.queue.add(vec![(task, bytes)]) {
        drop(counting);
        begin(shared, Lane::Shadow, workers);
    } else {
        recorder.dropped(Drop::Full);
        counting.events.shadowed(Shadowing::Full);
    }
}

/// Begins so many workers of a queue on the threads of the requests.
pub(crate) fn begin(shared: &Arc<Shared>, lane: Lane, workers: usize) {
    for _ in 0..workers {
        let shared = shared.clone();
        tokio::spawn(async move {
            let mut done = None;
            while let Some((task, bytes)) = shared.queue_of(lane).next(done) {
                match task {
                    Task::Shadowed(shadowed) => shadowed.pair(&shared).await,
                    Task::Labelled(labelled) => labelled.judge(&shared).await,
                    Task::Paired(paired) => paired.pair(&shared).await,
                    Task::Judged(judged) => judged.judge(&shared).await,
                }
                done = Some(bytes);
            }
        });
    }
}

impl Shadowed {
    async fn pair(self, shared: &Arc<Shared>) {
        let canary = asked(
            shared,
            Role::Canary,
            self.request.inputs.clone(),
            &self.request,
        )
        .await;
        let mut counting = shared.counting();
        let Some(recorder) = counting.recording.of(self.epoch) else {
            return;
        };
        let outcome = match canary {
            Ok(scores) if is_finite(&scores) => {
                let both = self.scores.into_iter().zip(scores.rewards());
                let pairs = both.map(|(stable, canary)| Pair { stable, canary });
                let alternatives = are_alternatives(self.request.inputs.as_slice());
                recorder.paired(self.cell, pairs, alternatives);
                Shadowing::Paired
            }
            Ok(scores) => {
                let wrong = scores.scores.iter().filter(|score| !score.is_finite());
                recorder.not_finite(u64::try_from(wrong.count()).unwrap_or(u64::MAX));
                recorder.dropped(Drop::Failed);
                Shadowing::Failed
            }
            Err(unscored) => {
                let (why, outcome) = match unscored {
                    Unscored::NoRoom => (Drop::Full, Shadowing::Full),
                    Unscored::Failed | Unscored::Absent => (Drop::Failed, Shadowing::Failed),
                    Unscored::Late => (Drop::Late, Shadowing::Late),
                };
                recorder.dropped(why);
                outcome
            }
        };
        counting.events.shadowed(outcome);
    }
}

pub(crate) fn is_finite(scores: &Scores) -> bool {
    scores
        .scores
        .iter()
        .all(inference_scoring::Score::is_finite)
}

/// Asks a revision of the table that holds now, behind those who wait for an answer.
pub(crate) async fn asked(
    shared: &Arc<Shared>,
    role: Role,
    inputs: Inputs,
    like: &ScoreRequest,
) -> Result<Scores, Unscored> {
    asked_of(shared, |view| view.of(role), inputs, like).await
}

/// The same of who serves something else than a role.
pub(crate) async fn asked_of(
    shared: &Arc<Shared>,
    whom: impl Fn(&View) -> Option<&Group>,
    inputs: Inputs,
    like: &ScoreRequest,
) -> Result<Scores, Unscored> {
    let view = shared.view.load_full().ok_or(Unscored::Absent)?;
    let group = whom(&view).ok_or(Unscored::Absent)?;
    let shadow = view.table.shadow.as_ref();
    let timeout = shadow.map_or(table::Shadow::TIMEOUT, table::Shadow::timeout);
    let until = Instant::now() + timeout;
    let origin = Origin {
        key: like.origin.key.clone(),
        id: like.origin.id.clone(),
        ..Origin::default()
    };
    let request = ScoreRequest {
        // Each part of a long request has the time of a short one.
        deadline: match inputs.turns().as_slice() {
            [] | [_] => Deadline::At(until),
            [_, _, ..] => Deadline::OnceAdmitted(timeout),
        },
        inputs,
        options: like.options,
        bulk: true,
        origin: Arc::new(origin),
    };
    let way = Way::new(shared, &view, &request, until);
    answer(&way, group).await
}

async fn answer(way: &Way<'_>, group: &Group) -> Result<Scores, Unscored> {
    let held = way.take(group, None).map_err(|refused| match refused {
        Nobody::Full => Unscored::NoRoom,
        Nobody::Absent => Unscored::Absent,
    })?;
    way.at(group, held).await.map_err(|unasked| match unasked {
        Unasked::Late => Unscored::Late,
        Unasked::Unreachable | Unasked::Another | Unasked::Refused(_) => Unscored::Absent,
        Unasked::Declined(_) | Unasked::Failed(_) => Unscored::Failed,
    })
}

/// Whether they are several answers to one prompt.
fn are_alternatives(inputs: &[Input]) -> bool {
    let prompt = |input: &Input| match input {
        Input::Text(_) => None,
        Input::Pair(_, _) | Input::Conversation { .. } | Input::Messages(_) => Some(input.key()),
    };
    let Some((first, rest)) = inputs.split_first() else {
        return false;
    };
    let first = prompt(first);
    first.is_some() && !rest.is_empty() && rest.iter().all(|input| prompt(input) == first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_answers_to_one_prompt_are_alternatives_and_several_texts_are_not() {
        let answer = |prompt: &str, response: &str| Input::Conversation {
            prompt: prompt.to_owned(),
            response: response.to_owned(),
        };
        assert!(are_alternatives(&[answer("p", "a"), answer("p", "b")]));
        assert!(!are_alternatives(&[answer("p", "a"), answer("q", "b")]));
        assert!(!are_alternatives(&[answer("p", "a")]));
        let text = || Input::Text("same".to_owned());
        assert!(!are_alternatives(&[text(), text()]));
        assert!(!are_alternatives(&[]));
    }
}
