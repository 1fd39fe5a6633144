//! `spec.model`: source, identity, inputs and head of a model. The builders, not the schema, hold
//! the defaults of this subtree, so that a new default changes no revision.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::value::{Decimal, Digest};

/// The model: where it is, what it must be, how its score is read.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("!has(self.requireDigest) || !self.requireDigest || has(self.digest)")
        .message("requireDigest is true: set digest (`inference-server verify --model DIR` prints it)"),
    validation = Rule::new("has(self.source.pvc) || has(self.cache) || has(self.digest)")
        .message("a remote source needs cache.claimName, where it is fetched to once, or digest, against which each pod checks its own copy"),
    validation = Rule::new("!has(self.source.pvc) || !has(self.cache)")
        .message("cache is where remote sources are fetched to, and would be without effect beside source.pvc: remove it"),
)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// Where the model's files are.
    pub source: Source,
    /// Where remote sources are fetched to, once, without a GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// What the files must be. Without it they are resolved once and then kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Refuses a spec without a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_digest: Option<bool>,
    /// Which output is the score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// How inputs are prepared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Input>,
    /// How a raw score becomes a confidence. It changes no revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
}

/// Where the model's files are: exactly one of the fields.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("[has(self.pvc), has(self.huggingFace), has(self.objectStore)].filter(x, x).size() == 1")
        .message("name exactly one source: pvc, huggingFace or objectStore"),
)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// A folder of a claim in the same namespace, mounted read-only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pvc: Option<PvcSource>,
    /// A repository of a model hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hugging_face: Option<HuggingFaceSource>,
    /// A prefix in an object store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_store: Option<ObjectStoreSource>,
}

/// A folder of a claim.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("!has(self.path) || (!self.path.startsWith('/') && !self.path.split('/').exists(part, part == '..'))")
        .message("path must stay inside the volume: write it relative to the volume's root and without '..'")
        .field_path(".path"),
)]
#[serde(rename_all = "camelCase")]
pub struct PvcSource {
    /// The PersistentVolumeClaim.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
    /// The model's folder, relative to the volume's root; the root itself when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub path: Option<String>,
}

/// A repository of a model hub.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("(has(self.allowMutable) && self.allowMutable) || self.revision.matches('^[0-9a-f]{40}$')")
        .message("revision must be a commit of 40 hex digits, or set allowMutable: true to follow a branch or tag")
        .field_path(".revision"),
)]
#[serde(rename_all = "camelCase")]
pub struct HuggingFaceSource {
    /// `owner/name`.
    #[schemars(length(min = 1, max = 200))]
    pub repo: String,
    /// A commit of 40 hex digits, or with `allowMutable` a branch or tag.
    #[schemars(length(min = 1, max = 200))]
    pub revision: String,
    /// Accepts a branch or tag as `revision`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_mutable: Option<bool>,
    /// The access token, in a Secret of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretKey>,
    /// Another hub than the public one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = "^https?://"))]
    pub endpoint: Option<String>,
}

/// A prefix in an object store.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("self.url.matches('^(s3|gs|az|https)://')")
        .message("url must begin with s3://, gs://, az:// or https://")
        .field_path(".url"),
)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStoreSource {
    /// `s3://`, `gs://`, `az://` or `https://`.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// Credentials, in a Secret of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretName>,
}

/// A Secret of the same namespace.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretName {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// One key of a Secret of the same namespace.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A claim that remote sources are fetched to.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cache {
    /// The PersistentVolumeClaim.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
}

/// Which output is the score.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// Index of the label whose logit is the score; 0 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10000))]
    pub label: Option<i32>,
    /// What is done to the logit; None when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
}

/// What is done to a logit before it is answered.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// The raw logit.
    None,
    /// Its sigmoid.
    Sigmoid,
}

/// How inputs are prepared.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// Tokens that an input is cut to; what the model can take when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub max_tokens: Option<i32>,
    /// Which side is cut; by input when absent (Right for texts and pairs, Left for chats).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncation: Option<Truncation>,
    /// A Jinja template over `messages`, `prompt` and `response`, for models without a chat
    /// template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub prompt_template: Option<String>,
}

/// Which side of a long input is cut.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Truncation {
    /// The beginning.
    Left,
    /// The end.
    Right,
    /// None: a long input is refused.
    Reject,
}

/// `p = sigmoid(scale * (score - shift))`.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Calibration {
    /// Steepness.
    #[serde(default = "one")]
    pub scale: Decimal,
    /// The score whose confidence is least.
    #[serde(default = "zero")]
    pub shift: Decimal,
}

fn one() -> Decimal {
    "1".into()
}

fn zero() -> Decimal {
    "0".into()
}
