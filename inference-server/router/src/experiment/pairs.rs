//! Requests and labelled pairs that the variants score beside the clients.
//!
//! Owns what becomes of a pair of answers. Invariants: a client waits for nothing here; each variant has a
//! queue of its own, so that one that hangs keeps no other one from scoring; what a variant was to score is
//! paired or missing, and missing is that variant's error.

use std::sync::Arc;

use futures::future::join_all;
use inference_api::Input;
use inference_scoring::{ScoreRequest, Scores};
use traffic::evidence::Unit;
use traffic::evidence::experiment::Lacking;
use traffic::table::Role;
use traffic::table::experiment::Arm;

use super::{Exposed, Serial, Trial};
use crate::feedback::{self, Preference};
use crate::router::{Lane, Shared, View};
use crate::shadow::{Task, Unscored, asked_of, begin, is_finite};

/// A request that the control has answered.
#[derive(Debug)]
pub(crate) struct Paired {
    request: ScoreRequest,
    /// The control's scores.
    scores: Vec<f64>,
    exposed: Exposed,
    /// Who is to score it too.
    arm: Arm,
}

/// The control has answered a request: it is put aside for each variant.
pub(super) fn answered(
    shared: &Arc<Shared>,
    trial: &Trial,
    request: &ScoreRequest,
    exposed: Exposed,
    scores: &Scores,
) {
    let bytes = request.inputs.as_slice().iter().map(Input::bytes).sum();
    let scores: Vec<f64> = scores.rewards().collect();
    let arms = (0..).map_while(Arm::new).zip(trial.variants());
    for (arm, (_, group)) in arms {
        if group.is_none() {
            continue;
        }
        let task = Task::Paired(Paired {
            request: request.clone(),
            scores: scores.clone(),
            exposed,
            arm,
        });
        shared.trials().eligible(exposed, arm);
        match shared.queue_of(Lane::Variant(arm)).add(vec![(task, bytes)]) {
            Ok(workers) => begin(shared, Lane::Variant(arm), workers),
            Err(crate::queue::Full) => {
                shared.trials().lacking(exposed, arm, Lacking::Full);
            }
        }
    }
}

/// Who serves an arm.
fn group(view: &View, arm: Arm) -> Option<&crate::endpoints::Group> {
    if arm.is_control() {
        view.of(Role::Stable)
    } else {
        view.trial.as_ref()?.group(arm)
    }
}

impl Paired {
    pub(crate) async fn pair(self, shared: &Arc<Shared>) {
        let Self {
            request,
            scores: control,
            exposed,
            arm,
        } = self;
        let answer = asked_of(
            shared,
            |view| group(view, arm),
            request.inputs.clone(),
            &request,
        );
        let answer = answer.await;
        let mut trials = shared.trials();
        match answer {
            Ok(scores) if is_finite(&scores) => {
                let pairs: Vec<(f64, f64)> = control.into_iter().zip(scores.rewards()).collect();
                trials.paired(exposed, arm, &pairs);
            }
            Ok(_) | Err(Unscored::Failed | Unscored::Absent) => {
                trials.lacking(exposed, arm, Lacking::Failed);
            }
            Err(Unscored::NoRoom) => trials.lacking(exposed, arm, Lacking::Full),
            Err(Unscored::Late) => trials.lacking(exposed, arm, Lacking::Late),
        }
    }
}

/// A labelled pair that waits for the scores of all variants.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) preference: Preference,
    pub(crate) unit: Unit,
    pub(crate) serial: Serial,
}

impl Judged {
    /// Has all variants score the pair, and counts who was right.
    pub(crate) async fn judge(self, shared: &Arc<Shared>) {
        let Self {
            preference,
            unit,
            serial,
        } = self;
        let view = shared.view.load_full();
        let trial = view.as_ref().and_then(|view| view.trial.as_ref());
        let arms = trial.map_or(0, |trial| trial.variants().count());
        let request = feedback::request(preference);
        let asked = (0..arms).filter_map(Arm::new).map(|arm| {
            asked_of(
                shared,
                move |view| group(view, arm),
                request.inputs.clone(),
                &request,
            )
        });
        let scored = join_all(asked).await;
        let mut trials = shared.trials();
        let right: Vec<Option<bool>> = scored
            .into_iter()
            .map(|scores| Some(feedback::margin(&scores.ok()?)? > 0.0))
            .collect();
        if let Some(recorder) = trials.judge_of(serial)
            && recorder.subject().variants.len() == right.len()
        {
            recorder.judged(unit, &right);
        }
    }
}
