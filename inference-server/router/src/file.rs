//! A table from a local file.
//!
//! Owns when it is read: when its bytes are others, five times a second. Invariant: a file that is gone or
//! refused changes nothing.

use std::path::PathBuf;
use std::time::Duration;

use crate::Router;

const EVERY: Duration = Duration::from_millis(200);

/// Offers what the file holds to the router, for ever.
pub async fn watch(router: Router, path: PathBuf) {
    let mut last: Option<std::io::Result<Vec<u8>>> = None;
    loop {
        let read = tokio::fs::read(&path).await;
        let changed = match (&last, &read) {
            (Some(Ok(before)), Ok(now)) => before != now,
            (Some(Err(before)), Err(now)) => before.kind() != now.kind(),
            (Some(_) | None, _) => true,
        };
        if changed {
            match &read {
                Ok(bytes) => {
                    if let Err(refusal) = router.offer(bytes) {
                        tracing::warn!(target: "router", reason = refusal.word(), "the table is refused: {refusal}");
                    }
                }
                Err(error) => {
                    tracing::warn!(target: "router", kind = %error.kind(), "the table cannot be read: what is held stays");
                }
            }
            last = Some(read);
        }
        tokio::time::sleep(EVERY).await;
    }
}
