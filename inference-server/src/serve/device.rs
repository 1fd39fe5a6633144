//! A device that is lost while it serves.
//!
//! Owns the way from the engine's threads, which notice, to the process, which ends. Must not know what was
//! computed. Invariant: the first reason that was heard is the one that is told.

use std::sync::Arc;
use std::time::Duration;

use inference_engine::Observer;
use tokio::sync::watch;

use crate::metrics::Metrics;

/// Hears what the engine's threads say.
#[derive(Debug)]
pub(super) struct Listener {
    metrics: Arc<Metrics>,
    lost: watch::Sender<Option<String>>,
}

impl Listener {
    /// One that counts in `metrics`.
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            lost: watch::Sender::new(None),
        }
    }

    /// Where it counts.
    pub(super) fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// Why the device is lost, once it is.
    pub(super) async fn loss(&self) -> String {
        let mut lost = self.lost.subscribe();
        let why = lost.wait_for(Option::is_some).await;
        // Its sender lives as long as this.
        why.ok().and_then(|why| why.clone()).unwrap_or_default()
    }
}

impl Default for Listener {
    fn default() -> Self {
        Self::new(Arc::new(Metrics::new()))
    }
}

impl Observer for Listener {
    fn batch(&self, sequences: usize, tokens: usize, took: Duration) {
        self.metrics.batch(sequences, tokens, took);
    }

    fn left(&self) {
        self.metrics.left();
    }

    fn lost(&self, why: &str) {
        self.lost.send_if_modified(|lost| {
            let first = lost.is_none();
            lost.get_or_insert_with(|| why.to_owned());
            first
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn the_first_reason_ends_the_process_whoever_asks_and_when() {
        let listener = Listener::default();
        assert_eq!(listener.loss().now_or_never(), None);
        listener.lost("ECC");
        listener.lost("all that follows");
        assert_eq!(listener.loss().await, "ECC");
    }
}
