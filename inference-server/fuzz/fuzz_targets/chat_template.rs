//! Chat templates: what is before the first zero byte is the template; what follows are roles and
//! what they said, with zero bytes between.
//!
//! Owns nothing but the form of its input. Invariant: a template ends in time, in memory and in a
//! text that its fuel can pay for, on the stack of a thread of the server; never a panic.
#![no_main]

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;
use std::thread;

use inference_fuzz::here;
use inference_models::{Chat, ChatMessage};
use inference_models::chat::{ChatTemplate, Origin};
use jiff::civil::{Date, date};
use libfuzzer_sys::fuzz_target;

const DAY: Date = date(2026, 2, 3);
/// That of tokio's threads, which render.
const STACK: usize = 2 << 20;
/// What the fuel of one rendering pays for.
const MOST: usize = 32_000_000;

/// Holds the input that is being read: a stack that overflows leaves libFuzzer no time to write it.
/// Where there is no such folder, nobody wants it.
static LAST: LazyLock<Option<File>> =
    LazyLock::new(|| File::create(here("fuzz/artifacts/chat_template/last")).ok());

fuzz_target!(|data: &[u8]| {
    if let Some(last) = LAST.as_ref() {
        drop(last.write_all_at(data, 0));
        drop(last.set_len(data.len() as u64));
    }
    let text = String::from_utf8_lossy(data);
    let mut parts = text.split('\0');
    let template = parts.next().unwrap_or_default();
    let mut messages = Vec::new();
    while let (Some(role), Some(content)) = (parts.next(), parts.next()) {
        messages.push(ChatMessage::new(role, content));
    }
    let chat = Chat::from(messages);
    let ended = thread::scope(|scope| {
        let work = || {
            for origin in [Origin::Model("chat_template.jinja"), Origin::Flag] {
                render(template, origin, &chat);
            }
        };
        let thread = thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, work);
        thread.is_ok_and(|thread| thread.join().is_ok())
    });
    assert!(ended, "the thread ended early");
});

fn render(template: &str, origin: Origin, chat: &Chat) {
    let special = BTreeMap::from([("bos_token".to_owned(), "<s>".to_owned())]);
    if let Ok(template) = ChatTemplate::parse(template, origin, &special, DAY)
        && let Ok(text) = template.render(chat)
    {
        assert!(text.len() <= MOST, "more text than the fuel pays for");
    }
}
