//! Flags of `inference-server route` in the router's pods: what the spec's `traffic` says, in the words
//! of the server's edge.

use crds::RewardModel;
use crds::v1alpha1::reward_model::model::SecretKey;
use crds::v1alpha1::reward_model::traffic::{Jwt, Limits, RateLimit, RateLimitKey, Traffic};
use kube::ResourceExt;

use super::{ADMIN_PORT, SECRETS};
use crate::objects::HTTP_PORT;

/// The flags.
pub(super) fn of(model: &RewardModel) -> Vec<String> {
    let mut all: Vec<String> = vec![
        "route".to_owned(),
        format!("--namespace={}", model.namespace().unwrap_or_default()),
        format!("--name={}", model.name_any()),
        format!("--listen=[::]:{HTTP_PORT}"),
        format!("--admin-listen=[::]:{ADMIN_PORT}"),
    ];
    if let Some(traffic) = &model.spec.traffic {
        all.extend(edge(traffic));
    }
    all
}

fn edge(traffic: &Traffic) -> Vec<String> {
    let mut all = Vec::new();
    // The server's own form of durations has one unit.
    let timeout = traffic.timeout.to_std().ok();
    all.extend(timeout.map(|time| format!("--timeout={}ms", time.as_millis())));
    if let Some(jwt) = traffic.auth.as_ref().and_then(|auth| auth.jwt.as_ref()) {
        all.extend(tokens(jwt));
    }
    all.extend(traffic.rate_limit.as_ref().map(rate));
    if let Some(cors) = &traffic.cors {
        all.push(format!("--cors-origin={}", cors.allow_origins.join(",")));
    }
    if let Some(limits) = &traffic.limits {
        all.extend(limit(limits));
    }
    all
}

fn tokens(jwt: &Jwt) -> Vec<String> {
    let mut all = Vec::new();
    let secret = jwt.secret_ref.as_ref();
    all.extend(secret.map(|secret| format!("--jwt-secret-file={SECRETS}/{}", secret.key)));
    all.extend(
        jwt.jwks_uri
            .as_ref()
            .map(|uri| format!("--jwt-jwks-uri={uri}")),
    );
    all.extend(jwt.algorithms.as_ref().map(|list| {
        let names: Vec<String> = list.iter().map(|one| format!("{one:?}")).collect();
        format!("--jwt-algorithms={}", names.join(","))
    }));
    all.extend(
        jwt.issuer
            .as_ref()
            .map(|issuer| format!("--jwt-issuer={issuer}")),
    );
    all.extend(
        jwt.audience
            .as_ref()
            .map(|audience| format!("--jwt-audience={audience}")),
    );
    all
}

fn rate(rate: &RateLimit) -> String {
    let burst = rate.burst.map(|burst| format!(",burst={burst}"));
    let per = match rate.per {
        RateLimitKey::Subject => "subject",
        RateLimitKey::Address => "address",
    };
    format!(
        "--rate-limit={}/m{},per={per}",
        rate.requests_per_minute,
        burst.unwrap_or_default()
    )
}

fn limit(limits: &Limits) -> Vec<String> {
    let mut all = vec![
        format!("--max-characters={}", limits.max_characters),
        format!("--max-batch={}", limits.max_batch),
    ];
    let bytes = limits.max_body_bytes;
    all.extend(bytes.map(|bytes| format!("--max-body-bytes={bytes}")));
    all
}

/// Seconds that a router may need to leave: it still accepts for five, and what it has may take as long
/// as a request may.
pub(super) fn farewell(model: &RewardModel) -> i64 {
    let timeout = model.spec.traffic.as_ref();
    let timeout = timeout.and_then(|traffic| traffic.timeout.to_std().ok());
    let seconds = timeout.map_or(0, |time| time.as_secs());
    10 + i64::try_from(seconds).unwrap_or(3_600).clamp(20, 3_600)
}

/// The Secret with the key of tokens.
pub(crate) fn secret(model: &RewardModel) -> Option<&SecretKey> {
    let auth = model.spec.traffic.as_ref()?.auth.as_ref()?;
    auth.jwt.as_ref()?.secret_ref.as_ref()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_spec_s_traffic_is_told_in_the_words_of_the_server() {
        let model: RewardModel = serde_json::from_value(json!({
            "apiVersion": "betterai.dev/v1alpha1", "kind": "RewardModel",
            "metadata": {"name": "m", "namespace": "n"},
            "spec": {
                "model": {"source": {"pvc": {"claimName": "c"}}},
                "traffic": {
                    "timeout": "1m30s",
                    "auth": {"jwt": {"secretRef": {"name": "s", "key": "k"}, "algorithms": ["HS256", "HS512"], "issuer": "i", "audience": "a"}},
                    "rateLimit": {"requestsPerMinute": 60, "burst": 5, "per": "Address"},
                    "cors": {"allowOrigins": ["https://a", "https://b"]},
                    "limits": {"maxCharacters": 5, "maxBatch": 6, "maxBodyBytes": 7000},
                },
            },
        }))
        .unwrap();
        let expected = [
            "--timeout=90000ms",
            "--jwt-secret-file=/secrets/k",
            "--jwt-algorithms=HS256,HS512",
            "--jwt-issuer=i",
            "--jwt-audience=a",
            "--rate-limit=60/m,burst=5,per=address",
            "--cors-origin=https://a,https://b",
            "--max-characters=5",
            "--max-batch=6",
            "--max-body-bytes=7000",
        ];
        assert_eq!(of(&model)[5..], expected);
    }
}
