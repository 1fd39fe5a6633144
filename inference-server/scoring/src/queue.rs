//! The engine's thread, and the requests that wait for it.
//!
//! Owns the one thread that computes. While it does, the next batch gathers in the [`Scheduler`]; no
//! timer holds a sequence back. Invariants: a request is answered once, when its last sequence is
//! computed; the sequences of one that nobody waits for any more are not computed.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use inference_models::{Encoded, Engine, Logits, Packed};
use tokio::sync::oneshot;

use crate::pace::Pace;
use crate::room::Room;
use crate::scheduler::{Batch, Item, Scheduler};
use crate::{Observer, ScoreError};

/// What comes later shares the engine with what is there, which about doubles the time that it takes.
const SHARING: usize = 2;

/// The logits of a request, and where its time went.
#[derive(Debug)]
pub(crate) struct Computed {
    /// Of each sequence, in the order of the request.
    pub(crate) logits: Vec<Vec<f32>>,
    /// For room, and in the queue until its first batch.
    pub(crate) waited: Duration,
    /// In the batches that it was part of.
    pub(crate) inference: Duration,
}

type Answer = Result<Computed, ScoreError>;

/// The queue of one engine.
#[derive(Debug)]
pub(crate) struct Queue {
    /// For the tokens that wait or are computed.
    room: Room,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    scheduler: Scheduler<Task>,
    pace: Pace,
    closed: bool,
}

/// One sequence of a request.
#[derive(Debug)]
struct Task {
    request: Arc<Request>,
    place: usize,
    sequence: Encoded,
}

#[derive(Debug)]
struct Request {
    asked: Instant,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    logits: Vec<Vec<f32>>,
    left: usize,
    waited: Duration,
    inference: Duration,
    /// When the last batch that it was part of began.
    batch: Option<Instant>,
    answer: Option<oneshot::Sender<Answer>>,
}

impl Queue {
    /// A queue whose batches have at most `batch_tokens` tokens, with `room` for the tokens of all
    /// requests.
    pub(crate) fn new(batch_tokens: usize, room: Room) -> Self {
        Self {
            room,
            state: Mutex::new(State {
                scheduler: Scheduler::new(batch_tokens),
                pace: Pace::default(),
                closed: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Tokens that wait.
    pub(crate) fn tokens(&self) -> usize {
        self.lock().scheduler.tokens()
    }

    /// Turns away what those who wait already leave no time for: computing it in part would take the
    /// engine from who can be in time, until nobody is.
    pub(crate) fn in_time(&self, tokens: usize, deadline: Instant) -> Result<(), ScoreError> {
        let state = self.lock();
        let ahead = state.scheduler.ahead(tokens);
        let time = state.pace.time(ahead.saturating_mul(SHARING) + tokens);
        if ahead == 0 || time <= deadline.saturating_duration_since(Instant::now()) {
            Ok(())
        } else {
            Err(ScoreError::Overloaded)
        }
    }

    /// Waits for room, queues the sequences of a request, of which there is at least one, and waits
    /// for their logits. They are admitted all or none. When the answer is not waited for to its end,
    /// what is not computed yet never will be.
    pub(crate) async fn compute(
        &self,
        sequences: Vec<Encoded>,
        deadline: Instant,
    ) -> Result<Computed, ScoreError> {
        let asked = Instant::now();
        let tokens = sequences.iter().map(|sequence| sequence.ids.len()).sum();
        let _room = self.room.enter(tokens, deadline).await?;
        self.in_time(tokens, deadline)?;
        let (answer, answered) = oneshot::channel();
        let request = Arc::new(Request::new(sequences.len(), asked, answer));
        let task = |(place, sequence): (usize, Encoded)| Item {
            tokens: sequence.ids.len(),
            payload: Task {
                request: request.clone(),
                place,
                sequence,
            },
        };
        let items = sequences.into_iter().enumerate().map(task);
        self.lock().scheduler.push(deadline, items);
        self.changed.notify_one();
        match tokio::time::timeout_at(deadline.into(), answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ScoreError::Engine),
            Err(_) => Err(ScoreError::Late),
        }
    }

    /// Computes until the queue is closed and empty.
    pub(crate) fn run(&self, engine: &dyn Engine, observer: &dyn Observer) {
        while let Some(batch) = self.next(observer) {
            for task in batch.late {
                task.request.fail(ScoreError::Late);
            }
            if !batch.ready.is_empty() {
                let (tokens, took) = compute(engine, batch.ready, observer);
                self.lock().pace.observe(tokens, took);
            }
        }
    }

    /// Lets the engine's thread end.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// The next batch; `None` at the end.
    fn next(&self, observer: &dyn Observer) -> Option<Batch<Task>> {
        let mut state = self.lock();
        while state.scheduler.is_empty() {
            if state.closed {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Some(
            state
                .scheduler
                .take(Instant::now(), |task| task.request.is_left(observer)),
        )
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Computes a batch. Where it fails, each sequence is computed alone, so that one which the engine
/// cannot take fails its own request only. Answers the tokens, and the time that they took.
fn compute(engine: &dyn Engine, tasks: Vec<Task>, observer: &dyn Observer) -> (usize, Duration) {
    let began = Instant::now();
    let mut batch = Packed::default();
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
                task.request.computed(task.place, logits, began, took);
            }
        }
        Err(why) if tasks.len() > 1 => {
            tracing::warn!(target: "model", why, "a batch failed; its sequences are computed alone");
            for task in tasks {
                compute(engine, vec![task], observer);
            }
        }
        Err(why) => {
            tracing::error!(target: "model", why, "a sequence failed");
            for task in tasks {
                task.request.fail(ScoreError::Engine);
            }
        }
    }
    (tokens, took)
}

/// A panic in the tensor library is a failure like any other: the thread has to go on.
fn forward(engine: &dyn Engine, batch: &Packed) -> Result<Logits, String> {
    let computing = std::panic::AssertUnwindSafe(|| engine.forward(batch));
    match std::panic::catch_unwind(computing) {
        Ok(Ok(logits)) if logits.len() == batch.len() => Ok(logits),
        Ok(Ok(_)) => Err("the engine lost a sequence".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the engine panicked".to_owned()),
    }
}

impl Request {
    fn new(sequences: usize, asked: Instant, answer: oneshot::Sender<Answer>) -> Self {
        Self {
            asked,
            progress: Mutex::new(Progress {
                logits: vec![Vec::new(); sequences],
                left: sequences,
                waited: Duration::ZERO,
                inference: Duration::ZERO,
                batch: None,
                answer: Some(answer),
            }),
        }
    }

    /// Whether nobody waits for it any more.
    fn is_left(&self, observer: &dyn Observer) -> bool {
        let progress = self.lock();
        let left = progress
            .answer
            .as_ref()
            .is_none_or(oneshot::Sender::is_closed);
        if left {
            observer.left();
        }
        left
    }

    fn computed(&self, place: usize, logits: Vec<f32>, began: Instant, took: Duration) {
        let mut progress = self.lock();
        if progress.batch.is_none() {
            progress.waited = began.saturating_duration_since(self.asked);
        }
        // Sequences of one batch share its time.
        if progress.batch.replace(began) != Some(began) {
            progress.inference += took;
        }
        if let Some(slot) = progress.logits.get_mut(place) {
            *slot = logits;
        }
        progress.left = progress.left.saturating_sub(1);
        if progress.left > 0 {
            return;
        }
        if let Some(answer) = progress.answer.take() {
            let computed = Computed {
                logits: std::mem::take(&mut progress.logits),
                waited: progress.waited,
                inference: progress.inference,
            };
            // Whoever asked may have left; then there is nobody to tell.
            let _ = answer.send(Ok(computed));
        }
    }

    fn fail(&self, error: ScoreError) {
        let answer = self.lock().answer.take();
        if let Some(answer) = answer {
            let _ = answer.send(Err(error));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use inference_models::engine::EngineError;

    use super::*;

    /// Scores a sequence with its first token; cannot take some.
    #[derive(Debug)]
    struct Fragile;

    const PANICS: u32 = 13;

    impl Engine for Fragile {
        fn forward(&self, batch: &Packed) -> Result<Logits, EngineError> {
            let row = |(ids, _): (&[u32], &[u32])| {
                assert_ne!(ids[0], PANICS, "cannot be computed");
                vec![f32::from(u16::try_from(ids[0]).unwrap())]
            };
            Ok(batch.sequences().map(row).collect())
        }

        fn beside(&self) -> Result<Arc<dyn Engine>, EngineError> {
            Ok(Arc::new(Self))
        }
    }

    #[derive(Debug)]
    struct Nobody;

    impl Observer for Nobody {
        fn batch(&self, _: usize, _: usize, _: Duration) {}
        fn left(&self) {}
    }

    fn queue() -> Arc<Queue> {
        let queue = Arc::new(Queue::new(1_000, Room::new(10_000)));
        let work = queue.clone();
        std::thread::spawn(move || work.run(&Fragile, &Nobody));
        queue
    }

    fn sequences(ids: &[u32]) -> Vec<Encoded> {
        let sequence = |&id: &u32| Encoded {
            ids: vec![id; 3],
            type_ids: vec![0; 3],
            truncated: false,
        };
        ids.iter().map(sequence).collect()
    }

    #[tokio::test]
    async fn a_sequence_that_breaks_the_engine_fails_its_own_request_only() {
        let queue = queue();
        let later = Instant::now() + Duration::from_secs(10);
        let (good, bad, other) = tokio::join!(
            queue.compute(sequences(&[1, 2]), later),
            queue.compute(sequences(&[3, PANICS]), later),
            queue.compute(sequences(&[4]), later),
        );
        assert_eq!(good.unwrap().logits, [[1.0], [2.0]]);
        assert_eq!(bad.unwrap_err(), ScoreError::Engine);
        assert_eq!(other.unwrap().logits, [[4.0]]);
        let after = queue.compute(sequences(&[5]), later).await;
        assert_eq!(after.unwrap().logits, [[5.0]], "the thread goes on");
        queue.close();
    }

    #[tokio::test]
    async fn what_cannot_be_in_time_is_turned_away_before_it_costs_anything() {
        let queue = Queue::new(1_000, Room::new(10_000));
        queue.lock().pace.observe(1, Duration::from_millis(100));
        let (soon, later) = (Duration::from_millis(500), Duration::from_mins(1));
        let alone = queue.in_time(3, Instant::now());
        assert_eq!(alone, Ok(()), "where nobody waits it is tried");
        let waiting = queue.compute(sequences(&[1, 2]), Instant::now() + later);
        let _waiting = futures::future::poll_immediate(Box::pin(waiting)).await;
        assert_eq!(queue.in_time(3, Instant::now() + later), Ok(()));
        let told = queue.compute(sequences(&[3]), Instant::now() + soon).await;
        assert_eq!(told.unwrap_err(), ScoreError::Overloaded);
    }

    #[tokio::test]
    async fn a_request_that_nobody_waits_for_is_not_computed() {
        let queue = Arc::new(Queue::new(1_000, Room::new(10_000)));
        let later = Instant::now() + Duration::from_secs(10);
        let left = queue.compute(sequences(&[1]), later);
        assert!(
            futures::future::poll_immediate(Box::pin(left))
                .await
                .is_none()
        );
        assert_eq!(queue.tokens(), 3, "it waits until its turn comes");
        let work = queue.clone();
        std::thread::spawn(move || work.run(&Fragile, &Nobody));
        let next = queue.compute(sequences(&[2]), later).await.unwrap();
        assert_eq!(next.logits, [[2.0]]);
        assert_eq!(queue.tokens(), 0);
        queue.close();
    }
}
