//! The port agrees with the reference's vectors, whose expected numbers come from the definitions in 60
//! digits (`stats_reference.py`, part B): within an absolute 1e-12 or a relative 1e-9.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use serde_json::Value;
use stats::{BetaPrior, Events, Kappa, LogE, RateRatio, Share, Tally, beta_binomial, event_split};

const VECTORS: &str = include_str!("vectors.json");

fn number(object: &Value, name: &str) -> f64 {
    object[name].as_f64().unwrap()
}

fn close(id: &str, what: &str, got: f64, out: &Value) {
    let want = number(out, what);
    let near = (got - want).abs() <= 1e-12 || (got - want).abs() <= 1e-9 * want.abs();
    assert!(near, "{id}: {what} is {got}, not {want}");
}

fn evidence(id: &str, got: LogE, out: &Value) {
    close(id, "ln_e_two", got.two_sided, out);
    close(id, "ln_e_greater", got.greater, out);
    close(id, "ln_e_less", got.less, out);
}

fn cases(function: &str) -> Vec<Value> {
    let document: Value = serde_json::from_str(VECTORS).unwrap();
    let cases = document["cases"].as_array().unwrap().clone();
    let cases: Vec<_> = cases
        .into_iter()
        .filter(|case| case["fn"] == function)
        .collect();
    assert!(!cases.is_empty(), "no vectors of {function}");
    cases
}

#[test]
fn beta_binomial_is_that_of_the_reference() {
    for case in cases("beta_binomial") {
        let (id, given) = (case["id"].as_str().unwrap(), &case["in"]);
        let tally = Tally {
            successes: given["successes"].as_u64().unwrap(),
            failures: given["failures"].as_u64().unwrap(),
        };
        let theta0 = Share::new(number(given, "theta0")).unwrap();
        let prior = BetaPrior::new(number(given, "a"), number(given, "b")).unwrap();
        evidence(id, beta_binomial(tally, theta0, prior), &case["out"]);
    }
}

#[test]
fn event_split_is_that_of_the_reference() {
    for case in cases("event_split") {
        let (id, given) = (case["id"].as_str().unwrap(), &case["in"]);
        let arm = |users, weight| Events {
            users: given[users].as_u64().unwrap(),
            weight: number(given, weight),
        };
        let ratio = RateRatio::new(number(given, "rr0")).unwrap();
        let kappa = Kappa::new(number(given, "kappa")).unwrap();
        let split = event_split(arm("x_a", "w_a"), arm("x_b", "w_b"), ratio, kappa).unwrap();
        close(id, "theta0", split.expected.get(), &case["out"]);
        evidence(id, split.evidence, &case["out"]);
    }
}
