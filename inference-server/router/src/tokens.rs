//! How a revision turns texts into tokens, which the router cannot say itself.

use std::time::Instant;

use inference_api::InputOptions;
use inference_api::internal::{self, write_question};
use inference_api::tei::Token;
use inference_scoring::{Deadline, Inputs, Origin, ScoreError, wire};

use crate::Router;
use crate::ask::{self, Unasked};
use crate::score::{measured_by, refused};

impl Router {
    /// Shows how a revision turns texts into tokens: stable, or who serves in its place.
    ///
    /// # Errors
    /// See [`ScoreError`].
    pub async fn tokens(
        &self,
        inputs: Inputs,
        options: InputOptions,
        until: Instant,
    ) -> Result<Vec<Vec<Token>>, ScoreError> {
        let view = self.0.view.load_full().ok_or(ScoreError::NotReady)?;
        let group = measured_by(&self.0, &view).ok_or(ScoreError::NotReady)?;
        let left = Deadline::At(until).left(Instant::now());
        let question = write_question(left, false, options, inputs.as_slice());
        let taken = group.take(question.len(), None, &self.0.clock, self.0.clock.now());
        let held = taken.map_err(|nobody| refused(nobody).error())?;
        let origin = Origin::default();
        let path = internal::TOKENS_PATH;
        let reply = ask::post(&held.endpoint, path, question.into(), &origin, until).await;
        let reply = reply.map_err(Unasked::error)?;
        let broken = || ScoreError::Engine { index: None };
        if reply.status.is_success() {
            return serde_json::from_slice(&reply.body).map_err(|_| broken());
        }
        match internal::read_answer(&reply.body) {
            Ok(Err(why)) => Err(wire::error(why)),
            Ok(Ok(_)) | Err(_) => Err(broken()),
        }
    }
}
