//! What stands before the lanes of an engine: what is remembered is not computed, and what is being
//! computed is not computed twice.
//!
//! Invariants: a request fails for a reason of its own only; where the one that it followed fails, it
//! tries again, until its deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{Either, join_all, select};
use inference_models::Encoded;
use inference_scoring::{Deadline, ScoreError};

use super::flights::{Flights, Follower, Pilot, Row, follow};
use super::{Key, Scope, Store};
use crate::lanes::Lanes;
use crate::request::Computed;

/// The lanes of an engine behind a store.
#[derive(Debug)]
pub(crate) struct Front {
    lanes: Arc<Lanes>,
    store: Arc<Store>,
    scope: Scope,
    flights: Flights,
    /// Of parts of long requests, which wait behind all others: nobody else is to wait with them.
    bulk_flights: Flights,
}

/// One sequence that is waited for.
struct Awaited {
    place: usize,
    follower: Follower,
    /// Whether this request began to compute it.
    own: bool,
}

impl Front {
    pub(crate) fn new(lanes: Arc<Lanes>, store: Arc<Store>, scope: Scope) -> Self {
        Self {
            lanes,
            store,
            scope,
            flights: Flights::default(),
            bulk_flights: Flights::default(),
        }
    }

    /// The logits of `sequences`, and how many of them were remembered.
    pub(crate) async fn compute(
        &self,
        sequences: Vec<Encoded>,
        deadline: Deadline,
        bulk: bool,
    ) -> Result<(Computed, usize), ScoreError> {
        let last = deadline.last(Instant::now());
        let epoch = self.store.epoch(self.scope.version());
        let keys: Vec<Key> = sequences
            .iter()
            .map(|sequence| self.scope.key(epoch, sequence))
            .collect();
        let remembered = self.store.get(&keys).await;
        let hits = remembered.iter().flatten().count();
        let row = |logits: Option<Vec<f32>>| {
            logits.map(|logits| Row {
                logits,
                ..Row::default()
            })
        };
        let rows = remembered.into_iter().map(row).collect();
        let rows = self.fill(rows, &keys, &sequences, (deadline, bulk));
        let rows = tokio::time::timeout_at(last.into(), rows)
            .await
            .map_err(|_| ScoreError::Late)??;
        let longest = |time: fn(&Row) -> Duration| rows.iter().map(time).max().unwrap_or_default();
        let (waited, inference) = (longest(|row| row.waited), longest(|row| row.inference));
        let computed = Computed {
            logits: rows.into_iter().map(|row| row.logits).collect(),
            waited,
            inference,
        };
        Ok((computed, hits))
    }

    /// Waits for those rows that are missing.
    async fn fill(
        &self,
        mut rows: Vec<Option<Row>>,
        keys: &[Key],
        sequences: &[Encoded],
        how: (Deadline, bool),
    ) -> Result<Vec<Row>, ScoreError> {
        loop {
            let missing = rows.iter().enumerate().filter(|(_, row)| row.is_none());
            let missing: Vec<usize> = missing.map(|(place, _)| place).collect();
            if missing.is_empty() {
                return Ok(rows.into_iter().flatten().collect());
            }
            for awaited in self.join(&missing, keys, sequences, how) {
                match follow(awaited.follower).await {
                    Ok(row) => {
                        if let Some(slot) = rows.get_mut(awaited.place) {
                            *slot = Some(row);
                        }
                    }
                    Err(error) if awaited.own => return Err(error),
                    // Another request's flight may end for reasons of its own, such as its deadline.
                    Err(_) => {}
                }
            }
        }
    }

    /// Follows those flights that there are, and begins the others in one request to the engine.
    fn join(
        &self,
        missing: &[usize],
        keys: &[Key],
        sequences: &[Encoded],
        how: (Deadline, bool),
    ) -> Vec<Awaited> {
        let mut flying = Vec::new();
        let flights = if how.1 {
            &self.bulk_flights
        } else {
            &self.flights
        };
        let mut follow = |&place: &usize| {
            let (key, sequence) = (keys.get(place)?, sequences.get(place)?);
            let (follower, pilot) = flights.join(*key);
            let own = pilot.is_some();
            flying.extend(pilot.map(|pilot| (pilot, place, sequence.clone())));
            Some(Awaited {
                place,
                follower,
                own,
            })
        };
        let awaited = missing.iter().filter_map(&mut follow).collect();
        if !flying.is_empty() {
            let (lanes, store) = (self.lanes.clone(), self.store.clone());
            tokio::spawn(fly(lanes, store, flying, how));
        }
        awaited
    }
}

/// Computes for all who follow, until the last of them has left. An error has the place among all
/// sequences of the request that began this.
async fn fly(
    lanes: Arc<Lanes>,
    store: Arc<Store>,
    flying: Vec<(Pilot, usize, Encoded)>,
    (deadline, bulk): (Deadline, bool),
) {
    let (mut pilots, mut places, mut sequences) = (Vec::new(), Vec::new(), Vec::new());
    for (pilot, place, sequence) in flying {
        pilots.push(pilot);
        places.push(place);
        sequences.push(sequence);
    }
    let outcome = {
        let computing = std::pin::pin!(lanes.compute(sequences, deadline, bulk));
        let abandoned = std::pin::pin!(join_all(pilots.iter().map(Pilot::abandoned)));
        match select(computing, abandoned).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => return,
        }
    };
    let computed = match outcome {
        Ok(computed) => computed,
        Err(error) => {
            let error = error.moved(|place| places.get(place).copied().unwrap_or(place));
            for pilot in pilots {
                pilot.fail(error.clone());
            }
            return;
        }
    };
    let mut entries = Vec::with_capacity(pilots.len());
    for (pilot, logits) in pilots.into_iter().zip(computed.logits) {
        let row = Row {
            logits,
            waited: computed.waited,
            inference: computed.inference,
        };
        // What is not a number is not remembered.
        if row.logits.iter().all(|logit| logit.is_finite()) {
            entries.push((pilot.key(), row.logits.clone()));
        }
        pilot.land(row);
    }
    store.put(entries).await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Condvar, Mutex};

    use inference_models::engine::EngineError;
    use inference_models::{Engine, Logits, Packed};

    use super::*;
    use crate::Observer;
    use crate::cache::CacheSettings;
    use crate::room::Room;
    use crate::testing::{Nobody, sequences};

    /// Computes when it is open, and fails at some tokens.
    #[derive(Debug, Default)]
    struct Gate {
        calls: AtomicUsize,
        open: Mutex<bool>,
        opened: Condvar,
    }

    #[derive(Debug)]
    struct Gated(Arc<Gate>);

    const FAILS: u32 = 13;

    impl Engine for Gated {
        fn forward(&self, batch: &Packed) -> Result<Logits, EngineError> {
            let open = self.0.open.lock().unwrap();
            drop(self.0.opened.wait_while(open, |open| !*open).unwrap());
            self.0.calls.fetch_add(1, Ordering::Relaxed);
            let row = |(ids, _): (&[u32], &[u32])| {
                assert_ne!(ids[0], FAILS, "cannot be computed");
                vec![f32::from(u16::try_from(ids[0]).unwrap())]
            };
            Ok(batch.sequences().map(row).collect())
        }

        fn beside(&self) -> Result<Arc<dyn Engine>, EngineError> {
            Ok(Arc::new(Self(self.0.clone())))
        }
    }

    fn front() -> (Arc<Front>, Arc<Gate>) {
        let gate = Arc::new(Gate::default());
        (front_of(Arc::new(Gated(gate.clone()))), gate)
    }

    fn front_of(engine: Arc<dyn Engine>) -> Arc<Front> {
        let observer: Arc<dyn Observer> = Arc::new(Nobody);
        let lanes = Lanes::start(&engine, 10, 1_000, &Room::new(10), &observer).unwrap();
        let settings = CacheSettings {
            ttl: Duration::from_mins(1),
            max_entries: 10,
            redis_url: None,
        };
        let store = Arc::new(Store::new(&settings).unwrap());
        let scope = Scope::new("v", "d", "f32", "cpu");
        Arc::new(Front::new(Arc::new(lanes), store, scope))
    }

    /// Computes parts of long requests when it is open, and all else at once.
    #[derive(Debug)]
    struct SlowInBulk(Arc<Gate>);

    impl Engine for SlowInBulk {
        fn forward(&self, batch: &Packed) -> Result<Logits, EngineError> {
            if std::thread::current().name() == Some("engine-bulk") {
                return Gated(self.0.clone()).forward(batch);
            }
            Ok(batch.sequences().map(|_| vec![1.0]).collect())
        }

        fn beside(&self) -> Result<Arc<dyn Engine>, EngineError> {
            Ok(Arc::new(Self(self.0.clone())))
        }
    }

    #[tokio::test]
    async fn who_asks_for_one_score_does_not_wait_with_an_evaluation_that_asks_for_it_too() {
        let gate = Arc::new(Gate::default());
        let front = front_of(Arc::new(SlowInBulk(gate.clone())));
        let bulk = front.compute(sequences(&[7]), within(Duration::from_secs(30)), true);
        let mut bulk = Box::pin(bulk);
        assert!(futures::future::poll_immediate(&mut bulk).await.is_none());
        let soon = within(Duration::from_secs(2));
        let alone = front.compute(sequences(&[7]), soon, false).await;
        assert_eq!(alone.unwrap().0.logits, [[1.0]]);
        open(&gate);
        assert!(bulk.await.is_ok());
    }

    fn open(gate: &Gate) {
        *gate.open.lock().unwrap() = true;
        gate.opened.notify_all();
    }

    fn within(time: Duration) -> Deadline {
        Deadline::At(Instant::now() + time)
    }

    #[tokio::test]
    async fn who_followed_a_request_that_was_too_late_shares_one_more_try() {
        let (front, gate) = front();
        let soon = within(Duration::from_millis(30));
        let later = within(Duration::from_secs(30));
        let mut leader = Box::pin(front.compute(sequences(&[7]), soon, false));
        let first = futures::future::poll_immediate(&mut leader).await;
        assert!(first.is_none());
        let followers: Vec<_> = (0..20)
            .map(|_| {
                let front = front.clone();
                tokio::spawn(async move { front.compute(sequences(&[7]), later, false).await })
            })
            .collect();
        assert_eq!(leader.await.unwrap_err(), ScoreError::Late);
        open(&gate);
        for follower in followers {
            assert_eq!(follower.await.unwrap().unwrap().0.logits, [[7.0]]);
        }
        let calls = gate.calls.load(Ordering::Relaxed);
        assert!(calls <= 2, "{calls} computations of one sequence");
    }

    #[tokio::test]
    async fn a_sequence_that_fails_is_named_by_its_place_and_fails_no_other_request() {
        let (front, gate) = front();
        open(&gate);
        let later = within(Duration::from_secs(30));
        let known = front.compute(sequences(&[1]), later, false).await.unwrap();
        assert_eq!(known.1, 0);
        let (bad, good) = (sequences(&[1, 2, FAILS]), sequences(&[2, 3]));
        let (bad, good) = tokio::join!(
            front.compute(bad, later, false),
            front.compute(good, later, false)
        );
        let index = Some(2);
        assert_eq!(bad.unwrap_err(), ScoreError::Engine { index });
        assert_eq!(good.unwrap().0.logits, [[2.0], [3.0]]);
    }
}
