//! What a table may say, and what is said of one that may not.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A table with everything in it.
pub(crate) fn full() -> Value {
    json!({
        "schemaVersion": 1,
        "generation": 7,
        "model": {"namespace": "rewards", "name": "helpful", "uid": "6f1c1d3e"},
        "rollout": "3",
        "salt": "6f1c1d3e/3",
        "revisions": [
            {
                "revision": "aaaaaaaaaa", "role": "Stable", "weight": 7500,
                "digest": format!("sha256:{}", "a".repeat(64)),
                "service": "helpful-aaaaaaaaaa",
                "calibration": {"scale": "1.5", "shift": "-0.25"},
                "capacity": 64
            },
            {
                "revision": "bbbbbbbbbb", "role": "Canary", "weight": 2500,
                "endpoints": ["127.0.0.1:8000", "[::1]:8001", "pod-1.local:80"]
            },
            {"revision": "cccccccccc", "role": "Previous", "weight": 0, "service": "helpful-cccccccccc"}
        ],
        "key": {"header": "x-user"},
        "fallback": {"enabled": true, "hedgeAfterMs": 500, "budgetPercent": 20},
        "cutOff": {
            "windowMs": 5000, "minRequests": 5, "errorRate": "0.5", "nonFinite": 1,
            "constantScores": true, "slowFactor": "3", "alpha": "0.025",
            "confirmed": {"revision": "bbbbbbbbbb", "cause": "Errors"}
        },
        "shadow": {"percent": 20, "timeoutMs": 2000},
        "evidence": {"slowerThanMs": [100, 250]},
        "adminTokenSha256": "0".repeat(64)
    })
}

fn read(value: &Value) -> Result<Table, Refusal> {
    Table::parse(value.to_string().as_bytes())
}

fn table() -> Table {
    read(&full()).unwrap()
}

/// The table with one member replaced, or taken away by null.
fn with(pointer: &str, value: Value) -> Value {
    let mut document = full();
    *document.pointer_mut(pointer).unwrap() = value;
    document
}

#[test]
fn a_table_is_read_as_it_was_written() {
    let table = table();
    assert_eq!(table.to_json(), full_in_order());
    assert_eq!(Table::parse(table.to_json().as_bytes()), Ok(table));
}

/// The text of [`full`] with the members in the order of the types.
fn full_in_order() -> String {
    let compact = include_str!("../../tests/full-table.json");
    compact.trim_end().to_owned()
}

#[test]
fn equal_tables_have_equal_bytes() {
    let mut turned = full();
    turned["revisions"].as_array_mut().unwrap().reverse();
    turned["unknown"] = json!({"of": ["a", "newer", "operator"]});
    assert_eq!(read(&turned).unwrap().to_json(), table().to_json());
}

#[test]
fn a_small_file_is_enough_without_kubernetes() {
    let small = json!({
        "schemaVersion": 1, "generation": 1, "salt": "s",
        "model": {"namespace": "-", "name": "m", "uid": "u"},
        "revisions": [{"revision": "v1", "role": "Stable", "weight": 10000, "endpoints": ["127.0.0.1:8000"]}]
    });
    let table = read(&small).unwrap();
    assert_eq!(table.cut_off, CutOff::default());
    assert!(table.fallback.enabled);
    assert_eq!(
        (table.key, table.rollout, table.admin_token),
        (None, None, None)
    );
}

#[test]
fn what_a_table_may_not_say_is_refused_with_what_to_write() {
    let row = |index: usize, member: &str| format!("/revisions/{index}/{member}");
    let refused: [(Value, &str, &str); 33] = [
        (with("/shadow/percent", json!(0)), "Value", "shadow.percent"),
        (with("/shadow/percent", json!(101)), "Value", "1 to 100"),
        (
            with("/shadow/percent", json!(-20)),
            "Value",
            "shadow.percent",
        ),
        (with("/shadow/percent", json!(0.5)), "Shape", "i64"),
        (with("/shadow", json!({})), "Shape", "percent"),
        (
            with("/shadow/timeoutMs", json!(0)),
            "Value",
            "shadow.timeoutMs",
        ),
        (
            with("/evidence/slowerThanMs", json!([250, 0])),
            "Value",
            "evidence.slowerThanMs",
        ),
        (
            with("/evidence/slowerThanMs", json!([1, 2, 3, 4, 5])),
            "Value",
            "at most four",
        ),
        (
            with("/evidence/slowerThanMs", json!(["250ms"])),
            "Shape",
            "i64",
        ),
        (
            with("/schemaVersion", json!(2)),
            "Schema",
            "update the router",
        ),
        (with("/generation", json!("7")), "Shape", "column"),
        (with("/generation", json!(-1)), "Shape", "u64"),
        (with("/model/uid", json!("")), "Value", "model.uid"),
        (with("/salt", json!("")), "Value", "salt"),
        (with("/salt", json!("a\0b")), "Value", "zero byte"),
        (with("/revisions", json!([])), "Value", "at least one"),
        (
            with(&row(0, "revision"), json!("A B")),
            "Value",
            "lower-case",
        ),
        (
            with(&row(0, "revision"), json!("bbbbbbbbbb")),
            "Twice",
            "revision bbbbbbbbbb",
        ),
        (with(&row(0, "role"), json!("Shadow")), "Role", "\"Shadow\""),
        (
            with(&row(0, "role"), json!("Canary")),
            "Twice",
            "role Canary",
        ),
        (with(&row(0, "weight"), json!(7501)), "Sum", "10001"),
        (with(&row(0, "weight"), json!(-1)), "Value", "weight"),
        (with(&row(0, "weight"), json!(70_000)), "Value", "weight"),
        (with(&row(0, "weight"), json!(0.5)), "Shape", "i64"),
        (
            with(&row(0, "digest"), json!("sha256:AB")),
            "Value",
            "digest",
        ),
        (with(&row(0, "capacity"), json!(0)), "Value", "capacity"),
        (with(&row(0, "service"), Value::Null), "Value", "HOST:PORT"),
        (
            with(&row(1, "endpoints"), json!(["http://a:1"])),
            "Value",
            "without http://",
        ),
        (
            with("/key", json!({"header": "a", "jwtClaim": "b"})),
            "Value",
            "exactly one",
        ),
        (with("/cutOff/errorRate", json!("0")), "Value", "errorRate"),
        (with("/cutOff/alpha", json!("1e-3")), "Value", "alpha"),
        (with("/cutOff/windowMs", json!(0)), "Value", "windowMs"),
        (with("/adminTokenSha256", json!("secret")), "Value", "hex"),
    ];
    for (document, word, text) in refused {
        let refusal = read(&document).unwrap_err();
        assert_eq!(refusal.word(), word, "{refusal}");
        assert!(refusal.to_string().contains(text), "{refusal}");
    }
}

#[test]
fn what_is_no_json_is_refused() {
    let torn = &full_in_order()[..100];
    for bytes in ["", "[]", "null", "{", torn, "\u{feff}{}"] {
        let refusal = Table::parse(bytes.as_bytes()).unwrap_err();
        assert_eq!(refusal.word(), "Shape", "{bytes}: {refusal}");
    }
    let long = Table::parse(&vec![b' '; MAX_BYTES + 1]).unwrap_err();
    assert_eq!(long.word(), "TooLong");
}

#[test]
fn a_schema_that_is_not_known_is_refused_as_such_whatever_it_looks_like() {
    let refusal = Table::parse(br#"{"schemaVersion": 9, "tables": 3}"#).unwrap_err();
    assert_eq!(refusal, Refusal::Schema { found: 9 });
}

#[test]
fn members_of_a_newer_operator_are_ignored() {
    let mut newer = full();
    newer["mirror"] = json!({"percent": 5});
    newer["revisions"][0]["zone"] = json!("a");
    newer["cutOff"]["patience"] = json!(1);
    assert_eq!(read(&newer).unwrap(), table());
}

#[test]
fn an_older_table_is_refused_unless_it_is_of_another_model() {
    let held = table();
    let offered = |generation: u64, uid: &str| {
        let mut table = table();
        table.generation = Generation(generation);
        uid.clone_into(&mut table.model.uid);
        table
    };
    let same = || offered(7, "6f1c1d3e");
    assert_eq!(accept(Some(&held), same()), Ok(Accepted::Same));
    assert_eq!(accept(None, same()), Ok(Accepted::New(Box::new(same()))));
    let newer = offered(8, "6f1c1d3e");
    assert_eq!(
        accept(Some(&held), newer.clone()),
        Ok(Accepted::New(Box::new(newer)))
    );
    let stale = accept(Some(&held), offered(6, "6f1c1d3e")).unwrap_err();
    assert!(stale.to_string().contains("raise it above 7"), "{stale}");
    let other = offered(1, "another");
    assert_eq!(
        accept(Some(&held), other.clone()),
        Ok(Accepted::New(Box::new(other)))
    );
    let mut changed = same();
    changed.salt.push('x');
    let reused = accept(Some(&held), changed).unwrap_err();
    assert_eq!(reused.word(), "Reused");
}

#[test]
fn a_cut_off_that_was_confirmed_is_of_one_canary() {
    assert!(table().confirmed().is_some());
    let other = with("/cutOff/confirmed/revision", json!("dddddddddd"));
    assert_eq!(read(&other).unwrap().confirmed(), None);
}

proptest! {
    #[test]
    fn a_table_round_trips(
        generation: u64, canary in 0_u16..=10_000, rollout in proptest::option::of("[a-z0-9]{1,8}"),
        window in 100_u64..600_000, rate in "0\\.[1-9]{1,4}", enabled: bool,
    ) {
        let mut document = full();
        document["generation"] = json!(generation);
        document["revisions"][0]["weight"] = json!(10_000 - canary);
        document["revisions"][1]["weight"] = json!(canary);
        document["rollout"] = json!(rollout);
        document["cutOff"]["windowMs"] = json!(window);
        document["cutOff"]["errorRate"] = json!(rate);
        document["fallback"]["enabled"] = json!(enabled);
        let table = read(&document).unwrap();
        let sum: u32 = table.revisions().iter().map(|row| u32::from(row.weight.get())).sum();
        prop_assert_eq!(sum, 10_000);
        prop_assert_eq!(Table::parse(table.to_json().as_bytes()), Ok(table));
    }

    #[test]
    fn no_bytes_end_the_process(bytes: Vec<u8>, cut in 0_usize..900, flip in 0_usize..900) {
        let _ = Table::parse(&bytes);
        let mut text = full_in_order().into_bytes();
        let at = flip % text.len();
        text[at] ^= 1;
        text.truncate(cut);
        let _ = Table::parse(&text);
    }
}

#[test]
fn a_canary_is_shadowed_for_ten_seconds_where_nothing_is_said() {
    let table = read(&with(
        "/shadow",
        json!({"percent": 1, "of": "a newer operator"}),
    ))
    .unwrap();
    let shadow = table.shadow.unwrap();
    assert_eq!((shadow.percent, shadow.timeout()), (1, Shadow::TIMEOUT));
    assert_eq!(read(&with("/shadow", Value::Null)).unwrap().shadow, None);
}

#[test]
fn a_threshold_that_is_named_twice_is_one() {
    let twice = with(
        "/evidence/slowerThanMs",
        json!([250, 100, 250, 100, 250, 1, 2]),
    );
    assert_eq!(read(&twice).unwrap().slower_than_ms, [1, 2, 100, 250]);
    let none = with("/evidence", Value::Null);
    assert!(!read(&none).unwrap().to_json().contains("evidence"));
}
