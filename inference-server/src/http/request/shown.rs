//! What an answer shows: the numbers that are made of logits, by whom they are, where its time went.
//!
//! Invariant: all of it is said of whoever gave the scores, and not of what serves at the moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use inference_scoring::{Activation, Description, Score, Scores, Timings};

use crate::http::base::headers::{CACHE, MODEL_VERSION, REVISION, SERVER_TIMING, VARIANT};
use crate::http::base::settings::{DialectScores, Settings};

/// What an answer shows of its scores.
pub(crate) struct Shown {
    by: Arc<Description>,
    timings: Timings,
    variant: Option<Arc<str>>,
    native: Activation,
    dialects: DialectScores,
}

impl Shown {
    pub(crate) fn new(scores: &Scores, settings: &Settings) -> Self {
        Self {
            by: scores.by.clone(),
            timings: scores.timings,
            variant: scores.variant.clone(),
            native: scores.by.native,
            dialects: settings.dialect_scores,
        }
    }

    /// The same with logits on the native routes, where `raw`.
    pub(crate) fn raw(self, raw: bool) -> Self {
        let native = if raw {
            Activation::Identity
        } else {
            self.native
        };
        Self { native, ..self }
    }

    /// Who gave the scores.
    pub(crate) fn by(&self) -> &Description {
        &self.by
    }

    pub(crate) fn version(&self) -> String {
        self.by.version.clone()
    }

    /// The raw logit that is the score. The label was checked against the model when it was loaded.
    pub(crate) fn logit(&self, score: &Score) -> f32 {
        self.by.own(&score.logits)
    }

    /// The score of the native routes.
    pub(crate) fn reward(&self, score: &Score) -> f32 {
        self.by.own(&self.native.apply(&score.logits))
    }

    /// All labels by name, where there are several.
    pub(crate) fn labels(&self, score: &Score) -> Option<BTreeMap<String, f32>> {
        let labels = &self.by.labels;
        let values = self.native.apply(&score.logits);
        (labels.len() > 1).then(|| labels.iter().cloned().zip(values).collect())
    }

    pub(crate) fn confidence(&self, score: &Score) -> Option<f64> {
        let calibration = self.by.calibration?;
        Some(calibration.confidence(self.logit(score)))
    }

    pub(crate) fn probability(&self, score: &Score) -> Option<f64> {
        let calibration = self.by.calibration?;
        Some(calibration.probability(self.logit(score)))
    }

    /// All labels as the dialects of vLLM and Cohere show them: through what the checkpoint says, unless
    /// raw ones are wanted.
    pub(crate) fn activated(&self, score: &Score, raw: bool) -> Vec<f32> {
        self.through(self.by.activation, score, raw)
    }

    /// All labels as TEI shows them, which does not ask the checkpoint: through a sigmoid, or a softmax
    /// where there are several, unless raw ones are wanted.
    pub(crate) fn activated_by_labels(&self, score: &Score, raw: bool) -> Vec<f32> {
        self.through(Activation::of_labels(score.logits.len()), score, raw)
    }

    fn through(&self, activation: Activation, score: &Score, raw: bool) -> Vec<f32> {
        let raw = match self.dialects {
            DialectScores::Raw => true,
            DialectScores::Peer => raw,
        };
        let activation = if raw {
            Activation::Identity
        } else {
            activation
        };
        activation.apply(&score.logits)
    }

    /// Of all labels the one that is the score.
    pub(crate) fn own_label(&self, values: &[f32]) -> f32 {
        self.by.own(values)
    }

    /// An answer that says who scored, and where its time went.
    pub(crate) fn answer<T: serde::Serialize>(&self, body: T) -> Response {
        let mut response = Json(body).into_response();
        let headers = response.headers_mut();
        let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        let text = format!(
            "tokenise;dur={:.3}, queue;dur={:.3}, inference;dur={:.3}",
            milliseconds(self.timings.tokenise),
            milliseconds(self.timings.queue),
            milliseconds(self.timings.inference)
        );
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(SERVER_TIMING, value);
        }
        if let Ok(version) = HeaderValue::from_str(&self.by.version) {
            headers.insert(MODEL_VERSION, version);
        }
        if let Some(revision) = &self.by.revision
            && let Ok(revision) = HeaderValue::from_str(revision)
        {
            headers.insert(REVISION, revision);
        }
        if let Some(variant) = &self.variant
            && let Ok(variant) = HeaderValue::from_str(variant)
        {
            headers.insert(VARIANT, variant);
        }
        if self.timings.cached {
            headers.insert(CACHE, HeaderValue::from_static("hit"));
        }
        response
    }
}
