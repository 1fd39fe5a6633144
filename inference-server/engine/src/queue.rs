//! The engine's thread, and the requests that wait for it.
//!
//! Owns the one thread that computes. While it does, the next batch gathers in the [`Scheduler`]; no
//! timer holds a sequence back. Invariants: a request is answered once, when its last sequence is
//! computed; the sequences of one that nobody waits for any more are not computed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use inference_models::{Encoded, Engine};
use inference_scoring::{Deadline, ScoreError};
use tokio::sync::oneshot;

use crate::Observer;
use crate::computing::compute;
use crate::pace::Pace;
use crate::request::{Computed, Request, Task};
use crate::room::Room;
use crate::scheduler::{Batch, Item, Scheduler};

/// What comes later shares the engine with what is there, which about doubles the time that it takes.
const SHARING: usize = 2;

/// The queue of one engine.
#[derive(Debug)]
pub(crate) struct Queue {
    /// For the tokens that wait or are computed.
    room: Room,
    state: Mutex<State>,
    changed: Condvar,
    /// Requests so far.
    count: AtomicU64,
    /// Who says what sequences that begin alike cost; without it they cost all their tokens.
    engine: Option<Arc<dyn Engine>>,
}

#[derive(Debug)]
struct State {
    scheduler: Scheduler<Task>,
    pace: Pace,
    closed: bool,
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
            count: AtomicU64::new(0),
            engine: None,
        }
    }

    /// The same, where a sequence costs what `engine` does not share with the one before it in its request.
    pub(crate) fn with_costs_of(self, engine: Arc<dyn Engine>) -> Self {
        Self {
            engine: Some(engine),
            ..self
        }
    }

    /// The tokens that each of `sequences` costs behind the one before it.
    fn costs(&self, sequences: &[Encoded]) -> Vec<usize> {
        let mut last: &[u32] = &[];
        let cost = |sequence: &Encoded| sequence.ids.len();
        let Some(engine) = &self.engine else {
            return sequences.iter().map(cost).collect();
        };
        let mut costs = Vec::with_capacity(sequences.len());
        for sequence in sequences {
            let shared = engine.shared(last, &sequence.ids);
            costs.push(cost(sequence).saturating_sub(shared).max(1));
            last = &sequence.ids;
        }
        costs
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
    /// for their logits. They are admitted all or none: what is more than a request's share of the
    /// room follows as its own sequences leave it. When the answer is not waited for to its end, what
    /// is not computed yet never will be.
    pub(crate) async fn compute(
        &self,
        sequences: Vec<Encoded>,
        deadline: Deadline,
    ) -> Result<Computed, ScoreError> {
        let asked = Instant::now();
        let by = deadline.from(asked);
        let costs = self.costs(&sequences);
        let tokens: usize = costs.iter().sum();
        let room = self.room.enter(tokens.min(self.room.share()), by).await?;
        let deadline = deadline.from(Instant::now());
        self.in_time(tokens, deadline)?;
        let (answer, answered) = oneshot::channel();
        let request = Arc::new(Request::new(
            self.count.fetch_add(1, Ordering::Relaxed),
            (asked, deadline),
            sequences.into_iter().zip(costs),
            room,
            answer,
        ));
        let _waiting = request.wait();
        self.push(&request);
        match tokio::time::timeout_at(deadline.into(), answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ScoreError::Engine { index: None }),
            Err(_) => Err(ScoreError::Late),
        }
    }

    /// Queues those sequences of a request that there is room for.
    fn push(&self, request: &Arc<Request>) {
        let tasks = request.next();
        if tasks.is_empty() {
            return;
        }
        let item = |task: Task| Item {
            tokens: task.cost,
            whole: task.sequence.ids.len(),
            payload: task,
        };
        let items = tasks.into_iter().map(item);
        self.lock()
            .scheduler
            .push(request.id, request.deadline, items);
        self.changed.notify_one();
    }

    /// Computes until the queue is closed and empty.
    pub(crate) fn run(&self, engine: &dyn Engine, observer: &dyn Observer) {
        while let Some(batch) = self.next(observer) {
            for task in batch.late {
                task.request.fail(ScoreError::Late);
            }
            if !batch.ready.is_empty() {
                let requests: Vec<_> = batch
                    .ready
                    .iter()
                    .map(|task| task.request.clone())
                    .collect();
                let (tokens, took) = compute(engine, batch.ready, observer);
                self.lock().pace.observe(tokens, took);
                for request in requests {
                    self.push(&request);
                }
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
        Some(state.scheduler.take(Instant::now(), |task| {
            let left = task.request.is_left();
            if left {
                observer.left();
            }
            left
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use inference_models::engine::EngineError;
    use inference_models::{Logits, Packed};

    use super::*;
    use crate::testing::{Nobody, sequences};

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

    fn queue() -> Arc<Queue> {
        let queue = Arc::new(Queue::new(1_000, Room::new(10_000)));
        let work = queue.clone();
        std::thread::spawn(move || work.run(&Fragile, &Nobody));
        queue
    }

    #[tokio::test]
    async fn a_sequence_that_breaks_the_engine_fails_its_own_request_only() {
        let queue = queue();
        let later = Deadline::At(Instant::now() + Duration::from_secs(10));
        let (good, bad, other) = tokio::join!(
            queue.compute(sequences(&[1, 2]), later),
            queue.compute(sequences(&[3, PANICS]), later),
            queue.compute(sequences(&[4]), later),
        );
        assert_eq!(good.unwrap().logits, [[1.0], [2.0]]);
        let index = Some(1);
        assert_eq!(bad.unwrap_err(), ScoreError::Engine { index });
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
        let by = |time| Deadline::At(Instant::now() + time);
        let waiting = queue.compute(sequences(&[1, 2]), by(later));
        let _waiting = futures::future::poll_immediate(Box::pin(waiting)).await;
        assert_eq!(queue.in_time(3, Instant::now() + later), Ok(()));
        let told = queue.compute(sequences(&[3]), by(soon)).await;
        assert_eq!(told.unwrap_err(), ScoreError::Overloaded);
    }

    /// Computes once what a sequence and the one before it begin with.
    #[derive(Debug)]
    struct Alike;

    impl Engine for Alike {
        fn forward(&self, batch: &Packed) -> Result<Logits, EngineError> {
            Ok(vec![vec![0.0]; batch.len()])
        }

        fn shared(&self, last: &[u32], next: &[u32]) -> usize {
            last.iter().zip(next).take_while(|(a, b)| a == b).count()
        }

        fn beside(&self) -> Result<Arc<dyn Engine>, EngineError> {
            Ok(Arc::new(Self))
        }
    }

    #[tokio::test]
    async fn a_sequence_costs_what_it_does_not_share_with_the_one_before_it() {
        let queue = Queue::new(1_000, Room::new(10_000)).with_costs_of(Arc::new(Alike));
        let queue = Arc::new(queue);
        let mut answers = sequences(&[1, 1, 2, 1]);
        answers[1].ids.extend([5, 6]);
        answers[1].type_ids.extend([0, 0]);
        answers.insert(2, answers[1].clone());
        assert_eq!(queue.costs(&answers), [3, 2, 1, 3, 3]);
        let later = Deadline::At(Instant::now() + Duration::from_secs(10));
        let mut waiting = Box::pin(queue.compute(answers, later));
        assert!(
            futures::future::poll_immediate(&mut waiting)
                .await
                .is_none()
        );
        assert_eq!((queue.tokens(), queue.room.free()), (12, 9_988));
        let work = queue.clone();
        std::thread::spawn(move || work.run(&Alike, &Nobody));
        assert_eq!(waiting.await.unwrap().logits.len(), 5);
        queue.close();
    }

    #[tokio::test]
    async fn a_request_that_nobody_waits_for_is_not_computed() {
        let queue = Arc::new(Queue::new(1_000, Room::new(10_000)));
        let later = Deadline::At(Instant::now() + Duration::from_secs(10));
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

    /// An engine that computes one sequence whenever it is let.
    #[derive(Debug)]
    struct Stepwise(Mutex<std::sync::mpsc::Receiver<()>>);

    impl Engine for Stepwise {
        fn forward(&self, batch: &Packed) -> Result<Logits, EngineError> {
            let _ = self.0.lock().unwrap().recv();
            Ok(vec![vec![0.0]; batch.len()])
        }

        fn beside(&self) -> Result<Arc<dyn Engine>, EngineError> {
            unreachable!("there is one")
        }
    }

    #[tokio::test]
    async fn a_request_larger_than_the_room_leaves_most_of_it_to_others() {
        let queue = Arc::new(Queue::new(3, Room::new(24)));
        let later = Deadline::At(Instant::now() + Duration::from_secs(30));
        let large = queue.compute(sequences(&[1; 100]), later);
        let mut large = Box::pin(large);
        assert!(futures::future::poll_immediate(&mut large).await.is_none());
        assert_eq!(queue.room.free(), 18, "a quarter is taken");
        assert_eq!(queue.tokens(), 6, "two of a hundred are in the queue");
        let small = queue.compute(sequences(&[2]), later);
        let mut small = Box::pin(small);
        assert!(futures::future::poll_immediate(&mut small).await.is_none());
        assert_eq!(queue.tokens(), 9, "another finds room beside it");
        let (step, steps) = std::sync::mpsc::channel();
        let work = queue.clone();
        std::thread::spawn(move || work.run(&Stepwise(Mutex::new(steps)), &Nobody));
        for _ in 0..101 {
            step.send(()).unwrap();
        }
        assert!(small.await.is_ok());
        assert_eq!(large.await.unwrap().logits.len(), 100);
        queue.close();
    }

    #[tokio::test]
    async fn room_is_given_back_with_each_computed_sequence() {
        let queue = Arc::new(Queue::new(3, Room::new(48)));
        let later = Deadline::At(Instant::now() + Duration::from_secs(30));
        let (step, steps) = std::sync::mpsc::channel();
        let work = queue.clone();
        std::thread::spawn(move || work.run(&Stepwise(Mutex::new(steps)), &Nobody));
        let request = tokio::spawn({
            let queue = queue.clone();
            async move { queue.compute(sequences(&[1, 2, 3, 4]), later).await }
        });
        for left in [12, 9, 6, 3] {
            while queue.room.free() != 48 - left {
                tokio::task::yield_now().await;
            }
            step.send(()).unwrap();
        }
        request.await.unwrap().unwrap();
        while queue.room.free() != 48 {
            tokio::task::yield_now().await;
        }
        queue.close();
    }
}
