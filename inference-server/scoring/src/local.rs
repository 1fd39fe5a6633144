//! The engine of this process as a [`Scorer`].
//!
//! Owns admission: how many requests are worked on, how many tokens may wait for the engine, and
//! that what cannot be admitted is told so. Tokens are made on the runtime's blocking threads.

use std::sync::Arc;
use std::time::Instant;

use inference_api::{Input, InputOptions, Json, Members, Side};
use inference_models::{
    Chat, ChatMessage, ChatOptions, EncodeOptions, Encoded, InputError, Model, TemplateValue,
    TextInput, Truncation,
};

use crate::cache::{CachedQueue, Scope, Store};
use crate::lanes::Lanes;
use crate::queue::Computed;
use crate::room::Room;
use crate::{Observer, Score, ScoreError, ScoreRequest, Scorer, Scores, Timings};

/// How many batches' worth of tokens may be in the queue.
const QUEUED_BATCHES: usize = 8;
/// Tokens that the CPU engine is given at once. It computes one sequence after the other, so that a
/// larger batch only makes its first sequence wait for its last.
const CPU_BATCH_TOKENS: usize = 1_024;

/// How much is done at once.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Tokens of one batch.
    pub max_batch_tokens: usize,
    /// Requests that are worked on.
    pub max_concurrent_requests: usize,
}

/// The engine of this process.
#[derive(Debug)]
pub struct LocalScorer {
    model: Arc<Model>,
    lanes: Arc<Lanes>,
    cache: Option<CachedQueue>,
    requests: Room,
}

impl LocalScorer {
    /// Starts the engine's threads.
    ///
    /// # Errors
    /// When they cannot be started.
    pub fn start(
        model: Arc<Model>,
        settings: Settings,
        cache: Option<(Arc<Store>, Scope)>,
        observer: Arc<dyn Observer>,
    ) -> std::io::Result<Self> {
        let requests = Room::new(settings.max_concurrent_requests);
        let room = settings.max_batch_tokens.saturating_mul(QUEUED_BATCHES);
        let batch = settings.max_batch_tokens.min(CPU_BATCH_TOKENS);
        let lanes = Lanes::start(&model.engine, batch, room, &requests, &observer)?;
        let lanes = Arc::new(lanes);
        Ok(Self {
            model,
            cache: cache.map(|(store, scope)| CachedQueue::new(lanes.clone(), store, scope)),
            lanes,
            requests,
        })
    }

    /// The model that is served.
    pub fn model(&self) -> &Model {
        &self.model
    }

    async fn encode(
        &self,
        inputs: Vec<Input>,
        options: InputOptions,
    ) -> Result<Vec<Encoded>, ScoreError> {
        let model = self.model.clone();
        let options = encode_options(options);
        let encode = move || {
            let encode = |(index, input)| {
                let input = text_input(input);
                let encoded = model.tokenizer.encode(&input, options);
                encoded.map_err(|error| ScoreError::Input {
                    index,
                    message: error.to_string(),
                    too_long: matches!(error, InputError::TooLong { .. }),
                })
            };
            inputs.into_iter().enumerate().map(encode).collect()
        };
        tokio::task::spawn_blocking(encode)
            .await
            .map_err(|_| ScoreError::Engine)?
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

fn encode_options(options: InputOptions) -> EncodeOptions {
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

impl Scorer for LocalScorer {
    async fn score(&self, request: ScoreRequest) -> Result<Scores, ScoreError> {
        let arrived = Instant::now();
        let _request = self.requests.enter(1, request.deadline).await?;
        self.lanes.in_time(&request.inputs, request.deadline)?;
        let admitted = Instant::now();
        let sequences = self.encode(request.inputs, request.options).await?;
        let tokenised = Instant::now();
        let shapes: Vec<_> = sequences
            .iter()
            .map(|s| (s.ids.len(), s.truncated))
            .collect();
        let (computed, hits) = match &self.cache {
            Some(cache) => cache.compute(sequences, request.deadline).await?,
            None => (self.lanes.compute(sequences, request.deadline).await?, 0),
        };
        let Computed {
            logits,
            waited,
            inference,
        } = computed;
        if logits.iter().flatten().any(|value| !value.is_finite()) {
            return Err(ScoreError::NotFinite);
        }
        let cached = hits == logits.len();
        let score = |(logits, (tokens, truncated))| Score {
            logits,
            tokens,
            truncated,
        };
        Ok(Scores {
            scores: logits.into_iter().zip(shapes).map(score).collect(),
            hits,
            timings: Timings {
                tokenise: tokenised - admitted,
                queue: (admitted - arrived) + waited,
                inference,
                cached,
            },
        })
    }

    fn is_full(&self) -> bool {
        self.requests.is_full()
    }

    fn queued_tokens(&self) -> usize {
        self.lanes.tokens()
    }
}
