//! Everything that is approximately normal.

use serde_json::{Value, json};
use stats::{
    Arm, Cells, Cross, Epoch, Estimate, KnownMean, Moments, NormalMixture, Null, Plan, Proportion,
    difference_of_means, difference_of_proportions, fieller, p_value, prob_best, required_error,
    stratified,
};

use crate::given::{Given, count, ends, estimate, maybe, number, written};

pub(crate) fn outcome(function: &str, given: Given) -> Option<Value> {
    Some(match function {
        "moments" => {
            let moments = given.moments();
            json!({"mean": maybe(moments.mean()), "var": maybe(moments.variance())})
        }
        "combine_means" => combine_means(given),
        "combine_binary" => combine_binary(given),
        "ratio_arm" => ratio_arm(given),
        "paired" => estimate(stats::paired(given.moments()).ok()),
        "paired_from_cross" => paired_from_cross(given),
        "stratified" => epochs(given),
        "normal_mixture" => normal_mixture(given),
        "required_se" => {
            let (mde, tau) = (given.scale("mde"), given.scale("tau"));
            json!({"se": written(required_error(mde, tau, given.alpha("alpha")))})
        }
        "tau_from_target" => tau_from_target(given),
        "fieller" => {
            let known = |mean, variance| KnownMean {
                mean: given.number(mean),
                variance: given.number(variance),
            };
            let (a, b) = (known("mean_a", "var_mean_a"), known("mean_b", "var_mean_b"));
            json!({"ratio_ci": fieller(a, b, given.number("z")).map(ends)})
        }
        "prob_best" => {
            let means = given.numbers("means").into_iter().zip(given.numbers("ses"));
            let variants: Vec<_> = means
                .map(|(mean, se)| Estimate::new(mean, se).unwrap())
                .collect();
            json!({"p": prob_best(&variants).unwrap()})
        }
        _ => return None,
    })
}

fn combine_means(given: Given) -> Value {
    let arm = |n, mean, variance| {
        if given.is_null(variance) {
            return None;
        }
        Arm::new(given.count(n), given.number(mean), given.number(variance)).ok()
    };
    let both = arm("n_a", "mean_a", "var_a").zip(arm("n_b", "mean_b", "var_b"));
    estimate(both.and_then(|(a, b)| difference_of_means(a, b, given.factor("r")).ok()))
}

fn combine_binary(given: Given) -> Value {
    let arm = |n, x| Proportion::new(given.count(n), given.count(x)).unwrap();
    let (a, b) = (arm("n_a", "x_a"), arm("n_b", "x_b"));
    estimate(difference_of_proportions(a, b, given.factor("r")).ok())
}

fn ratio_arm(given: Given) -> Value {
    let cells = Cells {
        units: given.count("k"),
        x: given.number("sx"),
        y: given.number("sy"),
        xx: given.number("sxx"),
        xy: given.number("sxy"),
        yy: given.number("syy"),
    };
    let arm = cells.ratio().ok();
    json!({"r": maybe(arm.map(Arm::mean)), "v": maybe(arm.map(Arm::variance))})
}

fn paired_from_cross(given: Given) -> Value {
    let cross = Cross {
        pairs: given.count("n"),
        a: given.number("sa"),
        b: given.number("sb"),
        aa: given.number("saa"),
        bb: given.number("sbb"),
        ab: given.number("sab"),
    };
    let scores = cross.scores().ok();
    let mut out = estimate(scores.map(|scores| scores.estimate));
    out.as_object_mut().unwrap().insert(
        "pearson".to_owned(),
        maybe(scores.and_then(|scores| scores.pearson)),
    );
    out
}

fn epochs(given: Given) -> Value {
    let moments = |sums: &[Value]| {
        let [n, sum, squares] = sums else {
            panic!("no moments: {sums:?}")
        };
        Moments::new(count(n), number(sum), number(squares)).unwrap()
    };
    let epochs: Vec<_> = given
        .each("epochs")
        .map(|epoch| {
            let (a, b) = epoch.0.as_array().unwrap().split_at(3);
            Epoch {
                a: moments(a),
                b: moments(b),
            }
        })
        .collect();
    estimate(stratified(&epochs).ok())
}

fn normal_mixture(given: Given) -> Value {
    let estimate = Estimate::new(given.number("est"), given.number("se")).unwrap();
    let mixture = NormalMixture::new(estimate, given.scale("tau")).unwrap();
    let evidence = mixture.log_e(Null::new(given.number("null")).unwrap());
    let alpha = given.alpha("alpha");
    json!({
        "ln_e_two": written(evidence.two_sided), "p_two": written(p_value(evidence.two_sided)),
        "ln_e_greater": written(evidence.greater), "p_greater": written(p_value(evidence.greater)),
        "ln_e_less": written(evidence.less), "p_less": written(p_value(evidence.less)),
        "ci_two": ends(mixture.interval(alpha)),
        "lower_one": written(mixture.lower(alpha)),
        "upper_one": written(mixture.upper(alpha)),
    })
}

fn tau_from_target(given: Given) -> Value {
    let plan = Plan {
        sd_a: given.scale("sigma_a"),
        sd_b: given.scale("sigma_b"),
        weight_a: given.scale("w_a"),
        weight_b: given.scale("w_b"),
    };
    let tau = plan.tau(given.count("n_star"), given.alpha("alpha"));
    json!({"tau": maybe(tau.map(stats::Scale::get))})
}
