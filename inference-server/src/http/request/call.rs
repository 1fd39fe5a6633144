//! One request on its way: the model it began with, who sent it, and how it is scored.
//!
//! Owns admission at the edge of the scorer. Invariants: a request is admitted once and answered by one
//! model, whatever it is split into; a score that is no number is an error with its index, and never shown.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use futures::{StreamExt, TryStreamExt, stream};
use inference_api::internal::Question;
use inference_api::{Input, InputOptions, Limits, Problem};
use inference_scoring::{
    Deadline, Inputs, Origin, Score, ScoreError, ScoreRequest, Scorer, Scores,
};

use super::trace::Arrived;
use super::user::{OnTrial, User, UsersInBody};
use super::{App, Served, Shown};
use crate::http::base::failure::{Failure, Unscored};
use crate::http::base::headers::{REVISION, RequestId};
use crate::http::edge::Caller;
use crate::spans::RequestSpan;

/// Parts of one request that are on their way at once: one is computed while one is tokenised.
const PARTS_IN_FLIGHT: usize = 2;
/// Text of one part: about the tokens that an engine computes at once, so that others have their turn
/// in between, and so that a slow model can be in time with each.
const PART_BYTES: usize = 4 * 1024;

/// One request on its way.
pub(crate) struct Call<S> {
    pub(crate) app: Arc<App<S>>,
    pub(crate) served: Arc<Served<S>>,
    pub(crate) arrived: Instant,
    pub(crate) id: String,
    /// `None` where there are no traces.
    pub(crate) span: Option<RequestSpan>,
    caller: Caller,
    /// The revision that an admin asks for.
    pin: Option<String>,
    user: User,
    /// `None` where no experiment is in force.
    trial: Option<OnTrial>,
}

impl<S: Scorer> FromRequestParts<Arc<App<S>>> for Call<S> {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &Arc<App<S>>,
    ) -> Result<Self, Self::Rejection> {
        let extensions = &parts.extensions;
        let served = extensions.get::<Arc<Served<S>>>().cloned();
        let arrived = extensions.get::<Arrived>();
        let caller = extensions.get::<Caller>().cloned().unwrap_or_default();
        let served = served.unwrap_or_else(|| app.current.load_full());
        let user = User::of(&served, &parts.headers, &caller);
        let trial = OnTrial::of(&served, &parts.headers, &caller);
        let (id, span) = (
            extensions.get::<RequestId>(),
            extensions.get::<RequestSpan>(),
        );
        let (id, span) = (id.map(RequestId::text).unwrap_or_default(), span.cloned());
        let arrived = arrived.map_or_else(Instant::now, |arrived| arrived.0);
        let users = [Some(&user), trial.as_ref().map(OnTrial::user)];
        let in_body = users.into_iter().flatten().filter_map(User::in_body);
        let in_body: Vec<_> = in_body.cloned().collect();
        if !in_body.is_empty() {
            parts.extensions.insert(UsersInBody(in_body));
        }
        Ok(Self {
            app: app.clone(),
            arrived,
            id,
            span,
            pin: pin(&parts.headers).filter(|_| caller.is_admin),
            user,
            trial,
            served,
            caller,
        })
    }
}

fn pin(headers: &HeaderMap) -> Option<String> {
    Some(headers.get(REVISION)?.to_str().ok()?.to_owned())
}

impl<S: Scorer> Call<S> {
    /// Scores one input, which an error does not name.
    pub(crate) async fn score_one(
        &self,
        input: Input,
        options: InputOptions,
    ) -> Result<(Score, Shown), Failure> {
        let scores = self.score(vec![input], options).await;
        let scores = scores.map_err(Failure::without_index)?;
        let shown = self.shown(&scores);
        let score = scores.scores.into_iter().next();
        let lost = || Unscored::from(ScoreError::Engine { index: None });
        Ok((score.ok_or_else(lost)?, shown))
    }

    /// Scores inputs as one batch.
    pub(crate) async fn score(
        &self,
        inputs: Vec<Input>,
        options: InputOptions,
    ) -> Result<Scores, Failure> {
        let request = ScoreRequest {
            origin: self.origin(&inputs, false),
            inputs: self.admit(inputs)?,
            options,
            deadline: Deadline::At(self.arrived + self.app.settings.timeout),
            bulk: false,
        };
        Ok(self.run(request).await?)
    }

    /// Scores any number of inputs in parts, each of which waits for its turn.
    pub(crate) async fn score_in_parts(
        &self,
        inputs: Vec<Input>,
        options: InputOptions,
        deadline: Deadline,
    ) -> Result<Scores, Failure> {
        let origin = self.origin(&inputs, false);
        self.in_parts(inputs, options, deadline, origin).await
    }

    /// The same, of what measures the model that serves.
    pub(crate) async fn measure_in_parts(
        &self,
        inputs: Vec<Input>,
        options: InputOptions,
        deadline: Deadline,
    ) -> Result<Scores, Failure> {
        let origin = self.origin(&inputs, true);
        self.in_parts(inputs, options, deadline, origin).await
    }

    async fn in_parts(
        &self,
        inputs: Vec<Input>,
        options: InputOptions,
        deadline: Deadline,
        origin: Arc<Origin>,
    ) -> Result<Scores, Failure> {
        let inputs = self.admit(inputs)?;
        let whole = inputs.in_turns(self.app.settings.limits.max_batch, PART_BYTES);
        let mut parts = whole.turns();
        let bulk = parts.len() > 1;
        if self.served.scorer.takes_turns() {
            parts = vec![whole];
        }
        let part = |inputs: Inputs| {
            let (first, origin) = (inputs.first(), origin.clone());
            let request = ScoreRequest {
                inputs,
                options,
                deadline,
                bulk,
                origin,
            };
            async move {
                let scores = self.run(request).await;
                scores.map_err(|unscored| unscored.of_part(first))
            }
        };
        let mut parts = stream::iter(parts.into_iter().map(part)).buffered(PARTS_IN_FLIGHT);
        let nothing = || Unscored::from(ScoreError::Engine { index: None });
        let mut all = parts.try_next().await?.ok_or_else(nothing)?;
        while let Some(part) = parts.try_next().await? {
            if !all.extend(part) {
                return Err(Unscored::from(ScoreError::NotReady).into());
            }
        }
        Ok(all)
    }

    /// Scores what a router asks. A score that is no number is the router's to judge.
    ///
    /// The routers of a server behind them have measured texts and lists, by limits that are theirs; a
    /// stand-alone server does so again, because whoever may score may ask here as well.
    pub(crate) async fn relay(
        &self,
        question: Question,
    ) -> Result<Result<Scores, ScoreError>, Failure> {
        let settings = &self.app.settings;
        if !self.app.is_behind_routers() {
            require_fit(&question, &settings.limits)?;
        }
        let most = settings.timeout.max(settings.evaluate_timeout);
        let request = ScoreRequest {
            origin: self.origin(&question.inputs, false),
            inputs: self.admit(question.inputs)?,
            options: question.options,
            deadline: Deadline::came(question.until, self.arrived, most),
            bulk: question.bulk,
        };
        match self.observed(request, Ok).await {
            Ok(scores) => Ok(Ok(scores)),
            Err(Unscored::Error(error)) => Ok(Err(error)),
            Err(unscored @ Unscored::NotFinite { .. }) => Err(unscored.into()),
        }
    }

    /// Whether an admin has sent it.
    pub(crate) const fn is_admins(&self) -> bool {
        self.caller.is_admin
    }

    /// What an answer shows of `scores`.
    pub(crate) fn shown(&self, scores: &Scores) -> Shown {
        Shown::new(scores, &self.app.settings)
    }

    /// The last checks before work is done: unwanted text, then the caller's rate.
    pub(crate) fn admit(&self, mut inputs: Vec<Input>) -> Result<Inputs, Failure> {
        for (index, input) in inputs.iter_mut().enumerate() {
            let checked = self.app.edge.filter.apply(input);
            checked.map_err(|problem| problem.at(index))?;
        }
        self.user.check()?;
        if let Some(trial) = &self.trial {
            trial.user().check()?;
        }
        self.app.edge.admit(&self.caller)?;
        Ok(inputs.into())
    }

    /// Where the request comes from: the same for all that it is split into.
    fn origin(&self, inputs: &[Input], measures: bool) -> Arc<Origin> {
        let prompt = || inputs.first().map(Input::key).unwrap_or_default();
        Arc::new(Origin {
            key: self.user.key().map_or_else(prompt, str::to_owned),
            measures,
            pin: self.pin.clone(),
            id: self.id.clone(),
            trace: self.span.as_ref().map(RequestSpan::traceparent),
            trial: self.trial.as_ref().map(OnTrial::trial),
        })
    }

    async fn run(&self, request: ScoreRequest) -> Result<Scores, Unscored> {
        self.observed(request, finite).await
    }

    async fn observed(
        &self,
        request: ScoreRequest,
        check: fn(Scores) -> Result<Scores, Unscored>,
    ) -> Result<Scores, Unscored> {
        let span = self.span.as_ref().map(|span| (span, SystemTime::now()));
        let outcome = self.served.scorer.score(request).await;
        let outcome = outcome.map_err(Unscored::from).and_then(check);
        match &outcome {
            Ok(scores) => {
                if let Some((span, began)) = span {
                    span.scored(began, scores);
                }
                let shown = self.shown(scores);
                let rewards: Vec<f32> = scores.scores.iter().map(|s| shown.reward(s)).collect();
                self.app.metrics.scored(&rewards, scores.hits);
            }
            Err(unscored) => {
                let kind = unscored.kind();
                if let Some((span, _)) = span {
                    span.failed(kind);
                }
                self.app.metrics.failed(kind);
            }
        }
        outcome
    }
}

/// The scores, where all of them are numbers.
fn finite(scores: Scores) -> Result<Scores, Unscored> {
    match scores.scores.iter().position(|score| !score.is_finite()) {
        Some(index) => Err(Unscored::NotFinite { index }),
        None => Ok(scores),
    }
}

/// Indexes of `scores`, the highest first; equals keep their order.
pub(crate) fn ranking(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
    order.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    order.into_iter().map(|(index, _)| index).collect()
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// # Errors
/// 422 for what a stand-alone server would not take from a client.
fn require_fit(question: &Question, limits: &Limits) -> Result<(), Problem> {
    if question.inputs.len() > limits.max_batch {
        let most = limits.max_batch;
        let detail = format!("there are more than {most} inputs: raise --max-batch here, too");
        return Err(Problem::unprocessable(detail));
    }
    // What a request itself cuts may be longer; the size of the body bounds it.
    if question.options.max_tokens.is_some() {
        return Ok(());
    }
    for (index, input) in question.inputs.iter().enumerate() {
        let checked = input.check(limits, "text", "context");
        checked.map_err(|problem| problem.at(index))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ranking_keeps_the_order_of_equals() {
        assert_eq!(ranking(&[0.5, 2.0, 0.5, -1.0]), [1, 0, 2, 3]);
    }
}
