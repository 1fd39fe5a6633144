//! The rotary part of `config.json`, in its old and new forms.
//!
//! Owns `rope_theta`, and where `rope_scaling` and `rope_parameters` are. Must not know of the ways of scaling.
//! Invariant: what it hands out can be computed with.

use serde::Deserialize;

use crate::config::Config;
use crate::error::LoadError;
use crate::layers::{Rotary, Scaling};
use crate::rope_scaling::{Lengths, Parameters, positive};

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
    /// Of layers that slide, in the old form (Gemma 3).
    #[serde(default)]
    rope_local_base_freq: Option<f64>,
    #[serde(flatten)]
    lengths: Lengths,
    /// Parameters, or parameters by type of layer.
    #[serde(default)]
    rope_parameters: Option<serde_json::Value>,
}

impl Rope {
    /// Reads the parameters of layers of type `layer` where the file tells types apart. What the
    /// file leaves out is `theta`, and `partial` of each head.
    ///
    /// # Errors
    /// `UnsupportedFormat` for a way of scaling that is not served, `ModelInvalid` for numbers that
    /// cannot be.
    pub fn read(config: &Config, layer: &str, theta: f64, partial: f64) -> Result<Self, LoadError> {
        let mut fields: Fields = config.part()?;
        let parameters = fields.parameters(layer)?;
        fields.rope(&parameters, theta, partial)
    }

    /// The same for Phi 3, whose names for its scaling are its own.
    ///
    /// # Errors
    /// As [`Rope::read`].
    pub fn read_phi3(config: &Config) -> Result<Self, LoadError> {
        let mut fields: Fields = config.part()?;
        let parameters = fields.parameters("full_attention")?.of_phi3()?;
        fields.rope(&parameters, 10_000.0, 1.0)
    }

    /// The parameters of layers that slide, where they have their own: in the old form `rope_local_base_freq`,
    /// without any scaling. What the file leaves out is `theta`.
    ///
    /// # Errors
    /// As [`Rope::read`], and where `rope_parameters` are not told apart by type of layer.
    pub fn read_local(config: &Config, theta: f64) -> Result<Self, LoadError> {
        let fields: Fields = config.part()?;
        let Some(all) = &fields.rope_parameters else {
            let theta = fields.rope_local_base_freq.unwrap_or(theta);
            return Ok(Self {
                theta: positive("rope_local_base_freq", Some(theta))?,
                scaling: Scaling::None,
                partial: 1.0,
            });
        };
        if all.get("sliding_attention").is_none() || all.get("full_attention").is_none() {
            return Err(LoadError::invalid(
                "config.json: rope_parameters need full_attention and sliding_attention, each with its own, for this architecture",
            ));
        }
        Self::read(config, "sliding_attention", theta, 1.0)
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
        if let Scaling::Long(long) = &self.scaling
            && [&long.short, &long.long].map(Vec::len) != [turned / 2; 2]
        {
            return Err(LoadError::invalid(format!(
                "config.json: short_factor and long_factor need {} numbers each, one for each pair of a head",
                turned / 2
            )));
        }
        Ok(Rotary::new(turned, self.theta, &self.scaling))
    }
}

impl Fields {
    /// Those of layers of that type. A file that was saved in the new form and has the old one added by hand means
    /// the latter; readers differ in which of them counts, so that they have to say the same.
    fn parameters(&mut self, layer: &str) -> Result<Parameters, LoadError> {
        let beside = self.rope_scaling.take();
        let Some(value) = self.rope_parameters.take() else {
            return Ok(beside.unwrap_or_default());
        };
        let own = parameters(value, layer)?;
        let scaling = |parameters: &Parameters| parameters.scaling(self.lengths).ok();
        // The old form is of layers that do not slide.
        if let Some(beside) = beside.filter(|_| layer != "sliding_attention")
            && scaling(&beside) != scaling(&own)
        {
            return Err(LoadError::invalid(
                "config.json: rope_scaling and rope_parameters scale in two ways: remove the one that is not meant",
            ));
        }
        Ok(own)
    }

    fn rope(self, parameters: &Parameters, theta: f64, partial: f64) -> Result<Rope, LoadError> {
        let fields = self;
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
        Ok(Rope {
            theta: positive("rope_theta", Some(theta))?,
            scaling: parameters.scaling(fields.lengths)?,
            partial,
        })
    }
}

fn parameters(value: serde_json::Value, layer: &str) -> Result<Parameters, LoadError> {
    let own = value.get(layer).cloned().unwrap_or(value);
    serde_json::from_value::<Option<Parameters>>(own)
        .map(Option::unwrap_or_default)
        .map_err(|error| LoadError::invalid(format!("config.json: rope_parameters: {error}")))
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
    fn two_forms_that_differ_are_refused() {
        let both = |factor: f64| {
            read(&format!(
                r#","rope_parameters":{{"rope_theta":5.0,"rope_type":"linear","factor":2.0}},"rope_scaling":{{"type":"linear","factor":{factor}}}"#
            ))
        };
        assert_eq!(both(2.0).unwrap().scaling, Scaling::Linear { factor: 2.0 });
        assert_eq!(both(4.0).unwrap_err().reason, Reason::ModelInvalid);
        let unscaled = r#","rope_parameters":{"rope_type":"default"},"rope_scaling":{"rope_type":"yarn","factor":4,"original_max_position_embeddings":64}"#;
        let error = read(unscaled).unwrap_err();
        assert!(
            error.message.contains("remove the one"),
            "{}",
            error.message
        );
    }

    #[test]
    fn scaling_that_is_not_served_is_refused_by_name() {
        let error = read(r#","rope_scaling":{"rope_type":"axial","factor":4.0}"#).unwrap_err();
        assert_eq!(error.reason, Reason::UnsupportedFormat);
        assert!(error.message.contains("axial"), "{}", error.message);
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
            r#","rope_scaling":{"type":"dynamic"}"#,
            r#","rope_scaling":{"type":"yarn","original_max_position_embeddings":64}"#,
            r#","rope_scaling":{"type":"yarn","factor":4}"#,
            r#","rope_scaling":{"type":"yarn","factor":4,"original_max_position_embeddings":64,"beta_fast":-1}"#,
            r#","rope_scaling":{"type":"yarn","factor":4,"original_max_position_embeddings":64,"attention_factor":0}"#,
            r#","rope_scaling":{"type":"longrope","original_max_position_embeddings":64,"short_factor":[1]}"#,
            r#","rope_scaling":{"type":"longrope","original_max_position_embeddings":64,"short_factor":[1],"long_factor":[0]}"#,
            r#","partial_rotary_factor":1.5"#,
        ] {
            let error = read(fields).unwrap_err();
            assert_eq!(error.reason, Reason::ModelInvalid, "{fields}");
        }
        let long = r#","rope_scaling":{"type":"longrope","original_max_position_embeddings":64,"short_factor":[1,1],"long_factor":[2,2]}"#;
        assert!(read(long).unwrap().rotary(4).is_ok());
        assert!(read(long).unwrap().rotary(6).is_err());
        assert!(read("").unwrap().rotary(7).is_err());
        assert!(read("").unwrap().rotary(0).is_err());
    }
}
