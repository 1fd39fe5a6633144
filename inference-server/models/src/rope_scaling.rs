//! How `config.json` says that rotary frequencies are scaled for texts longer than those of training.
//!
//! Owns the names of the ways and what each needs. Source: transformers `modeling_rope_utils.py`. Must not
//! know of frequencies. Invariant: a way that is not served is refused by name; it would give plausible
//! scores that are wrong.

use serde::Deserialize;

use crate::error::LoadError;
use crate::layers::{LongRope, Scaling, Yarn};

/// The parameters of one type of layers.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Parameters {
    #[serde(default)]
    pub(crate) rope_theta: Option<f64>,
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
    pub(crate) partial_rotary_factor: Option<f64>,
    #[serde(default)]
    attention_factor: Option<f64>,
    #[serde(default)]
    mscale: Option<f64>,
    #[serde(default)]
    mscale_all_dim: Option<f64>,
    #[serde(default)]
    beta_fast: Option<f64>,
    #[serde(default)]
    beta_slow: Option<f64>,
    #[serde(default)]
    truncate: Option<bool>,
    #[serde(default)]
    short_factor: Option<Vec<f64>>,
    #[serde(default)]
    long_factor: Option<Vec<f64>>,
}

/// What the file says outside of the parameters.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Lengths {
    #[serde(default)]
    max_position_embeddings: Option<f64>,
    /// It counts before that of the parameters.
    #[serde(default)]
    original_max_position_embeddings: Option<f64>,
}

impl Parameters {
    /// The way of scaling; `default` is none.
    pub(crate) fn way(&self) -> &str {
        let named = self.rope_type.as_deref().or(self.old_type.as_deref());
        named.unwrap_or("default")
    }

    /// The same by the names of Phi 3, whose first files call its way `su` or `yarn`.
    ///
    /// # Errors
    /// `UnsupportedFormat` for any other way, which transformers refuses too.
    pub(crate) fn of_phi3(self) -> Result<Self, LoadError> {
        match self.way() {
            "default" => Ok(self),
            "su" | "yarn" | "longrope" => Ok(Self {
                rope_type: Some("longrope".to_owned()),
                ..self
            }),
            other => Err(LoadError::unsupported(format!(
                "rope_type {other:?} is not served for Phi 3; default and longrope are"
            ))),
        }
    }

    /// What they ask for.
    ///
    /// # Errors
    /// `UnsupportedFormat` for a way that is not served, `ModelInvalid` for numbers that cannot be.
    pub(crate) fn scaling(&self, lengths: Lengths) -> Result<Scaling, LoadError> {
        match self.way() {
            "default" => Ok(Scaling::None),
            "linear" => Ok(Scaling::Linear {
                factor: positive("factor", self.factor)?,
            }),
            // It scales texts beyond max_position_embeddings only, and no longer ones are taken.
            "dynamic" => positive("factor", self.factor).map(|_| Scaling::None),
            "llama3" => self.llama3(),
            "yarn" => Ok(Scaling::Yarn(self.yarn(lengths)?)),
            "longrope" => Ok(Scaling::Long(self.long(lengths)?)),
            other => Err(LoadError::unsupported(format!(
                "rope_type {other:?} is not served; default, linear, dynamic, llama3, yarn and longrope are"
            ))),
        }
    }

    fn llama3(&self) -> Result<Scaling, LoadError> {
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

    fn trained(&self, lengths: Lengths) -> Result<f64, LoadError> {
        let said = lengths
            .original_max_position_embeddings
            .or(self.original_max_position_embeddings)
            .or(lengths.max_position_embeddings);
        positive("original_max_position_embeddings", said).map(f64::from)
    }

    /// Peng et al. 2023.
    fn yarn(&self, lengths: Lengths) -> Result<Yarn, LoadError> {
        let factor = positive("factor", self.factor)?;
        let scale = |by: f64| {
            let factor = f64::from(factor);
            if factor <= 1.0 {
                1.0
            } else {
                0.1 * by * factor.ln() + 1.0
            }
        };
        let said = |value: Option<f64>| value.filter(|value| *value != 0.0);
        let usual = match said(self.mscale).zip(said(self.mscale_all_dim)) {
            Some((scaled, all)) => scale(scaled) / scale(all),
            None => scale(1.0),
        };
        Ok(Yarn {
            factor,
            trained: self.trained(lengths)?,
            fast: f64::from(positive("beta_fast", said(self.beta_fast).or(Some(32.0)))?),
            slow: f64::from(positive("beta_slow", said(self.beta_slow).or(Some(1.0)))?),
            truncate: self.truncate != Some(false),
            attention: self.attention(usual)?,
        })
    }

    /// Ding et al. 2024.
    fn long(&self, lengths: Lengths) -> Result<LongRope, LoadError> {
        let trained = self.trained(lengths)?;
        let factor = match (self.factor, lengths.max_position_embeddings) {
            (Some(factor), _) => f64::from(positive("factor", Some(factor))?),
            (None, Some(longest)) => longest / trained,
            (None, None) => 1.0,
        };
        let usual = if factor <= 1.0 {
            1.0
        } else {
            (1.0 + factor.ln() / trained.ln()).sqrt()
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of tokens; what is too large is cut to the largest"
        )]
        let beyond = trained as usize;
        Ok(LongRope {
            short: factors("short_factor", self.short_factor.as_deref())?,
            long: factors("long_factor", self.long_factor.as_deref())?,
            beyond,
            attention: self.attention(usual)?,
        })
    }

    fn attention(&self, usual: f64) -> Result<f32, LoadError> {
        positive("attention_factor", self.attention_factor.or(Some(usual)))
    }
}

fn factors(field: &str, values: Option<&[f64]>) -> Result<Vec<f32>, LoadError> {
    let values = values.unwrap_or_default();
    if values.is_empty() {
        return Err(LoadError::invalid(format!(
            "config.json: longrope needs {field}, a number for each pair of a head"
        )));
    }
    let factors = values.iter().map(|value| positive(field, Some(*value)));
    factors.collect()
}

/// A number above 0, as frequencies are computed with.
///
/// # Errors
/// `ModelInvalid` with the field's name.
pub(crate) fn positive(field: &str, value: Option<f64>) -> Result<f32, LoadError> {
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
