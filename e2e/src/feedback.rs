//! Labelled pairs for a rollout, as a team that labels sends them.

use std::time::Duration;

use anyhow::bail;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::accuracy::Pair;
use crate::http::Client;

/// Pairs in one request.
const AT_ONCE: usize = 50;
/// How often a router without room is asked again, half a second apart.
const TRIES: u32 = 120;

/// What became of the pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Taken {
    /// Pairs that both revisions score.
    pub accepted: usize,
    /// Pairs of prompts that were counted before.
    pub repeated: usize,
    /// Pairs that are more than a router keeps.
    pub beyond: usize,
}

/// Sends `pairs` to `POST /feedback`, as fast as they are taken.
///
/// # Errors
/// When an answer is neither 202 nor 429, or there is no room for a minute.
pub fn send(client: &Client, pairs: &[Pair]) -> anyhow::Result<Taken> {
    let mut all = Taken::default();
    // Each is of a user of its own: several are of one prompt, and one of a user counts.
    let pairs: Vec<_> = pairs.iter().enumerate().collect();
    for chunk in pairs.chunks(AT_ONCE) {
        let one = |(user, pair): &(usize, &Pair)| json!({"user": format!("user {user}"), "prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected});
        let preferences: Vec<_> = chunk.iter().map(one).collect();
        let taken = send_one(client, &json!({ "preferences": preferences }).to_string())?;
        all.accepted += taken.accepted;
        all.repeated += taken.repeated;
        all.beyond += taken.beyond;
    }
    Ok(all)
}

fn send_one(client: &Client, body: &str) -> anyhow::Result<Taken> {
    for _ in 0..TRIES {
        let answer = client.post_fresh("/feedback", body)?;
        match answer.status {
            202 => return Ok(serde_json::from_slice(&answer.body)?),
            429 => std::thread::sleep(Duration::from_millis(500)),
            status => bail!("{status}: {}", String::from_utf8_lossy(&answer.body)),
        }
    }
    bail!("the router had no room for a minute")
}
