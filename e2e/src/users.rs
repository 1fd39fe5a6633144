//! Users of an experiment: each asks for a score, and says with a chance of its own what it thinks of the model.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;
use serde_json::{Value, json};

use crate::accuracy::Pair;
use crate::http::Client;

/// Events in one request.
const AT_ONCE: usize = 100;

/// What became of the users' requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Requests for a score.
    pub requests: usize,
    /// Those that were not answered with one.
    pub failures: usize,
    /// Why.
    pub failures_by_kind: BTreeMap<String, usize>,
    /// Users that each variant has answered first.
    pub users: BTreeMap<String, usize>,
    /// Users who met two variants.
    pub switched: usize,
    /// Users whose answers came from another model later on, by the variant that has answered them first.
    pub moved: BTreeMap<String, usize>,
    /// The most often that this happened to one user.
    pub most_moves: usize,
    /// Events that were sent.
    pub events: usize,
    /// What the routers said of them.
    pub taken: BTreeMap<String, u64>,
}

/// Has `users` users ask in turn, `rate` requests a second, until `stop`; one whom the variant NAME has answered
/// is content with the chance `chances[NAME]`, once.
///
/// # Errors
/// When events are refused.
pub fn run(
    client: &Client,
    pairs: &[Pair],
    (users, rate): (usize, u32),
    (event, chances): (&str, &BTreeMap<String, f64>),
    stop: &AtomicBool,
) -> anyhow::Result<Report> {
    let (mut report, mut known) = (Report::default(), vec![None::<Seen>; users]);
    let (mut events, began) = (Vec::new(), Instant::now());
    for (sent, pair) in (0_u32..).zip(pairs.iter().cycle()) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let due = began + Duration::from_secs_f64(f64::from(sent) / f64::from(rate));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let user = usize::try_from(sent)? % users;
        let name = format!("user-{user}");
        let body = json!({ "context": pair.prompt, "text": pair.chosen }).to_string();
        report.requests += 1;
        let (variant, model) = match asked(client, &name, &body) {
            Ok(answered) => answered,
            Err(error) => {
                report.failures += 1;
                *report
                    .failures_by_kind
                    .entry(format!("{error:#}"))
                    .or_default() += 1;
                continue;
            }
        };
        let Some(seen) = known.get_mut(user) else {
            continue;
        };
        if let Some(before) = seen {
            report.again(before, &variant, model);
        } else {
            *report.users.entry(variant.clone()).or_default() += 1;
            if luck(user) < chances.get(&variant).copied().unwrap_or(0.0) {
                events.push(json!({ "user": name, "event": event, "value": 1 }));
            }
            *seen = Some(Seen {
                variant,
                model,
                moves: 0,
            });
        }
        if events.len() >= AT_ONCE {
            tell(client, &mut events, &mut report)?;
        }
    }
    tell(client, &mut events, &mut report)?;
    Ok(report)
}

impl Report {
    /// A user who was answered before is answered by `variant` and `model`.
    fn again(&mut self, before: &mut Seen, variant: &str, model: String) {
        let both = !before.variant.is_empty() && !variant.is_empty();
        self.switched += usize::from(both && before.variant != variant);
        if before.model != model {
            before.model = model;
            before.moves += 1;
            self.most_moves = self.most_moves.max(before.moves);
            if before.moves == 1 {
                *self.moved.entry(before.variant.clone()).or_default() += 1;
            }
        }
    }
}

/// What a user has met.
#[derive(Clone, Debug)]
struct Seen {
    variant: String,
    model: String,
    moves: usize,
}

/// The variant that has answered, empty outside of an experiment; and the version of its model.
fn asked(client: &Client, user: &str, body: &str) -> anyhow::Result<(String, String)> {
    let answer = client.post_kept_as(user, "/predict", body)?;
    ensure!(answer.status == 200, "status {}", answer.status);
    Ok((answer.variant, answer.model_version))
}

/// Between 0 and 1, the same for a user every time.
fn luck(user: usize) -> f64 {
    let mixed = (user as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    #[expect(clippy::cast_precision_loss, reason = "24 bits")]
    let part = (mixed >> 40) as f64;
    part / f64::from(1_u32 << 24)
}

fn tell(client: &Client, events: &mut Vec<Value>, report: &mut Report) -> anyhow::Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let body = json!({ "events": events }).to_string();
    let answer = client.post_fresh("/feedback", &body)?;
    let text = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status == 202, "feedback: {}: {text}", answer.status);
    report.events += events.len();
    let said: BTreeMap<String, Value> = serde_json::from_str(&text)?;
    for (word, count) in said {
        *report.taken.entry(word).or_default() += count.as_u64().unwrap_or(0);
    }
    events.clear();
    Ok(())
}
