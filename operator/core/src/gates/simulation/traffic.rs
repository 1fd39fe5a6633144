//! Users, their requests, and two routers that record them for the operator.

use std::time::Duration;

use traffic::cutoff::{Arm, Outcome};
use traffic::evidence::{Ended, Pair, Recorder, Subject, Unit, Verdict};

use super::random::{Random, of_user};
use crate::capacity::Percent;
use crate::evidence::{Ledger, measurement};
use crate::gates::{Gate, Measurement};

/// Users that come back; some much more often than others.
const USERS: u32 = 6000;
/// Half of the users that ever see a failure see scores that are no numbers.
const NO_NUMBERS: f64 = 0.5;
/// What the gates call slow, in milliseconds.
const SLOW: u32 = 250;
/// The part of the spread of scores that lies between users; the rest lies within each.
const BETWEEN: f64 = 0.5;

/// How a revision does.
#[derive(Clone, Copy)]
pub(super) struct Revision {
    /// Share of requests that fail.
    pub(super) errors: f64,
    /// Share of users that ever see one fail: the fewer, the less a request says.
    pub(super) unlucky: f64,
    /// Share of requests that are slow.
    pub(super) slow: f64,
    /// Standard deviation of the scores.
    pub(super) spread: f64,
}

impl Revision {
    pub(super) const EQUAL: Self = Self {
        errors: 0.01,
        unlucky: 0.05,
        slow: 0.05,
        spread: 1.0,
    };
}

/// What goes through the routers, and what the operator has of it.
pub(super) struct Traffic {
    random: Random,
    salt: u64,
    revisions: [Revision; 2],
    routers: [Recorder; 2],
    ledger: Ledger,
    weight: u32,
    /// How many times more often than usual requests go wrong, whoever serves them.
    pub(super) weather: f64,
    pub(super) requests: u32,
    /// Those that the new revision had.
    pub(super) of_canary: u32,
}

impl Traffic {
    pub(super) fn new(seed: u32, stable: Revision, canary: Revision) -> Self {
        let name = |text| traffic::Revision::parse(text).unwrap();
        let subject = Subject {
            rollout: Some("r".to_owned()),
            stable: name("stable"),
            canary: name("canary"),
        };
        let router = |instance: &str| {
            let mut recorder =
                Recorder::new(instance.to_owned(), "pod".to_owned(), subject.clone());
            recorder.watch(&[SLOW]);
            recorder
        };
        Self {
            random: Random::new(u64::from(seed)),
            salt: u64::from(seed) * 1000,
            revisions: [stable, canary],
            routers: [router("a"), router("b")],
            ledger: Ledger::new(subject.clone()),
            weight: 0,
            weather: 1.0,
            requests: 0,
            of_canary: 0,
        }
    }

    /// So many requests more, `weight` percent of the users being the new revision's.
    pub(super) fn tick(&mut self, weight: u32, requests: u32) {
        if self.weight != weight {
            self.weight = weight;
            let share = Percent::clamped(i32::try_from(weight).unwrap());
            self.ledger.enters(share);
        }
        let end = self.requests + requests;
        while self.requests < end {
            let user = self.user();
            for _ in 0..=self.random.below(5) {
                self.request(user, weight);
                self.requests += 1;
            }
        }
        self.told();
    }

    /// The routers' documents are fetched.
    fn told(&mut self) {
        for router in &mut self.routers {
            self.ledger.take(router.snapshot());
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the number of users"
    )]
    fn user(&mut self) -> u32 {
        let drawn = self.random.uniform();
        (drawn * drawn * f64::from(USERS)) as u32
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "below the number of cells"
    )]
    fn cell(&self, user: u32) -> u16 {
        (of_user(user, self.salt + 2) * 1023.999) as u16
    }

    fn router(&mut self) -> &mut Recorder {
        let place = self.random.below(2) as usize;
        &mut self.routers[place]
    }

    fn request(&mut self, user: u32, weight: u32) {
        let own = |purpose: u64| of_user(user, self.salt + purpose);
        let is_canary = own(1) <= f64::from(weight) / 100.0;
        let revision = self.revisions[usize::from(is_canary)];
        let errs = if own(3) <= revision.unlucky {
            self.weather * revision.errors / revision.unlucky
        } else {
            0.0
        };
        let slow = self.weather * 2.0 * revision.slow * own(4);
        let (level, no_number) = (own(5), own(6) <= NO_NUMBERS);
        let draw = &mut self.random;
        let own_level = BETWEEN.sqrt() * (level - 0.5) * 12.0_f64.sqrt();
        let score = revision.spread * ((1.0 - BETWEEN).sqrt() * draw.normal() + own_level);
        let outcome = match (draw.uniform() <= errs, no_number) {
            (false, _) => Outcome::Answered,
            (true, true) => Outcome::NonFinite(1),
            (true, false) => Outcome::Failed,
        };
        let is_slow = draw.uniform() <= slow;
        let took = Duration::from_millis(if is_slow { 400 } else { 20 });
        let arm = if is_canary { Arm::Canary } else { Arm::Stable };
        let cell = self.cell(user);
        let router = self.router();
        router.ended(arm, cell, Ended { outcome, took });
        if outcome == Outcome::Answered {
            router.scored(arm, cell, score);
        }
        self.of_canary += u32::from(is_canary);
    }

    /// So many requests more, some of them several times, with two answers to one prompt each, that both
    /// revisions score: the new one's
    /// scores are `shift` higher, and `agreement` (Kendall's tau) is how far both put answers in one order.
    pub(super) fn shadowed(&mut self, requests: u32, shift: f64, agreement: f64) {
        // Of two normal variables (Kendall 1938).
        let correlation = (agreement * std::f64::consts::FRAC_PI_2).sin();
        let rest = (1.0 - correlation * correlation).sqrt();
        let mut left = requests;
        while left > 0 {
            let user = self.user();
            let cell = self.cell(user);
            let several = (1 + self.random.below(5)).min(left);
            left -= several;
            let draw = &mut self.random;
            let level = [draw.normal(), draw.normal()];
            let mut around =
                |level: f64| BETWEEN.sqrt() * level + (1.0 - BETWEEN).sqrt() * draw.normal();
            // The user asks the same again.
            let pairs = [(); 2].map(|()| {
                let stable = around(level[0]);
                let canary = correlation * stable + rest * around(level[1]) + shift;
                Pair { stable, canary }
            });
            for _ in 0..several {
                let router = self.router();
                router.eligible();
                router.paired(cell, pairs, true);
            }
        }
        self.told();
    }

    /// So many labelled pairs more, of users who send several over both routers: stable alone has one right with
    /// probability `stable`, the new one with `canary`, and both so often that the new one's accuracy is 0.7.
    pub(super) fn labelled(&mut self, pairs: u32, stable: f64, canary: f64) {
        for _ in 0..pairs {
            let draw = self.random.uniform();
            let verdict = if draw < stable {
                Verdict::OnlyStable
            } else if draw < stable + canary {
                Verdict::OnlyCanary
            } else if draw < stable + 0.7 {
                Verdict::BothRight
            } else {
                Verdict::BothWrong
            };
            // One of 500 users.
            let unit = Unit(self.random.below(500).wrapping_mul(0x0083_1A1D));
            self.router().preferred(unit, verdict);
        }
        self.told();
    }

    /// What a gate is judged on.
    pub(super) fn measured(&self, gate: &Gate) -> Measurement {
        measurement(gate, Some(&self.ledger)).unwrap()
    }
}
