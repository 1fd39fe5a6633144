//! Problems as answers, and scoring errors as problems: the one place where a kind of error gets its
//! status.

use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use inference_api::{Dialect, Problem};
use inference_scoring::ScoreError;

/// A problem on its way to the client.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    problem: Problem,
    /// `None` is that of the route.
    dialect: Option<Dialect>,
}

impl Failure {
    /// The problem, and the dialect that it is told in; `None` is that of the route.
    pub(crate) fn into_parts(self) -> (Problem, Option<Dialect>) {
        (self.problem, self.dialect)
    }

    /// The same, in a dialect that the request has shown.
    pub(crate) fn of(mut self, dialect: Dialect) -> Self {
        self.dialect = Some(dialect);
        self
    }

    /// The same, of a request with one item only.
    pub(crate) fn without_index(self) -> Self {
        self.map(|problem| Problem {
            index: None,
            ..problem
        })
    }

    /// Another problem in the same dialect.
    pub(crate) fn map(self, change: impl FnOnce(Problem) -> Problem) -> Self {
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
    /// The body comes last, from the layer that renders, which knows the request.
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.problem.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            let codings = HeaderValue::from_static("gzip, deflate, br, zstd, identity");
            headers.insert(header::ACCEPT_ENCODING, codings);
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Why a request has no scores that can be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unscored {
    /// There are none.
    Error(ScoreError),
    /// One of them is no number.
    NotFinite {
        /// Whose.
        index: usize,
    },
}

impl From<ScoreError> for Unscored {
    fn from(error: ScoreError) -> Self {
        Self::Error(error)
    }
}

impl Unscored {
    /// Every answer of [`Unscored::kind`].
    pub(crate) const KINDS: [&'static str; 7] = [
        "input",
        "overloaded",
        "late",
        "not_ready",
        "unknown_revision",
        "engine",
        "not_finite",
    ];

    /// One word for the metric.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Error(ScoreError::Input { .. }) => "input",
            Self::Error(ScoreError::Overloaded) => "overloaded",
            Self::Error(ScoreError::Late) => "late",
            Self::Error(ScoreError::NotReady) => "not_ready",
            Self::Error(ScoreError::UnknownRevision) => "unknown_revision",
            Self::Error(ScoreError::Engine { .. }) => "engine",
            Self::NotFinite { .. } => "not_finite",
        }
    }

    /// The same, of a part whose first input is that one of the whole request.
    pub(crate) fn of_part(self, first: usize) -> Self {
        match self {
            Self::Error(error) => Self::Error(error.moved(|index| first + index)),
            Self::NotFinite { index } => Self::NotFinite {
                index: first + index,
            },
        }
    }

    /// What it is to a client.
    pub(crate) fn problem(&self) -> Problem {
        let error = match self {
            Self::Error(error) => error,
            Self::NotFinite { index } => {
                return Problem::internal("the model's score is not finite").at(*index);
            }
        };
        let detail = error.to_string();
        match error {
            ScoreError::Input {
                index, too_long, ..
            } => {
                let problem = Problem::unprocessable(detail).at(*index);
                if *too_long {
                    problem.of_length()
                } else {
                    problem
                }
            }
            ScoreError::Overloaded => Problem::too_many_requests(detail).retry_after(1),
            ScoreError::Late => Problem::timeout(detail).retry_after(1),
            ScoreError::NotReady => Problem::unavailable(detail).retry_after(1),
            ScoreError::UnknownRevision => Problem::conflict(detail),
            ScoreError::Engine { index: Some(index) } => Problem::internal(detail).at(*index),
            ScoreError::Engine { index: None } => Problem::internal(detail),
        }
    }
}

impl From<Unscored> for Failure {
    fn from(unscored: Unscored) -> Self {
        unscored.problem().into()
    }
}

pub(crate) async fn unknown_route(uri: Uri) -> Failure {
    Problem::not_found(format!("there is no route {}", uri.path())).into()
}

pub(crate) async fn wrong_method(method: Method, uri: Uri) -> Failure {
    Problem::method_not_allowed(format!("{} does not know {method}", uri.path())).into()
}
