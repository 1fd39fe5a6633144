//! The way of a request: who is asked, who else when nobody answers, and what it counts as.
//!
//! Owns retry, fallback and hedge. Invariants: one request is answered by one revision; each request
//! counts once, for the arm that its key is assigned to, also when its client leaves; a second question
//! is paid for from a budget; what a client sees is within its deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use inference_api::internal::{self, write_question};
use inference_api::tei::Token;
use inference_api::{Input, InputOptions};
use inference_scoring::{Deadline, Inputs, Origin, ScoreError, ScoreRequest, Scorer, Scores, wire};
use traffic::Revision;
use traffic::assignment::Key;
use traffic::effective::Effective;
use traffic::table::Role;

use crate::Router;
use crate::ask::{self, Unasked};
use crate::endpoints::{Endpoint, Group, Held, Nobody};
use crate::router::{Shared, View};
use crate::tracked::{Counted, Tracked, Tried, are_alike, is_good, note};

/// How long an answer that failed is not counted while stable is asked the same: what it fails at too is
/// the request's fault.
const EXCUSE: Duration = Duration::from_millis(250);

impl Scorer for Router {
    async fn score(&self, request: ScoreRequest) -> Result<Scores, ScoreError> {
        let view = self.0.view.load_full().ok_or(ScoreError::NotReady)?;
        let until = request.deadline.last(Instant::now());
        let way = Way {
            shared: &self.0,
            view: &view,
            bytes: request.inputs.as_slice().iter().map(Input::bytes).sum(),
            until,
            request: &request,
        };
        match request.origin.pin.as_deref() {
            Some(pin) => {
                let named = Revision::parse(pin).and_then(|pin| view.named(&pin));
                way.plain(named.ok_or(ScoreError::UnknownRevision)?).await
            }
            None if request.origin.measures => way.measured().await,
            None => way.assigned().await,
        }
    }

    fn is_ready(&self) -> bool {
        Self::is_ready(self)
    }

    fn user_key(&self) -> Option<inference_scoring::UserKey> {
        use inference_scoring::UserKey;
        use traffic::table::UserKey as Of;
        let view = self.0.view.load();
        Some(match view.as_ref()?.table.key.as_ref()? {
            Of::Header(name) => UserKey::Header(name.clone()),
            Of::JwtClaim(name) => UserKey::JwtClaim(name.clone()),
            Of::JsonPointer(pointer) => UserKey::JsonPointer(pointer.clone()),
        })
    }
}

impl Router {
    /// Shows how a revision turns texts into tokens: stable, or who serves in its place.
    ///
    /// # Errors
    /// See [`ScoreError`].
    pub async fn tokens(
        &self,
        inputs: Inputs,
        options: InputOptions,
        until: Instant,
    ) -> Result<Vec<Vec<Token>>, ScoreError> {
        let view = self.0.view.load_full().ok_or(ScoreError::NotReady)?;
        let group = measured_by(&self.0, &view).ok_or(ScoreError::NotReady)?;
        let left = Deadline::At(until).left(Instant::now());
        let question = write_question(left, false, options, inputs.as_slice());
        let taken = group.take(question.len(), None, &self.0.clock, self.0.clock.now());
        let held = taken.map_err(|nobody| refused(nobody).error())?;
        let origin = Origin::default();
        let path = internal::TOKENS_PATH;
        let reply = ask::post(&held.endpoint, path, question.into(), &origin, until).await;
        let reply = reply.map_err(Unasked::error)?;
        let broken = || ScoreError::Engine { index: None };
        if reply.status.is_success() {
            return serde_json::from_slice(&reply.body).map_err(|_| broken());
        }
        match internal::read_answer(&reply.body) {
            Ok(Err(why)) => Err(wire::error(why)),
            Ok(Ok(_)) | Err(_) => Err(broken()),
        }
    }
}

/// Who is asked where what serves is measured.
fn measured_by<'a>(state: &Shared, view: &'a View) -> Option<&'a Group> {
    let effective = view.effective(&state.counting());
    let Effective::Shares(shares) = effective else {
        return None;
    };
    let mut order = Role::ALL.into_iter();
    view.of(order.find(|role| shares.of(*role).get() > 0)?)
}

fn refused(nobody: Nobody) -> Unasked {
    Unasked::Refused(match nobody {
        Nobody::Absent => ScoreError::NotReady,
        Nobody::Full => ScoreError::Overloaded,
    })
}

/// One request on its way.
#[derive(Clone, Copy)]
struct Way<'a> {
    shared: &'a Shared,
    view: &'a View,
    request: &'a ScoreRequest,
    bytes: usize,
    until: Instant,
}

impl Way<'_> {
    fn take(&self, group: &Group, not: Option<&Arc<Endpoint>>) -> Result<Held, Unasked> {
        let clock = &self.shared.clock;
        group
            .take(self.bytes, not, clock, clock.now())
            .map_err(refused)
    }

    async fn measured(&self) -> Result<Scores, ScoreError> {
        let group = measured_by(self.shared, self.view).ok_or(ScoreError::NotReady)?;
        self.plain(group).await
    }

    /// By one revision, whatever it answers; it says nothing about a rollout.
    async fn plain(&self, group: &Group) -> Result<Scores, ScoreError> {
        let tried = match self.take(group, None) {
            Ok(held) => self.by(group, held).await,
            Err(refused) => Err(refused),
        };
        self.count(group, &tried);
        tried.map_err(Unasked::error)
    }

    /// By one endpoint of a revision, or by a second one where the first is lost.
    async fn by(&self, group: &Group, held: Held) -> Tried {
        let first = held.endpoint.clone();
        let tried = self.at(group, held).await;
        let retried = match &tried {
            Err(unasked) => unasked.is_of_the_endpoint(),
            Ok(_) => false,
        };
        let now = self.shared.clock.now();
        if !retried || !self.shared.counting().retries.spend(now) {
            return tried;
        }
        match self.take(group, Some(&first)) {
            Ok(held) => self.at(group, held).await,
            Err(_) => tried,
        }
    }

    async fn at(&self, group: &Group, held: Held) -> Tried {
        let ScoreRequest {
            inputs,
            options,
            deadline,
            bulk,
            origin,
        } = self.request;
        // What is left of the time is less at each attempt.
        let left = deadline.left(Instant::now());
        let question: Bytes = write_question(left, *bulk, *options, inputs.as_slice()).into();
        let endpoint = &held.endpoint;
        let mut tried = ask::scores(endpoint, &group.row, question, origin, self.until).await;
        if let Ok(scores) = &tried
            && scores.scores.len() != inputs.len()
        {
            tried = Err(Unasked::Failed(ScoreError::Engine { index: None }));
        }
        let now = self.shared.clock.now();
        match &tried {
            Ok(scores) => {
                if !scores.timings.cached {
                    endpoint.answered();
                }
                group.succeeded(endpoint, now);
            }
            Err(Unasked::Declined(_) | Unasked::Refused(_)) => group.succeeded(endpoint, now),
            Err(Unasked::Unreachable | Unasked::Failed(_)) => group.failed(endpoint, now),
            Err(Unasked::Another) => {
                tracing::warn!(target: "router", revision = %group.row.revision, endpoint = endpoint.pool.address(), "another revision answers there");
                group.changed(now);
            }
            Err(Unasked::Late) => {}
        }
        tried
    }

    fn count(&self, group: &Group, tried: &Tried) {
        let mut counting = self.shared.counting();
        note(counting.of(&group.row.revision), tried);
    }

    /// By the revision that owns the slot of its key.
    async fn assigned(&self) -> Result<Scores, ScoreError> {
        let origin = &self.request.origin;
        let place = self.view.assigner.place(Key::prompt(origin.key.as_bytes()));
        let now = self.shared.clock.now();
        let (group, weight) = {
            let mut counting = self.shared.counting();
            counting.fallbacks.arrived(now);
            counting.retries.arrived(now);
            let Effective::Shares(shares) = self.view.effective(&counting) else {
                return Err(ScoreError::NotReady);
            };
            let group = self.view.of(shares.owner(place.slot));
            let group = group.ok_or(ScoreError::NotReady)?;
            counting.of(&group.row.revision).assigned += 1;
            (group, shares.comparable())
        };
        let held = self.take(group, None);
        let request = Counted {
            inputs: &self.request.inputs,
            bytes: self.bytes,
            user: place.hash,
            weight,
        };
        let tracked = Tracked::begin(self.shared, self.view, group, &held, request);
        let stable = self.stable_for(group);
        match (stable, held) {
            (None, Err(refused)) => {
                tracked.end(&Err(refused.clone()));
                Err(refused.error())
            }
            (None, Ok(held)) => {
                let tried = self.by(group, held).await;
                tracked.end(&tried);
                tried.map_err(Unasked::error)
            }
            (Some(stable), Err(refused)) => self.instead(stable, Err(refused), tracked).await,
            (Some(stable), Ok(held)) => self.hedged(group, stable, held, tracked).await,
        }
    }

    /// Who answers where the canary does not.
    fn stable_for(&self, group: &Group) -> Option<&Group> {
        let is_canary = group.row.role == Role::Canary;
        let stable = self.view.of(Role::Stable)?;
        (is_canary && self.view.table.fallback.enabled && stable.is_usable()).then_some(stable)
    }

    /// By the canary, and by stable too when that takes long.
    async fn hedged(
        &self,
        canary: &Group,
        stable: &Group,
        held: Held,
        tracked: Tracked<'_>,
    ) -> Result<Scores, ScoreError> {
        let first = self.by(canary, held);
        tokio::pin!(first);
        let patience = self.view.table.fallback.hedge_after;
        if let Ok(tried) = tokio::time::timeout(patience, &mut first).await {
            return self.settled(stable, tried, tracked).await;
        }
        let taken = match self.take(stable, None) {
            Ok(held) if self.spend() => held,
            Ok(_) | Err(_) => {
                let tried = first.await;
                return self.settled(stable, tried, tracked).await;
            }
        };
        let asked = Instant::now();
        let second = self.by(stable, taken);
        tokio::pin!(second);
        tokio::select! {
            tried = &mut first => {
                if is_good(&tried) {
                    tracked.end(&tried);
                    return tried.map_err(Unasked::error);
                }
                let other = second.await;
                self.decide(stable, tried, other, tracked)
            }
            other = &mut second => {
                if is_good(&other) {
                    // The canary's answer is not waited for; its request ends with this.
                    tracked.overtaken(asked.elapsed());
                    self.took_over(stable, &tracked, &other);
                    return other.map_err(Unasked::error);
                }
                let tried = first.await;
                self.decide(stable, tried, other, tracked)
            }
        }
    }

    /// The canary has answered, well or not.
    async fn settled(
        &self,
        stable: &Group,
        tried: Tried,
        tracked: Tracked<'_>,
    ) -> Result<Scores, ScoreError> {
        if is_good(&tried) {
            tracked.end(&tried);
            tried.map_err(Unasked::error)
        } else {
            self.instead(stable, tried, tracked).await
        }
    }

    /// By stable, after the canary has failed.
    async fn instead(
        &self,
        stable: &Group,
        tried: Tried,
        tracked: Tracked<'_>,
    ) -> Result<Scores, ScoreError> {
        let held = match self.take(stable, None) {
            Ok(held) if self.spend() => held,
            Ok(_) | Err(_) => {
                tracked.end(&tried);
                return tried.map_err(Unasked::error);
            }
        };
        let second = self.by(stable, held);
        tokio::pin!(second);
        let other = if let Ok(other) = tokio::time::timeout(EXCUSE, &mut second).await {
            other
        } else {
            tracked.end(&tried);
            second.await
        };
        self.decide(stable, tried, other, tracked)
    }

    /// The canary's answer was bad, and stable has answered too.
    fn decide(
        &self,
        stable: &Group,
        tried: Tried,
        other: Tried,
        tracked: Tracked<'_>,
    ) -> Result<Scores, ScoreError> {
        if are_alike(&tried, &other) {
            tracked.excused();
        } else {
            tracked.end(&tried);
        }
        self.took_over(stable, &tracked, &other);
        match (other, tried) {
            (Ok(scores), _) | (Err(_), Ok(scores)) => Ok(scores),
            (Err(declined @ Unasked::Declined(_)), Err(_)) => Err(declined.error()),
            (Err(_), Err(unasked)) => Err(unasked.error()),
        }
    }

    fn took_over(&self, stable: &Group, tracked: &Tracked<'_>, other: &Tried) {
        let mut counting = self.shared.counting();
        note(counting.of(&stable.row.revision), other);
        if other.is_ok() {
            counting.of(tracked.revision()).fallbacks += 1;
        }
    }

    fn spend(&self) -> bool {
        let now = self.shared.clock.now();
        self.shared.counting().fallbacks.spend(now)
    }
}
