//! What is being computed right now, so that a second request for the same waits for it.
//!
//! Invariant: a flight that nobody follows any more is given up; one that somebody follows is not,
//! whoever began it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use inference_scoring::ScoreError;
use tokio::sync::watch;

use super::Key;

/// The outcome of a flight: nothing yet, no score, or the logits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Flight {
    /// It is under way.
    Flying,
    /// It failed, for a reason of whoever began it: others who need the score try again.
    Failed(ScoreError),
    /// It has landed.
    Landed(Row),
}

/// The logits of one sequence, and where the time of their computation went.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    /// Of all labels.
    pub(crate) logits: Vec<f32>,
    /// Waiting for the engine.
    pub(crate) waited: Duration,
    /// In the engine.
    pub(crate) inference: Duration,
}

/// Follows a flight.
pub(crate) type Follower = watch::Receiver<Flight>;

/// What is being computed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flights(Arc<Mutex<HashMap<Key, Weak<watch::Sender<Flight>>>>>);

/// One flight, on the side of who computes. Dropped before it lands, it has failed.
#[derive(Debug)]
pub(crate) struct Pilot {
    key: Key,
    flights: Flights,
    sender: Arc<watch::Sender<Flight>>,
}

impl Flights {
    /// Follows the flight of `key`; where there is none, a new one begins, whose pilot is answered
    /// too.
    pub(crate) fn join(&self, key: Key) -> (Follower, Option<Pilot>) {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = flights.get(&key).and_then(Weak::upgrade) {
            return (sender.subscribe(), None);
        }
        let (sender, follower) = watch::channel(Flight::Flying);
        let sender = Arc::new(sender);
        flights.insert(key, Arc::downgrade(&sender));
        let pilot = Pilot {
            key,
            flights: self.clone(),
            sender,
        };
        (follower, Some(pilot))
    }
}

impl Pilot {
    /// What it computes.
    pub(crate) const fn key(&self) -> Key {
        self.key
    }

    /// Hands the logits to all followers.
    pub(crate) fn land(self, row: Row) {
        self.sender.send_replace(Flight::Landed(row));
    }

    /// Tells all followers why there are none.
    pub(crate) fn fail(self, error: ScoreError) {
        self.sender.send_replace(Flight::Failed(error));
    }

    /// Ends when nobody follows any more.
    pub(crate) async fn abandoned(&self) {
        self.sender.closed().await;
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        let mut flights = self
            .flights
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        flights.remove(&self.key);
        self.sender.send_if_modified(|flight| {
            let failed = *flight == Flight::Flying;
            if failed {
                *flight = Flight::Failed(ScoreError::Engine { index: None });
            }
            failed
        });
    }
}

/// The outcome of a flight, at its end.
pub(crate) async fn follow(mut follower: Follower) -> Result<Row, ScoreError> {
    let lost = ScoreError::Engine { index: None };
    let outcome = follower
        .wait_for(|flight| *flight != Flight::Flying)
        .await
        .map_err(|_| lost.clone())?;
    match &*outcome {
        Flight::Landed(row) => Ok(row.clone()),
        Flight::Failed(error) => Err(error.clone()),
        Flight::Flying => Err(lost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key([7; 32]);

    #[tokio::test]
    async fn who_comes_second_follows_the_first() {
        let flights = Flights::default();
        let (first, pilot) = flights.join(KEY);
        let (second, none) = flights.join(KEY);
        assert!(none.is_none());
        let row = Row {
            logits: vec![1.5],
            ..Row::default()
        };
        pilot.unwrap().land(row.clone());
        assert_eq!(follow(first).await, Ok(row.clone()));
        assert_eq!(follow(second).await, Ok(row));
        assert!(flights.join(KEY).1.is_some(), "a landed flight is over");
    }

    #[tokio::test]
    async fn a_flight_that_fails_frees_its_followers() {
        let flights = Flights::default();
        let (follower, pilot) = flights.join(KEY);
        pilot.unwrap().fail(ScoreError::Late);
        assert_eq!(follow(follower).await, Err(ScoreError::Late));
        let (follower, pilot) = flights.join(KEY);
        drop(pilot);
        assert!(follow(follower).await.is_err(), "nobody is left behind");
        assert!(flights.join(KEY).1.is_some());
    }

    #[tokio::test]
    async fn a_flight_is_given_up_when_the_last_follower_leaves() {
        let flights = Flights::default();
        let (first, pilot) = flights.join(KEY);
        let (second, _) = flights.join(KEY);
        let pilot = pilot.unwrap();
        drop(first);
        let abandoned = pilot.abandoned();
        tokio::pin!(abandoned);
        assert!(
            futures::future::poll_immediate(abandoned.as_mut())
                .await
                .is_none()
        );
        drop(second);
        abandoned.await;
    }
}
