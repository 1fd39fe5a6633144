//! `docs/rbac.md` says what the manifests and the operator's objects grant, and no grant is without a bound.
//!
//! `UPDATE=1 cargo test --release -p crds --test shipped` writes the tables anew.

use std::fmt::Write as _;

use serde_json::Value;

use super::{documents, read, repository, words};

const BEGIN: &str = "<!-- the tables are made of the manifests: UPDATE=1 cargo test --release -p crds --test shipped -->\n";
const END: &str = "<!-- end of the tables -->\n";
/// What the operator makes for a RewardModel `helpfulness`: its test keeps it.
const CHILDREN: &str =
    "operator/core/src/plan/snapshots/operator_core__plan__tests__objects_of_a_ready_model.snap";

/// Every role that ships, with a title, in the order of the page.
fn roles() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (file, of) in [
        ("manifests/base/rbac.yaml", "The operator"),
        ("manifests/base/people.yaml", "People"),
    ] {
        for document in documents(&read(file)) {
            let kind = document["kind"].as_str().unwrap();
            let name = document["metadata"]["name"].as_str().unwrap();
            let place = match (kind, document["metadata"]["namespace"].as_str()) {
                ("ClusterRole", _) => "in every namespace".to_owned(),
                ("Role", Some(namespace)) => format!("in {namespace}"),
                _ => continue,
            };
            let labels = document["metadata"]["labels"].as_object();
            let marks = labels.into_iter().flatten();
            let into: Vec<_> = marks
                .filter_map(|(label, _)| label.split_once("aggregate-to-"))
                .map(|(_, role)| format!("`{role}`"))
                .collect();
            let place = if into.is_empty() {
                place
            } else {
                format!("part of {}", into.join(" and "))
            };
            all.push((format!("{of}: {kind} `{name}`, {place}"), document));
        }
    }
    assert!(all.len() >= 5);
    all
}

/// The rights of the routers of one RewardModel.
fn routers() -> Value {
    let snapshot = read(CHILDREN);
    let (_, objects) = snapshot.rsplit_once("\n---\n").unwrap();
    let objects = documents(objects).remove(0);
    let all = objects.as_array().unwrap().clone().into_iter();
    let mut roles = all.filter(|object| object["kind"] == "Role");
    let role = roles.next().unwrap();
    assert!(roles.next().is_none());
    role
}

fn table(role: &Value) -> String {
    let mut text = "| API group | resources | verbs |\n|---|---|---|\n".to_owned();
    for rule in role["rules"].as_array().unwrap() {
        let groups = words(&rule["apiGroups"]);
        let groups: Vec<_> = groups
            .iter()
            .map(|group| if group.is_empty() { "core" } else { group })
            .collect();
        let mut resources = words(&rule["resources"]).join(", ");
        let names = words(&rule["resourceNames"]);
        if !names.is_empty() {
            write!(resources, " (only {})", names.join(", ")).unwrap();
        }
        let verbs = words(&rule["verbs"]).join(", ");
        writeln!(text, "| {} | {resources} | {verbs} |", groups.join(", ")).unwrap();
    }
    text
}

fn tables() -> String {
    let mut text = String::new();
    for (title, role) in roles() {
        write!(text, "\n### {title}\n\n{}", table(&role)).unwrap();
    }
    let title = "Routers: Role `NAME-router`, in the namespace of the RewardModel `NAME` (here `helpfulness`)";
    write!(text, "\n### {title}\n\n{}\n", table(&routers())).unwrap();
    text
}

#[test]
fn the_page_of_rights_is_what_the_manifests_grant() {
    let page = read("docs/rbac.md");
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    let made = tables();
    if std::env::var_os("UPDATE").is_some() {
        let page = format!("{before}{BEGIN}{made}{END}{after}");
        std::fs::write(repository().join("docs/rbac.md"), page).unwrap();
        return;
    }
    assert!(
        written == made,
        "docs/rbac.md is stale: UPDATE=1 cargo test --release -p crds --test shipped"
    );
}

#[test]
fn nothing_is_granted_by_a_wildcard() {
    let routers = ("routers".to_owned(), routers());
    for (title, role) in roles().into_iter().chain([routers]) {
        for rule in role["rules"].as_array().unwrap() {
            for list in ["apiGroups", "resources", "verbs"] {
                let all = words(&rule[list]);
                assert!(!all.is_empty(), "{title}: {list} of {rule}");
                assert!(
                    all.iter().all(|word| !word.contains('*')),
                    "{title}: {rule}"
                );
            }
        }
    }
}

#[test]
fn the_operator_could_not_give_itself_more() {
    const BEYOND: [&str; 4] = ["escalate", "bind", "impersonate", "deletecollection"];
    for (title, role) in roles() {
        for rule in role["rules"].as_array().unwrap() {
            let verbs = words(&rule["verbs"]);
            assert!(
                !BEYOND.iter().any(|verb| verbs.contains(verb)),
                "{title}: {rule}"
            );
            let resources = words(&rule["resources"]);
            let cluster = [
                "clusterroles",
                "clusterrolebindings",
                "nodes",
                "namespaces",
                "pods/exec",
            ];
            assert!(
                !cluster.iter().any(|name| resources.contains(name)),
                "{title}: {rule}"
            );
            // Making the key of its own namespace cannot be bound to a name; reading is.
            let reads = verbs
                .iter()
                .any(|verb| ["get", "list", "watch"].contains(verb));
            if resources.contains(&"secrets") && reads {
                assert_eq!(
                    words(&rule["resourceNames"]),
                    ["betterai-admin-key"],
                    "{title}"
                );
                assert_eq!(verbs, ["get"], "{title}");
            }
        }
    }
}

#[test]
fn people_reach_both_kinds_and_write_no_status() {
    for (title, role) in roles()
        .into_iter()
        .filter(|(title, _)| title.starts_with("People"))
    {
        let rules = role["rules"].as_array().unwrap();
        for kind in ["rewardmodels", "abexperiments"] {
            let named = |rule: &Value| {
                words(&rule["resources"])
                    .iter()
                    .any(|name| name.split('/').next() == Some(kind))
            };
            assert!(rules.iter().any(named), "{title} does not reach {kind}");
        }
        for rule in rules {
            let verbs = words(&rule["verbs"]);
            let writes = verbs
                .iter()
                .any(|verb| !["get", "list", "watch"].contains(verb));
            let status = words(&rule["resources"])
                .iter()
                .any(|name| name.ends_with("/status"));
            assert!(!(writes && status), "{title} may write a status: {rule}");
        }
    }
}
