//! The rotary part of `config.json`, in its old and new forms.
//!
//! Owns `rope_theta`, `rope_scaling` and `rope_parameters`. Invariant: a way of scaling that is not
//! served is refused by name; it would give plausible scores that are wrong.

use serde::Deserialize;

use crate::config::Config;
use crate::error::LoadError;
use crate::layers::{Rotary, Scaling};

/// What a file says about rotary positions.
#[derive(Clone, Debug)]
pub struct Rope {
    theta: f32,
    scaling: Scaling,
    partial: f64,
}

#[derive(Debug, Default, Deserialize)]
struct Fields {
    #[serde(default)]
    rope_theta: Option<f64>,
    #[serde(default)]
    rotary_emb_base: Option<f64>,
    #[serde(default)]
    partial_rotary_factor: Option<f64>,
    #[serde(default)]
    rotary_pct: Option<f64>,
    #[serde(default)]
    rope_scaling: Option<Parameters>,
    /// Parameters, or parameters by type of layer.
    #[serde(default)]
    rope_parameters: Option<serde_json::Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Parameters {
    #[serde(default)]
    rope_theta: Option<f64>,
    #[serde(default)]
    rope_type: Option<String>,
    /// Its old name; some files have both.
    #[serde(default, rename = "type")]
    old_type: Option<String>,
    #[serde(default)]
    factor: Option<f64>,
    #[serde(default)]
    low_freq_factor: Option<f64>,
    #[serde(default)]
    high_freq_factor: Option<f64>,
    #[serde(default)]
    original_max_position_embeddings: Option<f64>,
    #[serde(default)]
    partial_rotary_factor: Option<f64>,
}

impl Rope {
    /// Reads the parameters of layers of type `layer` where the file tells types apart. What the
    /// file leaves out is `theta`, and `partial` of each head.
    ///
    /// # Errors
    /// `UnsupportedFormat` for a way of scaling that is not served, `ModelInvalid` for numbers that
    /// cannot be.
    pub fn read(config: &Config, layer: &str, theta: f64, partial: f64) -> Result<Self, LoadError> {
        let fields: Fields = config.part()?;
        let parameters = match fields.rope_parameters {
            Some(value) => Some(parameters(value, layer)?),
            None => fields.rope_scaling,
        }
        .unwrap_or_default();
        let theta = parameters
            .rope_theta
            .or(fields.rope_theta)
            .or(fields.rotary_emb_base)
            .unwrap_or(theta);
        let partial = parameters
            .partial_rotary_factor
            .or(fields.partial_rotary_factor)
            .or(fields.rotary_pct)
            .unwrap_or(partial);
        if !(0.0..=1.0).contains(&partial) {
            return Err(LoadError::invalid(format!(
                "config.json: partial_rotary_factor is {partial}, which is no share"
            )));
        }
        Ok(Self {
            theta: positive("rope_theta", Some(theta))?,
            scaling: parameters.scaling()?,
            partial,
        })
    }

    /// For heads of `width` numbers.
    ///
    /// # Errors
    /// `ModelInvalid` when they cannot be paired.
    pub fn rotary(&self, width: usize) -> Result<Rotary, LoadError> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of a small count, cut as transformers cuts it"
        )]
        let turned = (width as f64 * self.partial) as usize;
        if turned == 0 || !turned.is_multiple_of(2) {
            return Err(LoadError::invalid(format!(
                "config.json: {turned} numbers of a head cannot be turned in pairs"
            )));
        }
        Ok(Rotary::new(turned, self.theta, self.scaling))
    }
}

fn parameters(value: serde_json::Value, layer: &str) -> Result<Parameters, LoadError> {
    let own = value.get(layer).cloned().unwrap_or(value);
    serde_json::from_value::<Option<Parameters>>(own)
        .map(Option::unwrap_or_default)
        .map_err(|error| LoadError::invalid(format!("config.json: rope_parameters: {error}")))
}

impl Parameters {
    fn scaling(&self) -> Result<Scaling, LoadError> {
        match self.rope_type.as_deref().or(self.old_type.as_deref()) {
            None | Some("default") => Ok(Scaling::None),
            Some("linear") => Ok(Scaling::Linear {
                factor: positive("factor", self.factor)?,
            }),
            Some("llama3") => {
                let low = positive("low_freq_factor", self.low_freq_factor)?;
                let high = positive("high_freq_factor", self.high_freq_factor)?;
                if high <= low {
                    return Err(LoadError::invalid(
                        "config.json: high_freq_factor must be above low_freq_factor",
                    ));
                }
                Ok(Scaling::Llama3 {
                    factor: positive("factor", self.factor)?,
                    low,
                    high,
                    trained: positive(
                        "original_max_position_embeddings",
                        self.original_max_position_embeddings,
                    )?,
                })
            }
            Some(other) => Err(LoadError::unsupported(format!(
                "rope_type {other:?} is not served; default, linear and llama3 are"
            ))),
        }
    }
}

fn positive(field: &str, value: Option<f64>) -> Result<f32, LoadError> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "frequencies are computed in f32, as transformers does"
    )]
    let value = value.map(|value| value as f32);
    value
        .filter(|value| value.is_finite() && *value > 0.0)
        .ok_or_else(|| {
            LoadError::invalid(format!(
                "config.json: {field} of the rotary positions must be a number above 0"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;

    fn read(fields: &str) -> Result<Rope, LoadError> {
        let text = format!(r#"{{"architectures":["A"]{fields}}}"#);
        let config = Config::parse(text.as_bytes()).unwrap();
        Rope::read(&config, "full_attention", 10_000.0, 1.0)
    }

    fn theta(fields: &str) -> f32 {
        read(fields).unwrap().theta
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "they are copied, not computed")]
    fn old_and_new_forms_say_the_same() {
        assert_eq!(theta(""), 10_000.0);
        assert_eq!(theta(r#","rope_theta":5.0,"rope_scaling":null"#), 5.0);
        assert_eq!(
            theta(r#","rope_parameters":{"rope_theta":5.0,"rope_type":"default"}"#),
            5.0
        );
        assert_eq!(
            theta(
                r#","rope_parameters":{"full_attention":{"rope_theta":5.0},"sliding_attention":{"rope_theta":6.0}}"#
            ),
            5.0
        );
        assert_eq!(
            read(r#","rope_scaling":{"type":"linear","factor":2.0}"#)
                .unwrap()
                .scaling,
            Scaling::Linear { factor: 2.0 }
        );
    }

    #[test]
    fn scaling_that_is_not_served_is_refused_by_name() {
        let error = read(r#","rope_scaling":{"rope_type":"yarn","factor":4.0}"#).unwrap_err();
        assert_eq!(error.reason, Reason::UnsupportedFormat);
        assert!(error.message.contains("yarn"), "{}", error.message);
    }

    #[test]
    fn numbers_that_cannot_be_are_refused() {
        for fields in [
            r#","rope_theta":0"#,
            r#","rope_theta":-1"#,
            r#","rope_theta":1e300"#,
            r#","rope_scaling":{"type":"linear"}"#,
            r#","rope_scaling":{"type":"linear","factor":0}"#,
            r#","rope_scaling":{"rope_type":"llama3","factor":8}"#,
            r#","rope_parameters":{"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":4,"original_max_position_embeddings":64}"#,
            r#","rope_parameters":7"#,
            r#","partial_rotary_factor":1.5"#,
        ] {
            let error = read(fields).unwrap_err();
            assert_eq!(error.reason, Reason::ModelInvalid, "{fields}");
        }
        assert!(read("").unwrap().rotary(7).is_err());
        assert!(read("").unwrap().rotary(0).is_err());
    }
}
