//! One batch on the engine, and what its failure means for whom.
//!
//! Owns which failures are tried again alone, and what each request is told. Must not know what waits. Invariant:
//! each task of a batch is answered once.

use std::time::{Duration, Instant};

use inference_models::engine::EngineError;
use inference_models::{Engine, Logits, Packed};
use inference_scoring::ScoreError;

use crate::Observer;
use crate::request::Task;

/// Computes a batch. Where it fails, each sequence is computed alone, so that one which the engine
/// cannot take fails its own request only, and one that finds no room may find some. Answers what it cost, and the time that it took.
pub(crate) fn compute(
    engine: &dyn Engine,
    tasks: Vec<Task>,
    observer: &dyn Observer,
) -> (usize, Duration) {
    let began = Instant::now();
    let mut batch = Packed::default();
    let cost = tasks.iter().map(|task| task.cost).sum();
    let mut tokens = 0;
    for task in &tasks {
        batch.push(&task.sequence.ids, &task.sequence.type_ids);
        tokens += task.sequence.ids.len();
    }
    let outcome = forward(engine, &batch);
    let took = began.elapsed();
    observer.batch(tasks.len(), tokens, took);
    match outcome {
        Ok(logits) => {
            for (task, logits) in tasks.into_iter().zip(logits) {
                task.computed(logits, began, took);
            }
        }
        Err(Failed::Lost(why)) => {
            tracing::error!(target: "model", why, "the device is lost");
            observer.lost(&why);
            for task in tasks {
                task.request.fail(ScoreError::NotReady);
            }
        }
        Err(Failed::NoRoom(why) | Failed::Other(why)) if tasks.len() > 1 => {
            tracing::warn!(target: "model", why, "a batch failed; its sequences are computed alone");
            for task in tasks {
                compute(engine, vec![task], observer);
            }
        }
        Err(Failed::NoRoom(why)) => {
            tracing::error!(target: "model", why, "the device has no room for a sequence");
            for task in tasks {
                task.request.fail(ScoreError::NotReady);
            }
        }
        Err(Failed::Other(why)) => {
            tracing::error!(target: "model", why, "a sequence failed");
            for task in tasks {
                let index = Some(task.place);
                task.request.fail(ScoreError::Engine { index });
            }
        }
    }
    (cost, took)
}

/// Why a batch was not computed.
#[derive(Debug)]
enum Failed {
    /// The device is lost.
    Lost(String),
    /// The device has no room.
    NoRoom(String),
    /// Anything else.
    Other(String),
}

impl From<EngineError> for Failed {
    fn from(error: EngineError) -> Self {
        let why = error.to_string();
        match error {
            EngineError::DeviceLost(_) => Self::Lost(why),
            EngineError::OutOfMemory(_) => Self::NoRoom(why),
            EngineError::Tensor(_) | EngineError::NoTokens | EngineError::Threads(_) => {
                Self::Other(why)
            }
        }
    }
}

/// A panic in the tensor library is a failure like any other: the thread has to go on.
fn forward(engine: &dyn Engine, batch: &Packed) -> Result<Logits, Failed> {
    let computing = std::panic::AssertUnwindSafe(|| engine.forward(batch));
    match std::panic::catch_unwind(computing) {
        Ok(Ok(logits)) if logits.len() == batch.len() => Ok(logits),
        Ok(Ok(_)) => Err(Failed::Other("the engine lost a sequence".to_owned())),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Failed::Other("the engine panicked".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use inference_scoring::Deadline;

    use super::*;
    use crate::queue::Queue;
    use crate::room::Room;
    use crate::testing::sequences;

    /// A device that has room for one sequence, and is lost over some.
    #[derive(Debug)]
    struct Gpu;

    const TOO_LARGE: u32 = 14;
    const LOST: u32 = 15;

    impl Engine for Gpu {
        fn forward(&self, batch: &Packed) -> Result<Logits, EngineError> {
            let has = |wanted| batch.sequences().any(|(ids, _)| ids[0] == wanted);
            if has(LOST) {
                return Err(EngineError::DeviceLost("ECC".to_owned()));
            }
            if batch.len() > 1 || has(TOO_LARGE) {
                return Err(EngineError::OutOfMemory("no room".to_owned()));
            }
            Ok(vec![vec![1.0]; batch.len()])
        }

        fn beside(&self) -> Result<Arc<dyn Engine>, EngineError> {
            Ok(Arc::new(Self))
        }
    }

    /// Remembers why the device was lost.
    #[derive(Debug, Default)]
    struct Listener(Mutex<Vec<String>>);

    impl Observer for Listener {
        fn batch(&self, _: usize, _: usize, _: Duration) {}
        fn left(&self) {}
        fn lost(&self, why: &str) {
            self.0.lock().unwrap().push(why.to_owned());
        }
    }

    #[tokio::test]
    async fn what_finds_no_room_is_told_to_come_again_and_a_lost_device_is_said_once() {
        let (queue, listener) = (
            Arc::new(Queue::new(1_000, Room::new(10_000))),
            Arc::new(Listener::default()),
        );
        let (work, heard) = (queue.clone(), listener.clone());
        std::thread::spawn(move || work.run(&Gpu, heard.as_ref()));
        let later = Deadline::At(Instant::now() + Duration::from_secs(10));
        let both = queue.compute(sequences(&[1, 2]), later).await;
        assert_eq!(both.unwrap().logits.len(), 2, "each alone finds room");
        let large = queue.compute(sequences(&[TOO_LARGE]), later).await;
        assert_eq!(large.unwrap_err(), ScoreError::NotReady);
        assert!(listener.0.lock().unwrap().is_empty());
        let lost = queue.compute(sequences(&[1, LOST]), later).await;
        assert_eq!(lost.unwrap_err(), ScoreError::NotReady);
        let heard = listener.0.lock().unwrap().clone();
        assert_eq!(heard, ["the device is lost: ECC"]);
        queue.close();
    }
}
