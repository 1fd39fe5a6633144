//! `GET /docs`: the `OpenAPI` document for people. One page, nothing of which comes from elsewhere, so
//! that it works where there is no internet.

use axum::http::{HeaderName, HeaderValue};
use axum::response::{Html, IntoResponse};

const PAGE: &str = include_str!("docs.html");

pub(crate) async fn page() -> impl IntoResponse {
    let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";
    (
        [(
            HeaderName::from_static("content-security-policy"),
            HeaderValue::from_static(policy),
        )],
        Html(PAGE),
    )
}
