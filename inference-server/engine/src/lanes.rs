//! The queues of an engine: for sequences that fit a batch, for longer ones, and for those of requests
//! that are so long that others come first.
//!
//! A forward pass cannot be interrupted, and that of a long sequence takes many times longer than
//! its tokens say. So the long ones are computed one after the other on threads of their own, and the
//! system shares the cores between both. The threads of the third queue step back behind all others:
//! who asks for one score is not kept waiting by an evaluation, which gets what is left, and a thirtieth
//! of the cores where nothing is. Owns which queue a sequence waits in. Invariant: a request with sequences
//! of several kinds is answered with all its logits in their order, or not at all.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use inference_api::Input;
use inference_models::{Encoded, Engine};
use inference_scoring::{Deadline, ScoreError};

use crate::Observer;
use crate::queue::Queue;
use crate::request::Computed;
use crate::room::Room;

/// The queues of one engine. Dropped, they let its threads end when nothing waits any more.
#[derive(Debug)]
pub(crate) struct Lanes {
    ordinary: Arc<Queue>,
    long: Arc<Queue>,
    bulk: Arc<Queue>,
    /// The most tokens of an ordinary sequence: those of a batch.
    batch_tokens: usize,
}

impl Lanes {
    /// Starts the engine's threads, with `room` for the tokens of all that waits.
    ///
    /// # Errors
    /// When they cannot be started.
    pub(crate) fn start(
        engine: &Arc<dyn Engine>,
        batch_tokens: usize,
        room: usize,
        requests: &Room,
        observer: &Arc<dyn Observer>,
    ) -> io::Result<Self> {
        let beside = engine.beside().map_err(io::Error::other)?;
        let queue = || {
            let queue = Queue::new(batch_tokens, requests.beside(room / 3));
            Arc::new(queue.with_costs_of(engine.clone()))
        };
        let lane = |name: &str, engine: Arc<dyn Engine>| {
            let queue = queue();
            let (work, observer) = (queue.clone(), observer.clone());
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || work.run(engine.as_ref(), observer.as_ref()))?;
            Ok::<_, io::Error>(queue)
        };
        let lanes = Self {
            ordinary: lane("engine", engine.clone())?,
            long: lane("engine-long", beside)?,
            bulk: behind(engine, queue(), observer)?,
            batch_tokens,
        };
        Ok(lanes)
    }

    /// Tokens that wait.
    pub(crate) fn tokens(&self) -> usize {
        self.ordinary.tokens() + self.long.tokens() + self.bulk.tokens()
    }

    /// Turns away what is too late already, before tokens are made of it, where it is short enough
    /// to be ordinary: few tokens are shorter than a byte.
    pub(crate) fn in_time(&self, inputs: &[Input], deadline: Instant) -> Result<(), ScoreError> {
        if inputs.iter().all(|input| input.bytes() < self.batch_tokens) {
            self.ordinary.in_time(1, deadline)
        } else {
            Ok(())
        }
    }

    /// The logits of a request's sequences, of which there is at least one, in their order. When
    /// they are not waited for to the end, what is not computed yet never will be.
    pub(crate) async fn compute(
        &self,
        sequences: Vec<Encoded>,
        deadline: Deadline,
        bulk: bool,
    ) -> Result<Computed, ScoreError> {
        if bulk {
            return self.bulk.compute(sequences, deadline).await;
        }
        let is_long = |sequence: &Encoded| sequence.ids.len() > self.batch_tokens;
        let kinds: Vec<bool> = sequences.iter().map(is_long).collect();
        let places = |long: bool| -> Vec<usize> {
            let of_kind = kinds.iter().enumerate().filter(|(_, kind)| **kind == long);
            of_kind.map(|(place, _)| place).collect()
        };
        let (ordinary_places, long_places) = (places(false), places(true));
        let (long, ordinary): (Vec<_>, Vec<_>) = sequences.into_iter().partition(is_long);
        if long.is_empty() {
            return self.ordinary.compute(ordinary, deadline).await;
        }
        if ordinary.is_empty() {
            return self.long.compute(long, deadline).await;
        }
        let compute = async |queue: &Queue, sequences, places: Vec<usize>| {
            let computed = queue.compute(sequences, deadline).await;
            computed
                .map_err(|error| error.moved(|place| places.get(place).copied().unwrap_or(place)))
        };
        let (ordinary, long) = tokio::try_join!(
            compute(&self.ordinary, ordinary, ordinary_places),
            compute(&self.long, long, long_places),
        )?;
        let (mut rows, mut long_rows) = (ordinary.logits.into_iter(), long.logits.into_iter());
        let logits = kinds.into_iter().filter_map(|is_long| {
            if is_long {
                long_rows.next()
            } else {
                rows.next()
            }
        });
        Ok(Computed {
            logits: logits.collect(),
            waited: ordinary.waited.max(long.waited),
            inference: ordinary.inference.max(long.inference),
        })
    }
}

/// A lane whose threads step back. Those that the engine starts do so as the one that starts them does.
fn behind(
    engine: &Arc<dyn Engine>,
    queue: Arc<Queue>,
    observer: &Arc<dyn Observer>,
) -> io::Result<Arc<Queue>> {
    let (work, engine, observer) = (queue.clone(), engine.clone(), observer.clone());
    let (started, starts) = std::sync::mpsc::channel();
    std::thread::Builder::new()
        .name("engine-bulk".to_owned())
        .spawn(move || {
            step_back();
            match engine.beside() {
                Ok(engine) => {
                    drop(started.send(Ok(())));
                    work.run(engine.as_ref(), observer.as_ref());
                }
                Err(error) => drop(started.send(Err(io::Error::other(error)))),
            }
        })?;
    starts.recv().map_err(io::Error::other)??;
    Ok(queue)
}

/// How much nicer than the others a thread of the last lane is, and than those that take requests (10):
/// beside one that computes all the time it gets a thirtieth of what that gets.
const STEP: i32 = 15;

/// Where the kernel does not listen, all goes on, only slower for the others.
fn step_back() {
    let thread = Some(rustix::thread::gettid());
    let _ = rustix::process::setpriority_process(thread, STEP);
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.ordinary.close();
        self.long.close();
        self.bulk.close();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};
    use std::time::Duration;

    use inference_models::engine::EngineError;
    use inference_models::{Logits, Packed};
    use tokio::sync::Notify;

    use super::*;
    use crate::testing::{Nobody, sequence};

    const BATCH: usize = 10;

    /// Scores a sequence with its first token; long ones only when it is open.
    #[derive(Debug, Default)]
    struct Gate {
        entered: Notify,
        open: Mutex<bool>,
        opened: Condvar,
    }

    #[derive(Debug)]
    struct Gated(Arc<Gate>);

    impl Engine for Gated {
        fn forward(&self, batch: &Packed) -> Result<Logits, EngineError> {
            if batch.sequences().any(|(ids, _)| ids.len() > BATCH) {
                self.0.entered.notify_one();
                let open = self.0.open.lock().unwrap();
                let _open = self.0.opened.wait_while(open, |open| !*open).unwrap();
            }
            let row = |(ids, _): (&[u32], &[u32])| vec![f32::from(u16::try_from(ids[0]).unwrap())];
            Ok(batch.sequences().map(row).collect())
        }

        fn beside(&self) -> Result<Arc<dyn Engine>, EngineError> {
            Ok(Arc::new(Self(self.0.clone())))
        }
    }

    fn lanes() -> (Lanes, Arc<Gate>) {
        let gate = Arc::new(Gate::default());
        let engine: Arc<dyn Engine> = Arc::new(Gated(gate.clone()));
        let observer: Arc<dyn Observer> = Arc::new(Nobody);
        let lanes = Lanes::start(&engine, BATCH, 1_000, &Room::new(10), &observer);
        (lanes.unwrap(), gate)
    }

    fn open(gate: &Gate) {
        *gate.open.lock().unwrap() = true;
        gate.opened.notify_all();
    }

    #[tokio::test]
    async fn who_is_short_does_not_wait_for_who_is_long() {
        let (lanes, gate) = lanes();
        let later = Deadline::At(Instant::now() + Duration::from_secs(30));
        let long = lanes.compute(vec![sequence(7, BATCH + 1)], later, false);
        let short = async {
            gate.entered.notified().await;
            let short = lanes.compute(vec![sequence(3, BATCH)], later, false).await;
            assert_eq!(short.unwrap().logits, [[3.0]]);
            open(&gate);
        };
        let (long, ()) = tokio::join!(long, short);
        assert_eq!(long.unwrap().logits, [[7.0]]);
    }

    #[tokio::test]
    async fn a_request_of_both_kinds_keeps_its_order() {
        let (lanes, gate) = lanes();
        open(&gate);
        let later = Deadline::At(Instant::now() + Duration::from_secs(30));
        let mixed =
            [(1, 50), (2, 3), (3, 4), (4, 11), (5, 10)].map(|(id, tokens)| sequence(id, tokens));
        let computed = lanes.compute(mixed.into(), later, false).await.unwrap();
        assert_eq!(computed.logits, [[1.0], [2.0], [3.0], [4.0], [5.0]]);
    }

    #[tokio::test]
    async fn a_request_of_both_kinds_fails_where_one_kind_is_too_late() {
        let (lanes, gate) = lanes();
        let soon = Deadline::At(Instant::now() + Duration::from_millis(20));
        let mixed = [(1, 50), (2, 3)].map(|(id, tokens)| sequence(id, tokens));
        let outcome = lanes.compute(mixed.into(), soon, false).await;
        assert_eq!(outcome.unwrap_err(), ScoreError::Late);
        open(&gate);
    }

    #[tokio::test]
    async fn who_is_alone_does_not_wait_for_a_part_of_a_long_request() {
        let (lanes, gate) = lanes();
        let later = Deadline::At(Instant::now() + Duration::from_secs(30));
        let bulk = lanes.compute(vec![sequence(7, BATCH + 1)], later, true);
        let alone = async {
            gate.entered.notified().await;
            let alone = lanes.compute(vec![sequence(3, BATCH)], later, false).await;
            assert_eq!(alone.unwrap().logits, [[3.0]]);
            open(&gate);
        };
        let (bulk, ()) = tokio::join!(bulk, alone);
        assert_eq!(bulk.unwrap().logits, [[7.0]]);
    }
}
