//! From texts to tokens, on the runtime's blocking threads.
//!
//! Owns how many requests do so at once: as many as there are threads for it. Invariants: who waits
//! for its turn does so until its deadline at the most; a turn ends after a part of a long request, so
//! that a short one passes it; of a request whose client has left, or whose time is over, no further
//! text is read.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use inference_api::{Input, InputOptions};
use inference_models::{Encoded, Model};
use inference_scoring::{Inputs, ScoreError};
use tokio::task::JoinHandle;

use crate::input::{Unreadable, encode_options, text_input};
use crate::room::Room;

/// Requests whose texts are read at once.
const TURNS: usize = 4;
/// Text that is read in one turn; longer texts are read in a turn each.
const TURN_BYTES: usize = 32 * 1024;

/// Turns texts into tokens. Clones share their turns.
#[derive(Clone, Debug)]
pub struct Tokeniser {
    model: Arc<Model>,
    turns: Room,
}

impl Tokeniser {
    /// A tokeniser for the texts of `model`.
    pub fn new(model: Arc<Model>) -> Self {
        Self {
            model,
            turns: Room::new(TURNS),
        }
    }

    /// The tokens of each input.
    ///
    /// # Errors
    /// The input that has none, by its index; [`ScoreError::Late`] when `until` comes first.
    pub(crate) async fn encode(
        &self,
        inputs: Inputs,
        options: InputOptions,
        until: Instant,
    ) -> Result<Vec<Encoded>, ScoreError> {
        let options = encode_options(options);
        self.each(inputs, until, move |model, input| {
            let encoded = model.tokenizer.encode(&text_input(input.clone()), options);
            encoded.map_err(Unreadable::from)
        })
        .await
    }

    /// What `read` makes of each input with the model's tokenizer.
    ///
    /// # Errors
    /// As said for an input, by its index; [`ScoreError::Late`] when `until` comes first.
    pub async fn each<T: Send + 'static>(
        &self,
        inputs: Inputs,
        until: Instant,
        read: impl Fn(&Model, &Input) -> Result<T, Unreadable> + Send + Sync + 'static,
    ) -> Result<Vec<T>, ScoreError> {
        let read = Arc::new(read);
        let mut all = Vec::with_capacity(inputs.len());
        for part in inputs.parts(usize::MAX, TURN_BYTES) {
            let first = all.len();
            all.extend(self.turn(part, first, until, read.clone()).await?);
        }
        Ok(all)
    }

    /// What `read` makes of each input of one part, the first of which is that one of its request.
    async fn turn<T: Send + 'static>(
        &self,
        part: Inputs,
        first: usize,
        until: Instant,
        read: Arc<impl Fn(&Model, &Input) -> Result<T, Unreadable> + Send + Sync + 'static>,
    ) -> Result<Vec<T>, ScoreError> {
        let turn = self.turns.enter(1, until).await;
        // It was admitted before.
        let turn = turn.map_err(|_| ScoreError::Late)?;
        let left = Left::default();
        let (model, is_left) = (self.model.clone(), left.0.clone());
        let work = move || {
            let _turn = turn;
            let one = |(index, input): (usize, &Input)| {
                if is_left.load(Ordering::Relaxed) || Instant::now() >= until {
                    return Err(ScoreError::Late);
                }
                let read = read(&model, input);
                read.map_err(|unreadable| unreadable.at(first + index))
            };
            part.as_slice().iter().enumerate().map(one).collect()
        };
        let working = blocking(work)?;
        let nowhere = ScoreError::Engine { index: None };
        working.await.map_err(|_| nowhere)?
    }
}

/// Says that nobody waits any more, when it is dropped.
#[derive(Default)]
struct Left(Arc<AtomicBool>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The runtime panics where the system has no further thread for it: that passes.
fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, ScoreError> {
    catch_unwind(AssertUnwindSafe(|| tokio::task::spawn_blocking(work)))
        .map_err(|_| ScoreError::NotReady)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;
    use std::time::Duration;

    use inference_api::Side;
    use inference_models::LoadOptions;

    use super::*;

    fn tokeniser() -> Tokeniser {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../e2e/fixtures/demo-models/tiny-reward-v1");
        let model = inference_models::load(&folder, &LoadOptions::default()).unwrap();
        Tokeniser::new(Arc::new(model))
    }

    fn texts(count: usize) -> Inputs {
        vec![Input::Text("a".to_owned()); count].into()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(30)
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    #[test]
    fn where_no_thread_can_be_had_the_request_is_told_to_come_again() {
        // Outside of a runtime there is none either.
        let refused = blocking(|| ()).map(|_| ());
        assert_eq!(refused, Err(ScoreError::NotReady));
    }

    #[tokio::test]
    async fn a_text_that_has_no_token_is_named() {
        let options = InputOptions {
            add_special_tokens: Some(false),
            ..InputOptions::default()
        };
        let inputs = ["a", "", "b"].map(|text| Input::Text(text.to_owned()));
        let tokeniser = tokeniser();
        let encoded = tokeniser.encode(inputs.to_vec().into(), options, later());
        let error = encoded.await.unwrap_err();
        assert!(
            matches!(
                error,
                ScoreError::Input {
                    index: 1,
                    too_long: false,
                    ..
                }
            ),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn a_text_of_too_many_tokens_is_named_as_such() {
        let options = InputOptions {
            truncation: Some(Side::Reject),
            ..InputOptions::default()
        };
        let inputs = ["a".to_owned(), "a ".repeat(500)].map(Input::Text);
        let tokeniser = tokeniser();
        let encoded = tokeniser.encode(inputs.to_vec().into(), options, later());
        let error = encoded.await.unwrap_err();
        assert!(
            matches!(
                error,
                ScoreError::Input {
                    index: 1,
                    too_long: true,
                    ..
                }
            ),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn a_short_request_passes_those_that_are_long() {
        let tokeniser = tokeniser();
        let slow = |_: &Model, _: &Input| {
            std::thread::sleep(Duration::from_millis(20));
            Ok(())
        };
        let long = Inputs::from(vec![Input::Text("a".repeat(TURN_BYTES)); 100]);
        let busy: Vec<_> = (0..TURNS)
            .map(|_| {
                let (tokeniser, long) = (tokeniser.clone(), long.clone());
                tokio::spawn(async move { tokeniser.each(long, later(), slow).await })
            })
            .collect();
        while tokeniser.turns.free() > 0 {
            tokio::task::yield_now().await;
        }
        let soon = Instant::now() + Duration::from_secs(1);
        let short = tokeniser.each(texts(1), soon, |_, _| Ok(())).await;
        assert!(short.is_ok(), "a long request takes two seconds");
        for one in busy {
            one.abort();
        }
    }

    #[tokio::test]
    async fn an_input_is_named_by_its_place_in_the_whole_request() {
        let long = |text: &str| Input::Text(text.repeat(TURN_BYTES));
        let inputs = vec![long("a"), long("b"), long("c")];
        let bad = Input::Text("c".repeat(TURN_BYTES));
        let read = move |_: &Model, input: &Input| {
            let unreadable = || Unreadable {
                message: String::new(),
                too_long: false,
            };
            if *input == bad {
                Err(unreadable())
            } else {
                Ok(())
            }
        };
        let outcome = tokeniser().each(inputs.into(), later(), read).await;
        let error = outcome.unwrap_err();
        assert!(matches!(error, ScoreError::Input { index: 2, .. }));
    }

    #[tokio::test]
    async fn only_so_many_read_at_once_and_who_waits_too_long_is_late() {
        let tokeniser = tokeniser();
        let (open, gate) = mpsc::channel::<()>();
        let gate = Arc::new(std::sync::Mutex::new(gate));
        let mut busy = Vec::new();
        for _ in 0..TURNS {
            let (tokeniser, gate) = (tokeniser.clone(), gate.clone());
            let work = async move {
                let wait = move |_: &Model, _: &Input| {
                    let _ = gate.lock().unwrap().recv();
                    Ok(())
                };
                tokeniser.each(texts(1), later(), wait).await
            };
            busy.push(tokio::spawn(work));
        }
        while tokeniser.turns.free() > 0 {
            tokio::task::yield_now().await;
        }
        let late = tokeniser.each(texts(1), soon(), |_, _| Ok(())).await;
        assert_eq!(late.unwrap_err(), ScoreError::Late);
        drop(open);
        for one in busy {
            assert!(one.await.unwrap().is_ok());
        }
    }

    #[tokio::test]
    async fn the_texts_of_who_has_left_are_not_read() {
        let tokeniser = tokeniser();
        let (open, gate) = mpsc::channel::<()>();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let read = Arc::new(AtomicUsize::new(0));
        let (count, state) = (read.clone(), std::sync::Mutex::new((Some(begun), gate)));
        let work = tokeniser.each(texts(1_000), later(), move |_, _| {
            let mut state = state.lock().unwrap();
            if let Some(begun) = state.0.take() {
                begun.send(()).unwrap();
                let _ = state.1.recv();
            }
            count.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        tokio::select! {
            _ = work => panic!("it waits at the first text"),
            begun = begins => begun.unwrap(),
        }
        drop(open);
        while tokeniser.turns.free() < TURNS {
            tokio::task::yield_now().await;
        }
        assert_eq!(read.load(Ordering::Relaxed), 1);
    }
}
