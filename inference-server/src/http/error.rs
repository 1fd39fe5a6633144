//! Problems as answers, and scoring errors as problems: the one place where a kind of error gets its
//! status.

use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use inference_api::Problem;
use inference_scoring::ScoreError;

/// A problem on its way to the client.
#[derive(Debug)]
pub(super) struct Failure(pub(super) Problem);

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Strings and numbers always serialise.
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        if let Some(seconds) = self.0.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The problem that a scoring error is to a client. A single input has no index.
pub(super) fn problem(error: &ScoreError, single: bool) -> Problem {
    let detail = error.to_string();
    match error {
        ScoreError::Input { index, .. } if !single => Problem::unprocessable(detail).at(*index),
        ScoreError::Input { .. } => Problem::unprocessable(detail),
        ScoreError::Overloaded => Problem::too_many_requests(detail).retry_after(1),
        ScoreError::Late => Problem::timeout(detail).retry_after(1),
        ScoreError::NotReady => Problem::unavailable(detail).retry_after(1),
        ScoreError::NotFinite | ScoreError::Engine => Problem::internal(detail),
    }
}

/// One word for the metric.
pub(super) const fn kind(error: &ScoreError) -> &'static str {
    match error {
        ScoreError::Input { .. } => "input",
        ScoreError::Overloaded => "overloaded",
        ScoreError::Late => "late",
        ScoreError::NotReady => "not_ready",
        ScoreError::NotFinite => "not_finite",
        ScoreError::Engine => "engine",
    }
}

pub(super) async fn unknown_route(uri: Uri) -> Failure {
    Failure(Problem::not_found(format!(
        "there is no route {}",
        uri.path()
    )))
}

pub(super) async fn wrong_method(method: Method, uri: Uri) -> Failure {
    Failure(Problem::method_not_allowed(format!(
        "{} does not know {method}",
        uri.path()
    )))
}
