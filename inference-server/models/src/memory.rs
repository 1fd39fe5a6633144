//! How much memory of a device a model takes.
//!
//! Owns the formula, and the words for a device that has too little. Must not ask a device: what is free is an
//! argument. Invariant: a pass of more tokens, or of a wider model, is never said to take less.

use serde::Deserialize;

use crate::device_error::{Fault, fault};
use crate::error::{LoadError, Reason};
use crate::layers::MOST_SCORES;

/// Numbers of 32 bits that are there at once for each token: of the width of hidden states, for the residual, what is
/// normalised, queries, keys and values, and what attention gives, each before and after it is rounded.
const HIDDEN_NUMBERS: u64 = 10;
/// The same, of the inner width of the feed-forward part: a gate and what it gates, in 16 bits as they come out
/// of the product and in 32, the activation, and its product.
const INNER_NUMBERS: u64 = 6;
/// The same for each score of attention: as it comes out of the product, in 32 bits, masked, and its softmax.
const SCORE_NUMBERS: u64 = 4;
/// What the driver and its libraries take for themselves beside it.
const LIBRARIES: u64 = 512 << 20;

/// The widths of a model, as families call them in `config.json`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Widths {
    #[serde(default, alias = "n_embd", alias = "dim", alias = "d_model")]
    hidden_size: Option<u64>,
    #[serde(default, alias = "n_inner", alias = "hidden_dim")]
    intermediate_size: Option<u64>,
    #[serde(default, alias = "n_positions")]
    max_position_embeddings: Option<u64>,
}

/// What a model takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Its weights.
    pub weights: u64,
    /// What a pass takes beside them, at most.
    pub working: u64,
}

impl Need {
    /// Of a model of so many parameters of `bytes` each, whose passes go over at most `batch` tokens, or one
    /// sequence of `longest`.
    pub fn of(
        parameters: u64,
        bytes: u64,
        widths: Widths,
        (batch, longest): (usize, usize),
    ) -> Self {
        let hidden = widths.hidden_size.unwrap_or_default();
        let inner = (widths.intermediate_size).unwrap_or_else(|| hidden.saturating_mul(4));
        let positions = widths.max_position_embeddings.unwrap_or(u64::MAX);
        let tokens = (longest as u64).min(positions).max(batch as u64);
        let of_token = HIDDEN_NUMBERS
            .saturating_mul(hidden)
            .saturating_add(INNER_NUMBERS.saturating_mul(inner));
        let numbers = tokens
            .saturating_mul(of_token)
            .saturating_add(SCORE_NUMBERS * MOST_SCORES as u64);
        Self {
            weights: parameters.saturating_mul(bytes),
            working: numbers.saturating_mul(4).saturating_add(LIBRARIES),
        }
    }

    /// Refuses a device that has less than that.
    ///
    /// # Errors
    /// `LoadFailed` with all numbers, and what to do.
    pub fn check(self, device: &str, free: u64) -> Result<(), LoadError> {
        if self.weights.saturating_add(self.working) <= free {
            return Ok(());
        }
        Err(self.lacks(&format!("{device} has {} free", gibibytes(free))))
    }

    /// The error of a load or a trial that failed, in these numbers where it found no room: somebody else may have
    /// taken it after the device was asked.
    #[must_use]
    pub fn explain(self, error: LoadError, device: &str) -> LoadError {
        match fault(&error.message) {
            Fault::OutOfMemory(why) => self.lacks(&format!("{device} is full ({why})")),
            Fault::DeviceLost(_) | Fault::Other => error,
        }
    }

    fn lacks(self, said: &str) -> LoadError {
        LoadError::new(
            Reason::LoadFailed,
            format!(
                "{said}, and the model takes {} for its weights and up to {} for a batch: take a larger GPU, or one that nobody else uses, a smaller --dtype (bf16), or a lower --max-tokens",
                gibibytes(self.weights),
                gibibytes(self.working)
            ),
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
fn gibibytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn llama_8b() -> Widths {
        serde_json::from_str(
            r#"{"hidden_size":4096,"intermediate_size":14336,"max_position_embeddings":131072}"#,
        )
        .unwrap()
    }

    #[test]
    fn eight_billion_parameters_in_bf16_fit_24_gibibytes_with_short_texts_and_not_16() {
        let need = Need::of(8_030_000_000, 2, llama_8b(), (8_192, 8_192));
        assert_eq!(need.weights, 16_060_000_000);
        assert!(need.check("cuda:0", 24 << 30).is_ok(), "{need:?}");
        let error = need.check("cuda:0", 16 << 30).unwrap_err();
        assert_eq!(error.reason, Reason::LoadFailed);
        for named in ["cuda:0 has 16.0 GiB", "15.0 GiB for its weights", "--dtype"] {
            assert!(error.message.contains(named), "{error}");
        }
    }

    #[test]
    fn a_device_that_fills_up_while_it_loads_is_told_in_the_same_numbers_and_all_else_is_left() {
        let need = Need::of(8_030_000_000, 2, llama_8b(), (8_192, 8_192));
        let said = |message: &str| {
            let error = LoadError::invalid(message);
            need.explain(error, "cuda:0")
        };
        let full = said("layers.0.up: DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")");
        assert_eq!(full.reason, Reason::LoadFailed);
        for named in ["cuda:0 is full", "layers.0.up", "15.0 GiB for its weights"] {
            assert!(full.message.contains(named), "{full}");
        }
        assert_eq!(
            said("the weights lack x"),
            LoadError::invalid("the weights lack x")
        );
    }

    #[test]
    fn the_longest_sequence_counts_where_it_is_longer_than_a_batch_and_has_positions() {
        let working = |longest, widths| Need::of(1, 4, widths, (8_192, longest)).working;
        let few = Widths {
            max_position_embeddings: Some(512),
            ..llama_8b()
        };
        assert_eq!(working(512, llama_8b()), working(8_192, llama_8b()));
        assert!(working(16_384, llama_8b()) > working(8_192, llama_8b()));
        assert_eq!(working(16_384, few), working(8_192, few));
    }

    #[test]
    fn widths_are_found_under_the_names_of_all_families_and_absurd_ones_do_no_harm() {
        let widths = |json: &str| serde_json::from_str::<Widths>(json).unwrap();
        let gpt2 = widths(r#"{"n_embd":64,"n_inner":null,"n_positions":32}"#);
        assert_eq!(
            gpt2,
            widths(r#"{"hidden_size":64,"max_position_embeddings":32}"#)
        );
        let distilbert = widths(r#"{"dim":64,"hidden_dim":256}"#);
        assert_eq!(
            distilbert,
            widths(r#"{"hidden_size":64,"intermediate_size":256}"#)
        );
        let absurd = widths(r#"{"hidden_size":18446744073709551615}"#);
        let need = Need::of(u64::MAX, 4, absurd, (1, 1));
        assert!(need.check("cuda:0", 1 << 40).is_err());
    }
}
