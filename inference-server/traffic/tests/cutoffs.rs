//! How often a healthy canary is cut off, and how soon one that harms: simulated rollouts over the code
//! that the routers run.
//!
//! Two routers share the traffic and judge for themselves; the operator judges their sum ten times a
//! second. Latencies are lognormal with a Pareto tail, some users err often, the canary's endpoints are
//! ten times as slow at first and get warm by answering. A rollout has a minute at each of 10, 25 and
//! 50 %.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and a measurement is printed"
)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use stats::{Share, ln_at_least};
use traffic::cutoff::{
    Arm, Cause, Counters, Latency, Outcome, Recorder, Size, Start, Ticket, judge,
};
use traffic::table::CutOff;
use traffic::{Millis, Weight};

/// Numbers that look random, from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Above 0, at most 1.
    fn unit(&mut self) -> f64 {
        let top = u32::try_from(self.next() >> 32).unwrap();
        (f64::from(top) + 1.0) / 4_294_967_296.0
    }

    fn below(&mut self, count: u64) -> u64 {
        self.next() % count
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// What a canary does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Canary {
    Healthy,
    Fails,
    Hangs,
    NotANumber,
    Constant,
    TenTimesSlower,
}

struct Setting {
    canary: Canary,
    rate: f64,
    /// The canary's weight and for how many milliseconds.
    steps: &'static [(u16, u64)],
    /// How far apart latencies are: the sigma of their logarithm.
    spread: f64,
}

const ROLLOUT: &[(u16, u64)] = &[(1_000, 60_000), (2_500, 60_000), (5_000, 60_000)];
const ROUTERS: usize = 2;
const ENDPOINTS: u64 = 2;
const USERS: u64 = 5_000;

struct Router {
    recorder: Recorder,
    latency: Latency,
    answers: [u64; 2],
}

/// A request that is under way, by when it ends.
struct Flight {
    router: usize,
    endpoint: u64,
    arm: Arm,
    size: Size,
    began: Millis,
    ticket: Ticket,
    outcome: Outcome,
    score: Option<(u64, u64)>,
}

struct Simulation {
    setting: Setting,
    rules: CutOff,
    random: Random,
    routers: Vec<Router>,
    flights: Vec<Option<Flight>>,
    free: Vec<usize>,
    ends: BinaryHeap<Reverse<(u64, usize)>>,
    warmed: [u64; 2],
    salt: u64,
    first_canary: Option<Millis>,
}

/// How long a request takes, in milliseconds.
fn latency(random: &mut Random, spread: f64) -> f64 {
    let mut took = 20.0 * (spread * random.normal()).exp();
    if random.unit() < 0.002 {
        took *= 5.0 * random.unit().powf(-0.7);
    }
    took.min(8_000.0)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "milliseconds, far below 2^53"
)]
fn whole(milliseconds: f64) -> u64 {
    milliseconds.max(1.0) as u64
}

fn size(random: &mut Random) -> Size {
    Size::of(if random.unit() < 0.8 { 500 } else { 3_000 })
}

impl Simulation {
    fn new(setting: Setting, seed: u64) -> Self {
        let mut random = Random(seed);
        let began = Millis(1_000_000);
        let routers = (0..ROUTERS).map(|_| {
            let mut known = Latency::new(began);
            for _ in 0..1_000 {
                let took = latency(&mut random, setting.spread);
                known.answered(size(&mut random), Duration::from_millis(whole(took)), began);
            }
            Router {
                recorder: Recorder::new(CutOff::default().window),
                latency: known,
                answers: [0; 2],
            }
        });
        Self {
            routers: routers.collect(),
            setting,
            rules: CutOff::default(),
            salt: random.next(),
            random,
            flights: Vec::new(),
            free: Vec::new(),
            ends: BinaryHeap::new(),
            warmed: [0; 2],
            first_canary: None,
        }
    }

    /// When the canary is cut off, after its first request, and why.
    fn run(mut self) -> Option<(Duration, Cause)> {
        let mut now = 1_000_000.0;
        let mut tick = 1_000_100;
        let steps = self.setting.steps;
        let mut end = now;
        for (weight, time) in steps {
            end += f64::from(u32::try_from(*time).unwrap());
            loop {
                now += -self.random.unit().ln() * 1_000.0 / self.setting.rate;
                if let Some(found) = self.until(whole(now.min(end)), &mut tick) {
                    return Some((
                        found.0.since(self.first_canary.unwrap_or_default()),
                        found.1,
                    ));
                }
                if now >= end {
                    now = end;
                    break;
                }
                self.arrive(Weight::new(*weight).unwrap(), Millis(whole(now)));
            }
        }
        None
    }

    fn arrive(&mut self, weight: Weight, now: Millis) {
        let random = &mut self.random;
        let user = random.below(USERS);
        // The slot of a user, under the salt of this rollout.
        let slot = Random(user ^ self.salt).next() % 10_000;
        let arm = if slot < u64::from(weight.get()) {
            Arm::Canary
        } else {
            Arm::Stable
        };
        let router = usize::try_from(random.below(2)).unwrap();
        let endpoint = random.below(ENDPOINTS);
        let (place, size) = (usize::try_from(endpoint).unwrap(), size(random));
        let mut took = latency(random, self.setting.spread);
        let errs = if user.is_multiple_of(100) { 0.1 } else { 0.001 };
        let mut outcome = if random.unit() < errs {
            Outcome::Failed
        } else {
            Outcome::Answered
        };
        let mut score = random.next();
        let mut answers = u64::MAX;
        if arm == Arm::Canary {
            self.first_canary.get_or_insert(now);
            answers = self.routers[router].answers[place];
            let cold = 9.0 * 0.7_f64.powf(f64::from(u32::try_from(self.warmed[place]).unwrap()));
            took *= 1.0 + cold;
            match self.setting.canary {
                Canary::Healthy => {}
                Canary::Fails => outcome = Outcome::Failed,
                Canary::Hangs => took = 10_000.0,
                Canary::NotANumber => outcome = Outcome::NonFinite(1),
                Canary::Constant => score = 1,
                Canary::TenTimesSlower => took *= 10.0,
            }
        }
        let at = &mut self.routers[router];
        let start = Start {
            arm,
            user,
            weight: Some(weight),
            limit: at
                .latency
                .limit(size, self.rules.slow_factor.get(), answers),
        };
        let flight = Flight {
            router,
            endpoint,
            arm,
            size,
            began: now,
            ticket: at.recorder.begin(start, now),
            outcome,
            score: (outcome == Outcome::Answered).then_some((random.next(), score)),
        };
        let place = self.free.pop().unwrap_or_else(|| {
            self.flights.push(None);
            self.flights.len() - 1
        });
        self.flights[place] = Some(flight);
        self.ends.push(Reverse((now.0 + whole(took), place)));
    }

    /// Lets all happen that happens before `until`.
    fn until(&mut self, until: u64, tick: &mut u64) -> Option<(Millis, Cause)> {
        loop {
            let next = self.ends.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
            if next.min(*tick) > until {
                return None;
            }
            if *tick <= next {
                let now = Millis(*tick);
                *tick += 100;
                if let Some(cause) = self.operator(now) {
                    return Some((now, cause));
                }
                continue;
            }
            let Reverse((at, place)) = self.ends.pop().unwrap();
            let flight = self.flights[place].take().unwrap();
            self.free.push(place);
            if let Some(cause) = self.end(flight, Millis(at)) {
                return Some((Millis(at), cause));
            }
        }
    }

    fn end(&mut self, flight: Flight, now: Millis) -> Option<Cause> {
        let router = &mut self.routers[flight.router];
        let took = now.since(flight.began);
        match flight.arm {
            Arm::Stable => router.latency.answered(flight.size, took, now),
            Arm::Canary => {
                let place = usize::try_from(flight.endpoint).unwrap();
                self.warmed[place] += 1;
                router.answers[place] += 1;
            }
        }
        if let Some((input, score)) = flight.score {
            router.recorder.scored(&flight.ticket, input, score);
        }
        router.recorder.end(flight.ticket, flight.outcome, now);
        let looks = flight.outcome != Outcome::Answered || self.setting.canary != Canary::Healthy;
        let finding = looks.then(|| router.recorder.judge(&self.rules, now))?;
        finding.map(|finding| finding.cause)
    }

    fn operator(&self, now: Millis) -> Option<Cause> {
        let counters: Vec<Counters> = self
            .routers
            .iter()
            .map(|r| r.recorder.counters(now))
            .collect();
        let alone = counters
            .iter()
            .find_map(|counters| judge(counters, &self.rules));
        let sum = counters
            .into_iter()
            .fold(Counters::default(), Counters::merge);
        alone
            .or_else(|| judge(&sum, &self.rules))
            .map(|finding| finding.cause)
    }
}

/// The upper end of the one-sided 95 % interval (Clopper and Pearson) of a probability.
fn upper_bound(found: u64, runs: u64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        let more = ln_at_least(found + 1, runs, Share::new(middle).unwrap());
        if more < 0.95_f64.ln() {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

fn false_cut_offs(rate: f64, spread: f64, runs: u64) -> (u64, f64) {
    let mut causes = Vec::new();
    for run in 0..runs {
        let setting = Setting {
            canary: Canary::Healthy,
            rate,
            steps: ROLLOUT,
            spread,
        };
        causes.extend(Simulation::new(setting, run * 7_919 + 17).run());
    }
    let found = u64::try_from(causes.len()).unwrap();
    let upper = upper_bound(found, runs);
    println!(
        "{rate}/s, spread {spread}: {found} of {runs} cut off, at most {upper:.4}: {causes:?}"
    );
    (found, upper)
}

#[test]
fn hardly_any_healthy_canary_is_cut_off() {
    for (rate, runs) in [(5.0, 150), (50.0, 60), (500.0, 6)] {
        // Too few for a bound: one is chance, three are not.
        assert!(false_cut_offs(rate, 1.0, runs).0 <= 2);
    }
}

#[test]
#[ignore = "slow: 12,000 rollouts"]
fn no_more_healthy_canaries_are_cut_off_than_alpha_allows() {
    for spread in [0.3, 1.0] {
        for rate in [5.0, 50.0, 500.0] {
            let (_, upper) = false_cut_offs(rate, spread, 2_000);
            assert!(upper <= 0.025, "{rate}/s: {upper}");
        }
    }
}

/// The median and the worst time until a canary is cut off, and the causes.
fn times(canary: Canary, rate: f64, weight: u16, runs: u64) -> (Duration, Duration) {
    let steps: &'static [(u16, u64)] = match weight {
        1_000 => &[(1_000, 120_000)],
        2_500 => &[(2_500, 120_000)],
        _ => unreachable!("10 or 25 %"),
    };
    let run = |run| {
        let setting = Setting {
            canary,
            rate,
            steps,
            spread: 0.3,
        };
        Simulation::new(setting, run * 104_729 + 5).run().unwrap()
    };
    let mut found: Vec<_> = (0..runs).map(run).collect();
    found.sort();
    let middle = found[found.len() / 2];
    let (worst, _) = *found.last().unwrap();
    println!(
        "{canary:?} at {rate}/s and {weight}: {:?} ({}), worst {worst:?}",
        middle.0,
        middle.1.word()
    );
    (middle.0, worst)
}

#[test]
fn a_canary_that_harms_is_found_within_the_second() {
    let all = [
        Canary::Fails,
        Canary::Hangs,
        Canary::NotANumber,
        Canary::TenTimesSlower,
    ];
    for canary in all {
        let (median, worst) = times(canary, 50.0, 2_500, 60);
        assert!(
            median <= Duration::from_millis(1_300),
            "{canary:?}: {median:?}"
        );
        assert!(
            worst <= Duration::from_millis(2_500),
            "{canary:?}: {worst:?}"
        );
        for (rate, weight) in [(20.0, 1_000), (200.0, 1_000)] {
            times(canary, rate, weight, 40);
        }
    }
    let (median, worst) = times(Canary::Constant, 50.0, 2_500, 60);
    assert!(median <= Duration::from_millis(2_300), "{median:?}");
    assert!(worst <= Duration::from_millis(3_600), "{worst:?}");
}
