//! How the experiments of a scenario ended, counted, and how many users one is planned with.

use serde_json::{Value, json};
use stats::{Alpha, Plan, Scale, Stopping, Verdict};

use super::{ALPHA, Conclusion, Scenario, run};

/// How experiments of a scenario ended.
pub(super) struct Table {
    scenario: Scenario,
    pub(super) runs: u32,
    pub(super) promote: u32,
    pub(super) rollback: u32,
    inconclusive: u32,
    pub(super) invalid: u32,
    users: Vec<u64>,
    peeked: u32,
    /// The sum of the effects at promotions.
    effects: f64,
}

/// All experiments of a scenario, on all cores.
fn conclusions(scenario: Scenario, runs: u32, ticks: u32) -> Vec<Conclusion> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        let of = |first: usize| (0..runs).skip(first).step_by(cores);
        let each = (0..cores).map(|first| {
            scope.spawn(move || -> Vec<Conclusion> {
                of(first).map(|seed| run(scenario, seed, ticks)).collect()
            })
        });
        let started: Vec<_> = each.collect();
        started
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    })
}

impl Table {
    pub(super) fn of(scenario: Scenario, runs: u32, ticks: u32) -> Self {
        let mut table = Self {
            scenario,
            runs,
            promote: 0,
            rollback: 0,
            inconclusive: 0,
            invalid: 0,
            users: Vec::new(),
            peeked: 0,
            effects: 0.0,
        };
        for ended in conclusions(scenario, runs, ticks) {
            table.peeked += u32::from(ended.peeked);
            if matches!(ended.verdict, Verdict::Promote(_)) {
                table.effects += ended.effect.unwrap();
            }
            *match ended.verdict {
                Verdict::Promote(_) => &mut table.promote,
                Verdict::RollBack => &mut table.rollback,
                Verdict::Inconclusive(_) | Verdict::Running => &mut table.inconclusive,
                Verdict::SampleRatioMismatch => &mut table.invalid,
            } += 1;
            table.users.push(ended.users);
        }
        table.users.sort_unstable();
        table
    }

    pub(super) fn row(&self) -> Value {
        json!({
            "scenario": self.scenario.name, "runs": self.runs, "promote": self.promote,
            "rollback": self.rollback, "inconclusive": self.inconclusive, "invalid": self.invalid,
            "median_users": self.users.get(self.users.len() / 2),
        })
    }

    /// For people: parts in percent with their standard errors.
    pub(super) fn line(&self) -> String {
        let part = |count: u32| {
            let (p, runs) = (
                f64::from(count) / f64::from(self.runs),
                f64::from(self.runs),
            );
            format!(
                "{:6.2} ({:.2})",
                100.0 * p,
                100.0 * (p * (1.0 - p) / runs).sqrt()
            )
        };
        let effect = match self.promote {
            0 => "-".to_owned(),
            promoted => format!("{:+.4}", self.effects / f64::from(promoted)),
        };
        format!(
            "{:<45}{:>6}{:>15}{:>15}{:>15}{:>15}{:>8}{:>15}{:>9}",
            self.scenario.name,
            self.runs,
            part(self.promote),
            part(self.rollback),
            part(self.inconclusive),
            part(self.invalid),
            self.users.get(self.users.len() / 2).unwrap_or(&0),
            part(self.peeked),
            effect,
        )
    }

    pub(super) fn head() -> String {
        format!(
            "{:<45}{:>6}{:>15}{:>15}{:>15}{:>15}{:>8}{:>15}{:>9}",
            "scenario; parts in % (standard error)",
            "runs",
            "promote",
            "rollback",
            "inconclusive",
            "invalid",
            "users",
            "z at any look",
            "effect"
        )
    }

    /// The part of the experiments, three standard errors of a part of `level` above it at most.
    pub(super) fn is_at_most(&self, count: u32, level: f64) -> bool {
        let runs = f64::from(self.runs);
        f64::from(count) <= runs * level + 3.0 * (runs * level * (1.0 - level)).sqrt()
    }
}

/// Ticks until as many users came as are planned for this power.
pub(super) fn planned(scenario: Scenario, power: f64) -> u32 {
    let scale = |size: f64| Scale::new(size).unwrap();
    let sd = |part: f64| scale((part * (1.0 - part)).sqrt());
    let plan = Plan {
        sd_a: sd(scenario.clicks),
        sd_b: sd(scenario.of_variant),
        weight_a: scale(f64::from(scenario.control_weight)),
        weight_b: scale(1.0),
    };
    let effect = scenario.of_variant - scenario.clicks;
    // Half of alpha is for promotion.
    let alpha = Alpha::new(ALPHA / 2.0).unwrap();
    let stopping = Stopping::new(scale(effect), scale(effect), alpha);
    let error = effect / stopping.information(power).unwrap().sqrt();
    let ticks = (plan.units(scale(error)) / f64::from(scenario.arriving)).ceil();
    (1..10_000).find(|tick| f64::from(*tick) >= ticks).unwrap()
}
