//! `serve`.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use inference_scoring::Calibration;

use super::{ApiArgs, ModelArgs, duration};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
    /// Index of the label whose logit is the score.
    #[arg(long, env = "REWARD_LABEL", default_value_t = 0)]
    pub(crate) label: usize,
    /// What is done to the logit on the native routes.
    #[arg(long, env = "REWARD_ACTIVATION", default_value = "none")]
    pub(crate) activation: Activation,
    /// The revision that answers say they are of, and a router asks for.
    #[arg(long, env = "REWARD_REVISION", value_parser = version)]
    pub(crate) revision: Option<String>,
    /// Name of the version in answers [default: the digest's first 12 digits].
    #[arg(long, env = "REWARD_MODEL_VERSION", value_parser = version)]
    pub(crate) model_version: Option<String>,
    /// Scale and shift of the confidence: scale=1.5,shift=-0.25, or a file of `evaluate --calibrate`.
    #[arg(long, env = "REWARD_CALIBRATION", value_parser = calibration)]
    pub(crate) calibration: Option<Calibration>,
    /// Whether scores are remembered.
    #[arg(long, env = "REWARD_CACHE", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) cache: bool,
    /// For how long.
    #[arg(long, env = "REWARD_CACHE_TTL", default_value = "1h", value_parser = ttl)]
    pub(crate) cache_ttl: Duration,
    /// How many, in this process.
    #[arg(long, env = "REWARD_CACHE_MAX_ENTRIES", default_value_t = 100_000)]
    pub(crate) cache_max_entries: u64,
    /// A Redis that replicas remember scores in together, such as `redis://HOST:6379/0`.
    #[arg(long, env = "REWARD_REDIS_URL", value_name = "URL")]
    pub(crate) redis_url: Option<String>,
    /// Lets an admin replace the model by `POST /model/update`.
    #[arg(long, env = "REWARD_ALLOW_UPDATE", requires = "models_root")]
    pub(crate) allow_update: bool,
    /// The folder that models of `POST /model/update` are in.
    #[arg(long, env = "REWARD_MODELS_ROOT", value_name = "DIR")]
    pub(crate) models_root: Option<PathBuf>,
    /// Where the reason is left when the model cannot be served.
    #[arg(long, env = "REWARD_TERMINATION_LOG", value_name = "FILE")]
    pub(crate) termination_log: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Activation {
    None,
    Sigmoid,
}

impl From<Activation> for inference_scoring::Activation {
    fn from(activation: Activation) -> Self {
        match activation {
            Activation::None => Self::Identity,
            Activation::Sigmoid => Self::Sigmoid,
        }
    }
}

fn version(text: &str) -> Result<String, String> {
    if inference_api::update::is_version(text) {
        Ok(text.to_owned())
    } else {
        Err("write 1 to 128 visible ASCII characters".to_owned())
    }
}

/// Reads `scale=1.5,shift=-0.25`, or a JSON file with these two.
/// The cache takes no longer time than a thousand years.
fn ttl(text: &str) -> Result<Duration, String> {
    let longest = Duration::from_hours(24 * 365);
    let time = duration(text)?;
    if time.is_zero() || time > longest {
        return Err(format!(
            "{text:?}: write a time above zero and of a year at most; --cache false remembers nothing"
        ));
    }
    Ok(time)
}

fn calibration(text: &str) -> Result<Calibration, String> {
    let wrong = match text.parse() {
        Ok(calibration) => return Ok(calibration),
        Err(wrong) => wrong,
    };
    let bytes = std::fs::read(text).map_err(|_| format!("{wrong}, or name a file"))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        format!("it is no calibration ({error}): write it with `evaluate --calibrate`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_the_cache_cannot_keep_is_refused() {
        assert_eq!(ttl("8760h"), Ok(Duration::from_hours(8_760)));
        for text in ["0s", "8761h", "9999999h", "1"] {
            assert!(ttl(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_calibration_is_given_here_or_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("calibration.json");
        std::fs::write(&file, r#"{"scale":1.5,"shift":-0.25,"pairs":7}"#).unwrap();
        let file = file.to_str().unwrap();
        assert_eq!(calibration(file), calibration("scale=1.5,shift=-0.25"));
        std::fs::write(file, "{}").unwrap();
        assert!(calibration(file).unwrap_err().contains("--calibrate"));
        assert!(calibration("nowhere").unwrap_err().contains("name a file"));
    }
}
