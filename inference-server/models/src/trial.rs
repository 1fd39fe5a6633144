//! What a model has to show before traffic comes.
//!
//! Owns the texts that it is tried with. Must not know how it was loaded. Invariant: a model that passes has computed
//! a finite score, and on a device as many tokens as it is ever given at once in one batch.

use crate::backend::Backend;
use crate::error::LoadError;
use crate::input::{EncodeOptions, TextInput};
use crate::loader::Model;
use crate::packed::Packed;

/// One score with the whole of it; on a device, as many more tokens as go through it at once: it makes its kernels
/// then, and says whether there is room.
///
/// # Errors
/// `ModelInvalid`, with why it failed.
pub(crate) fn run(model: &Model, backend: &Backend) -> Result<(), LoadError> {
    let failed = |why: String| LoadError::invalid(format!("a trial score failed: {why}"));
    let encoded = model
        .tokenizer
        .encode(
            &TextInput::Text("Hello, world".to_owned()),
            EncodeOptions::default(),
        )
        .map_err(|error| failed(error.to_string()))?;
    let mut batch = Packed::default();
    batch.push(&encoded.ids, &encoded.type_ids);
    let logits = model
        .engine
        .forward(&batch)
        .map_err(|error| failed(error.to_string()))?;
    if !logits.iter().flatten().all(|value| value.is_finite()) {
        return Err(failed(
            "the score is not finite; the weights are damaged".to_owned(),
        ));
    }
    match backend {
        Backend::Kernels(_) => Ok(()),
        Backend::Tensors(_) => {
            let most = backend.most_tokens();
            let batch = full_batch(&encoded.ids, most, model.tokenizer.max_tokens());
            let filled = model.engine.forward(&batch).map(drop);
            filled.map_err(|error| failed(error.to_string()))
        }
    }
}

/// A batch of `most` tokens, in sequences of at most `longest`, of the tokens `ids` again and again.
fn full_batch(ids: &[u32], most: usize, longest: usize) -> Packed {
    let mut batch = Packed::default();
    let length = longest.min(most).max(1);
    let ids: Vec<u32> = ids.iter().copied().cycle().take(length).collect();
    for _ in 0..most / length {
        batch.push(&ids, &[]);
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_batch_is_as_large_as_one_gets_and_has_no_sequence_that_is_too_long() {
        let lengths = |longest| {
            let batch = full_batch(&[1, 2, 3], 10, longest);
            batch.ranges().map(|range| range.len()).collect::<Vec<_>>()
        };
        assert_eq!(lengths(4), [4, 4]);
        assert_eq!(lengths(10), [10]);
        assert_eq!(lengths(1_000), [10]);
    }
}
