//! The families of Llama-like decoders, and in what each differs from Llama.
//!
//! Owns the defaults of transformers' `configuration_*.py`, and which layers a family has. Must not know of
//! tensors or of what a file says. Invariant: a family that is added says all of it at one place.

use crate::config::Config;
use crate::error::LoadError;
use crate::layers::Activation;

/// Whose formulas are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Gemma,
    Gemma2,
    Gemma3,
    Olmo2,
    Phi3,
    Mixtral,
    Qwen3Moe,
}

/// Where the norms of a layer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Norms {
    /// Of what attention and feed-forward get.
    Before,
    /// Of what they give (`OLMo` 2).
    After,
    /// Of both (Gemma 2 and 3).
    Around,
}

/// Of what of queries and keys there are norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadNorms {
    None,
    /// Of each head by itself (Qwen3, Gemma 3).
    Each,
    /// Of all heads together (`OLMo` 2).
    Together,
}

/// In what a family differs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traits {
    /// Heads of keys where a file says nothing; `None` is as many as of queries.
    pub(super) groups: Option<usize>,
    /// Numbers of a head where a file says nothing; `None` is what each head has of the hidden ones.
    pub(super) width: Option<usize>,
    /// Positions where a file says nothing.
    pub(super) positions: usize,
    /// The activation where a file says nothing.
    pub(super) activation: Activation,
    /// The epsilon of norms where a file says nothing.
    pub(super) eps: f64,
    /// The base of rotary frequencies where a file says nothing.
    pub(super) theta: f64,
    /// The padding token where a file says nothing; null in a file is none.
    pub(super) pad: Option<i64>,
    /// Where norms are.
    pub(super) norms: Norms,
    /// Norms of queries and keys.
    pub(super) head_norms: HeadNorms,
    /// Whether norms keep what is added to 1, and embeddings are multiplied by the root of the width (Gemma).
    pub(super) gemma: bool,
    /// Whether queries, keys and values are one matrix, and a gate and what it gates another (Phi 3).
    pub(super) fused: bool,
}

const LLAMA: Traits = Traits {
    groups: None,
    width: None,
    positions: 2_048,
    activation: Activation::Silu,
    eps: 1e-6,
    theta: 10_000.0,
    pad: None,
    norms: Norms::Before,
    head_norms: HeadNorms::None,
    gemma: false,
    fused: false,
};

const GEMMA: Traits = Traits {
    groups: Some(16),
    width: Some(256),
    positions: 8_192,
    activation: Activation::GeluNew,
    pad: Some(0),
    gemma: true,
    ..LLAMA
};

const SERVED: &str =
    "llama, mistral, qwen2, qwen3, gemma, gemma2, gemma3_text, olmo2, phi3, mixtral or qwen3_moe";

impl Family {
    /// By the architecture's name; GRM and `OpenRLHF` wrap several backbones, which `model_type` tells apart.
    ///
    /// # Errors
    /// `UnsupportedFormat` for a backbone of theirs that is not served.
    pub(super) fn of(config: &Config) -> Result<Self, LoadError> {
        let name = config.architecture.as_str();
        let backbone = ["ForSequenceClassification", "ForTokenClassification"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        match backbone.unwrap_or(name) {
            "Mistral" => Ok(Self::Mistral),
            "Qwen2" | "Qwen2ForRewardModel" => Ok(Self::Qwen2),
            "Qwen3" => Ok(Self::Qwen3),
            "Gemma" => Ok(Self::Gemma),
            "Gemma2" => Ok(Self::Gemma2),
            "Gemma3Text" => Ok(Self::Gemma3),
            "Olmo2" => Ok(Self::Olmo2),
            "Phi3" => Ok(Self::Phi3),
            "Mixtral" => Ok(Self::Mixtral),
            "Qwen3Moe" => Ok(Self::Qwen3Moe),
            "GRewardModel" | "RewardModel" => Self::wrapped(config.model_type()).ok_or_else(|| {
                LoadError::unsupported(format!("{name} is served where model_type is {SERVED}"))
            }),
            _ => Ok(Self::Llama),
        }
    }

    fn wrapped(model_type: Option<&str>) -> Option<Self> {
        match model_type? {
            "llama" => Some(Self::Llama),
            "mistral" => Some(Self::Mistral),
            "qwen2" => Some(Self::Qwen2),
            "qwen3" => Some(Self::Qwen3),
            "gemma" => Some(Self::Gemma),
            "gemma2" => Some(Self::Gemma2),
            "gemma3_text" => Some(Self::Gemma3),
            "olmo2" => Some(Self::Olmo2),
            "phi3" => Some(Self::Phi3),
            "mixtral" => Some(Self::Mixtral),
            "qwen3_moe" => Some(Self::Qwen3Moe),
            _ => None,
        }
    }

    /// In what it differs.
    pub(super) const fn traits(self) -> Traits {
        match self {
            Self::Llama => LLAMA,
            Self::Mistral => Traits {
                groups: Some(8),
                positions: 131_072,
                ..LLAMA
            },
            Self::Qwen2 => Traits {
                groups: Some(32),
                positions: 32_768,
                ..LLAMA
            },
            Self::Qwen3 => Traits {
                groups: Some(32),
                width: Some(128),
                positions: 32_768,
                head_norms: HeadNorms::Each,
                ..LLAMA
            },
            Self::Gemma => GEMMA,
            Self::Gemma2 => Traits {
                groups: Some(4),
                norms: Norms::Around,
                ..GEMMA
            },
            Self::Gemma3 => Traits {
                groups: Some(4),
                positions: 131_072,
                norms: Norms::Around,
                head_norms: HeadNorms::Each,
                ..GEMMA
            },
            Self::Olmo2 => Traits {
                eps: 1e-5,
                pad: Some(1),
                norms: Norms::After,
                head_norms: HeadNorms::Together,
                ..LLAMA
            },
            Self::Phi3 => Traits {
                positions: 4_096,
                eps: 1e-5,
                pad: Some(32_000),
                fused: true,
                ..LLAMA
            },
            Self::Mixtral => Traits {
                groups: Some(8),
                positions: 131_072,
                eps: 1e-5,
                theta: 1_000_000.0,
                ..LLAMA
            },
            Self::Qwen3Moe => Traits {
                groups: Some(4),
                positions: 32_768,
                head_norms: HeadNorms::Each,
                ..LLAMA
            },
        }
    }
}
