//! What clients ask for, in the words of the model.
//!
//! Owns the way from the API's inputs and options to the model's, and why an input has no tokens. Must
//! not know who reads them, nor when. Invariant: nothing that a client says of a text is lost.

use inference_api::{Input, InputOptions, Json, Members, Side};
use inference_models::{
    Chat, ChatMessage, ChatOptions, EncodeOptions, InputError, TemplateValue, TextInput, Truncation,
};
use inference_scoring::ScoreError;

/// Why nothing can be made of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// A sentence for the client.
    pub message: String,
    /// Whether it has more tokens than are allowed.
    pub too_long: bool,
}

impl Unreadable {
    /// The error of the input at this place of a request.
    pub(crate) fn at(self, index: usize) -> ScoreError {
        ScoreError::Input {
            index,
            message: self.message,
            too_long: self.too_long,
        }
    }
}

impl From<InputError> for Unreadable {
    fn from(error: InputError) -> Self {
        Self {
            too_long: matches!(error, InputError::TooLong { .. }),
            message: error.to_string(),
        }
    }
}

/// The same input in the words of the model.
pub fn text_input(input: Input) -> TextInput {
    match input {
        Input::Text(text) => TextInput::Text(text),
        Input::Pair(first, second) => TextInput::Pair(first, second),
        Input::Conversation { prompt, response } => TextInput::Conversation { prompt, response },
        Input::Messages(chat) => TextInput::Messages(chat_of(&chat)),
    }
}

fn chat_of(chat: &inference_api::Chat) -> Chat {
    let turns = chat.messages.iter();
    let options = &chat.options;
    Chat {
        messages: turns
            .map(|turn| ChatMessage::of_members(members(turn.members())))
            .collect(),
        options: ChatOptions {
            tools: options.tools.as_deref().map(objects),
            documents: options.documents.as_deref().map(objects),
            kwargs: options
                .chat_template_kwargs
                .as_ref()
                .map(members)
                .unwrap_or_default()
                .into_iter()
                .collect(),
            add_generation_prompt: options.add_generation_prompt == Some(true),
            continue_final_message: options.continue_final_message == Some(true),
        },
    }
}

fn members(members: &Members) -> Vec<(String, TemplateValue)> {
    let members = members.iter();
    members
        .map(|(name, member)| (name.to_owned(), template_value(member)))
        .collect()
}

fn objects(objects: &[Members]) -> TemplateValue {
    let object = |object: &Members| TemplateValue::from_pairs(members(object));
    TemplateValue::from(objects.iter().map(object).collect::<Vec<_>>())
}

fn template_value(json: &Json) -> TemplateValue {
    match json {
        Json::Null => TemplateValue::from(()),
        Json::Bool(value) => TemplateValue::from(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => TemplateValue::from(whole),
            (None, Some(whole)) => TemplateValue::from(whole),
            (None, None) => TemplateValue::from(number.as_f64()),
        },
        Json::Text(text) => TemplateValue::from(text.as_str()),
        Json::List(items) => {
            TemplateValue::from(items.iter().map(template_value).collect::<Vec<_>>())
        }
        Json::Members(object) => TemplateValue::from_pairs(members(object)),
    }
}

/// The same options in the words of the model.
pub(crate) fn encode_options(options: InputOptions) -> EncodeOptions {
    EncodeOptions {
        add_special_tokens: options.add_special_tokens,
        max_tokens: options.max_tokens,
        truncation: options.truncation.map(|side| match side {
            Side::Left => Truncation::Left,
            Side::Right => Truncation::Right,
            Side::Reject => Truncation::Reject,
        }),
        max_first: options.max_first,
        max_second: options.max_second,
        clean_ends: options.clean_ends,
    }
}
