//! The way of a request: who is asked, who else when nobody answers, and what it counts as.
//!
//! Owns retry, fallback and hedge. Invariants: one request is answered by one revision; each request
//! counts once, for the arm that its key is assigned to, also when its client leaves; a second question
//! is paid for from a budget; what a client sees is within its deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use inference_api::Input;
use inference_api::internal::write_question;
use inference_scoring::{Inputs, ScoreError, ScoreRequest, Scorer, Scores};
use traffic::Revision;
use traffic::assignment::Key;
use traffic::effective::Effective;
use traffic::table::Role;
use traffic::table::experiment::Arm;

use crate::Router;
use crate::ask::{self, Unasked};
use crate::endpoints::{Endpoint, Group, Held, Nobody};
use crate::events::Takeover;
use crate::experiment;
use crate::router::{Shared, View};
use crate::shadow;
use crate::tracked::{
    Counted, Tracked, Tried, are_alike, beside, is_declined, is_good, is_scored, note,
};

/// How long an answer that failed is not counted while stable is asked the same: what it fails at too is
/// the request's fault.
const EXCUSE: Duration = Duration::from_millis(250);

impl Scorer for Router {
    async fn score(&self, request: ScoreRequest) -> Result<Scores, ScoreError> {
        let view = self.0.view.load_full().ok_or(ScoreError::NotReady)?;
        let until = request.deadline.last(Instant::now());
        let way = Way::new(&self.0, &view, &request, until);
        match request.origin.pin.as_deref() {
            Some(pin) => {
                let named = Revision::parse(pin).and_then(|pin| view.named(&pin));
                way.plain(named.ok_or(ScoreError::UnknownRevision)?).await
            }
            None if request.origin.measures => way.measured().await,
            None => match experiment::enrolled(&self.0, &view, &request.origin)? {
                Some(enrolled) => way.on_trial(enrolled).await,
                None => way.assigned().await,
            },
        }
    }

    fn takes_turns(&self) -> bool {
        true
    }

    fn is_ready(&self) -> bool {
        Self::is_ready(self)
    }

    fn user_key(&self) -> Option<inference_scoring::UserKey> {
        let view = self.0.view.load();
        let key = view.as_ref()?.table.key.as_ref()?;
        Some(experiment::user_key(key))
    }

    fn wanted(&self) -> Option<Arc<inference_scoring::Wanted>> {
        let view = self.0.view.load();
        Some(view.as_ref()?.trial.as_ref()?.wanted())
    }
}

/// Who is asked where what serves is measured.
pub(crate) fn measured_by<'a>(state: &Shared, view: &'a View) -> Option<&'a Group> {
    let effective = view.effective(&state.counting());
    let Effective::Shares(shares) = effective else {
        return None;
    };
    let mut order = Role::ALL.into_iter();
    view.of(order.find(|role| shares.of(*role).get() > 0)?)
}

pub(crate) fn refused(nobody: Nobody) -> Unasked {
    Unasked::Refused(match nobody {
        Nobody::Absent => ScoreError::NotReady,
        Nobody::Full => ScoreError::Overloaded,
    })
}

/// One request on its way.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) view: &'a Arc<View>,
    pub(crate) request: &'a ScoreRequest,
    pub(crate) bytes: usize,
    pub(crate) until: Instant,
    /// Counts the parts that are answered, where somebody asks.
    pub(crate) progress: Option<&'a AtomicUsize>,
}

/// Who is asked.
#[derive(Clone, Copy)]
pub(crate) enum Whose {
    Canary,
    Variant(Arm),
}

/// A question to the canary or a variant, which may outlive the request that it is asked for.
pub(crate) struct Asked {
    whose: Whose,
    shared: Arc<Shared>,
    view: Arc<View>,
    request: ScoreRequest,
    bytes: usize,
    until: Instant,
    progress: Arc<AtomicUsize>,
}

impl Asked {
    pub(crate) async fn answer(self, held: Held) -> Tried {
        let way = Way {
            shared: &self.shared,
            view: &self.view,
            request: &self.request,
            bytes: self.bytes,
            until: self.until,
            progress: Some(&self.progress),
        };
        let group = match self.whose {
            Whose::Canary => self.view.of(Role::Canary),
            Whose::Variant(arm) => {
                let trial = self.view.trial.as_ref();
                trial.and_then(|trial| trial.group(arm))
            }
        };
        match group {
            Some(group) => way.by(group, held).await,
            None => Err(refused(Nobody::Absent)),
        }
    }
}

impl<'a> Way<'a> {
    pub(crate) fn new(
        shared: &'a Arc<Shared>,
        view: &'a Arc<View>,
        request: &'a ScoreRequest,
        until: Instant,
    ) -> Self {
        Self {
            shared,
            view,
            request,
            bytes: request.inputs.as_slice().iter().map(Input::bytes).sum(),
            until,
            progress: None,
        }
    }

    /// A question that may outlive this request.
    pub(crate) fn asked(&self, whose: Whose) -> Asked {
        Asked {
            whose,
            shared: self.shared.clone(),
            view: self.view.clone(),
            request: self.request.clone(),
            bytes: self.bytes,
            until: self.until,
            progress: Arc::default(),
        }
    }

    /// An endpoint of a revision, but `not` that one where there is another.
    pub(crate) fn take(&self, group: &Group, not: Option<&Arc<Endpoint>>) -> Result<Held, Nobody> {
        self.take_for(
            self.bytes.min(self.request.inputs.bytes_at_once()),
            group,
            not,
        )
    }

    /// The same, for a part of so many bytes.
    pub(crate) fn take_for(
        &self,
        bytes: usize,
        group: &Group,
        not: Option<&Arc<Endpoint>>,
    ) -> Result<Held, Nobody> {
        let clock = &self.shared.clock;
        group.take(bytes, not, clock, clock.now())
    }

    async fn measured(&self) -> Result<Scores, ScoreError> {
        let group = measured_by(self.shared, self.view).ok_or(ScoreError::NotReady)?;
        self.plain(group).await
    }

    /// By one revision, whatever it answers; it says nothing about a rollout.
    async fn plain(&self, group: &Group) -> Result<Scores, ScoreError> {
        self.counted(group).await.map_err(Unasked::error)
    }

    /// By whoever of a revision takes it; counted for the revision.
    pub(crate) async fn counted(&self, group: &Group) -> Tried {
        let tried = match self.take(group, None) {
            Ok(held) => self.by(group, held).await,
            Err(nobody) => Err(refused(nobody)),
        };
        self.count(group, &tried);
        tried
    }

    /// A part by one endpoint of a revision, or by a second one where the first is lost.
    pub(crate) async fn part_by(
        &self,
        group: &Group,
        held: Held,
        inputs: &Inputs,
        until: Instant,
    ) -> Tried {
        let first = held.endpoint.clone();
        let tried = self.part_at(group, held, inputs, until).await;
        let retried = match &tried {
            Err(unasked) => unasked.is_of_the_endpoint(),
            Ok(_) => false,
        };
        let now = self.shared.clock.now();
        if !retried || !self.shared.counting().retry(now) {
            return tried;
        }
        match self.take(group, Some(&first)) {
            Ok(held) => self.part_at(group, held, inputs, until).await,
            Err(_) => tried,
        }
    }

    /// A part by one endpoint of a revision.
    pub(crate) async fn part_at(
        &self,
        group: &Group,
        held: Held,
        inputs: &Inputs,
        until: Instant,
    ) -> Tried {
        let ScoreRequest {
            inputs: _,
            options,
            deadline,
            bulk,
            origin,
        } = self.request;
        // What is left of the time is less at each attempt.
        let left = deadline.left(Instant::now());
        let question: Bytes = write_question(left, *bulk, *options, inputs.as_slice()).into();
        let endpoint = &held.endpoint;
        let mut tried = ask::scores(endpoint, &group.target, question, origin, until).await;
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
            Err(Unasked::Unreachable | Unasked::Failed(_)) => {
                if group.failed(endpoint, now) {
                    self.shared.counting().events.ejections += 1;
                }
            }
            Err(Unasked::Another) => {
                tracing::warn!(target: "router", revision = %group.target.revision, endpoint = endpoint.pool.address(), "another revision answers there");
                group.changed(now);
            }
            Err(Unasked::Late) => {}
        }
        tried
    }

    pub(crate) fn count(&self, group: &Group, tried: &Tried) {
        let mut counting = self.shared.counting();
        note(counting.of(&group.target.revision), tried);
    }

    /// By the revision that owns the slot of its key.
    async fn assigned(&self) -> Result<Scores, ScoreError> {
        let origin = &self.request.origin;
        let key = Key::prompt(origin.key.as_bytes());
        let place = self.view.assigner.place(key);
        let cell = self.view.is_rolling().then(|| self.view.assigner.cell(key));
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
            counting.of(&group.target.revision).assigned += 1;
            (group, shares.comparable())
        };
        let held = self.take(group, None).map_err(refused);
        let request = Counted {
            inputs: &self.request.inputs,
            bytes: self.bytes,
            user: place.hash,
            weight,
            cell,
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
                if let (Ok(scores), Some(cell), Some(Role::Stable)) = (&tried, cell, group.role)
                    && is_good(&tried)
                {
                    shadow::answered(self.shared, self.view, self.request, cell, scores);
                }
                tried.map_err(Unasked::error)
            }
            (Some(stable), Err(refused)) => self.instead(stable, Err(refused), tracked).await,
            (Some(stable), Ok(held)) => self.hedged(stable, held, tracked).await,
        }
    }

    /// Who answers where the canary does not.
    fn stable_for(&self, group: &Group) -> Option<&Group> {
        let is_canary = group.role == Some(Role::Canary);
        let stable = self.view.of(Role::Stable)?;
        (is_canary && self.view.table.fallback.enabled && stable.is_usable()).then_some(stable)
    }

    /// By the canary, and by stable too when that takes long.
    async fn hedged(
        &self,
        stable: &Group,
        held: Held,
        tracked: Tracked<'_>,
    ) -> Result<Scores, ScoreError> {
        let asked = self.asked(Whose::Canary);
        let progress = asked.progress.clone();
        let mut first = Box::pin(asked.answer(held));
        if let Some(tried) = self.in_patience(&mut first, &progress).await {
            return self.settled(stable, tried, tracked).await;
        }
        let taken = match self.take(stable, None) {
            Ok(held) if self.spend(Some(Takeover::Slow)) => held,
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
                if is_scored(&tried) {
                    tracked.end(&tried);
                    return tried.map_err(Unasked::error);
                }
                tracked.answered();
                let other = second.await;
                self.decide(stable, tried, other, tracked)
            }
            other = &mut second => {
                if is_good(&other) {
                    // The client does not wait for the canary's answer; who counts may have to.
                    if let Some(waiting) = tracked.overtaken(asked.elapsed()) {
                        tokio::spawn(waiting.counted(first, is_scored(&other)));
                    }
                    self.took_over(stable, &tracked, &other);
                    return other.map_err(Unasked::error);
                }
                let tried = first.await;
                self.decide(stable, tried, other, tracked)
            }
        }
    }

    /// The canary's answer, where none of its parts takes long.
    async fn in_patience(
        &self,
        mut first: impl Future<Output = Tried> + Unpin,
        progress: &AtomicUsize,
    ) -> Option<Tried> {
        let patience = self.view.table.fallback.hedge_after;
        let mut before = 0;
        loop {
            if let Ok(tried) = tokio::time::timeout(patience, &mut first).await {
                return Some(tried);
            }
            let now = progress.load(Ordering::Relaxed);
            if now == std::mem::replace(&mut before, now) {
                return None;
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
        if is_scored(&tried) {
            tracked.end(&tried);
            tried.map_err(Unasked::error)
        } else {
            tracked.answered();
            self.instead(stable, tried, tracked).await
        }
    }

    /// By stable, after the canary has not scored it.
    async fn instead(
        &self,
        stable: &Group,
        tried: Tried,
        tracked: Tracked<'_>,
    ) -> Result<Scores, ScoreError> {
        let held = match self.take(stable, None) {
            Ok(held) if self.spend(Takeover::of(&tried)) => held,
            Ok(_) | Err(_) if is_declined(&tried) => {
                tracked.undecided(&tried);
                return tried.map_err(Unasked::error);
            }
            Ok(_) | Err(_) => {
                tracked.end(&tried);
                return tried.map_err(Unasked::error);
            }
        };
        let second = self.by(stable, held);
        tokio::pin!(second);
        let other = if is_declined(&tried) {
            // What it counts as is known by stable's answer alone.
            second.await
        } else if let Ok(other) = tokio::time::timeout(EXCUSE, &mut second).await {
            other
        } else {
            tracked.end(&tried);
            second.await
        };
        self.decide(stable, tried, other, tracked)
    }

    /// The canary has not scored it, and stable has answered too.
    fn decide(
        &self,
        stable: &Group,
        tried: Tried,
        other: Tried,
        tracked: Tracked<'_>,
    ) -> Result<Scores, ScoreError> {
        let tried = beside(tried, is_scored(&other));
        let is_open = is_declined(&tried) && !is_good(&other);
        if are_alike(&tried, &other) {
            tracked.excused();
        } else if is_open {
            tracked.undecided(&tried);
        } else {
            tracked.end(&tried);
        }
        self.took_over(stable, &tracked, &other);
        match (other, tried) {
            (_, Err(unasked)) if is_open => Err(unasked.error()),
            (Ok(scores), _) | (Err(_), Ok(scores)) => Ok(scores),
            (Err(declined @ Unasked::Declined(_)), Err(_)) => Err(declined.error()),
            (Err(_), Err(unasked)) => Err(unasked.error()),
        }
    }

    fn took_over(&self, stable: &Group, tracked: &Tracked<'_>, other: &Tried) {
        let mut counting = self.shared.counting();
        note(counting.of(&stable.target.revision), other);
        if other.is_ok() {
            counting.of(tracked.revision()).fallbacks += 1;
        }
    }

    /// Whether stable may be asked too; then it is paid for.
    pub(crate) fn spend(&self, why: Option<Takeover>) -> bool {
        let now = self.shared.clock.now();
        self.shared.counting().take_over(why, now)
    }
}
