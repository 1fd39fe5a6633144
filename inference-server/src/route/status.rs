//! The admin port of a router, and `GET /status?since=N`: what the router says of itself.
//!
//! Invariant: nothing is told without the token whose hash stands in the table.

use std::sync::Arc;
use std::time::Duration;

use axum::Router as Routes;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use inference_api::Problem;
use router::Router;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::evidence::{evidence, of_experiment};
use crate::http::{App, Failure};

/// How long a question waits for news.
const PATIENCE: Duration = Duration::from_secs(20);

/// The routes of the admin port beside health and metrics.
pub(super) fn routes(router: Router) -> Routes<Arc<App<Router>>> {
    let of_evidence = router.clone();
    let status = move |uri: Uri, headers: HeaderMap| {
        let router = router.clone();
        async move { status(&router, uri.query(), &headers).await }
    };
    let of_experiments = of_evidence.clone();
    let evidence = move |headers: HeaderMap| {
        let router = of_evidence.clone();
        async move { evidence(&router, &headers).await }
    };
    let of_experiment = move |uri: Uri, headers: HeaderMap| {
        let router = of_experiments.clone();
        async move { of_experiment(&router, uri.query(), &headers).await }
    };
    Routes::new()
        .route("/status", get(status))
        .route("/evidence", get(evidence))
        .route("/evidence/experiment", get(of_experiment))
}

async fn status(
    router: &Router,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    require_token(router.admin_token().as_deref(), headers)?;
    let since = since(query.unwrap_or_default())?;
    if let Some(since) = since {
        let mut news = router.news();
        // A router that started anew has counted less than what it is asked for.
        let newer = news.wait_for(|sequence| *sequence != since);
        let _ = tokio::time::timeout(PATIENCE, newer).await;
    }
    let kind = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, kind)], router.report().to_json()).into_response())
}

/// The sequence that is known already.
fn since(query: &str) -> Result<Option<u64>, Problem> {
    let mut members = query.split('&').filter_map(|member| member.split_once('='));
    let since = members.find(|(name, _)| *name == "since");
    let read = since.map(|(_, number)| number.parse()).transpose();
    read.map_err(|_| Problem::bad_request("since is the sequence of a status: send a whole number"))
}

pub(super) fn require_token(hash: Option<&str>, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(hash) = hash else {
        return Err(Problem::forbidden(
            "the table has no adminTokenSha256: without one nobody may ask",
        ));
    };
    let bearer = headers.get(header::AUTHORIZATION);
    let token = bearer
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let Some(token) = token else {
        return Err(Problem::unauthorized(
            "send the token of the admin port: Authorization: Bearer TOKEN",
        ));
    };
    let sent = hex::encode(Sha256::digest(token.as_bytes()));
    if bool::from(sent.as_bytes().ct_eq(hash.as_bytes())) {
        Ok(())
    } else {
        Err(Problem::unauthorized(
            "the token is not the one of the table: read the Secret again",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_a_whole_number() {
        assert_eq!(since("").unwrap(), None);
        assert_eq!(since("a=b&since=12").unwrap(), Some(12));
        for wrong in ["since=", "since=-1", "since=x", "since=1.5"] {
            assert_eq!(since(wrong).unwrap_err().status, 400, "{wrong}");
        }
    }

    #[test]
    fn nobody_is_told_anything_without_the_token_of_the_table() {
        let hash = hex::encode(Sha256::digest(b"secret"));
        let with = |value: &'static str| {
            let value = HeaderValue::from_static(value);
            HeaderMap::from_iter([(header::AUTHORIZATION, value)])
        };
        let status = |hash: Option<&str>, headers: &HeaderMap| {
            require_token(hash, headers).map_err(|problem| problem.status)
        };
        assert_eq!(status(Some(&hash), &with("Bearer secret")), Ok(()));
        for wrong in ["Bearer secre", "Bearer ", "secret", "Basic secret"] {
            assert_eq!(status(Some(&hash), &with(wrong)), Err(401), "{wrong}");
        }
        assert_eq!(status(Some(&hash), &HeaderMap::new()), Err(401));
        assert_eq!(status(None, &with("Bearer secret")), Err(403));
    }
}
