//! Dashboards and rules ask for series that are exported, and a dashboard is one that Grafana can show.
//!
//! Whether a series has data, and that each query parses, is asked of a real Prometheus (e2e/claims/dashboards.sh).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{documents, files, read};

/// Where the names of series are written down.
const SOURCES: [&str; 4] = [
    "inference-server/src/metrics.rs",
    "inference-server/src/route/metrics.rs",
    "operator/src/metrics/mod.rs",
    "operator/src/metrics/standing.rs",
];
const RULES: &str = "manifests/components/prometheus/rules.yaml";
const DASHBOARDS: &str = "manifests/components/grafana/dashboards";

/// The names of all series, as they are registered: without the endings of counters and histograms.
fn registered() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for source in SOURCES {
        let text = read(source);
        let code = text.split("#[cfg(test)]").next().unwrap();
        let prefix = if source.starts_with("operator/") {
            "betterai_operator_"
        } else {
            ""
        };
        for literal in code.split('"').skip(1).step_by(2) {
            let is_name = literal
                .chars()
                .all(|letter| letter.is_ascii_lowercase() || letter == '_');
            let ours = !prefix.is_empty()
                || literal.starts_with("reward_")
                || literal == "cache_hit_ratio";
            if is_name && ours && literal.len() > 2 {
                names.insert(format!("{prefix}{literal}"));
            }
        }
    }
    assert!(names.contains("betterai_operator_leader") && names.contains("reward_router_weight"));
    names
}

fn is_exported(name: &str, registered: &BTreeSet<String>) -> bool {
    let ends = ["", "_total", "_bucket", "_sum", "_count"];
    let mut bases = ends.iter().filter_map(|end| name.strip_suffix(end));
    bases.any(|base| registered.contains(base))
}

/// A query without what stands between two marks.
fn without(query: &str, open: char, close: char) -> String {
    let (mut out, mut inside) = (String::new(), false);
    for letter in query.chars() {
        if inside {
            inside = letter != close;
        } else if letter == open {
            inside = true;
            // Names on both sides stay apart.
            out.push(' ');
        } else {
            out.push(letter);
        }
    }
    assert!(!inside, "{query} ends within {open}");
    out
}

/// The names of series in a query: what is no function, keyword, label or number.
fn series(query: &str) -> BTreeSet<String> {
    const KEYWORDS: [&str; 5] = ["and", "or", "unless", "bool", "offset"];
    let bare = without(query, '"', '"');
    let mut bare = without(&without(&bare, '{', '}'), '[', ']');
    for grouping in [
        "by",
        "without",
        "on",
        "ignoring",
        "group_left",
        "group_right",
    ] {
        for form in [format!(" {grouping} ("), format!(" {grouping}(")] {
            while let Some((before, rest)) = bare.clone().split_once(&form) {
                let (_, after) = rest.split_once(')').unwrap();
                bare = format!("{before} {after}");
            }
        }
    }
    let is_of_name =
        |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    let mut names = BTreeSet::new();
    let mut rest = bare.as_str();
    while let Some(start) = rest.find(is_of_name) {
        let from = &rest[start..];
        let end = from
            .find(|letter| !is_of_name(letter))
            .unwrap_or(from.len());
        let (name, after) = from.split_at(end);
        // Aggregations may have their grouping, which is gone by now, between name and bracket.
        let is_function = after.trim_start().starts_with('(');
        let is_name = name.starts_with(|letter: char| letter.is_ascii_alphabetic());
        if is_name && !is_function && !KEYWORDS.contains(&name) {
            names.insert(name.to_owned());
        }
        rest = after;
    }
    names
}

#[test]
fn a_query_is_read_as_prometheus_reads_it() {
    let query = r#"sum by (a, b) (rate(x_total{c="y_total", d!~"z|w"}[5m])) / (sum(up) > 0) and on(pod) m:n:p == bool 1"#;
    let names: Vec<_> = series(query).into_iter().collect();
    assert_eq!(names, ["m:n:p", "up", "x_total"]);
}

fn dashboards() -> BTreeMap<String, Value> {
    let all = files(DASHBOARDS, ".json").into_iter();
    all.map(|file| {
        let dashboard = serde_json::from_str(&read(&file)).unwrap();
        (file, dashboard)
    })
    .collect()
}

/// Title and query of each target.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().into_iter().flatten() {
            all.push((
                title.to_owned(),
                target["expr"].as_str().unwrap().to_owned(),
            ));
        }
    }
    all
}

#[test]
fn every_query_of_a_dashboard_names_series_that_are_exported() {
    let registered = registered();
    let mut count = 0;
    for (file, dashboard) in dashboards() {
        for (title, query) in queries(&dashboard) {
            let names = series(&query);
            assert!(
                !names.is_empty(),
                "{file}, {title}: {query} asks for nothing"
            );
            for name in names {
                assert!(
                    is_exported(&name, &registered),
                    "{file}, {title}: nobody exports {name}"
                );
            }
            count += 1;
        }
        for variable in dashboard["templating"]["list"].as_array().unwrap() {
            let Some(query) = variable.pointer("/query/query").and_then(Value::as_str) else {
                continue;
            };
            let (name, _) = query
                .strip_prefix("label_values(")
                .unwrap()
                .split_once(['{', ','])
                .unwrap();
            assert!(
                is_exported(name, &registered),
                "{file}: nobody exports {name}"
            );
        }
    }
    assert!(count > 40, "{count} queries");
}

#[test]
fn every_rule_names_series_that_are_exported_or_recorded() {
    let registered = registered();
    let rules = documents(&read(RULES)).remove(0);
    let groups = rules["spec"]["groups"].as_array().unwrap();
    let all: Vec<&Value> = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect();
    let recorded: BTreeSet<_> = all
        .iter()
        .filter_map(|rule| rule["record"].as_str())
        .collect();
    for rule in &all {
        for name in series(rule["expr"].as_str().unwrap()) {
            let known = recorded.contains(name.as_str()) || is_exported(&name, &registered);
            assert!(known, "nobody exports {name}: {rule}");
        }
    }
}

#[test]
fn a_dashboard_is_told_of_by_its_own_variables_alone() {
    let mut uids = BTreeSet::new();
    for (file, dashboard) in dashboards() {
        assert!(
            uids.insert(dashboard["uid"].as_str().unwrap().to_owned()),
            "{file}: its uid is another's"
        );
        let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
        let names: BTreeSet<_> = variables
            .map(|variable| variable["name"].as_str().unwrap())
            .collect();
        if !file.ends_with("operator.json") {
            assert!(
                names.contains("namespace") && names.contains("model"),
                "{file}: {names:?}"
            );
        }
        for (title, query) in queries(&dashboard) {
            for used in query.split('$').skip(1) {
                let end =
                    used.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
                let used = &used[..end.unwrap_or(used.len())];
                let known = names.contains(used) || used == "__rate_interval";
                assert!(known, "{file}, {title}: ${used}");
            }
        }
    }
}

#[test]
fn no_panel_covers_another_and_each_says_what_it_shows() {
    for (file, dashboard) in dashboards() {
        let mut taken = BTreeMap::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            let of = |name: &str| panel["gridPos"][name].as_u64().unwrap();
            assert!(of("x") + of("w") <= 24, "{file}: {title} is too wide");
            for x in of("x")..of("x") + of("w") {
                for y in of("y")..of("y") + of("h") {
                    let other = taken.insert((x, y), title);
                    assert!(other.is_none(), "{file}: {title} covers {other:?}");
                }
            }
            let told = panel["type"] == "row"
                || panel["description"]
                    .as_str()
                    .is_some_and(|text| text.len() > 5);
            assert!(told, "{file}: {title} does not say what it shows");
        }
    }
}
