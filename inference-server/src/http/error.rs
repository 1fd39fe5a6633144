//! Problems as answers, and scoring errors as problems: the one place where a kind of error gets its
//! status, and a problem the members that its client's dialect looks for.

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use inference_api::{Dialect, Problem};
use inference_scoring::ScoreError;

use super::routes;
use super::trace::RequestId;

/// A problem on its way to the client.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    problem: Problem,
    /// `None` is that of the route.
    dialect: Option<Dialect>,
}

impl Failure {
    /// The same, in a dialect that the request has shown.
    pub(super) fn of(mut self, dialect: Dialect) -> Self {
        self.dialect = Some(dialect);
        self
    }

    /// The same, of a request with one item only.
    pub(super) fn without_index(self) -> Self {
        self.map(|problem| Problem {
            index: None,
            ..problem
        })
    }

    /// Another problem in the same dialect.
    pub(super) fn map(self, change: impl FnOnce(Problem) -> Problem) -> Self {
        Self {
            problem: change(self.problem),
            ..self
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            dialect: None,
        }
    }
}

impl IntoResponse for Failure {
    /// The body comes last, from [`render`], which knows the request.
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.problem.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the body of every problem.
pub(super) async fn render(request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let id = request.extensions().get::<RequestId>().map(RequestId::text);
    let mut response = next.run(request).await;
    let Some(failure) = response.extensions_mut().remove::<Failure>() else {
        return response;
    };
    let route = routes::find(path.as_ref().map(MatchedPath::as_str));
    let own = route.map(|route| route.dialect).unwrap_or_default();
    let problem = Problem {
        instance: id,
        ..failure.problem
    };
    let dialect = failure.dialect.unwrap_or(own);
    let problem = dialect.own(problem);
    if let Ok(status) = StatusCode::from_u16(problem.status) {
        *response.status_mut() = status;
    }
    let body = dialect.render(&problem).to_string();
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/problem+json");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    *response.body_mut() = body.into();
    response
}

/// The problem that a scoring error is to a client. A single input has no index.
pub(super) fn problem(error: &ScoreError, single: bool) -> Problem {
    let detail = error.to_string();
    match error {
        ScoreError::Input {
            index, too_long, ..
        } => {
            let mut problem = Problem::unprocessable(detail);
            if *too_long {
                problem = problem.of_length();
            }
            if single { problem } else { problem.at(*index) }
        }
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
    Problem::not_found(format!("there is no route {}", uri.path())).into()
}

pub(super) async fn wrong_method(method: Method, uri: Uri) -> Failure {
    Problem::method_not_allowed(format!("{} does not know {method}", uri.path())).into()
}
