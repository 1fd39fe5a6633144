//! Tests of the decoders' config: what each family reads of the same field.

use super::*;
use crate::error::Reason;

fn read(architecture: &str, fields: &str) -> Result<DecoderConfig, LoadError> {
    let text = format!(
        r#"{{"architectures":["{architecture}"],"vocab_size":10,"hidden_size":8,"intermediate_size":8,"num_hidden_layers":4,"num_attention_heads":2,"num_key_value_heads":1{fields}}}"#
    );
    DecoderConfig::read(&Config::parse(text.as_bytes()).unwrap())
}

fn reaches(architecture: &str, fields: &str) -> Vec<Reach> {
    let config = read(architecture, fields).unwrap();
    (0..4).map(|i| config.attention(i).reach).collect()
}

#[test]
fn windows_are_where_each_family_has_them() {
    let (all, window) = (Reach::Causal, Reach::Window(7));
    let seven = r#","sliding_window":7"#;
    assert_eq!(reaches("LlamaForSequenceClassification", seven), [all; 4]);
    assert_eq!(
        reaches("MistralForSequenceClassification", seven),
        [window; 4]
    );
    assert_eq!(
        reaches(
            "MistralForSequenceClassification",
            r#","sliding_window":null"#
        ),
        [all; 4]
    );
    assert_eq!(
        reaches("MistralForSequenceClassification", ""),
        [Reach::Window(4_096); 4]
    );
    assert_eq!(
        reaches("Gemma2ForSequenceClassification", seven),
        [window, all, window, all]
    );
    assert_eq!(
        reaches(
            "Qwen2ForSequenceClassification",
            r#","sliding_window":7,"max_window_layers":1"#
        ),
        [all; 4]
    );
    assert_eq!(
        reaches(
            "Qwen2ForSequenceClassification",
            r#","sliding_window":7,"max_window_layers":1,"use_sliding_window":true"#
        ),
        [all, window, window, window]
    );
}

#[test]
fn counts_that_cannot_be_are_refused() {
    for fields in [
        r#","vocab_size_":0,"head_dim":0"#,
        r#","head_dim":1000000000000"#,
        r#","sliding_window":0"#,
        r#","layer_types":["full_attention"]"#,
        r#","query_pre_attn_scalar":0"#,
        r#","max_position_embeddings":0"#,
    ] {
        let error = read("Gemma2ForSequenceClassification", fields).unwrap_err();
        assert_eq!(error.reason, Reason::ModelInvalid, "{fields}");
    }
    let error = read("GRewardModel", r#","model_type":"gpt2""#).unwrap_err();
    assert_eq!(error.reason, Reason::UnsupportedFormat);
}
