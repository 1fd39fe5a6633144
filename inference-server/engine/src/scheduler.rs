//! The queue before the engine, as a plain struct: what is computed next, and together.
//!
//! Owns order and size of batches. It must not know of threads or channels; the time is an argument.
//! Requests share the engine by deficit round robin (Shreedhar and Varghese 1995): each in its turn
//! may spend [`QUANTUM`] tokens more, so that a short request passes a long one after a bounded
//! number of tokens, and a long one gets its turn all the same. Invariants: the items of one request
//! keep their order; a batch stays within the token budget unless its only item is larger, or for what the
//! items of its first request begin with; nothing is lost and nothing comes twice.

use std::collections::VecDeque;
use std::time::Instant;

/// Tokens that a request may spend more in each of its turns.
pub const QUANTUM: usize = 512;

/// One sequence that waits.
#[derive(Debug)]
pub struct Item<T> {
    /// What it costs behind the one before it in its request.
    pub tokens: usize,
    /// What it costs where that one is in another batch.
    pub whole: usize,
    /// What it is.
    pub payload: T,
}

/// A request that waits, with those of its items that were not taken yet.
#[derive(Debug)]
struct Waiting<T> {
    request: u64,
    items: VecDeque<Item<T>>,
    /// Of all its items: asked for with every request that comes, so it is counted along.
    tokens: usize,
    deadline: Instant,
    credit: usize,
    /// The last batch that has items of it.
    batch: u64,
}

/// The queue.
#[derive(Debug)]
pub struct Scheduler<T> {
    /// In the order of their turns.
    waiting: VecDeque<Waiting<T>>,
    budget: usize,
    tokens: usize,
    /// Batches so far.
    batches: u64,
}

/// What leaves the queue at once.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch<T> {
    /// To be computed together.
    pub ready: Vec<T>,
    /// Too late to be computed.
    pub late: Vec<T>,
}

impl<T> Scheduler<T> {
    /// A queue whose batches have at most `budget` tokens.
    pub const fn new(budget: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            budget,
            tokens: 0,
            batches: 0,
        }
    }

    /// Adds items of a request, which is of no use after `deadline`: behind those of its items that
    /// wait, so that it has one turn however often it adds some.
    pub fn push(
        &mut self,
        request: u64,
        deadline: Instant,
        items: impl IntoIterator<Item = Item<T>>,
    ) {
        let items: VecDeque<_> = items.into_iter().collect();
        let tokens = items.iter().map(|item| item.tokens).sum();
        self.tokens += tokens;
        let known = self.waiting.iter_mut().find(|one| one.request == request);
        if let Some(known) = known {
            known.items.extend(items);
            known.tokens += tokens;
        } else if !items.is_empty() {
            self.waiting.push_back(Waiting {
                request,
                items,
                tokens,
                deadline,
                credit: QUANTUM,
                batch: 0,
            });
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Tokens that wait.
    pub const fn tokens(&self) -> usize {
        self.tokens
    }

    /// Tokens that are computed before the last of a new request's `tokens`, if nothing comes after
    /// it: of each request that waits, as much as the turns allow that the new one needs.
    pub fn ahead(&self, tokens: usize) -> usize {
        let most = tokens.div_ceil(QUANTUM).max(1).saturating_mul(QUANTUM);
        self.waiting.iter().map(|one| one.tokens.min(most)).sum()
    }

    /// Takes the next batch. Requests that `is_cancelled` says nobody waits for are dropped.
    pub fn take(&mut self, now: Instant, is_cancelled: impl Fn(&T) -> bool) -> Batch<T> {
        let mut batch = Batch {
            ready: Vec::new(),
            late: Vec::new(),
        };
        self.batches += 1;
        let mut spent = 0;
        while let Some(mut one) = self.waiting.pop_front() {
            let head = one.items.front();
            if head.is_none_or(|item| is_cancelled(&item.payload)) {
                self.tokens -= one.tokens;
                continue;
            }
            if one.deadline <= now {
                self.tokens -= one.tokens;
                batch
                    .late
                    .extend(one.items.into_iter().map(|item| item.payload));
                continue;
            }
            if self.spend(&mut one, &mut spent, &mut batch.ready) {
                // It keeps its turn, with what is left of its credit.
                self.waiting.push_front(one);
                break;
            }
            if !one.items.is_empty() {
                one.credit += QUANTUM;
                self.waiting.push_back(one);
            }
        }
        batch
    }

    /// Takes of `one` what its credit and the budget allow; answers whether the budget is spent.
    fn spend(&mut self, one: &mut Waiting<T>, spent: &mut usize, ready: &mut Vec<T>) -> bool {
        while let Some(item) = one.items.pop_front() {
            // What the items of a request begin with is computed once in a batch, and is for nothing for the first
            // request alone: else a batch of many requests would be many times its budget.
            let cost = if ready.is_empty() || one.batch == self.batches {
                item.tokens
            } else {
                item.whole
            };
            if item.tokens > one.credit {
                one.items.push_front(item);
                return false;
            }
            if !ready.is_empty() && *spent + cost > self.budget {
                one.items.push_front(item);
                return true;
            }
            one.credit -= item.tokens;
            one.tokens -= item.tokens;
            *spent += cost;
            one.batch = self.batches;
            self.tokens -= item.tokens;
            ready.push(item.payload);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// Request, place in it, tokens, and whether its client has left.
    type Payload = (usize, usize, usize, bool);

    fn push(
        queue: &mut Scheduler<Payload>,
        id: usize,
        tokens: &[usize],
        deadline: Instant,
        left: bool,
    ) {
        let item = |(place, &tokens): (usize, &usize)| Item {
            tokens,
            whole: tokens,
            payload: (id, place, tokens, left),
        };
        queue.push(id as u64, deadline, tokens.iter().enumerate().map(item));
    }

    fn cost_of(batch: &[Payload]) -> usize {
        batch.iter().map(|item| item.2).sum()
    }

    proptest! {
        #[test]
        fn order_and_budget_hold_and_nothing_is_lost_or_comes_twice(
            requests in prop::collection::vec(
                (prop::collection::vec(1_usize..2_000, 1..6), 0_u64..30, prop::bool::weighted(0.1)),
                0..30,
            ),
            budget in 1_usize..3_000,
        ) {
            let start = Instant::now();
            let at = |second: u64| start + Duration::from_secs(second);
            let mut queue = Scheduler::new(budget);
            for (id, (tokens, deadline, left)) in requests.iter().enumerate() {
                push(&mut queue, id, tokens, at(*deadline), *left);
            }
            let (mut ready, mut late, mut second) = (Vec::new(), Vec::new(), 0);
            while !queue.is_empty() {
                let batch = queue.take(at(second), |item| item.3);
                prop_assert!(cost_of(&batch.ready) <= budget || batch.ready.len() == 1);
                prop_assert!(!batch.ready.is_empty() || !batch.late.is_empty() || queue.is_empty());
                ready.extend(batch.ready);
                late.extend(batch.late);
                second += 1;
            }
            prop_assert_eq!(queue.tokens(), 0);
            let mut expected = Vec::new();
            for (id, (tokens, _, left)) in requests.iter().enumerate() {
                let places: Vec<usize> =
                    ready.iter().chain(&late).filter(|item| item.0 == id).map(|item| item.1).collect();
                prop_assert!(places.is_sorted());
                prop_assert!(*left == places.is_empty());
                expected.extend((0..tokens.len()).filter(|_| !left).map(|place| (id, place)));
            }
            let mut all: Vec<_> = ready.iter().chain(&late).map(|item| (item.0, item.1)).collect();
            all.sort_unstable();
            prop_assert_eq!(all, expected);
        }

        #[test]
        fn a_short_request_waits_for_no_more_than_one_turn_of_each_other(
            others in prop::collection::vec(prop::collection::vec(1_usize..1_500, 1..200), 0..12),
            tokens in 1_usize..QUANTUM,
        ) {
            let later = Instant::now() + Duration::from_mins(1);
            let mut queue = Scheduler::new(1_024);
            for (id, tokens) in others.iter().enumerate() {
                push(&mut queue, id, tokens, later, false);
            }
            let short = others.len();
            push(&mut queue, short, &[tokens], later, false);
            let (mut before, mut served) = (0, false);
            while !served {
                let batch = queue.take(Instant::now(), |_| false);
                served = batch.ready.iter().any(|item| item.0 == short);
                before += batch.ready.iter().take_while(|item| item.0 != short).map(|item| item.2).sum::<usize>();
            }
            prop_assert!(before <= others.len() * QUANTUM, "{before}");
        }
    }

    #[test]
    fn a_short_request_has_only_the_turns_of_others_ahead_of_it() {
        let later = Instant::now() + Duration::from_mins(1);
        let mut queue = Scheduler::new(1_024);
        assert_eq!(queue.ahead(10_000), 0);
        push(&mut queue, 0, &[100; 200], later, false);
        push(&mut queue, 1, &[50], later, false);
        assert_eq!(queue.ahead(10), QUANTUM + 50);
        assert_eq!(queue.ahead(1_000_000), 20_000 + 50);
    }

    #[test]
    fn an_item_larger_than_the_budget_runs_alone_and_is_not_starved() {
        let later = Instant::now() + Duration::from_mins(1);
        let mut queue = Scheduler::new(1_024);
        push(&mut queue, 0, &[16_384], later, false);
        for id in 1..200 {
            push(&mut queue, id, &[100], later, false);
        }
        let mut taken = Vec::new();
        for id in 200..2_000 {
            taken.push(queue.take(Instant::now(), |_| false).ready);
            // New ones keep coming.
            push(&mut queue, id, &[500, 500], later, false);
        }
        let alone = taken
            .iter()
            .find(|batch| batch.iter().any(|item| item.0 == 0));
        assert_eq!(alone.map(Vec::len), Some(1));
    }

    #[test]
    fn one_request_of_a_batch_has_what_its_items_begin_with_for_nothing_and_no_other() {
        let later = Instant::now() + Duration::from_mins(1);
        let mut queue = Scheduler::new(1_024);
        for id in 0..10 {
            // Answers of 60 tokens to a prompt of 900.
            let item = |place| Item {
                tokens: 60,
                whole: 960,
                payload: (id, place, 60, false),
            };
            queue.push(id as u64, later, (0..4).map(item));
        }
        while !queue.is_empty() {
            let batch = queue.take(Instant::now(), |_| false);
            let mut ids: Vec<usize> = batch.ready.iter().map(|item| item.0).collect();
            ids.dedup();
            assert_eq!((ids.len(), batch.ready.len()), (1, 4), "{ids:?}");
        }
    }
}
