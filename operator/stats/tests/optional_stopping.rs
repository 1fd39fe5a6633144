//! Looked at again and again, no method raises a false alarm more often than its level says. A few
//! hundred runs each; thousands in the ignored test (`-- --ignored --nocapture`), which prints a table.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod random;

use random::Random;
use stats::{
    Alpha, ArmUsers, BetaPrior, Bounded, Cells, Discordance, Events, Factor, Histogram, Kappa,
    LogE, Moments, NormalMixture, Null, Proportion, RateRatio, Scale, Share, Tally, Tuning,
    binomial_cs, difference_of_means, difference_of_proportions, event_split, exceedance, paired,
    sample_ratio,
};

const LEVEL: f64 = 0.05;
const LOOKS: u32 = 150;
const SHORT: u32 = 300;
const LONG: u32 = 4000;

/// One run with no effect: whether any look rejected.
type Run = fn(&mut Random) -> bool;

/// All methods, and the part of their runs that may reject: both sides are looked at.
const METHODS: [(&str, f64, Run); 11] = [
    ("means of users", 2.0 * LEVEL, means),
    ("means, a small arm of skewed data", 2.0 * LEVEL, unbalanced),
    ("ratios of clustered users", 2.0 * LEVEL, clustered),
    ("proportions", 2.0 * LEVEL, proportions),
    ("paired scores", 2.0 * LEVEL, pairs),
    ("first events", 2.0 * LEVEL, events),
    ("discordant pairs", 2.0 * LEVEL, discordant),
    ("bounded values", LEVEL, bounded),
    ("a confidence sequence", LEVEL, sequence),
    ("a quantile", 2.0 * LEVEL, quantile),
    ("a sample ratio", LEVEL, users),
];

fn level() -> Alpha {
    Alpha::new(LEVEL).unwrap()
}

fn either(evidence: LogE) -> bool {
    level().rejects(evidence.greater) || level().rejects(evidence.less)
}

fn rejects(estimate: stats::Estimate, tau: f64) -> bool {
    let mixture = NormalMixture::new(estimate, Scale::new(tau).unwrap());
    mixture.is_ok_and(|mixture| either(mixture.log_e(Null::ZERO)))
}

fn alarms(runs: u32, run: Run) -> u32 {
    (0..runs)
        .map(|seed| u32::from(run(&mut Random::new(u64::from(seed)))))
        .sum()
}

/// What a level allows, and three standard errors of the simulation.
fn allowed(runs: u32, level: f64) -> f64 {
    let runs = f64::from(runs);
    runs * level + 3.0 * (runs * level * (1.0 - level)).sqrt()
}

#[test]
fn no_method_raises_more_false_alarms_than_its_level() {
    for (name, level, run) in METHODS {
        let alarms = alarms(SHORT, run);
        assert!(
            f64::from(alarms) <= allowed(SHORT, level),
            "{name}: {alarms} of {SHORT}"
        );
    }
}

#[test]
#[ignore = "thousands of runs: a minute"]
fn no_method_raises_more_false_alarms_than_its_level_in_thousands_of_runs() {
    for (name, level, run) in METHODS {
        let alarms = alarms(LONG, run);
        let part = 100.0 * f64::from(alarms) / f64::from(LONG);
        println!(
            "{name}: {part:.2} % of {LONG}, at most {:.0} %",
            100.0 * level
        );
        assert!(
            f64::from(alarms) <= allowed(LONG, level),
            "{name}: {alarms} of {LONG}"
        );
    }
}

#[test]
fn a_plain_test_looked_at_as_often_does() {
    let alarms = alarms(SHORT, |random| {
        let mut arms = [Moments::default(); 2];
        (0..LOOKS).any(|_| {
            add(&mut arms, random, 20, Random::normal);
            let [a, b] = arms.map(|arm| arm.arm().unwrap());
            let estimate = difference_of_means(a, b, Factor::PLAIN).unwrap();
            estimate.effect().abs() > 1.645 * estimate.error()
        })
    });
    assert!(
        f64::from(alarms) > 3.0 * allowed(SHORT, 2.0 * LEVEL),
        "{alarms}"
    );
}

#[test]
fn requests_taken_for_units_do_too() {
    let alarms = alarms(SHORT, |random| {
        let mut arms = [Moments::default(); 2];
        (0..LOOKS).any(|_| {
            for arm in &mut arms {
                let requests = (0..4).flat_map(|_| user(random)).collect::<Vec<_>>();
                *arm = arm.merge(Moments::of(requests).unwrap()).unwrap();
            }
            let [a, b] = arms;
            a.n() >= 1000 && compare(a, b)
        })
    });
    assert!(
        f64::from(alarms) > 1.4 * allowed(SHORT, 2.0 * LEVEL),
        "{alarms}"
    );
}

fn add(arms: &mut [Moments; 2], random: &mut Random, each: u32, draw: fn(&mut Random) -> f64) {
    for arm in arms {
        for _ in 0..each {
            let value = draw(random);
            *arm = arm.merge(Moments::of([value]).unwrap()).unwrap();
        }
    }
}

fn compare(a: Moments, b: Moments) -> bool {
    let estimate = difference_of_means(a.arm().unwrap(), b.arm().unwrap(), Factor::PLAIN);
    rejects(estimate.unwrap(), 0.08)
}

/// How many of `trials` have what each has with probability `share`.
fn hits(random: &mut Random, trials: u32, share: f64) -> u64 {
    (0..trials)
        .map(|_| u64::from(random.uniform() <= share))
        .sum()
}

fn means(random: &mut Random) -> bool {
    let mut arms = [Moments::default(); 2];
    (0..LOOKS).any(|_| {
        add(&mut arms, random, 20, Random::normal);
        let [a, b] = arms;
        a.n() >= 200 && compare(a, b)
    })
}

/// 95 to 5, lognormal: the arm of which Welch's error alone is too small.
fn unbalanced(random: &mut Random) -> bool {
    let [mut a, mut b] = [Moments::default(); 2];
    (0..LOOKS).any(|_| {
        for number in 0..100 {
            let value = Moments::of([random.normal().exp()]).unwrap();
            let arm = if number < 95 { &mut a } else { &mut b };
            *arm = arm.merge(value).unwrap();
        }
        b.n() >= 200 && {
            let estimate = difference_of_means(a.arm().unwrap(), b.arm().unwrap(), Factor::PLAIN);
            rejects(estimate.unwrap(), 0.17)
        }
    })
}

/// Five requests of one user: three tenths of their variance are the user's own.
fn user(random: &mut Random) -> [f64; 5] {
    let own = random.normal() * 0.3_f64.sqrt();
    [(); 5].map(|()| own + random.normal() * 0.7_f64.sqrt())
}

fn clustered(random: &mut Random) -> bool {
    let mut users = [Vec::new(), Vec::new()];
    (0..LOOKS).any(|_| {
        for arm in &mut users {
            arm.extend((0..4).map(|_| (5, user(random).iter().sum())));
        }
        let [a, b] = users
            .each_ref()
            .map(|users| Cells::of(users.iter().copied()));
        a.units >= 200 && {
            let (a, b) = (a.ratio().unwrap(), b.ratio().unwrap());
            rejects(difference_of_means(a, b, Factor::PLAIN).unwrap(), 0.08)
        }
    })
}

fn proportions(random: &mut Random) -> bool {
    let mut had = [0_u64; 2];
    (1..=u64::from(LOOKS)).any(|look| {
        let users = 40 * look;
        for arm in &mut had {
            *arm += hits(random, 40, 0.1);
        }
        let [a, b] = had.map(|had| Proportion::new(users, had).unwrap());
        let enough = stats::eligibility::events(a, b).is_ok() && users >= 200;
        enough
            && rejects(
                difference_of_proportions(a, b, Factor::PLAIN).unwrap(),
                0.02,
            )
    })
}

fn pairs(random: &mut Random) -> bool {
    let mut differences = Moments::default();
    (0..LOOKS).any(|_| {
        for _ in 0..20 {
            let next = Moments::of([random.normal()]).unwrap();
            differences = differences.merge(next).unwrap();
        }
        differences.n() >= 500 && rejects(paired(differences).unwrap(), 0.08)
    })
}

/// 10 % of the traffic, an error rate that changes, at most one event a look.
fn events(random: &mut Random) -> bool {
    let (mut a, mut b) = (0, 0);
    (0..4 * LOOKS).any(|look| {
        let rate = if look % 100 < 20 { 0.9 } else { 0.1 };
        if random.uniform() < rate {
            *(if random.uniform() < 0.1 {
                &mut b
            } else {
                &mut a
            }) += 1;
        }
        let arm = |users, weight| Events { users, weight };
        let split = event_split(arm(a, 0.9), arm(b, 0.1), RateRatio::SAME, Kappa::DEFAULT);
        either(split.unwrap().evidence)
    })
}

fn discordant(random: &mut Random) -> bool {
    let mut candidate = 0;
    (1..=4 * u64::from(LOOKS)).any(|look| {
        candidate += hits(random, 1, 0.5);
        let pairs = Discordance::new(look, candidate, look - candidate).unwrap();
        either(pairs.log_e().unwrap())
    })
}

/// Differences of accuracy, of which three in twenty are not 0.
fn bounded(random: &mut Random) -> bool {
    let tuning = Tuning::at(200.0, level()).unwrap();
    let mut values = Moments::default();
    (0..LOOKS).any(|_| {
        for _ in 0..10 {
            let differs = random.uniform() < 0.15;
            let sign = if random.uniform() < 0.5 { 1.0 } else { -1.0 };
            let value = if differs { sign } else { 0.0 };
            values = values.merge(Moments::of([value]).unwrap()).unwrap();
        }
        let bounded = Bounded::new(values, -1.0, tuning).unwrap();
        level().rejects(bounded.log_e(0.0))
    })
}

fn sequence(random: &mut Random) -> bool {
    let mut tally = Tally::default();
    (0..LOOKS).any(|_| {
        let hits = hits(random, 5, 0.2);
        tally.successes += hits;
        tally.failures += 5 - hits;
        !binomial_cs(tally, BetaPrior::JEFFREYS, level()).contains(0.2)
    })
}

/// Whether the true p90 of a uniform value leaves its sequence.
fn quantile(random: &mut Random) -> bool {
    let edges = [0.2, 0.4, 0.6, 0.8, 0.85, 0.9, 0.95];
    let mut cells = [0_u64; 8];
    let p = Share::new(0.9).unwrap();
    (0..LOOKS).any(|_| {
        for _ in 0..40 {
            let value = random.uniform();
            let cell = edges.iter().filter(|edge| **edge < value).count();
            *cells.get_mut(cell).unwrap() += 1;
        }
        let histogram = Histogram::new(&edges, &cells).unwrap();
        let quantile = histogram
            .quantile(p, level(), Kappa::new(500.0).unwrap())
            .unwrap();
        // A lower end is what it is above.
        quantile.lower.is_some_and(|lower| lower >= 0.9)
            || quantile.upper.is_some_and(|upper| upper < 0.9)
    })
}

fn users(random: &mut Random) -> bool {
    let mut counts = [0_u64; 2];
    (0..LOOKS).any(|_| {
        let few = hits(random, 20, 0.1);
        let [a, b] = &mut counts;
        *a += 20 - few;
        *b += few;
        let [a, b] = counts;
        let arm = |users, weight| ArmUsers { users, weight };
        level().rejects(sample_ratio(&[arm(a, 9.0), arm(b, 1.0)]).unwrap())
    })
}

#[test]
fn a_real_effect_is_found() {
    let found = |run: Run| f64::from(alarms(100, run));
    assert!(found(|random| slower(random, 0.2)) >= 80.0);
    assert!(found(|random| slower(random, 0.0)) <= allowed(100, 2.0 * LEVEL));
}

/// The guard of p95 on a grid of fifths, with no tolerance: the candidate is slower by a part.
fn slower(random: &mut Random, part: f64) -> bool {
    let edges: Vec<f64> = (0..40).map(|edge| 1.05_f64.powi(edge)).collect();
    let draw = |random: &mut Random, factor: f64| {
        let value = (random.normal() * 0.5 + 1.0).exp() * factor;
        edges.iter().filter(|edge| **edge < value).count()
    };
    let mut before = vec![0_u64; 41];
    for _ in 0..1000 {
        *before.get_mut(draw(random, 1.0)).unwrap() += 1;
    }
    let p95 = Share::new(0.95).unwrap();
    let frozen = Histogram::new(&edges, &before).unwrap().edge_of(p95);
    let Some(edge) = frozen else { return false };
    let (mut a, mut b) = (vec![0_u64; 41], vec![0_u64; 41]);
    (0..LOOKS).any(|_| {
        for _ in 0..20 {
            *a.get_mut(draw(random, 1.0)).unwrap() += 1;
            *b.get_mut(draw(random, 1.0 + part)).unwrap() += 1;
        }
        let (control, candidate) = (
            Histogram::new(&edges, &a).unwrap(),
            Histogram::new(&edges, &b).unwrap(),
        );
        let (a, b) = exceedance(&control, &candidate, edge, 0).unwrap();
        let enough = stats::eligibility::exceedances(a, b).is_ok();
        enough
            && rejects(
                difference_of_proportions(a, b, Factor::PLAIN).unwrap(),
                0.02,
            )
    })
}
