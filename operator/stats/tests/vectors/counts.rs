//! Everything that is exact: counts, and values with a lower bound.

use serde_json::{Value, json};
use stats::{
    ArmUsers, Bounded, Discordance, Events, Histogram, Kappa, RateRatio, Tally, Tuning,
    beta_binomial, binomial_cs, event_split, exceedance, p_value, sample_ratio_of,
};

use crate::given::{Given, ends, evidence, maybe, written};

pub(crate) fn outcome(function: &str, given: Given) -> Option<Value> {
    Some(match function {
        "beta_binomial" => evidence(beta_binomial(
            tally(given),
            given.share("theta0"),
            given.prior(),
        )),
        "binomial_cs" => {
            json!({"ci": ends(binomial_cs(tally(given), given.prior(), given.alpha("alpha")))})
        }
        "event_split" => split(given),
        "mcnemar" => {
            let (candidate, control) = (given.count("b_only"), given.count("a_only"));
            let pairs = Discordance::new(candidate + control, candidate, control).unwrap();
            evidence(pairs.log_e().unwrap())
        }
        "srm" => srm(given),
        "ge_rho" => {
            let tuning = Tuning::at(given.number("v_opt"), given.alpha("alpha"));
            json!({"rho": maybe(tuning.map(Tuning::get))})
        }
        "bounded_log_e" => {
            json!({"ln_e_greater": written(bounded(given).log_e(given.number("mu0")))})
        }
        "bounded_lower" => json!({"lower": written(bounded(given).lower(given.alpha("alpha")))}),
        "quantile_cs" => quantile(given),
        "exceedance" => above(given),
        _ => return None,
    })
}

fn tally(given: Given) -> Tally {
    Tally {
        successes: given.count("successes"),
        failures: given.count("failures"),
    }
}

fn split(given: Given) -> Value {
    let arm = |users, weight| Events {
        users: given.count(users),
        weight: given.number(weight),
    };
    let ratio = RateRatio::new(given.number("rr0")).unwrap();
    let split = event_split(
        arm("x_a", "w_a"),
        arm("x_b", "w_b"),
        ratio,
        given.kappa("kappa"),
    );
    let split = split.unwrap();
    let mut out = evidence(split.evidence);
    out.as_object_mut()
        .unwrap()
        .insert("theta0".to_owned(), written(split.expected.get()));
    out
}

fn srm(given: Given) -> Value {
    let arms = given
        .counts("counts")
        .into_iter()
        .zip(given.numbers("weights"));
    let arms: Vec<_> = arms
        .map(|(users, weight)| ArmUsers { users, weight })
        .collect();
    let kappas: Vec<_> = given
        .numbers("kappas")
        .into_iter()
        .map(|kappa| Kappa::new(kappa).unwrap())
        .collect();
    let ln_e = sample_ratio_of(&arms, &kappas);
    json!({"ln_e": maybe(ln_e), "p": maybe(ln_e.map(p_value))})
}

fn bounded(given: Given) -> Bounded {
    let tuning = Tuning::new(given.number("rho")).unwrap();
    Bounded::new(given.moments(), given.number("lo"), tuning).unwrap()
}

fn quantile(given: Given) -> Value {
    let (edges, cells) = (given.numbers("edges"), given.counts("counts"));
    let histogram = Histogram::new(&edges, &cells).unwrap();
    let side = given.alpha("alpha_side");
    let quantile = histogram.quantile(given.share("p"), side, given.kappa("kappa"));
    json!({
        "lower": maybe(quantile.and_then(|quantile| quantile.lower)),
        "est": maybe(quantile.map(|quantile| quantile.estimate)),
        "upper": maybe(quantile.and_then(|quantile| quantile.upper)),
    })
}

/// The case has no edges: the cells alone matter.
fn above(given: Given) -> Value {
    let (a, b) = (given.counts("counts_a"), given.counts("counts_b"));
    let edges: Vec<f64> = (1..a.len())
        .map(|edge| f64::from(u32::try_from(edge).unwrap()))
        .collect();
    let histogram = |cells| Histogram::new(&edges, cells).unwrap();
    let index = |name| usize::try_from(given.count(name)).unwrap();
    let (a, b) = exceedance(&histogram(&a), &histogram(&b), index("i"), index("k")).unwrap();
    json!({"n_a": a.users(), "x_a": a.had(), "n_b": b.users(), "x_b": b.had()})
}
