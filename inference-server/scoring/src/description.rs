//! By whom scores are given.

use crate::Calibration;

/// Whose scores they are, and what has to be known of it to show them.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// The revision that it is, where somebody has said so.
    pub revision: Option<String>,
    /// The version's name.
    pub version: String,
    /// The digest of the model's files.
    pub digest: String,
    /// Which half of a transformer it is.
    pub backbone: Backbone,
    /// The labels, in the order of the logits.
    pub labels: Vec<String>,
    /// What the checkpoint says is done to its logits where they are shown as probabilities.
    pub activation: Activation,
    /// Which of its logits is the score. It was checked against the model when that was loaded.
    pub label: usize,
    /// What is done to its logits on the native routes.
    pub native: Activation,
    /// Of the confidence; without one there is none.
    pub calibration: Option<Calibration>,
}

impl Description {
    /// The one of all labels' values that is the score; no number where there is none.
    pub fn own(&self, values: &[f32]) -> f32 {
        values.get(self.label).copied().unwrap_or(f32::NAN)
    }
}

/// Which half of a transformer a model is; some clients' defaults depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backbone {
    /// Reads a text as a whole.
    Encoder,
    /// Reads it from left to right.
    Decoder,
}

/// What is done to the logits of one text where they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// Each by itself: `1 / (1 + exp(-x))`.
    Sigmoid,
    /// All of them together, so that they sum to 1.
    Softmax,
    /// Each by itself: its hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Identity, Self::Sigmoid, Self::Softmax, Self::Tanh];

    /// As flags and documents call it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Sigmoid => "sigmoid",
            Self::Softmax => "softmax",
            Self::Tanh => "tanh",
        }
    }

    /// The one of that name.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.word() == word)
    }

    /// What transformers and its servers do where a checkpoint says nothing.
    pub const fn of_labels(labels: usize) -> Self {
        if labels == 1 {
            Self::Sigmoid
        } else {
            Self::Softmax
        }
    }

    /// The values that are shown.
    pub fn apply(self, logits: &[f32]) -> Vec<f32> {
        match self {
            Self::Identity => logits.to_vec(),
            Self::Sigmoid => logits.iter().copied().map(sigmoid).collect(),
            Self::Softmax => softmax(logits),
            Self::Tanh => logits.iter().copied().map(f32::tanh).collect(),
        }
    }
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_softmax_sums_to_one_whatever_the_logits() {
        for logits in [[1000.0, 999.0, -1000.0], [0.0, 0.0, 0.0]] {
            let sum: f32 = Activation::Softmax.apply(&logits).iter().sum();
            assert!((sum - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn one_label_is_a_sigmoid_and_several_are_a_softmax_by_default() {
        assert_eq!(Activation::of_labels(1).apply(&[0.0]), [0.5]);
        assert_eq!(Activation::of_labels(2).apply(&[0.0, 0.0]), [0.5, 0.5]);
        assert_eq!(Activation::Identity.apply(&[3.0]), [3.0]);
        assert_eq!(Activation::Sigmoid.apply(&[0.0, 0.0]), [0.5, 0.5]);
        assert_eq!(Activation::Tanh.apply(&[0.0, 20.0]), [0.0, 1.0]);
    }
}
