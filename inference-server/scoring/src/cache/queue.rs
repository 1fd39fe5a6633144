//! The lanes of an engine behind a store: what is remembered is not computed, and what is being
//! computed is not computed twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{Either, join_all, select};
use inference_models::Encoded;

use super::flights::{Flights, Follower, Pilot, Row, follow};
use super::{Key, Scope, Store};
use crate::ScoreError;
use crate::lanes::Lanes;
use crate::queue::Computed;

/// The lanes of an engine behind a store.
#[derive(Debug)]
pub(crate) struct CachedQueue {
    lanes: Arc<Lanes>,
    store: Arc<Store>,
    scope: Scope,
    flights: Flights,
}

/// Where the logits of one sequence come from.
enum Way {
    Remembered(Vec<f32>),
    Follow(Follower),
}

impl CachedQueue {
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
        deadline: Instant,
    ) -> Result<(Computed, usize), ScoreError> {
        let epoch = self.store.epoch(self.scope.version());
        let keys: Vec<Key> = sequences
            .iter()
            .map(|sequence| self.scope.key(epoch, sequence))
            .collect();
        let remembered = self.store.get(&keys).await;
        let hits = remembered.iter().flatten().count();
        let ways = self.ways(&keys, remembered, &sequences, deadline);
        let (mut rows, failed) = tokio::time::timeout_at(deadline.into(), outcomes(ways))
            .await
            .map_err(|_| ScoreError::Late)?;
        if !failed.is_empty() {
            // The flight of another request may end for reasons of its own, such as its deadline.
            let own = failed
                .iter()
                .filter_map(|place| sequences.get(*place).cloned());
            let again = self.lanes.compute(own.collect(), deadline).await?;
            for (place, row) in failed.into_iter().zip(rows_of(again)) {
                if let Some(slot) = rows.get_mut(place) {
                    *slot = row;
                }
            }
        }
        let longest = |time: fn(&Row) -> Duration| rows.iter().map(time).max().unwrap_or_default();
        let (waited, inference) = (longest(|row| row.waited), longest(|row| row.inference));
        let computed = Computed {
            logits: rows.into_iter().map(|row| row.logits).collect(),
            waited,
            inference,
        };
        Ok((computed, hits))
    }

    /// Begins the flights that are missing, in one request to the engine.
    fn ways(
        &self,
        keys: &[Key],
        remembered: Vec<Option<Vec<f32>>>,
        sequences: &[Encoded],
        deadline: Instant,
    ) -> Vec<Way> {
        let mut flying = Vec::new();
        let way = |((key, found), sequence): ((&Key, Option<Vec<f32>>), &Encoded)| {
            if let Some(row) = found {
                return Way::Remembered(row);
            }
            let (follower, pilot) = self.flights.join(*key);
            flying.extend(pilot.map(|pilot| (pilot, sequence.clone())));
            Way::Follow(follower)
        };
        let ways = keys
            .iter()
            .zip(remembered)
            .zip(sequences)
            .map(way)
            .collect();
        if !flying.is_empty() {
            tokio::spawn(fly(
                self.lanes.clone(),
                self.store.clone(),
                flying,
                deadline,
            ));
        }
        ways
    }
}

/// The rows, and the places of those whose flight failed.
async fn outcomes(ways: Vec<Way>) -> (Vec<Row>, Vec<usize>) {
    let mut rows = Vec::with_capacity(ways.len());
    let mut failed = Vec::new();
    for (place, way) in ways.into_iter().enumerate() {
        let row = match way {
            Way::Remembered(logits) => Some(Row {
                logits,
                ..Row::default()
            }),
            Way::Follow(follower) => follow(follower).await,
        };
        if row.is_none() {
            failed.push(place);
        }
        rows.push(row.unwrap_or_default());
    }
    (rows, failed)
}

fn rows_of(computed: Computed) -> impl Iterator<Item = Row> {
    let (waited, inference) = (computed.waited, computed.inference);
    computed.logits.into_iter().map(move |logits| Row {
        logits,
        waited,
        inference,
    })
}

/// Computes for all who follow, until the last of them has left.
async fn fly(
    lanes: Arc<Lanes>,
    store: Arc<Store>,
    flying: Vec<(Pilot, Encoded)>,
    deadline: Instant,
) {
    let (pilots, sequences): (Vec<Pilot>, Vec<Encoded>) = flying.into_iter().unzip();
    let outcome = {
        let computing = std::pin::pin!(lanes.compute(sequences, deadline));
        let abandoned = std::pin::pin!(join_all(pilots.iter().map(Pilot::abandoned)));
        match select(computing, abandoned).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => return,
        }
    };
    let Ok(computed) = outcome else { return };
    let mut entries = Vec::with_capacity(pilots.len());
    for (pilot, row) in pilots.into_iter().zip(rows_of(computed)) {
        // What is not a number is not remembered.
        if row.logits.iter().all(|logit| logit.is_finite()) {
            entries.push((pilot.key(), row.logits.clone()));
        }
        pilot.land(row);
    }
    store.put(entries).await;
}
