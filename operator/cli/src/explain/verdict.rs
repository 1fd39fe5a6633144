//! The status of an experiment in words and numbers.
//!
//! Invariant: every number is the status' own.

use std::fmt::Write;

use crds::ABExperimentStatus;
use crds::v1alpha1::ab_experiment::status::{LeftOut, ResultStatus, Verdict};
use crds::value::{Decimal, Word};

use operator_core::experiment::state::ABORTED;

use crate::text::{columns, count};

pub(crate) fn text(name: &str, status: &ABExperimentStatus) -> String {
    let mut text = format!("{name}: {}\n", headline(status));
    let message = status.message.as_deref();
    let said = status.decision.as_ref().map(|of| of.message.as_str());
    for sentence in [said, message.filter(|message| said != Some(message))]
        .into_iter()
        .flatten()
    {
        let _ = writeln!(text, "{sentence}");
    }
    text.push_str(&users(status));
    if let Some(results) = status
        .results
        .as_ref()
        .filter(|results| !results.is_empty())
    {
        text.push('\n');
        text.push_str(&table(results));
        text.push_str("effects are turned so that more is better; intervals hold at every look\n");
    }
    text
}

fn headline(status: &ABExperimentStatus) -> String {
    let decision = status.decision.as_ref();
    if let Some((decision, verdict)) = decision.and_then(|of| Some((of, of.verdict.as_ref()?))) {
        let variant = decision
            .variant
            .as_deref()
            .map_or_else(String::new, |variant| format!(" {variant}"));
        let words = match verdict {
            Word::Known(_) if decision.reason == ABORTED => {
                "stopped by a human, without a verdict".to_owned()
            }
            Word::Known(Verdict::Promote) => format!("{variant} is better than control")
                .trim()
                .to_owned(),
            Word::Known(Verdict::RollBack) => {
                "no variant is better, and all of them harm".to_owned()
            }
            Word::Known(Verdict::Inconclusive) => {
                format!("no variant was shown to be better{}", variant_of(&variant))
            }
            Word::Known(Verdict::Invalid) => "the numbers cannot be trusted".to_owned(),
            Word::Unknown(text) => format!("{text}{variant}"),
        };
        return format!("{words} ({}, {})", word(verdict), decision.reason);
    }
    status
        .phase
        .as_ref()
        .map_or_else(|| "not seen yet".to_owned(), word)
}

/// One that is promoted all the same.
fn variant_of(variant: &str) -> String {
    match variant.trim() {
        "" => String::new(),
        name => format!(", and {name} is no worse"),
    }
}

fn word<T: Copy + std::fmt::Debug>(word: &Word<T>) -> String {
    match word {
        Word::Known(known) => format!("{known:?}"),
        Word::Unknown(text) => text.clone(),
    }
}

/// Who was counted, whether they fell as dealt, and who was not.
fn users(status: &ABExperimentStatus) -> String {
    let mut text = String::new();
    let variants = status.variants.iter().flatten();
    let each: Vec<String> = variants
        .filter_map(|of| {
            let out = of.rolled_back.as_deref().map_or("", |_| " (out)");
            Some(format!("{} {}{out}", of.name, count(of.users?)))
        })
        .collect();
    if !each.is_empty() {
        let _ = write!(text, "users: {}", each.join(", "));
        if let Some(ratio) = &status.sample_ratio {
            let is_sound = ratio.verdict == "OK";
            let words = if is_sound {
                "as their weights say"
            } else {
                "NOT as their weights say"
            };
            let _ = write!(
                text,
                "; they fall {words} (p {})",
                shown(ratio.p_value.as_ref())
            );
        }
        text.push('\n');
    }
    let left_out = status.left_out.clone().unwrap_or_default();
    let left_out = left_out_words(&left_out);
    if !left_out.is_empty() {
        let _ = writeln!(text, "not counted: {}", left_out.join(", "));
    }
    text
}

fn left_out_words(of: &LeftOut) -> Vec<String> {
    let all = [
        (of.missing_key, "requests without a user's id"),
        (of.in_two_variants, "users who met two variants"),
        (of.beyond_cap, "visits of users beyond the cap"),
        (
            of.unknown_users,
            "events of users whom no variant has served",
        ),
        (of.after_verdict, "events after the verdict"),
        (of.lost_routers, "routers that went without a last word"),
    ];
    let some = all.into_iter().filter(|(many, _)| *many > 0);
    some.map(|(many, what)| format!("{} {what}", count(many)))
        .collect()
}

fn table(results: &[ResultStatus]) -> String {
    let head = [
        "metric", "variant", "role", "value", "control", "effect", "interval", "users", "evidence",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for of in results {
        let evidence = of
            .log_evidence
            .as_ref()
            .map_or_else(String::new, |evidence| {
                format!(
                    "benefit {}, harm {}",
                    shown(evidence.benefit.as_ref()),
                    shown(evidence.harm.as_ref())
                )
            });
        let reason = of.reason.as_deref();
        rows.push(vec![
            of.metric.clone(),
            of.variant.clone(),
            of.role.clone(),
            shown(of.mean.as_ref()),
            shown(of.control_mean.as_ref()),
            shown(of.effect.as_ref()),
            format!(
                "[{}, {}]",
                shown(of.lower.as_ref()),
                shown(of.upper.as_ref())
            ),
            of.users.map_or_else(|| "?".to_owned(), count),
            reason.map_or(evidence, str::to_owned),
        ]);
    }
    columns(&rows)
}

/// Four digits are plenty beside an interval.
fn shown(number: Option<&Decimal>) -> String {
    let parsed = number.and_then(|text| text.as_str().parse::<f64>().ok());
    let rounded = parsed.and_then(|number| format!("{number:.3e}").parse::<f64>().ok());
    rounded.map_or_else(|| "?".to_owned(), |number| format!("{number}"))
}
