//! Tensors of a checkpoint that no layer reads.
//!
//! Owns which of them change nothing, because the class that is served has no such part in
//! transformers either: heads of pre-training, poolers that the head passes over, buffers. Must not
//! know of layers. Invariant: any other is refused by name, for its author meant it to count.

use crate::error::LoadError;

/// Names of buffers, which are computed and not learned.
const BUFFERS: [&str; 6] = [
    "position_ids",
    "token_type_ids",
    "inv_freq",
    "masked_bias",
    "attention.bias",
    "attn.bias",
];

/// Where heads of pre-training and poolers begin; with a dot, so that no other name begins so.
const PARTS: [&str; 15] = [
    "lm_head.",
    "embed_out.",
    "cls.",
    "mlm_head.",
    "decoder.",
    "vocab_transform.",
    "vocab_layer_norm.",
    "vocab_projector.",
    "lm_predictions.",
    "mask_predictions.",
    "generator_predictions.",
    "generator_lm_head.",
    "discriminator_predictions.",
    "roberta.pooler.",
    "pooler.",
];

/// How many names an error holds.
const NAMED: usize = 4;

/// Refuses a checkpoint that holds more than is read.
///
/// # Errors
/// `ModelInvalid` with the names of what is left over; `UnsupportedFormat` for adapters.
pub(crate) fn check(unread: &[&str]) -> Result<(), LoadError> {
    let meant: Vec<&str> = unread
        .iter()
        .copied()
        .filter(|name| !is_harmless(name))
        .collect();
    let Some(first) = meant.first() else {
        return Ok(());
    };
    if let Some(name) = meant.iter().find(|name| name.contains("lora_")) {
        return Err(LoadError::unsupported(format!(
            "the weights hold {name} of an adapter that is not merged: merge it into the model (peft: merge_and_unload) and save that"
        )));
    }
    let list = meant
        .iter()
        .take(NAMED)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    let more = match meant.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let subject = if meant.len() == 1 {
        first
    } else {
        list.as_str()
    };
    Err(LoadError::invalid(format!(
        "the weights hold {subject}{more}, which nothing that config.json describes reads: the scores would not be those that were meant; correct config.json, or save the checkpoint without"
    )))
}

fn is_harmless(name: &str) -> bool {
    let parts = || name.strip_prefix("xlm_roberta.").unwrap_or(name);
    BUFFERS
        .iter()
        .any(|buffer| name == *buffer || name.ends_with(&format!(".{buffer}")))
        || PARTS.iter().any(|part| parts().starts_with(part))
        || name.starts_with("head.") && !name.contains("score")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;

    #[test]
    fn heads_of_pre_training_and_buffers_change_nothing() {
        for name in [
            "bert.embeddings.position_ids",
            "model.layers.0.self_attn.rotary_emb.inv_freq",
            "gpt_neox.layers.1.attention.bias",
            "lm_head.weight",
            "cls.predictions.transform.dense.weight",
            "roberta.pooler.dense.bias",
            "vocab_projector.bias",
        ] {
            assert_eq!(check(&[name]), Ok(()), "{name}");
        }
    }

    #[test]
    fn what_was_meant_to_count_is_refused_by_name() {
        for name in [
            "model.layers.2.self_attn.q_proj.weight",
            "model.layers.0.self_attn.q_norm.weight",
            "v_head.summary.weight",
            "gating.weight",
            "score.bias",
            "model.layers.0.self_attn.q_proj.bias",
        ] {
            let error = check(&["lm_head.weight", name]).unwrap_err();
            assert_eq!(error.reason, Reason::ModelInvalid);
            assert!(error.message.contains(name), "{}", error.message);
            assert!(!error.message.contains("lm_head"));
        }
    }

    #[test]
    fn of_many_some_are_named_and_the_others_counted() {
        let names: Vec<String> = (0..9).map(|i| format!("model.layers.{i}.x")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let message = check(&names).unwrap_err().message;
        assert!(message.contains("layers.3.x and 5 more"), "{message}");
    }

    #[test]
    fn an_adapter_that_is_not_merged_is_called_one() {
        let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
        let error = check(&[name]).unwrap_err();
        assert_eq!(error.reason, Reason::UnsupportedFormat);
        assert!(error.message.contains("merge"));
    }
}
