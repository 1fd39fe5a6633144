//! The layer that writes the body of every problem, with the members that its client's dialect looks
//! for.

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use inference_api::Problem;

use crate::http::base::failure::Failure;
use crate::http::base::headers::RequestId;
use crate::http::base::routes;

/// Writes the body of every problem.
pub(crate) async fn layer(request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let id = request.extensions().get::<RequestId>().map(RequestId::text);
    let mut response = next.run(request).await;
    let Some(failure) = response.extensions_mut().remove::<Failure>() else {
        return response;
    };
    let (problem, dialect) = failure.into_parts();
    let route = routes::find(path.as_ref().map(MatchedPath::as_str));
    let own = route.map(|route| route.dialect).unwrap_or_default();
    let problem = Problem {
        instance: id,
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
