//! The layer next to the handlers: lets through who may, and writes the body of every problem, with the
//! members that its client's dialect looks for.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use inference_api::Problem;

use super::App;
use crate::http::base::failure::Failure;
use crate::http::base::headers::RequestId;
use crate::http::base::routes;
use crate::http::edge;

/// Lets through who may.
pub(crate) async fn layer<S: Send + Sync + 'static>(
    State(app): State<Arc<App<S>>>,
    mut request: Request,
    next: Next,
) -> Response {
    let whose = Whose::of(&request);
    match edge::admit(&app.edge, &mut request).await {
        Ok(()) => whose.render(next.run(request).await),
        Err(failure) => whose.render(failure.into_response()),
    }
}

/// Lets everybody through.
pub(crate) async fn of_everybody(request: Request, next: Next) -> Response {
    let whose = Whose::of(&request);
    whose.render(next.run(request).await)
}

/// What is told of a request where it has a problem.
struct Whose {
    path: Option<MatchedPath>,
    id: Option<RequestId>,
}

impl Whose {
    fn of(request: &Request) -> Self {
        let extensions = request.extensions();
        Self {
            path: extensions.get().cloned(),
            id: extensions.get().cloned(),
        }
    }

    /// Writes the body of a problem.
    fn render(self, mut response: Response) -> Response {
        let Some(failure) = response.extensions_mut().remove::<Failure>() else {
            return response;
        };
        let (problem, dialect) = failure.into_parts();
        let route = routes::find(self.path.as_ref().map(MatchedPath::as_str));
        let own = route.map(|route| route.dialect).unwrap_or_default();
        let problem = Problem {
            instance: self.id.as_ref().map(RequestId::text),
            ..problem
        };
        let dialect = dialect.unwrap_or(own);
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
}
