//! A request in the queue: what of it waits, what is computed, and the room that it has.
//!
//! Owns the answer. Invariants: it is answered once; it has no more room than its sequences in the
//! queue and the engine need, and gives it back with each of them; sequences beyond its room follow
//! as others of its own leave.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use inference_models::Encoded;
use inference_scoring::ScoreError;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

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

pub(crate) type Answer = Result<Computed, ScoreError>;

/// One sequence of a request, in the queue or the engine.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) request: Arc<Request>,
    pub(crate) place: usize,
    pub(crate) sequence: Encoded,
    /// Tokens that are computed for it behind the one before it.
    pub(crate) cost: usize,
}

/// A request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) deadline: Instant,
    asked: Instant,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    /// Sequences that there is no room for yet, with what they cost and their places.
    pending: VecDeque<(usize, (Encoded, usize))>,
    /// What those cost that are in the queue or the engine.
    queued: usize,
    room: OwnedSemaphorePermit,
    logits: Vec<Vec<f32>>,
    left: usize,
    waited: Duration,
    inference: Duration,
    /// When the last batch that it was part of began.
    batch: Option<Instant>,
    answer: Option<oneshot::Sender<Answer>>,
}

impl Request {
    /// A request of `sequences` and what each costs, with that `room`; `times` are when it was asked for, and by when it is
    /// of use.
    pub(crate) fn new(
        id: u64,
        times: (Instant, Instant),
        sequences: impl ExactSizeIterator<Item = (Encoded, usize)>,
        room: OwnedSemaphorePermit,
        answer: oneshot::Sender<Answer>,
    ) -> Self {
        let (asked, deadline) = times;
        let count = sequences.len();
        Self {
            id,
            deadline,
            asked,
            progress: Mutex::new(Progress {
                pending: sequences.enumerate().collect(),
                queued: 0,
                room,
                logits: vec![Vec::new(); count],
                left: count,
                waited: Duration::ZERO,
                inference: Duration::ZERO,
                batch: None,
                answer: Some(answer),
            }),
        }
    }

    /// The sequences that there is room for now. Where there are none for all time, what it has too
    /// much of the room is given back.
    pub(crate) fn next(self: &Arc<Self>) -> Vec<Task> {
        let mut tasks = Vec::new();
        let mut guard = self.lock();
        let progress = &mut *guard;
        while let Some((_, (_, cost))) = progress.pending.front() {
            let tokens = progress.queued + cost;
            // One that is larger than its room is there alone.
            if progress.queued > 0 && tokens > progress.room.num_permits() {
                break;
            }
            progress.queued = tokens;
            let next = progress.pending.pop_front();
            tasks.extend(next.map(|(place, (sequence, cost))| Task {
                request: self.clone(),
                place,
                sequence,
                cost,
            }));
        }
        if progress.pending.is_empty() {
            let spare = progress.room.num_permits().saturating_sub(progress.queued);
            drop(progress.room.split(spare));
        }
        tasks
    }

    /// Whether nobody waits for it any more.
    pub(crate) fn is_left(&self) -> bool {
        let progress = self.lock();
        progress
            .answer
            .as_ref()
            .is_none_or(oneshot::Sender::is_closed)
    }

    /// Says that nobody waits for it any more, when it is dropped.
    pub(crate) fn wait(self: &Arc<Self>) -> Waiting {
        Waiting(self.clone())
    }

    /// Answers with an error; what is not computed yet never will be.
    pub(crate) fn fail(&self, error: ScoreError) {
        let mut progress = self.lock();
        progress.pending.clear();
        if let Some(answer) = progress.answer.take() {
            // Whoever asked may have left; then there is nobody to tell.
            let _ = answer.send(Err(error));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody waits for the answer.
pub(crate) struct Waiting(Arc<Request>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.lock().pending.clear();
    }
}

impl Task {
    /// Its logits, which were computed with a batch that `began` and `took` so long.
    pub(crate) fn computed(self, logits: Vec<f32>, began: Instant, took: Duration) {
        let mut progress = self.request.lock();
        progress.queued = progress.queued.saturating_sub(self.cost);
        if progress.batch.is_none() {
            progress.waited = began.saturating_duration_since(self.request.asked);
        }
        // Sequences of one batch share its time.
        if progress.batch.replace(began) != Some(began) {
            progress.inference += took;
        }
        if let Some(slot) = progress.logits.get_mut(self.place) {
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
}
