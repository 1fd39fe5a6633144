//! What a router asks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bytes::{Reader, Torn, Writer};
use crate::json::Members;
use crate::{Chat, ChatOptions, Input, InputOptions, Message, Side};

const MAGIC: [u8; 4] = *b"BRQ1";

/// When an answer is of no use any more. Clocks are not compared: what travels is what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After so long a time.
    In(Duration),
    /// So long after there was room for it, as a part of a long request.
    OnceAdmitted(Duration),
}

/// A request to be scored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// By when.
    pub until: Until,
    /// Whether it is a part of a long request.
    pub bulk: bool,
    /// How its inputs are turned into tokens.
    pub options: InputOptions,
    /// What is to be scored.
    pub inputs: Vec<Input>,
}

/// A chat inside of a question: JSON, because its turns are.
#[derive(Serialize, Deserialize)]
struct ChatDocument {
    messages: Vec<Message>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tools: Option<Vec<Members>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    documents: Option<Vec<Members>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chat_template_kwargs: Option<Members>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    add_generation_prompt: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    continue_final_message: Option<bool>,
}

/// The bytes of a question over `inputs`, which are not copied before.
pub fn write_question(
    until: Until,
    bulk: bool,
    options: InputOptions,
    inputs: &[Input],
) -> Vec<u8> {
    let texts: usize = inputs.iter().map(|input| input.bytes() + 16).sum();
    let mut out = Writer::new(MAGIC, texts + 64);
    let (kind, left) = match until {
        Until::In(left) => (0, left),
        Until::OnceAdmitted(left) => (1, left),
    };
    out.u8(kind);
    out.u64(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
    out.u8(u8::from(bulk));
    write_options(&mut out, options);
    out.count(inputs.len());
    for input in inputs {
        write_input(&mut out, input);
    }
    out.0
}

fn write_options(out: &mut Writer, options: InputOptions) {
    let InputOptions {
        add_special_tokens,
        max_tokens,
        truncation,
        max_first,
        max_second,
        clean_ends,
    } = options;
    out.u8(match add_special_tokens {
        None => 0,
        Some(false) => 1,
        Some(true) => 2,
    });
    out.u8(match truncation {
        None => 0,
        Some(Side::Left) => 1,
        Some(Side::Right) => 2,
        Some(Side::Reject) => 3,
    });
    out.u8(u8::from(clean_ends));
    for limit in [max_tokens, max_first, max_second] {
        // One more than it is, so that none is 0.
        let number = limit.and_then(|limit| u64::try_from(limit).ok()?.checked_add(1));
        out.u64(number.unwrap_or(0));
    }
}

fn write_input(out: &mut Writer, input: &Input) {
    match input {
        Input::Text(text) => {
            out.u8(0);
            out.block(text.as_bytes());
        }
        Input::Pair(first, second) => {
            out.u8(1);
            out.block(first.as_bytes());
            out.block(second.as_bytes());
        }
        Input::Conversation { prompt, response } => {
            out.u8(2);
            out.block(prompt.as_bytes());
            out.block(response.as_bytes());
        }
        Input::Messages(chat) => {
            out.u8(3);
            let options = chat.options.clone();
            let document = ChatDocument {
                messages: chat.messages.clone(),
                tools: options.tools,
                documents: options.documents,
                chat_template_kwargs: options.chat_template_kwargs,
                add_generation_prompt: options.add_generation_prompt,
                continue_final_message: options.continue_final_message,
            };
            // It was JSON; an empty block is refused by its reader.
            out.block(&serde_json::to_vec(&document).unwrap_or_default());
        }
    }
}

/// The question that bytes hold.
///
/// # Errors
/// Why they hold none.
pub fn read_question(bytes: &[u8]) -> Result<Question, Torn> {
    let mut from = Reader::new(bytes, MAGIC)?;
    let kind = from.u8()?;
    let left = Duration::from_millis(from.u64()?);
    let until = match kind {
        0 => Until::In(left),
        1 => Until::OnceAdmitted(left),
        2.. => return Err(Torn::Value("deadline")),
    };
    let bulk = from.bool()?;
    let options = read_options(&mut from)?;
    let count = from.count(5)?;
    let inputs: Result<Vec<Input>, Torn> = (0..count).map(|_| read_input(&mut from)).collect();
    let inputs = inputs?;
    from.end()?;
    Ok(Question {
        until,
        bulk,
        options,
        inputs,
    })
}

fn read_options(from: &mut Reader<'_>) -> Result<InputOptions, Torn> {
    let add_special_tokens = match from.u8()? {
        0 => None,
        1 => Some(false),
        2 => Some(true),
        3.. => return Err(Torn::Value("choice of special tokens")),
    };
    let truncation = match from.u8()? {
        0 => None,
        1 => Some(Side::Left),
        2 => Some(Side::Right),
        3 => Some(Side::Reject),
        4.. => return Err(Torn::Value("side")),
    };
    let clean_ends = from.bool()?;
    let mut limit = || -> Result<Option<usize>, Torn> {
        let limit = from.u64()?.checked_sub(1);
        let limit = limit.map(usize::try_from).transpose();
        limit.map_err(|_| Torn::Value("number of tokens"))
    };
    Ok(InputOptions {
        add_special_tokens,
        max_tokens: limit()?,
        truncation,
        max_first: limit()?,
        max_second: limit()?,
        clean_ends,
    })
}

fn read_input(from: &mut Reader<'_>) -> Result<Input, Torn> {
    match from.u8()? {
        0 => Ok(Input::Text(from.text()?)),
        1 => Ok(Input::Pair(from.text()?, from.text()?)),
        2 => Ok(Input::Conversation {
            prompt: from.text()?,
            response: from.text()?,
        }),
        3 => {
            let document: ChatDocument =
                serde_json::from_slice(from.block()?).map_err(|_| Torn::Value("chat"))?;
            Ok(Input::Messages(Chat {
                messages: document.messages,
                options: ChatOptions {
                    tools: document.tools,
                    documents: document.documents,
                    chat_template_kwargs: document.chat_template_kwargs,
                    add_generation_prompt: document.add_generation_prompt,
                    continue_final_message: document.continue_final_message,
                },
            }))
        }
        4.. => Err(Torn::Value("form of input")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        let turns = r#"[{"role":"user","content":"2+2?","name":"n"},{"role":"assistant","tool_calls":[{"z":1.50,"a":{}}]}]"#;
        let options = InputOptions {
            add_special_tokens: Some(false),
            max_tokens: Some(0),
            truncation: Some(Side::Reject),
            max_first: None,
            max_second: Some(usize::MAX - 1),
            clean_ends: true,
        };
        let chat = Chat {
            messages: serde_json::from_str(turns).unwrap(),
            options: ChatOptions {
                tools: serde_json::from_str(r#"[{"b":1,"a":"x"}]"#).unwrap(),
                add_generation_prompt: Some(true),
                ..ChatOptions::default()
            },
        };
        Question {
            until: Until::In(Duration::from_millis(1_234)),
            bulk: true,
            options,
            inputs: vec![
                Input::Text("a\0é\u{2028}\"".to_owned()),
                Input::Text(String::new()),
                Input::Pair("a".to_owned(), "b".to_owned()),
                Input::Conversation {
                    prompt: "p".to_owned(),
                    response: "r".to_owned(),
                },
                Input::Messages(chat),
            ],
        }
    }

    fn bytes(question: &Question) -> Vec<u8> {
        let Question {
            until,
            bulk,
            options,
            inputs,
        } = question;
        write_question(*until, *bulk, *options, inputs)
    }

    #[test]
    fn a_question_is_read_as_it_was_written() {
        let full = question();
        assert_eq!(read_question(&bytes(&full)), Ok(full));
        let plain = Question {
            until: Until::OnceAdmitted(Duration::ZERO),
            bulk: false,
            options: InputOptions::default(),
            inputs: Vec::new(),
        };
        assert_eq!(read_question(&bytes(&plain)), Ok(plain));
    }

    #[test]
    fn a_question_that_was_torn_anywhere_is_refused() {
        let whole = bytes(&question());
        for end in 0..whole.len() {
            assert!(read_question(&whole[..end]).is_err(), "{end}");
        }
        let mut longer = whole;
        longer.push(0);
        assert_eq!(read_question(&longer), Err(Torn::Long));
    }

    #[test]
    fn another_version_is_told_as_such() {
        let mut bytes = bytes(&question());
        bytes[3] = b'2';
        let torn = read_question(&bytes).unwrap_err();
        assert!(torn.to_string().contains("one release"), "{torn}");
        assert_eq!(read_question(b"GET "), Err(Torn::Version));
    }

    #[test]
    fn huge_lengths_take_no_memory() {
        let whole = bytes(&question());
        // The number of inputs, and the length of the first one.
        for place in [41, 46] {
            let mut bytes = whole.clone();
            bytes[place..place + 4].fill(0xff);
            assert_eq!(read_question(&bytes), Err(Torn::Short), "{place}");
        }
    }

    #[test]
    fn no_flipped_byte_ends_the_process() {
        let whole = bytes(&question());
        for place in 0..whole.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[place] ^= flip;
                let _ = read_question(&bytes);
            }
        }
    }
}
