//! What a chat template renders is what jinja2 renders, set up as transformers sets it up, or it is
//! refused: never another text. The table is written by `make_snippets.py`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use inference_models::chat::{ChatTemplate, Origin};
use inference_models::{Chat, ChatMessage, TemplateValue};
use serde_json::Value;

const TABLE: &str = include_str!("fixtures/snippets.jsonl");
/// Of the table's snippets those that render as in Python, at least.
const SAME: usize = 150;

fn conversation() -> Chat {
    let map = |members: Vec<(&str, TemplateValue)>| TemplateValue::from_pairs(members);
    let text = |text: &str| TemplateValue::from(text);
    let list = vec![
        TemplateValue::from(true),
        TemplateValue::from(()),
        TemplateValue::from(1.5),
        text("é\"'"),
    ];
    let arguments = map(vec![
        ("b", TemplateValue::from(1)),
        ("a", TemplateValue::from(list)),
    ]);
    let function = map(vec![("name", text("f")), ("arguments", arguments)]);
    let call = map(vec![("type", text("function")), ("function", function)]);
    let members = [
        ("role", text("assistant")),
        ("content", text("4")),
        ("tool_calls", TemplateValue::from(vec![call])),
    ];
    let members = members.map(|(name, value)| (name.to_owned(), value));
    Chat::from(vec![
        ChatMessage::new("user", " Hello, World "),
        ChatMessage::of_members(members.to_vec()),
    ])
}

fn rendered(source: &str, chat: &Chat) -> Result<String, String> {
    let tokens = [("bos_token", "<s>"), ("eos_token", "</s>")];
    let tokens = tokens.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let origin = Origin::Model("chat_template.jinja");
    let date = "2026-02-03".parse().unwrap();
    let template = ChatTemplate::parse(source, origin, &BTreeMap::from(tokens), date)
        .map_err(|error| error.message)?;
    template.render(chat).map_err(|error| error.to_string())
}

#[test]
fn a_snippet_renders_as_in_python_or_is_refused() {
    let chat = conversation();
    let (mut same, mut other) = (0, Vec::new());
    for line in TABLE.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let source = line.get("source").and_then(Value::as_str).unwrap();
        let expected = line.get("text").and_then(Value::as_str);
        match (rendered(source, &chat), expected) {
            (Ok(text), Some(expected)) if text == expected => same += 1,
            (Ok(text), _) => other.push(format!("{source}\n  {expected:?}\n  {text:?}")),
            // What fails in Python fails here as well.
            (Err(_), None) => same += 1,
            (Err(why), Some(_)) => println!("refused: {source}: {why}"),
        }
    }
    println!("{same} as in Python");
    assert!(other.is_empty(), "another text:\n{}", other.join("\n"));
    assert!(same >= SAME, "only {same} render as in Python");
}
