//! Scores remembered in a Redis that replicas share.
//!
//! Invariants: a request never waits for a Redis that is not there, and at most [`PATIENCE`] for one
//! that has just gone; whether it is there is found out by one task beside the requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client};
use tokio::sync::Semaphore;

use super::Key;

/// The longest that a request waits for an answer.
const PATIENCE: Duration = Duration::from_millis(20);
/// How often a Redis that was lost is looked for, and the epochs are read.
const LOOK: Duration = Duration::from_secs(1);
/// The longest that looking for it may take.
const CONNECT: Duration = Duration::from_millis(500);
/// Writes under way. What comes beyond is not remembered.
const WRITES: usize = 32;

/// Scores remembered in a Redis.
#[derive(Clone, Debug)]
pub struct Redis(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    client: Client,
    ttl: Duration,
    /// `None` while it is away.
    connection: Mutex<Option<Connection>>,
    epochs: Mutex<HashMap<String, u64>>,
    writes: Arc<Semaphore>,
    watched: OnceLock<()>,
}

#[derive(Clone)]
struct Connection(MultiplexedConnection);

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

impl Redis {
    /// The Redis at `url`. Nothing is connected yet: the first use does, beside the requests.
    ///
    /// # Errors
    /// A sentence when `url` is not an address of a Redis.
    pub fn new(url: &str, ttl: Duration) -> Result<Self, String> {
        let client = Client::open(url)
            .map_err(|error| format!("write redis://HOST:PORT/DATABASE ({error})"))?;
        Ok(Self(Arc::new(Shared {
            client,
            ttl,
            connection: Mutex::default(),
            epochs: Mutex::default(),
            writes: Arc::new(Semaphore::new(WRITES)),
            watched: OnceLock::new(),
        })))
    }

    /// The epoch that was read last.
    pub(super) fn epoch(&self, version: &str) -> u64 {
        let mut epochs = lock(&self.0.epochs);
        match epochs.get(version) {
            Some(epoch) => *epoch,
            None => *epochs.entry(version.to_owned()).or_insert(0),
        }
    }

    pub(super) async fn get(&self, keys: &[Key]) -> Vec<Option<Vec<f32>>> {
        let misses = || vec![None; keys.len()];
        let Some(Connection(mut connection)) = self.connection() else {
            return misses();
        };
        let names: Vec<_> = keys.iter().map(name).collect();
        let mut command = redis::cmd("MGET");
        command.arg(&names);
        let asked = command.query_async::<Vec<Option<Vec<u8>>>>(&mut connection);
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(found)) if found.len() == keys.len() => {
                found.into_iter().map(|bytes| decode(&bytes?)).collect()
            }
            Ok(Ok(_)) => misses(),
            Ok(Err(error)) => {
                self.lost(&error.to_string());
                misses()
            }
            Err(_) => {
                self.lost("no answer in time");
                misses()
            }
        }
    }

    pub(super) async fn put(&self, entries: Vec<(Key, Vec<f32>)>) {
        let (Some(Connection(mut connection)), Ok(_write)) =
            (self.connection(), self.0.writes.try_acquire())
        else {
            return;
        };
        let mut commands = redis::pipe();
        let seconds = self.0.ttl.as_secs().max(1);
        for (key, logits) in &entries {
            commands.set_ex(name(key), encode(logits), seconds).ignore();
        }
        let wrote = commands.query_async::<()>(&mut connection);
        match tokio::time::timeout(CONNECT, wrote).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.lost(&error.to_string()),
            Err(_) => self.lost("no answer in time"),
        }
    }

    pub(super) async fn invalidate(&self, version: &str) -> Result<(), String> {
        let away = || "the cache cannot be reached: try again".to_owned();
        let connection = match self.connection() {
            Some(connection) => connection,
            None => self.connect().await.ok_or_else(away)?,
        };
        let Connection(mut connection) = connection;
        let mut command = redis::cmd("INCR");
        command.arg(epoch_name(version));
        let raised = command.query_async::<u64>(&mut connection);
        let epoch = tokio::time::timeout(CONNECT, raised)
            .await
            .map_err(|_| away())?
            .map_err(|_| away())?;
        lock(&self.0.epochs).insert(version.to_owned(), epoch);
        Ok(())
    }

    /// The connection, while there is one; sees to it that one is looked for.
    fn connection(&self) -> Option<Connection> {
        self.0.watched.get_or_init(|| {
            tokio::spawn(watch(Arc::downgrade(&self.0)));
        });
        lock(&self.0.connection).clone()
    }

    fn lost(&self, why: &str) {
        if lock(&self.0.connection).take().is_some() {
            tracing::warn!(target: "cache", why, "Redis is away; scores are computed");
        }
    }

    async fn connect(&self) -> Option<Connection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(CONNECT));
        let connecting = self
            .0
            .client
            .get_multiplexed_async_connection_with_config(&config);
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(Ok(connection)) => Some(Connection(connection)),
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// Reads the epochs of the versions that are used, which shows too that the Redis answers.
    async fn read_epochs(&self, connection: &Connection) -> Result<(), String> {
        let versions: Vec<String> = lock(&self.0.epochs).keys().cloned().collect();
        let mut command = redis::cmd("MGET");
        command.arg(epoch_name(""));
        for version in &versions {
            command.arg(epoch_name(version));
        }
        let Connection(mut connection) = connection.clone();
        let asked = command.query_async::<Vec<Option<u64>>>(&mut connection);
        let found = tokio::time::timeout(CONNECT, asked)
            .await
            .map_err(|_| "no answer in time".to_owned())?
            .map_err(|error| error.to_string())?;
        let mut epochs = lock(&self.0.epochs);
        for (version, epoch) in versions.into_iter().zip(found.into_iter().skip(1)) {
            epochs.insert(version, epoch.unwrap_or(0));
        }
        Ok(())
    }
}

/// Looks for the Redis while it is away, and reads the epochs while it is there.
async fn watch(shared: std::sync::Weak<Shared>) {
    while let Some(shared) = shared.upgrade() {
        let redis = Redis(shared);
        let known = lock(&redis.0.connection).clone();
        let connection = match known {
            Some(connection) => Some(connection),
            None => redis.connect().await,
        };
        if let Some(connection) = connection {
            match redis.read_epochs(&connection).await {
                Ok(()) => {
                    let before = lock(&redis.0.connection).replace(connection);
                    if before.is_none() {
                        tracing::info!(target: "cache", "Redis is there");
                    }
                }
                Err(why) => redis.lost(&why),
            }
        }
        drop(redis);
        tokio::time::sleep(LOOK).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name(key: &Key) -> Vec<u8> {
    let mut name = b"betterai:score:".to_vec();
    name.extend_from_slice(key.as_bytes());
    name
}

fn epoch_name(version: &str) -> String {
    format!("betterai:epoch:{version}")
}

fn encode(logits: &[f32]) -> Vec<u8> {
    logits
        .iter()
        .flat_map(|logit| logit.to_le_bytes())
        .collect()
}

/// What is not a row of logits is a miss.
fn decode(bytes: &[u8]) -> Option<Vec<f32>> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    (rest.is_empty() && !numbers.is_empty()).then(|| {
        numbers
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_survive_the_way_there_and_back() {
        let logits = [f32::MIN_POSITIVE, -0.0, 1.5e-7, 30.25];
        let back = decode(&encode(&logits)).unwrap();
        assert!(
            logits
                .iter()
                .zip(&back)
                .all(|(a, b)| a.to_bits() == b.to_bits())
        );
        assert_eq!(decode(b""), None);
        assert_eq!(decode(b"12345"), None);
    }

    #[test]
    fn an_address_that_is_none_says_what_to_write() {
        for url in ["", "localhost", "http://x"] {
            let why = Redis::new(url, LOOK).unwrap_err();
            assert!(why.contains("redis://"), "{why}");
        }
    }

    #[tokio::test]
    async fn a_redis_that_is_not_there_is_a_miss_at_once() {
        let redis = Redis::new("redis://127.0.0.1:1", LOOK).unwrap();
        let began = std::time::Instant::now();
        assert_eq!(redis.get(&[Key([0; 32])]).await, [None]);
        assert!(began.elapsed() < PATIENCE);
        assert!(
            redis
                .invalidate("v")
                .await
                .unwrap_err()
                .contains("try again")
        );
    }
}
