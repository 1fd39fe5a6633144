//! Each form of input is what each kind of model was trained on, or a sentence that says why not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::here;
use inference_models::chat::{ChatTemplate, Origin};
use inference_models::{
    Chat, ChatMessage, EncodeOptions, Encoded, InputError, Kind, LoadError, LoadOptions, Model,
    TextInput, Truncation, load,
};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    here("tests/fixtures/parity").join(name)
}

fn open(name: &str, max_tokens: Option<usize>) -> Model {
    open_folder(&fixture(name), max_tokens).unwrap()
}

fn open_folder(folder: &Path, max_tokens: Option<usize>) -> Result<Model, LoadError> {
    load(
        folder,
        &LoadOptions {
            max_tokens,
            threads: 1,
            special_date: Some("2026-02-03".to_owned()),
            ..LoadOptions::default()
        },
    )
}

/// A copy with one file written, or removed where `text` is empty.
fn changed(name: &str, file: &str, text: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let path = folder.path().join(file);
    if text.is_empty() {
        fs::remove_file(path).unwrap();
    } else {
        fs::write(path, text).unwrap();
    }
    folder
}

fn text(text: &str) -> TextInput {
    TextInput::Text(text.to_owned())
}

fn pair(first: &str, second: &str) -> TextInput {
    TextInput::Pair(first.to_owned(), second.to_owned())
}

fn conversation(prompt: &str, response: &str) -> TextInput {
    TextInput::Conversation {
        prompt: prompt.to_owned(),
        response: response.to_owned(),
    }
}

fn messages(turns: &[(&str, &str)]) -> TextInput {
    let message = |(role, content): &(&str, &str)| ChatMessage::new(role, content);
    TextInput::Messages(Chat::from(turns.iter().map(message).collect::<Vec<_>>()))
}

fn encode(model: &Model, input: &TextInput) -> Result<Encoded, InputError> {
    model.tokenizer.encode(input, EncodeOptions::default())
}

fn with(model: &Model, input: &TextInput, options: EncodeOptions) -> Result<Encoded, InputError> {
    model.tokenizer.encode(input, options)
}

#[test]
fn an_encoder_reads_a_conversation_as_a_pair() {
    let model = open("bert", None);
    assert_eq!(model.facts.kind, Kind::Encoder);
    let wanted = encode(&model, &pair("a", "b")).unwrap();
    assert_eq!(encode(&model, &conversation("a", "b")).unwrap(), wanted);
    let turns = messages(&[("user", "a"), ("assistant", "b")]);
    assert_eq!(encode(&model, &turns).unwrap(), wanted);
}

#[test]
fn an_encoder_takes_exactly_a_user_and_an_assistant() {
    let model = open("bert", None);
    for turns in [
        &[][..],
        &[("user", "a")],
        &[("assistant", "a"), ("user", "b")],
        &[("system", "s"), ("user", "a"), ("assistant", "b")],
        &[("user", "a"), ("tool", "b")],
    ] {
        let error = encode(&model, &messages(turns)).unwrap_err();
        assert_eq!(error, InputError::NoPairOfTurns, "{turns:?}");
    }
}

#[test]
fn a_decoder_renders_a_conversation_as_two_turns() {
    let model = open("llama", None);
    assert_eq!(model.facts.kind, Kind::Decoder);
    assert!(model.facts.has_template);
    assert_eq!(model.facts.special_date, None);
    let turns = messages(&[("user", "a"), ("assistant", "b")]);
    let rendered = encode(&model, &conversation("a", "b")).unwrap();
    assert_eq!(encode(&model, &turns).unwrap(), rendered);
    // The template writes the BOS; it is there once.
    assert_eq!(rendered.ids.iter().filter(|id| **id == 0).count(), 1);
    assert_eq!(rendered.ids[0], 0);
    let special = EncodeOptions {
        add_special_tokens: Some(true),
        ..EncodeOptions::default()
    };
    let doubled = with(&model, &turns, special).unwrap();
    assert_eq!(doubled.ids[..2], [0, 0]);
}

#[test]
fn special_tokens_of_texts_may_be_left_away() {
    let model = open("llama", None);
    let whole = encode(&model, &text("hello")).unwrap().ids;
    let plain = EncodeOptions {
        add_special_tokens: Some(false),
        ..EncodeOptions::default()
    };
    assert_eq!(with(&model, &text("hello"), plain).unwrap().ids, whole[1..]);
    assert_eq!(
        with(&model, &text(""), plain).unwrap_err(),
        InputError::Empty
    );
}

#[test]
fn what_a_template_refuses_is_said() {
    let model = open("gemma2", None);
    let turns = messages(&[("system", "s"), ("user", "a"), ("assistant", "b")]);
    assert_eq!(
        encode(&model, &turns).unwrap_err().to_string(),
        "the chat template refuses these messages: System role not supported"
    );
    assert_eq!(
        encode(&model, &messages(&[])).unwrap_err(),
        InputError::NoMessages
    );
    let folder = changed(
        "llama",
        "chat_template.jinja",
        "{% for m in messages %}{% if m.role not in ['user', 'assistant'] %}{{ raise_exception('Unknown role ' ~ m.role) }}{% endif %}{{ m.content }}{% endfor %}",
    );
    let model = open_folder(folder.path(), None).unwrap();
    let error = encode(&model, &messages(&[("pirate", "arr")])).unwrap_err();
    assert!(error.to_string().ends_with("Unknown role pirate"));
}

#[test]
fn a_template_that_loops_ends_in_an_error() {
    let folder = changed(
        "llama",
        "chat_template.jinja",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    );
    let error = open_folder(folder.path(), None).unwrap_err();
    assert!(error.message.contains("too many steps"), "{error}");
}

#[test]
fn a_template_that_cannot_be_parsed_is_named_when_the_model_is_loaded() {
    let folder = changed("llama", "chat_template.jinja", "{% for m in %}");
    let error = open_folder(folder.path(), None).unwrap_err();
    assert!(
        error.message.contains("chat_template.jinja"),
        "{}",
        error.message
    );
    // An encoder does not read it.
    let folder = changed("bert", "chat_template.jinja", "{% for m in %}");
    assert!(open_folder(folder.path(), None).is_ok());
}

#[test]
fn a_template_file_goes_before_the_one_in_the_config() {
    let folder = changed("llama", "chat_template.jinja", "x");
    let model = open_folder(folder.path(), None).unwrap();
    assert_eq!(
        encode(&model, &conversation("a", "b")).unwrap().ids.len(),
        1
    );
}

#[test]
fn the_date_is_a_fact_of_a_model_whose_template_asks_for_it() {
    let folder = changed(
        "llama",
        "chat_template.jinja",
        "{{ strftime_now('%d %b %Y') }}",
    );
    let model = open_folder(folder.path(), None).unwrap();
    assert_eq!(model.facts.special_date.as_deref(), Some("2026-02-03"));
    let options = LoadOptions {
        special_date: Some("tomorrow".to_owned()),
        ..LoadOptions::default()
    };
    let error = load(folder.path(), &options).unwrap_err();
    assert!(
        error.message.contains("--special-date"),
        "{}",
        error.message
    );
}

#[test]
fn without_a_template_a_prompt_template_is_asked_for_and_taken() {
    let folder = changed("qwen2", "chat_template.jinja", "");
    let model = open_folder(folder.path(), None).unwrap();
    assert!(!model.facts.has_template);
    assert_eq!(
        encode(&model, &conversation("a", "b"))
            .unwrap_err()
            .to_string(),
        "no chat template: send text, or set --prompt-template"
    );
    let options = |template: &str| LoadOptions {
        prompt_template: Some(template.to_owned()),
        ..LoadOptions::default()
    };
    let model = load(folder.path(), &options("{{ prompt }} -> {{ response }}")).unwrap();
    let rendered = encode(&model, &conversation("a", "b")).unwrap();
    assert_eq!(rendered, encode(&model, &text("a -> b")).unwrap());
    let error = load(folder.path(), &options("{{ prompt")).unwrap_err();
    assert!(
        error.message.contains("--prompt-template"),
        "{}",
        error.message
    );
}

#[test]
fn texts_are_cut_at_the_end_and_chats_at_the_beginning_but_for_the_bos() {
    let model = open("llama", Some(20));
    let long = "one two three four five six seven eight nine ten eleven twelve".repeat(3);
    let whole = open("llama", Some(1_000));
    let all = encode(&whole, &text(&long)).unwrap();
    assert!(!all.truncated);
    let cut = encode(&model, &text(&long)).unwrap();
    assert!(cut.truncated);
    assert_eq!(cut.ids, all.ids[..20]);

    let chat = conversation(&long, "fine");
    let all = encode(&whole, &chat).unwrap().ids;
    let cut = encode(&model, &chat).unwrap();
    assert!(cut.truncated);
    assert_eq!(cut.ids.len(), 20);
    assert_eq!(cut.ids[0], 0);
    assert_eq!(cut.ids[1..], all[all.len() - 19..]);

    let right = EncodeOptions {
        truncation: Some(Truncation::Right),
        ..EncodeOptions::default()
    };
    assert_eq!(with(&model, &chat, right).unwrap().ids, all[..20]);
}

#[test]
fn a_pair_is_cut_where_it_is_longer_and_keeps_its_special_tokens() {
    let model = open("bert", Some(16));
    let cut = encode(&model, &pair("short", &"long ".repeat(50))).unwrap();
    assert!(cut.truncated);
    assert_eq!(cut.ids.len(), 16);
    assert_eq!((cut.ids[0], cut.ids[15]), (2, 3));
    assert_eq!(cut.ids.iter().filter(|id| **id == 3).count(), 2);
    let left = EncodeOptions {
        truncation: Some(Truncation::Left),
        ..EncodeOptions::default()
    };
    let cut = with(
        &model,
        &text("a b c d e f g h i j k l m n o p q r s t"),
        left,
    )
    .unwrap();
    assert_eq!((cut.ids.len(), cut.ids[0], cut.ids[15]), (16, 2, 3));
    let end = encode(&model, &text("t")).unwrap().ids[1];
    assert_eq!(cut.ids[14], end);
}

#[test]
fn a_request_may_lower_the_limit_and_not_raise_it() {
    let model = open("bert", Some(16));
    let long = text(&"word ".repeat(50));
    let limited = |max_tokens| EncodeOptions {
        max_tokens: Some(max_tokens),
        ..EncodeOptions::default()
    };
    assert_eq!(with(&model, &long, limited(8)).unwrap().ids.len(), 8);
    assert_eq!(with(&model, &long, limited(1_000)).unwrap().ids.len(), 16);
    for limit in [0, 1, 2] {
        assert_eq!(
            with(&model, &long, limited(limit)).unwrap_err(),
            InputError::NoRoom { limit, special: 2 }
        );
    }
}

#[test]
fn the_flag_decides_for_all_forms_and_the_request_over_it() {
    let options = LoadOptions {
        max_tokens: Some(20),
        truncation: Some(Truncation::Reject),
        ..LoadOptions::default()
    };
    let model = load(&fixture("llama"), &options).unwrap();
    let long = "word ".repeat(50);
    for input in [text(&long), conversation(&long, "x")] {
        let error = encode(&model, &input).unwrap_err();
        assert!(
            matches!(error, InputError::TooLong { limit: 20, .. }),
            "{error:?}"
        );
        let right = EncodeOptions {
            truncation: Some(Truncation::Right),
            ..EncodeOptions::default()
        };
        assert!(with(&model, &input, right).unwrap().truncated);
    }
}

#[test]
fn limits_are_those_of_tokenizer_positions_and_serving() {
    for (name, limit) in [
        ("bert", 512),
        ("roberta", 512),
        ("llama", 16_384),
        ("gpt-neox", 2_048),
        ("gemma2", 8_192),
    ] {
        assert_eq!(open(name, None).tokenizer.max_tokens(), limit, "{name}");
    }
    // RoBERTa's table has two rows that no token reaches.
    let folder = changed("roberta", "tokenizer_config.json", "");
    let model = open_folder(folder.path(), None).unwrap();
    assert_eq!(model.tokenizer.max_tokens(), 512);
    assert!(open_folder(&fixture("roberta"), Some(513)).is_err());
}

#[test]
fn a_tokenizer_without_a_form_for_pairs_refuses_them() {
    let tokenizer = fs::read_to_string(fixture("qwen2").join("tokenizer.json")).unwrap();
    let mut tokenizer: serde_json::Value = serde_json::from_str(&tokenizer).unwrap();
    for processor in [
        serde_json::Value::Null,
        serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}),
    ] {
        tokenizer["post_processor"] = processor;
        let folder = changed("qwen2", "tokenizer.json", &tokenizer.to_string());
        let model = open_folder(folder.path(), None).unwrap();
        assert!(!model.facts.has_pairs);
        assert_eq!(
            encode(&model, &pair("a", "b")).unwrap_err(),
            InputError::NoPairs
        );
        assert!(encode(&model, &conversation("a", "b")).is_ok());
    }
    assert!(open("qwen2", None).facts.has_pairs);
}

#[test]
fn chats_are_rendered_as_transformers_renders_them() {
    let lines = fs::read_to_string(here("tests/fixtures/templates.jsonl")).unwrap();
    assert!(lines.lines().count() > 50);
    for line in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let special = [("bos_token", "<s>"), ("eos_token", "</s>")]
            .map(|(name, token)| (name.to_owned(), token.to_owned()))
            .into();
        let source = line["template"].as_str().unwrap();
        let file = Origin::Model("chat_template.jinja");
        let date = "2026-02-03".parse().unwrap();
        let template = ChatTemplate::parse(source, file, &special, date).unwrap();
        let turn = |message: &serde_json::Value| {
            let text = |name: &str| message[name].as_str().unwrap();
            ChatMessage::new(text("role"), text("content"))
        };
        let turns: Vec<_> = line["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(turn)
            .collect();
        let rendered = template.render(&Chat::from(turns));
        match line.get("rendered") {
            Some(wanted) => assert_eq!(
                rendered.as_deref(),
                Ok(wanted.as_str().unwrap()),
                "{source}"
            ),
            None => assert!(rendered.is_err(), "{source}: {rendered:?}"),
        }
    }
}

#[test]
fn a_long_text_is_shown_about_as_fast_as_it_is_encoded() {
    let model = open("bert", None);
    // Characters of several bytes, so that places in characters and in bytes differ.
    let text = "é ü ".repeat(200_000);
    let began = std::time::Instant::now();
    let shown = model.tokenizer.show(&text, false).unwrap();
    assert!(began.elapsed().as_secs() < 8, "{:?}", began.elapsed());
    let characters: Vec<char> = text.chars().collect();
    for token in shown.iter().rev().take(100) {
        let (start, stop) = token.place.unwrap();
        let part: String = characters[start..stop].iter().collect();
        assert_eq!(token.text.as_deref(), Some(part.as_str()));
    }
}

#[test]
fn an_encoder_has_no_use_for_a_prompt_template_and_says_so() {
    let options = LoadOptions {
        prompt_template: Some("{{ prompt }}".to_owned()),
        ..LoadOptions::default()
    };
    let folder = changed("bert", "tokenizer_config.json", "{}");
    let error = load(folder.path(), &options).unwrap_err();
    assert!(
        error.message.contains("--prompt-template"),
        "{}",
        error.message
    );
}

/// As transformers renders it: 24 and 25 tokens.
#[test]
fn a_turn_that_is_continued_ends_where_its_content_does() {
    let model = open("llama", None);
    for (answer, end, tokens) in [("4", "4", 24), ("4 and ", "4 and", 25)] {
        let mut chat = Chat::of("What is 2+2?", answer);
        chat.options.continue_final_message = true;
        let found = encode(&model, &TextInput::Messages(chat.clone())).unwrap();
        let rendered = format!(
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWhat is 2+2?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n{end}"
        );
        let options = EncodeOptions {
            add_special_tokens: Some(false),
            ..EncodeOptions::default()
        };
        let wanted = with(&model, &text(&rendered), options).unwrap();
        assert_eq!((found.ids.len(), found.ids), (tokens, wanted.ids));
        chat.options.add_generation_prompt = true;
        let both = encode(&model, &TextInput::Messages(chat)).unwrap_err();
        assert!(matches!(both, InputError::Template(_)), "{both:?}");
    }
}
