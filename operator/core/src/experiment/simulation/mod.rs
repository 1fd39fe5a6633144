//! Experiments that were simulated over the shipped code: what two routers record, what the operator folds of
//! their documents, and the decision, looked at every tick. A few hundred experiments in the normal run; two
//! thousand of each scenario in the ignored one (`make bench-experiments`), which prints a row each with standard
//! errors, and writes the rows to the file that `EXPERIMENTS_JSON` names; `SCENARIO=better` runs those whose name has
//! that.
//!
//! Users are alike within themselves: each has its own rate of errors and its own liking, and comes back with
//! several requests. Beside each verdict stands what looking often does to a test that is made for one look, and
//! to the estimate at the moment of a promotion.

mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use stats::Verdict;
use traffic::assignment::{Assigner, Key};
use traffic::evidence::Unit;
use traffic::evidence::experiment::{Ended, Happening, Recorder};
use traffic::table::experiment::Arm;

use super::analysis::{self, Looked, Tracks};
use super::ledger::{self, Ledgers};
use super::spec::Design;
use super::testing::{World, recorded};
use table::{Table, planned};

const LONG: u32 = 2_000;
const ALPHA: f64 = 0.05;
/// Looks of an experiment.
const TICKS: u32 = 40;

/// A small generator with a seed (Steele and others 2014, `SplitMix64`).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Above 0, at most 1.
    fn uniform(&mut self) -> f64 {
        let whole = u32::try_from(self.next() >> 32).unwrap();
        (f64::from(whole) + 1.0) / 4_294_967_296.0
    }

    fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.next() >> 33).unwrap() % bound
    }
}

/// What is simulated.
#[derive(Clone, Copy)]
struct Scenario {
    name: &'static str,
    /// The part of control's users that click once they were served.
    clicks: f64,
    /// That of the variant's.
    of_variant: f64,
    /// The part of the requests of the variant that fail; 1 % of control's do.
    errors: f64,
    /// The part of the variant's users that routers lose.
    lost: f64,
    /// Whether the goal is the mean number of clicks, of which a user has several that are alike.
    mean: bool,
    /// Control's part of the users beside one part of the variant's.
    control_weight: u32,
    /// Users that come for the first time in a tick.
    arriving: u32,
}

const EQUAL: Scenario = Scenario {
    name: "A/A, proportion of users",
    clicks: 0.1,
    of_variant: 0.1,
    errors: 0.01,
    lost: 0.0,
    mean: false,
    control_weight: 1,
    arriving: 200,
};

/// The first of them are healthy: nothing is to be found.
const HEALTHY: usize = 3;
const BETTER: usize = 3;

const SCENARIOS: [Scenario; 7] = [
    EQUAL,
    Scenario {
        name: "A/A, mean of correlated events",
        mean: true,
        ..EQUAL
    },
    // mozilla/experimenter#16011
    Scenario {
        name: "A/A, weights 19:1",
        control_weight: 19,
        ..EQUAL
    },
    Scenario {
        name: "better by one minimumEffect",
        of_variant: 0.12,
        // Looks as often, beside how long it takes, as those of a real experiment: each of 60 would find it
        // half a tick late, which is 1.5 % of the power that the plan promises.
        arriving: 40,
        ..EQUAL
    },
    Scenario {
        name: "worse by one minimumEffect",
        of_variant: 0.08,
        ..EQUAL
    },
    Scenario {
        name: "errors 1 % to 4 %",
        errors: 0.04,
        ..EQUAL
    },
    Scenario {
        name: "a router loses 10 % of the users of an arm",
        lost: 0.1,
        ..EQUAL
    },
];

/// How one experiment ended, and with how many users.
struct Conclusion {
    verdict: Verdict,
    users: u64,
    /// The effect on the goal at the last look.
    effect: Option<f64>,
    /// Whether a test made for one look, two-sided at 5 %, has found a difference at any.
    peeked: bool,
}

struct Running {
    scenario: Scenario,
    random: Random,
    assigner: Assigner,
    design: Design,
    slots: Vec<u16>,
    routers: Vec<Recorder>,
    ledgers: Ledgers,
    tracks: Tracks,
    users: u32,
    peeked: bool,
}

impl Running {
    fn new(scenario: Scenario, seed: u32) -> Self {
        let kind = if scenario.mean { "Mean" } else { "Proportion" };
        let mut world = World::new(&json!({
            "assignment": {"salt": format!("{}/{seed}", scenario.name)},
            "variants": [
                {"name": "v1", "modelRef": {"name": "m1"}, "weight": scenario.control_weight},
                {"name": "v2", "modelRef": {"name": "m2"}},
            ],
            "schedule": {"minDuration": "0s", "maxDuration": "300h"},
            "metrics": [
                {"name": "clicks", "role": "Goal", "kind": kind, "source": {"feedback": {"event": "click"}}, "direction": "Increase", "minimumEffect": {"absolute": "0.02"}},
                {"name": "errors", "role": "Guardrail", "kind": "Ratio", "source": {"router": {"signal": "Errors"}}, "direction": "Decrease", "margin": {"relative": "0.2"}},
                {"name": "failed", "role": "Guardrail", "kind": "Proportion", "source": {"router": {"signal": "Errors"}}, "direction": "Decrease"},
            ],
        }));
        let step = world.step();
        let design = step.design.unwrap();
        let (whole, ledgers) = recorded(&design, step.state.epoch.as_ref().unwrap());
        let router = |name: &str| Recorder::new(name.to_owned(), name.to_owned(), whole.clone());
        Self {
            scenario,
            random: Random(u64::from(seed) << 32 ^ 0x5851_F42D_4C95_7F2D),
            assigner: Assigner::new(&design.salt),
            routers: vec![router("a"), router("b")],
            ledgers,
            tracks: Tracks::new(),
            slots: super::slots::parts(&[scenario.control_weight, 1]),
            design,
            users: 0,
            peeked: false,
        }
    }

    /// A number of its own for each user and purpose, the same at every visit.
    fn own(user: u32, seed: &Assigner, purpose: u32) -> f64 {
        let text = format!("{purpose}/{user}");
        let hash = seed.place(Key::prompt(text.as_bytes())).hash;
        f64::from(u32::try_from(hash >> 32).unwrap()) / 4_294_967_296.0
    }

    fn request(&mut self, user: u32) {
        let text = format!("user {user}");
        let key = Key::prompt(text.as_bytes());
        let slot = self.assigner.place(key).slot.get();
        let arm = Arm::new(usize::from(slot >= self.slots[0])).unwrap();
        let unit = self.assigner.unit(key);
        let is_variant = !arm.is_control();
        let own = |purpose| Self::own(user, &self.assigner, purpose);
        if is_variant && own(1) < self.scenario.lost {
            return;
        }
        // One user in ten ever sees an error.
        let rate = if is_variant {
            self.scenario.errors
        } else {
            0.01
        };
        let rate = if own(2) < 0.1 { rate * 10.0 } else { 0.0 };
        let likes = if is_variant {
            self.scenario.of_variant
        } else {
            self.scenario.clicks
        };
        let likes = own(3) < likes;
        let is_error = self.random.uniform() <= rate;
        let asked = self.random.below(2) as usize;
        let told = self.random.below(2) as usize;
        let several = if self.scenario.mean {
            self.random.below(3)
        } else {
            1
        };
        self.served(asked, Unit(unit), arm, is_error);
        for _ in 0..u32::from(likes) * several {
            let event = Happening {
                event: "click",
                value: 1.0,
                id: None,
            };
            self.routers[told].happened(Unit(unit), true, event);
        }
    }

    fn served(&mut self, router: usize, unit: Unit, arm: Arm, is_error: bool) {
        self.routers[router].expose(unit, arm);
        let ended = Ended {
            is_error,
            is_remembered: false,
            is_fallback: is_error,
            took: None,
        };
        self.routers[router].ended(unit, arm, ended);
    }

    /// New users come, and some come back; then the operator looks.
    fn tick(&mut self, tick: u32) -> Conclusion {
        for _ in 0..self.scenario.arriving {
            self.users += 1;
            self.request(self.users);
            for _ in 0..self.random.below(3) {
                let user = 1 + self.random.below(self.users);
                self.request(user);
            }
        }
        for router in &mut self.routers {
            let document = router.snapshot();
            for (metric, ledger) in &mut self.ledgers {
                ledger.take(document.clone().only(metric).unwrap());
            }
        }
        let totals = ledger::totals(&self.design, &self.ledgers, &BTreeMap::new());
        let look = analysis::look(&Looked {
            design: &self.design,
            strata: std::slice::from_ref(&totals),
            tracks: &self.tracks,
            slots: &self.slots,
            out: &[],
            elapsed: Duration::from_secs(u64::from(tick) * 30),
            sample_ratio_before: 0.0,
        });
        self.tracks = look.tracks;
        let goal = &look.rows[0].finding;
        let z = goal.effect.zip(goal.error).map(|(effect, se)| effect / se);
        let is_eligible = goal.collecting.is_none();
        self.peeked |= is_eligible && z.is_some_and(|z| z.abs() > 1.96);
        Conclusion {
            verdict: look.decision.unwrap().verdict,
            users: totals.users(),
            effect: goal.effect,
            peeked: self.peeked,
        }
    }
}

fn run(scenario: Scenario, seed: u32, ticks: u32) -> Conclusion {
    let mut running = Running::new(scenario, seed);
    let mut ended = running.tick(1);
    for tick in 2..=ticks {
        if analysis::is_final(&ended.verdict) {
            break;
        }
        ended = running.tick(tick);
    }
    ended
}

#[test]
fn looking_at_it_every_tick_does_not_change_its_error_rate() {
    // posthog#55439, statsig docs#457
    for scenario in SCENARIOS.iter().take(HEALTHY) {
        let table = Table::of(*scenario, 120, 15);
        assert!(
            table.is_at_most(table.promote + table.rollback, ALPHA),
            "{}",
            table.row()
        );
        assert!(table.is_at_most(table.invalid, 0.001), "{}", table.row());
    }
}

#[test]
fn what_is_better_wins_and_what_is_worse_loses() {
    let ends = |place: usize| Table::of(SCENARIOS[place], 8, 2 * TICKS);
    let better = Table::of(SCENARIOS[BETTER], 8, 10 * TICKS);
    assert!(
        better.promote >= 4 && better.rollback == 0,
        "{}",
        better.row()
    );
    for place in [4, 5] {
        let worse = ends(place);
        assert!(worse.rollback >= 4 && worse.promote == 0, "{}", worse.row());
    }
    let lost = Table::of(SCENARIOS[6], 4, 80);
    assert!(lost.invalid >= 2, "{}", lost.row());
}

#[test]
#[ignore = "two thousand experiments of each scenario: minutes"]
fn two_thousand_experiments_of_each_scenario() {
    let mut rows = Vec::new();
    println!("{}", Table::head());
    let only = std::env::var("SCENARIO").unwrap_or_default();
    for (place, scenario) in SCENARIOS.into_iter().enumerate() {
        if !scenario.name.contains(&only) {
            continue;
        }
        let (runs, ticks) = if place < HEALTHY {
            (LONG, TICKS)
        } else if place == BETTER {
            (LONG / 2, planned(scenario, 0.8))
        } else {
            (LONG / 10, 2 * TICKS)
        };
        let table = Table::of(scenario, runs, ticks);
        println!("{}", table.line());
        rows.push(table.row());
        if place < HEALTHY {
            let wrong = table.promote + table.rollback;
            assert!(table.is_at_most(wrong, ALPHA), "{}", table.row());
            assert!(table.is_at_most(table.invalid, 0.001), "{}", table.row());
        }
        if place == BETTER {
            let missed = table.runs - table.promote;
            assert!(table.is_at_most(missed, 0.2), "{}", table.row());
        }
    }
    if let Some(path) = std::env::var_os("EXPERIMENTS_JSON") {
        std::fs::write(path, format!("{:#}\n", Value::from(rows))).unwrap();
    }
}
