//! `POST /model/update` and its status; `DELETE /cache`; `GET /health` and `/model/info`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Problem;

/// Body of `POST /model/update`.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateRequest {
    /// The model's folder, under `--models-root`.
    pub model_path: String,
    /// What its files must be.
    #[serde(default)]
    pub digest: Option<String>,
    /// Name of the version in answers; by default the digest's first 12 digits.
    #[serde(default)]
    pub version: Option<String>,
    /// Of the confidence; without it the new model has none.
    #[serde(default)]
    pub calibration: Option<CalibrationValues>,
}

/// Scale and shift of the confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CalibrationValues {
    /// Above 0.
    pub scale: f64,
    /// The score of a coin toss.
    pub shift: f64,
}

/// The longest name of a version: it becomes a header and a label.
const VERSION_CHARACTERS: usize = 128;

impl UpdateRequest {
    /// Checks what can be checked without the files.
    ///
    /// # Errors
    /// 422 with what to send.
    pub fn check(&self) -> Result<(), Problem> {
        if self.model_path.is_empty() || self.model_path.contains('\0') {
            return Err(Problem::unprocessable(
                "model_path is no path: send a folder under --models-root",
            ));
        }
        match &self.version {
            Some(version) if !is_version(version) => Err(Problem::unprocessable(
                "version must have 1 to 128 visible ASCII characters",
            )),
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether `text` can name a version: it becomes a header and a label.
pub fn is_version(text: &str) -> bool {
    (1..=VERSION_CHARACTERS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Answer of `POST /model/update` and `GET /model/update/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Update {
    /// Of this update.
    pub id: String,
    /// How far it is.
    pub status: UpdateStatus,
    /// What was asked for.
    pub model_path: String,
    /// The version that serves since it succeeded.
    pub model_version: Option<String>,
    /// Why it failed, and what to do.
    pub message: Option<String>,
    /// When it was asked for.
    pub started_at: String,
    /// When it came to its end.
    pub finished_at: Option<String>,
}

/// How far an update is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UpdateStatus {
    /// It loads beside the model that serves.
    Loading,
    /// It serves.
    Succeeded,
    /// The model from before serves on.
    Failed,
}

/// Answer of `DELETE /cache`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CacheCleared {
    /// Whose scores are forgotten.
    pub model_version: String,
}

/// Answer of `GET /health`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Health {
    /// `healthy`, or `leaving`.
    pub status: &'static str,
    /// Whether there is a model.
    pub model_loaded: bool,
    /// When this was said, in seconds since 1970.
    pub timestamp: f64,
}

/// Answer of `GET /health/live` and `/health/ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Probe {
    /// `alive`, or `ready`.
    pub status: &'static str,
}

/// Answer of `GET /model/info`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ModelDescription {
    /// Its architecture.
    pub model_type: String,
    /// Its version.
    pub version: String,
    /// The digest of its files.
    pub digest: String,
    /// Where it is computed.
    pub device: String,
    /// By what it is computed, with which instruction set: scores of two engines differ in their last bits.
    pub engine: String,
    /// Its number format.
    pub dtype: String,
    /// Its parameters.
    pub parameters: u64,
    /// The same: a reward model is served as it was trained, and nothing is frozen in it.
    pub trainable_parameters: u64,
    /// Its labels, in the order of the logits.
    pub labels: Vec<String>,
    /// The label whose logit is the score.
    pub label: Option<String>,
    /// What logits go through before they are shown as scores, unless a request asks for raw ones:
    /// `identity`, `sigmoid`, `softmax` or `tanh`.
    pub activation: String,
    /// Whether answers have a confidence.
    pub calibrated: bool,
    /// By what.
    pub calibration: Option<CalibrationValues>,
    /// The date that chat templates see, where there is one.
    pub special_date: Option<String>,
    /// How much one request may hold.
    pub limits: DescribedLimits,
}

/// How much one request may hold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct DescribedLimits {
    /// Tokens of one input.
    pub max_tokens: usize,
    /// Items of one request.
    pub max_batch: usize,
    /// Pairs of one evaluation.
    pub max_pairs: usize,
    /// Unicode scalars of one string.
    pub max_characters: usize,
    /// Bytes of one body.
    pub max_body_bytes: usize,
    /// The longest that a request may take.
    pub timeout_seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_can_be_a_header_and_a_path_can_be_one() {
        let request = |path: &str, version: &str| UpdateRequest {
            model_path: path.to_owned(),
            digest: None,
            version: Some(version.to_owned()),
            calibration: None,
        };
        assert!(request("m", "v1.2-rc").check().is_ok());
        for (path, version) in [
            ("", "v"),
            ("a\0b", "v"),
            ("m", ""),
            ("m", "a b"),
            ("m", "é"),
        ] {
            assert_eq!(request(path, version).check().unwrap_err().status, 422);
        }
        assert!(request("m", &"v".repeat(129)).check().is_err());
    }
}
