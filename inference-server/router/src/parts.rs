//! A request that is too much for one question: it is asked in parts, and is one request all the same.
//!
//! Owns the way from parts to one answer. It must not know who else may be asked. Invariants: all parts are
//! answered by one revision of one view, or the request is not; parts of a request are not counted, not
//! hedged and not answered for apart; what fails, fails as a whole.

use std::sync::atomic::Ordering;
use std::time::Instant;

use futures::{StreamExt, stream};
use inference_api::Input;
use inference_scoring::{Inputs, Score};

use crate::ask::Unasked;
use crate::endpoints::{Group, Held};
use crate::score::{Way, refused};
use crate::tracked::Tried;

/// Parts of one request that are on their way at once: one is computed while one is tokenised.
const IN_FLIGHT: usize = 2;

impl Way<'_> {
    /// By the endpoints of one revision; each part by a second one where the first is lost.
    pub(crate) async fn by(&self, group: &Group, held: Held) -> Tried {
        self.whole(group, held, true).await
    }

    /// By the endpoints of one revision, each of which is asked once.
    pub(crate) async fn at(&self, group: &Group, held: Held) -> Tried {
        self.whole(group, held, false).await
    }

    async fn whole(&self, group: &Group, held: Held, again: bool) -> Tried {
        let parts = self.request.inputs.turns();
        if let [all] = parts.as_slice() {
            return self.part(group, held, all, self.until, again).await;
        }
        let mut held = Some(held);
        let parts = parts.into_iter().map(|inputs| {
            let first = held.take();
            self.one_of_many(group, first, inputs, again)
        });
        let mut parts = stream::iter(parts).buffered(IN_FLIGHT);
        let Some(first) = parts.next().await else {
            return Err(Unasked::Failed(inference_scoring::ScoreError::Engine {
                index: None,
            }));
        };
        let mut all = first?;
        // With a score that is no number there is no answer, whatever comes after it.
        while all.scores.iter().all(Score::is_finite) {
            if let Some(progress) = self.progress {
                progress.fetch_add(1, Ordering::Relaxed);
            }
            match parts.next().await {
                None => break,
                Some(part) => {
                    if !all.extend(part?) {
                        return Err(Unasked::Another);
                    }
                }
            }
        }
        Ok(all)
    }

    /// One of several parts, whose time begins with it. The first one has its endpoint.
    async fn one_of_many(
        &self,
        group: &Group,
        held: Option<Held>,
        inputs: Inputs,
        again: bool,
    ) -> Tried {
        let until = self.request.deadline.last(Instant::now());
        let held = if let Some(held) = held {
            held
        } else {
            let bytes = inputs.as_slice().iter().map(Input::bytes).sum();
            self.take_for(bytes, group, None).map_err(refused)?
        };
        let place = inputs.first() - self.request.inputs.first();
        let tried = self.part(group, held, &inputs, until, again).await;
        tried.map_err(|unasked| unasked.moved(|index| place + index))
    }

    async fn part(
        &self,
        group: &Group,
        held: Held,
        inputs: &Inputs,
        until: Instant,
        again: bool,
    ) -> Tried {
        if again {
            self.part_by(group, held, inputs, until).await
        } else {
            self.part_at(group, held, inputs, until).await
        }
    }
}
