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
        }
    }

    /// The logits of `sequences`, and how many of them were remembered.
    pub(crate) async fn compute(
        &self,
        sequences: Vec<Encoded>,
        deadline: Deadline,
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
        let rows = self.fill(rows, &keys, &sequences, deadline);
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
        deadline: Deadline,
    ) -> Result<Vec<Row>, ScoreError> {
        loop {
            let missing = rows.iter().enumerate().filter(|(_, row)| row.is_none());
            let missing: Vec<usize> = missing.map(|(place, _)| place).collect();
            if missing.is_empty() {
                return Ok(rows.into_iter().flatten().collect());
            }
            for awaited in self.join(&missing, keys, sequences, deadline) {
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
        deadline: Deadline,
    ) -> Vec<Awaited> {
        let mut flying = Vec::new();
        let mut follow = |&place: &usize| {
            let (key, sequence) = (keys.get(place)?, sequences.get(place)?);
            let (follower, pilot) = self.flights.join(*key);
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
            tokio::spawn(fly(lanes, store, flying, deadline));
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
    deadline: Deadline,
) {
    let (mut pilots, mut places, mut sequences) = (Vec::new(), Vec::new(), Vec::new());
    for (pilot, place, sequence) in flying {
        pilots.push(pilot);
        places.push(place);
        sequences.push(sequence);
    }
    let outcome = {
        let computing = std::pin::pin!(lanes.compute(sequences, deadline));
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
