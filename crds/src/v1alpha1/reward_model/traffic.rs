//! `spec.traffic`: how requests reach the model: router, key, authentication, limits.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::SecretKey;
use super::server::Resources;
use crate::value::{Duration, Opaque};

/// How requests reach the model.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("!has(self.key) || !has(self.key.jwtClaim) || (has(self.auth) && has(self.auth.jwt))")
        .message("key.jwtClaim needs auth.jwt: an unverified token names nobody"),
    validation = Rule::new("!has(self.rateLimit) || self.rateLimit.per != 'Subject' || (has(self.auth) && has(self.auth.jwt))")
        .message("rateLimit.per Subject needs auth.jwt; set per: Address to limit by client address"),
)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// The router before the revisions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<Router>,
    /// What keeps a client on one revision; the prompt when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// The longest that a request may take.
    #[serde(default = "ten_seconds")]
    pub timeout: Duration,
    /// Who may ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// How often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// From which web pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// How much at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Makes an HTTPRoute to the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
}

/// The router before the revisions.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Router {
    /// Router pods.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 100))]
    pub replicas: i32,
    /// The router's image; the operator's own default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub image: Option<String>,
    /// Resources of a router pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// Where the user key of a request is: exactly one of the fields. Shared with experiments.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("[has(self.header), has(self.jwtClaim), has(self.jsonPointer)].filter(x, x).size() == 1")
        .message("name exactly one key: header, jwtClaim or jsonPointer"),
)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// A request header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = "^[-!#$%&'*+.^_`|~0-9A-Za-z]+$")
    )]
    pub header: Option<String>,
    /// A claim of the verified token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub jwt_claim: Option<String>,
    /// A place in the JSON body (RFC 6901).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = "^(/.*)?$"))]
    pub json_pointer: Option<String>,
}

/// Who may ask.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// Bearer tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Jwt>,
}

/// Bearer tokens: exactly one of `secretRef` and `jwksUri`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.secretRef) != has(self.jwksUri)")
        .message("name exactly one of secretRef (HS256) and jwksUri (asymmetric keys)"),
)]
#[serde(rename_all = "camelCase")]
pub struct Jwt {
    /// The HS256 secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKey>,
    /// Where the public keys are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = "^https?://"))]
    pub jwks_uri: Option<String>,
    /// Accepted algorithms; HS256 with a secret, RS256 with keys when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 10))]
    pub algorithms: Option<Vec<Algorithm>>,
    /// The `iss` that a token must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub issuer: Option<String>,
    /// The `aud` that a token must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub audience: Option<String>,
}

/// A signature algorithm (RFC 7518).
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of RFC 7518")]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// How often one client may ask.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// Requests a minute, in each router pod.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub requests_per_minute: i32,
    /// How many of them at once; all of a minute when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub burst: Option<i32>,
    /// What one client is.
    #[serde(default)]
    pub per: RateLimitKey,
}

/// What one client is.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RateLimitKey {
    /// The token's subject.
    #[default]
    Subject,
    /// The client's address.
    Address,
}

/// From which web pages requests may come.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cors {
    /// Origins; `*` is any.
    #[schemars(length(min = 1, max = 100))]
    pub allow_origins: Vec<String>,
}

/// How much one request may hold.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Unicode scalars of one text.
    #[serde(default = "ten_thousand")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_characters: i32,
    /// Texts of one batch.
    #[serde(default = "two_hundred_fifty_six")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_batch: i32,
    /// Bytes of one decompressed body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024))]
    pub max_body_bytes: Option<i64>,
}

/// An HTTPRoute to the Service.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// The Gateways (the HTTPRoute's `parentRefs`).
    #[schemars(length(min = 1, max = 32))]
    pub parent_refs: Vec<Opaque>,
    /// The host names (the HTTPRoute's `hostnames`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub hostnames: Option<Vec<String>>,
}

fn ten_seconds() -> Duration {
    "10s".into()
}

const fn two() -> i32 {
    2
}

const fn ten_thousand() -> i32 {
    10_000
}

const fn two_hundred_fifty_six() -> i32 {
    256
}
