//! `GET /evidence` of the admin port: what the router has seen of the rollout in flight, or of the last
//! one; and `GET /evidence/experiment?metric=NAME&epoch=N`, the same of an experiment. With
//! `Accept: application/octet-stream` in few bytes.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use inference_api::Problem;
use router::{NoEvidence, Router};

use super::status::require_token;
use crate::http::Failure;

const BINARY: &str = "application/octet-stream";
const JSON: &str = "application/json";

pub(super) async fn evidence(router: &Router, headers: &HeaderMap) -> Result<Response, Failure> {
    require_token(router.admin_token().as_deref(), headers)?;
    let none = || Problem::not_found("there was no rollout since the router started");
    let evidence = router.evidence().ok_or_else(none)?;
    Ok(if wants_binary(headers) {
        answer(BINARY, evidence.to_bytes())
    } else {
        answer(JSON, evidence.to_json().into_bytes())
    })
}

pub(super) async fn of_experiment(
    router: &Router,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    require_token(router.admin_token().as_deref(), headers)?;
    let query = query.unwrap_or_default().as_bytes();
    let member = |name: &str| {
        let mut members = url::form_urlencoded::parse(query);
        let member = members.find(|(of, _)| of == name);
        member.map(|(_, value)| value.into_owned())
    };
    let (metric, epoch) = (member("metric"), member("epoch"));
    let epoch = epoch.map(|number| number.parse()).transpose();
    let wrong = |_| Problem::bad_request("epoch is a whole number: that of the table's experiment");
    let evidence = router.experiment_evidence(metric.as_deref(), epoch.map_err(wrong)?);
    let evidence = evidence.map_err(|none| Problem::not_found(why(none)))?;
    Ok(if wants_binary(headers) {
        answer(BINARY, evidence.to_bytes())
    } else {
        answer(JSON, evidence.to_json().into_bytes())
    })
}

const fn why(none: NoEvidence) -> &'static str {
    match none {
        NoEvidence::NoExperiment => "there was no experiment since the router started",
        NoEvidence::NoEpoch => "that epoch is not counted here, and was not the one before",
        NoEvidence::NoMetric => "the experiment has no such metric",
    }
}

fn answer(kind: &'static str, body: Vec<u8>) -> Response {
    let kind = HeaderValue::from_static(kind);
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

fn wants_binary(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let texts = accepted.filter_map(|value| value.to_str().ok());
    let mut kinds = texts.flat_map(|text| text.split(','));
    kinds.any(|kind| kind.split(';').next().map(str::trim) == Some(BINARY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_for_those_who_ask_for_them() {
        let with = |value: &'static str| {
            HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(value))])
        };
        for binary in [
            BINARY,
            "application/octet-stream;q=1, */*",
            "a/b, application/octet-stream",
        ] {
            assert!(wants_binary(&with(binary)), "{binary}");
        }
        for json in ["*/*", "application/json", "", "application/octet-streams"] {
            assert!(!wants_binary(&with(json)), "{json}");
        }
        assert!(!wants_binary(&HeaderMap::new()));
    }
}
