//! A plan for people and for programs.

use std::fmt::Write;

use serde_json::{Value, json};
use traffic::evidence::experiment::MAX_USERS;

use super::cost::{Cost, Costs, Unit};
use super::{Asked, Common, Shape};
use crate::failure::Failure;
use crate::text::{columns, days, number, whole};

const SECONDS: f64 = 86_400.0;

pub(super) fn text(asked: &[Asked], costs: &[Costs], common: &Common) -> String {
    let mut text = String::new();
    for (asked, costs) in asked.iter().zip(costs) {
        text.push_str(&head(asked, common));
        text.push_str(&table(costs, common));
        for note in notes(costs, common) {
            let _ = writeln!(text, "{note}");
        }
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "planned: {} of 100 experiments have found an effect of that size by then, however often one looks. typical: half of\nthem have, and stop there. one look: what a test would take that is looked at once, at the end.",
        number(100.0 * common.power)
    );
    text
}

fn head(asked: &Asked, common: &Common) -> String {
    let name = asked
        .name
        .as_ref()
        .map_or_else(String::new, |name| format!("{name}: "));
    let what = match asked.shape {
        Shape::Proportion { control } => {
            format!("proportion of users, {} of control's", number(control))
        }
        Shape::Mean { sd } => format!("mean per user, standard deviation {}", number(sd)),
        Shape::Ratio { per_user, icc, .. } => {
            format!(
                "mean per event, {} of a user, alike by {}",
                number(per_user),
                number(icc)
            )
        }
        Shape::Paired {
            sd, correlation, ..
        } => format!(
            "differences of scores, standard deviation {}, correlation {}",
            number(sd),
            number(correlation)
        ),
        Shape::Accuracy { discordance, .. } => {
            format!(
                "labelled pairs, of which the variants differ on {}",
                number(discordance)
            )
        }
    };
    let task = if asked.change.abs() < f64::MIN_POSITIVE {
        "no worse by"
    } else {
        "better by"
    };
    let weights: Vec<String> = common
        .weights
        .iter()
        .map(|weight| number(*weight))
        .collect();
    format!(
        "{name}{what}\nto be shown: {task} {}, at level {}, split {}\n\n",
        number(asked.distance),
        number(asked.level.get()),
        weights.join("/")
    )
}

fn table(costs: &Costs, common: &Common) -> String {
    let known = [("Split", &costs.split), ("Paired", &costs.paired)];
    let mut rows = vec![
        ["", "typical", "planned", "", "one look"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut without = String::new();
    for (mode, cost) in known {
        match cost {
            Ok(cost) => {
                let amount = |units: f64| format!("{} {}", whole(units), cost.unit.word());
                let time = duration(cost.planned, cost, common).map_or_else(String::new, days);
                rows.push(vec![
                    mode.to_owned(),
                    amount(cost.typical),
                    amount(cost.planned),
                    time,
                    amount(cost.fixed),
                ]);
            }
            Err(why) => {
                let _ = writeln!(without, "{mode}: {why}");
            }
        }
    }
    columns(&rows) + &without
}

/// In days: nothing is promoted before `minDuration`.
fn duration(units: f64, cost: &Cost, common: &Common) -> Option<f64> {
    let days = units / cost.a_day?;
    let least = common
        .durations
        .map_or(0.0, |(least, _)| least.as_secs_f64() / SECONDS);
    Some(days.max(least))
}

fn notes(costs: &Costs, common: &Common) -> Vec<String> {
    let mut notes = Vec::new();
    let each = [("Split", &costs.split), ("Paired", &costs.paired)];
    for (mode, cost) in each
        .into_iter()
        .filter_map(|(mode, cost)| Some((mode, cost.as_ref().ok()?)))
    {
        let word = cost.unit.word();
        if cost.planned <= cost.least {
            notes.push(format!(
                "{mode}: nothing is judged before {} {word}",
                whole(cost.least)
            ));
        }
        if cost.unit == Unit::Users && cost.planned > most() {
            notes.push(format!(
                "{mode}: a router counts {} users and takes no more in: plan for a larger effect, or weights that are more alike",
                whole(most())
            ));
        }
        let time = duration(cost.planned, cost, common);
        let longest = common
            .durations
            .map(|(_, most)| most.as_secs_f64() / SECONDS);
        if let (Some(time), Some(longest)) = (time, longest)
            && time > longest
        {
            notes.push(format!(
                "{mode}: schedule.maxDuration ends it after {}: make it longer",
                days(longest)
            ));
        }
        if cost.a_day.is_none() {
            let flag = match cost.unit {
                Unit::Users => "--users-per-day",
                Unit::Requests | Unit::Pairs => "--pairs-per-day",
            };
            notes.push(format!("{mode}: how long that takes is said with {flag}"));
        }
    }
    notes
}

#[expect(clippy::cast_precision_loss, reason = "a small number")]
const fn most() -> f64 {
    MAX_USERS as f64
}

pub(super) fn json(asked: &[Asked], costs: &[Costs], common: &Common) -> Result<String, Failure> {
    let cost = |cost: &Result<Cost, String>| match cost {
        Ok(cost) => json!({
            "unit": cost.unit.word(),
            "typical": cost.typical.ceil(),
            "planned": cost.planned.ceil(),
            "oneLook": cost.fixed.ceil(),
            "days": duration(cost.planned, cost, common),
        }),
        Err(why) => json!({ "not": why }),
    };
    let rows = asked.iter().zip(costs).map(|(asked, costs)| {
        json!({
            "metric": asked.name,
            "effect": asked.distance,
            "level": asked.level.get(),
            "split": cost(&costs.split),
            "paired": cost(&costs.paired),
            "notes": notes(costs, common),
        })
    });
    let answer = json!({ "power": common.power, "metrics": rows.collect::<Vec<Value>>() });
    let text = serde_json::to_string_pretty(&answer);
    text.map(|text| text + "\n")
        .map_err(|error| Failure::Failed(error.to_string()))
}
