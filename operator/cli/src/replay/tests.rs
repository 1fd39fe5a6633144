use std::fmt::Write as _;

use jiff::Timestamp;
use operator_core::experiment::ledger::Ledger;
use traffic::assignment::{Assigner, Key};
use traffic::evidence::Unit;
use traffic::evidence::experiment::{Ended, Happening, Recorder};
use traffic::table::experiment::Arm;

use super::run::Replay;
use super::*;

const MANIFEST: &str = r#"
apiVersion: betterai.dev/v1alpha1
kind: ABExperiment
metadata: {name: answers}
spec:
  endpoint: {name: helpfulness}
  variants:
    - {name: v1, modelRef: {name: helpfulness}}
    - {name: v2, modelRef: {name: helpfulness-v2}}
  control: v1
  assignment: {salt: s}
  schedule: {minDuration: 24h, maxDuration: 72h}
  metrics:
    - {name: accepted, role: Goal, kind: Proportion, source: {feedback: {event: accepted}}, direction: Increase, minimumEffect: {absolute: "0.1"}}
    - {name: errors, role: Guardrail, kind: Ratio, source: {router: {signal: Errors}}, direction: Decrease}
"#;

/// A user in `visits` of each variant: of 20, so many accept, and of 20 so many meet an error.
struct Visits {
    users: [u32; 2],
    accept: [u32; 2],
    fail: [u32; 2],
}

const EQUAL: Visits = Visits {
    users: [600, 600],
    accept: [6, 6],
    fail: [1, 1],
};

impl Visits {
    fn of(&self) -> impl Iterator<Item = (String, usize, bool, bool)> + '_ {
        (0..2).flat_map(move |arm| {
            (0..self.users[arm]).map(move |user| {
                let (accepts, fails) = (
                    user % 20 < self.accept[arm],
                    (user * 7 + 3) % 20 < self.fail[arm],
                );
                (format!("user-{arm}-{user}"), arm, accepts, fails)
            })
        })
    }

    fn csv(&self) -> String {
        let mut text = "user,variant,accepted,errors\n".to_owned();
        for (user, arm, accepts, fails) in self.of() {
            writeln!(
                text,
                "{user},v{},{},{}",
                arm + 1,
                u8::from(accepts),
                u8::from(fails)
            )
            .unwrap();
        }
        text
    }

    /// With a time: one user of each variant in turn, over 40 hours.
    fn with_times(&self) -> String {
        let mut text = "at,user,variant,accepted,errors\n".to_owned();
        for (place, (user, arm, accepts, fails)) in (0_i64..).zip(self.of()) {
            let second = 144_000 * (place % 600) / 600;
            let at = Timestamp::from_second(1_777_600_000 + second).unwrap();
            writeln!(text, "{at},{user},v{},{accepts},{fails}", arm + 1).unwrap();
        }
        text
    }
}

fn replayed(manifest: &str, name: &str, text: &str, each: bool) -> Result<String, Failure> {
    let evidence = [(name.to_owned(), text.to_owned())];
    answer(&Asked {
        manifest,
        evidence: &evidence,
        elapsed: None,
        looks: 20,
        each,
        output: Output::Text,
    })
}

fn verdict(visits: &Visits) -> String {
    replayed(MANIFEST, "x.csv", &visits.csv(), false).unwrap()
}

#[test]
fn a_better_variant_wins_a_harmful_one_loses_and_equal_ones_run_on() {
    let better = verdict(&Visits {
        accept: [6, 10],
        ..EQUAL
    });
    assert!(
        better.starts_with("answers: v2 is better than control (Promote, Won)\n"),
        "{better}"
    );
    let worse = verdict(&Visits {
        accept: [10, 5],
        ..EQUAL
    });
    assert!(
        worse.starts_with("answers: no variant is better, and all of them harm (RollBack, Lost)\n"),
        "{worse}"
    );
    let harmful = verdict(&Visits {
        accept: [6, 10],
        fail: [1, 6],
        ..EQUAL
    });
    assert!(
        harmful.contains("v2: guardrail errors shows harm"),
        "{harmful}"
    );
    let equal = verdict(&EQUAL);
    assert!(equal.starts_with("answers: Running\n"), "{equal}");
    let few = verdict(&Visits {
        users: [150, 150],
        accept: [2, 18],
        ..EQUAL
    });
    assert!(
        few.starts_with("answers: Running\n") && few.contains("150 of 200 users"),
        "{few}"
    );
}

#[test]
fn users_that_do_not_fall_as_dealt_make_every_number_worthless() {
    let lost = verdict(&Visits {
        users: [600, 400],
        accept: [6, 10],
        ..EQUAL
    });
    assert!(
        lost.starts_with("answers: the numbers cannot be trusted (Invalid, SampleRatioMismatch)\n"),
        "{lost}"
    );
    // As many, where the weights say so.
    let weighed = MANIFEST
        .replace(
            "modelRef: {name: helpfulness}}",
            "modelRef: {name: helpfulness}, weight: 3}",
        )
        .replace(
            "modelRef: {name: helpfulness-v2}}",
            "modelRef: {name: helpfulness-v2}, weight: 2}",
        );
    let lost = Visits {
        users: [600, 400],
        accept: [6, 12],
        ..EQUAL
    };
    let sound = replayed(&weighed, "x.csv", &lost.csv(), false).unwrap();
    assert!(sound.starts_with("answers: v2 is better"), "{sound}");
}

#[test]
fn with_times_it_stops_at_the_first_verdict_and_not_before_min_duration() {
    let better = Visits {
        accept: [6, 11],
        ..EQUAL
    };
    let text = replayed(MANIFEST, "x.csv", &better.with_times(), true).unwrap();
    insta::assert_snapshot!(text);
    // The evidence was there before a day was over.
    let hasty = MANIFEST.replace("minDuration: 24h", "minDuration: 1h");
    let early = replayed(&hasty, "x.csv", &better.with_times(), true).unwrap();
    assert!(early.lines().count() < text.lines().count(), "{early}");
}

#[test]
fn a_user_who_met_two_variants_counts_in_none() {
    let mut text = EQUAL.csv();
    text.push_str("user-0-0,v2,1,0\n");
    let told = replayed(MANIFEST, "x.csv", &text, false).unwrap();
    assert!(
        told.contains("not counted: 1 users who met two variants"),
        "{told}"
    );
    assert!(told.contains("users: v1 599, v2 600"), "{told}");
}

#[test]
fn json_lines_say_the_same_as_a_table() {
    let lines: Vec<String> = EQUAL
        .of()
        .map(|(user, arm, accepts, fails)| {
            format!(
                "{{\"user\":\"{user}\",\"variant\":\"v{}\",\"accepted\":{accepts},\"errors\":{}}}",
                arm + 1,
                u8::from(fails)
            )
        })
        .collect();
    let told = replayed(MANIFEST, "x.jsonl", &lines.join("\n"), false).unwrap();
    assert_eq!(told, verdict(&EQUAL));
}

/// What the operator keeps of these visits, as `kubectl get -o yaml` gives it.
fn kept(visits: &Visits, manifest: &str, epoch: u64) -> String {
    let experiment = manifest::read(manifest).unwrap();
    let replay = Replay::new(&experiment, "uid-7", epoch, Timestamp::UNIX_EPOCH).unwrap();
    let assigner = Assigner::new("s");
    let mut items = Vec::new();
    for (metric, ledger) in &replay.ledgers {
        let mut recorder = Recorder::new("a".to_owned(), "a".to_owned(), ledger.subject().clone());
        for (user, arm, accepts, fails) in visits.of() {
            let (unit, arm) = (
                Unit(assigner.unit(Key::prompt(user.as_bytes()))),
                Arm::new(arm).unwrap(),
            );
            recorder.expose(unit, arm);
            let ended = Ended {
                is_error: fails,
                is_remembered: false,
                is_fallback: false,
                took: None,
            };
            recorder.ended(unit, arm, ended);
            let value = f64::from(u8::from(accepts));
            recorder.happened(
                unit,
                true,
                Happening {
                    event: "accepted",
                    value,
                    id: None,
                },
            );
        }
        let mut ledger = Ledger::new(ledger.subject().clone());
        assert!(ledger.take(recorder.snapshot()));
        let mut object = serde_json::to_value(ledger.object(&experiment, metric)).unwrap();
        object["kind"] = "ConfigMap".into();
        items.push(object);
    }
    serde_yaml::to_string(&serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items}))
        .unwrap()
}

#[test]
fn what_the_operator_keeps_says_the_same_as_the_table_of_the_same_users() {
    let better = Visits {
        accept: [6, 10],
        ..EQUAL
    };
    let told = replayed(MANIFEST, "x.yaml", &kept(&better, MANIFEST, 3), false).unwrap();
    assert_eq!(told, verdict(&better));
}

#[test]
fn margins_and_levels_may_be_tried_and_what_was_counted_may_not_change() {
    let evidence = kept(
        &Visits {
            accept: [6, 10],
            ..EQUAL
        },
        MANIFEST,
        3,
    );
    let strict = MANIFEST.replace(
        "  metrics:",
        "  analysis: {alpha: \"0.0000000001\"}\n  metrics:",
    );
    let told = replayed(&strict, "x.yaml", &evidence, false).unwrap();
    assert!(told.starts_with("answers: Running\n"), "{told}");
    for (from, to, part) in [
        ("event: accepted", "event: bought", "source, kind or clip"),
        (
            "name: v2, modelRef",
            "name: v3, modelRef",
            "the manifest has v1, v3",
        ),
        ("salt: s", "salt: t", "assignment.salt or mode"),
        (
            "name: accepted",
            "name: kept",
            "no evidence of the metric kept",
        ),
        (
            "name: answers",
            "name: other",
            "no evidence of other is there: get it with",
        ),
    ] {
        let changed = MANIFEST.replace(from, to);
        assert_ne!(changed, MANIFEST);
        let failure = replayed(&changed, "x.yaml", &evidence, false).unwrap_err();
        assert!(failure.to_string().contains(part), "{from}: {failure}");
        assert_eq!(failure.code(), 2);
    }
}

#[test]
fn what_was_latched_counts_only_for_the_design_that_it_was_latched_for() {
    let experiment = manifest::read(MANIFEST).unwrap();
    let replay = Replay::new(&experiment, "uid-7", 3, Timestamp::UNIX_EPOCH).unwrap();
    let harmed = kept(&EQUAL, MANIFEST, 3).replace(
        "\"tracks\":{}",
        "\"tracks\":{\"v2\":{\"tau\":0.1,\"harm\":50.0,\"beyond\":0}}",
    );
    assert!(harmed.contains("50.0"), "the ledger keeps tracks");
    let other = replayed(MANIFEST, "x.yaml", &harmed, false).unwrap();
    assert!(other.starts_with("answers: Running\n"), "{other}");
    let same = format!(
        "{MANIFEST}\nstatus: {{epoch: {{id: 3, startedAt: \"2026-05-01T00:00:00Z\", reason: x, fingerprint: {}}}}}",
        replay.fingerprint()
    );
    let same = replayed(&same, "x.yaml", &harmed, false).unwrap();
    assert!(
        same.starts_with("answers: no variant is better, and all of them harm"),
        "{same}"
    );
}

/// Each file's name and text, and a part of what is said of it.
fn says(cases: &[(&str, String, &str)]) {
    for (name, text, part) in cases {
        let told = match replayed(MANIFEST, name, text, false) {
            Ok(text) => text,
            Err(failure) => failure.to_string(),
        };
        assert!(told.contains(part), "{text:?}: {told}");
    }
}

#[test]
fn evidence_that_cannot_be_read_says_where_and_what_to_write() {
    let head = "user,variant,accepted,errors\n";
    says(&[
        (
            "x.csv",
            String::new(),
            "it is empty: the first line names the columns",
        ),
        ("x.csv", head.to_owned(), "Running"),
        (
            "x.csv",
            "user,variant,accepted\n".to_owned(),
            "the metric errors has no column",
        ),
        (
            "x.csv",
            "variant,accepted,errors\n".to_owned(),
            "the column user is missing",
        ),
        (
            "x.csv",
            "user,variant,accepted,errors,x\n".to_owned(),
            "the column x is none of",
        ),
        (
            "x.csv",
            "user,variant,accepted,errors,errors\n".to_owned(),
            "errors is there twice",
        ),
        (
            "x.csv",
            format!("{head}a,v1,1\n"),
            "line 2: 3 cells, and the head has 4",
        ),
        (
            "x.csv",
            format!("{head}a,v1,yes,0\n"),
            "line 2: accepted is \"yes\"",
        ),
        (
            "x.csv",
            format!("{head}a,v1,nan,0\n"),
            "line 2: accepted is \"nan\"",
        ),
        (
            "x.csv",
            format!("{head}a,v1,1,2\n"),
            "x.csv:2: errors is 2: write 1 for an error",
        ),
        (
            "x.csv",
            format!("{head}a,v9,1,0\n"),
            "x.csv:2: the variant is \"v9\": the manifest has v1, v2",
        ),
        ("x.csv", format!("{head},v1,1,0\n"), "line 2: user is empty"),
        ("x.csv", format!("{head}a\0b,v1,1,0\n"), "zero byte"),
        (
            "x.csv",
            format!("{head}\"a,v1,1,0\n"),
            "line 2: a quote is not closed",
        ),
        (
            "x.csv",
            "user,variant,at,accepted,errors\na,v1,noon,1,0\n".to_owned(),
            "write it as 2026-05-01T12:00:00Z",
        ),
        (
            "x.csv",
            "user,variant,at,accepted,errors\na,v1,,1,0\nb,v1,2026-05-01T12:00:00Z,1,0\n"
                .to_owned(),
            "some rows have at",
        ),
    ]);
}

#[test]
fn lines_and_objects_that_cannot_be_read_say_what_is_wrong() {
    says(&[
        (
            "x.jsonl",
            "[1]".to_owned(),
            "line 1: this is no JSON object",
        ),
        (
            "x.jsonl",
            "{\"user\": \"a\"}".to_owned(),
            "the column variant is missing",
        ),
        (
            "x.jsonl",
            "{\"user\": \"a\", \"variant\": \"v1\", \"accepted\": [1], \"errors\": 0}".to_owned(),
            "line 1: [1] is no number",
        ),
        (
            "x.yaml",
            "kind: Pod\nmetadata: {name: answers-evidence-accepted}".to_owned(),
            "this is no ConfigMap",
        ),
        ("x.yaml", "a: [".to_owned(), "no YAML"),
        (
            "x.yaml",
            "kind: ConfigMap\nmetadata: 3".to_owned(),
            "this is no ConfigMap",
        ),
        (
            "x.yaml",
            kept(&EQUAL, MANIFEST, 3).replace("ledger.json", "lost.json"),
            "there is no ledger.json",
        ),
    ]);
}

#[test]
fn what_a_table_cannot_tell_is_refused() {
    let paired = MANIFEST
        .replace("control: v1", "control: v1\n  mode: Paired")
        .replace(
            "kind: Proportion, source: {feedback: {event: accepted}}",
            "kind: PairedAccuracy, source: {preferences: {}}",
        );
    let failure = replayed(&paired, "x.csv", "", false).unwrap_err();
    assert!(
        failure
            .to_string()
            .contains("mode Paired is replayed from the ConfigMaps"),
        "{failure}"
    );
    let labelled = paired.replace("  mode: Paired\n", "");
    let failure = replayed(&labelled, "x.csv", "", false).unwrap_err();
    assert!(
        failure
            .to_string()
            .contains("labelled pairs are replayed from the ConfigMaps"),
        "{failure}"
    );
}

#[test]
fn an_elapsed_time_may_be_said() {
    let better = Visits {
        accept: [6, 10],
        ..EQUAL
    }
    .csv();
    let evidence = [("x.csv".to_owned(), better)];
    let told = |elapsed: &str| {
        let asked = Asked {
            manifest: MANIFEST,
            evidence: &evidence,
            elapsed: Some(elapsed),
            looks: 1,
            each: false,
            output: Output::Text,
        };
        answer(&asked).unwrap_or_else(|failure| failure.to_string())
    };
    assert!(told("1h").starts_with("answers: Running"));
    assert!(told("24h").starts_with("answers: v2 is better"));
    assert!(told("soon").contains("--elapsed: \"soon\" is not a duration"));
}

#[test]
fn as_json_it_is_the_status_that_the_operator_would_write() {
    let evidence = [("x.csv".to_owned(), EQUAL.csv())];
    let asked = Asked {
        manifest: MANIFEST,
        evidence: &evidence,
        elapsed: None,
        looks: 1,
        each: false,
        output: Output::Json,
    };
    let status: ABExperimentStatus = serde_json::from_str(&answer(&asked).unwrap()).unwrap();
    assert_eq!(status.users, Some(1200));
    assert_eq!(status.results.unwrap().len(), 2);
}
