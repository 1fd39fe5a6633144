//! Both forms of a document, and how large they are.

use super::*;
use crate::evidence::Refused;

#[test]
fn both_forms_come_back_to_the_last_bit() {
    for evidence in [
        small(),
        recorder("2").snapshot(),
        small().only("clicks").unwrap(),
    ] {
        assert_eq!(
            Evidence::parse(evidence.to_json().as_bytes()).as_ref(),
            Ok(&evidence)
        );
        let bytes = evidence.to_bytes();
        assert_eq!(Evidence::from_bytes(&bytes).as_ref(), Ok(&evidence));
        for length in 0..bytes.len() {
            assert!(Evidence::from_bytes(&bytes[..length]).is_err(), "{length}");
        }
        assert!(Evidence::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    }
}

#[test]
fn one_of_another_schema_is_refused_as_such() {
    let mut bytes = small().to_bytes();
    bytes[3] = 2;
    assert_eq!(
        Evidence::from_bytes(&bytes),
        Err(Refused::Schema { found: 2 })
    );
    let json = r#"{"schemaVersion": 9, "arms": 3}"#;
    assert_eq!(
        Evidence::parse(json.as_bytes()),
        Err(Refused::Schema { found: 9 })
    );
    let long = vec![b' '; MAX_BYTES + 1];
    let bytes = long.len();
    assert_eq!(Evidence::parse(&long), Err(Refused::TooLong { bytes }));
    assert_eq!(Evidence::from_bytes(&long), Err(Refused::TooLong { bytes }));
    // The rollout's evidence is none of an experiment.
    assert_eq!(
        Evidence::from_bytes(b"\xe7EV\x01").unwrap_err().word(),
        "Shape"
    );
}

#[test]
fn what_cannot_have_been_counted_is_refused_in_both_forms() {
    type Change = fn(&mut Evidence);
    let wrong: [(Change, &str); 9] = [
        (|e| e.instance.clear(), "instance"),
        (|e| e.ready.push(1), "ready"),
        (|e| e.sums.arms[1].eligible = 0, "v2.eligible"),
        (|e| e.sums.users.0[0].1.arms = 8, "users"),
        (|e| e.sums.users.0[0].1.arms = 0, "users"),
        (|e| e.sums.unseen.0[0].1 = 7, "unseen"),
        (|e| e.sums.rights.units[0].1 = 9, "rights"),
        (|e| e.sums.metrics[0][0].squares = -1.0, "reward.v1.squares"),
        (
            |e| e.sums.metrics[0][1].pairs.as_mut().unwrap().differ = 2,
            "reward.v2.pairs",
        ),
    ];
    for (change, member) in wrong {
        let mut evidence = small();
        change(&mut evidence);
        let read = [
            Evidence::parse(evidence.to_json().as_bytes()),
            Evidence::from_bytes(&evidence.to_bytes()),
        ];
        for refused in read.map(Result::unwrap_err) {
            // One number more shifts all that follow in the binary form.
            assert!(
                member == "ready" || refused.to_string().contains(member),
                "{member}: {refused}"
            );
        }
    }
    let mut evidence = small();
    evidence.sums.metrics[0][0].cells.add(
        7,
        Cell {
            count: 0,
            sum: f64::NAN,
        },
    );
    assert!(Evidence::from_bytes(&evidence.to_bytes()).is_err());
}

/// Evidence with all that one router keeps, of numbers that take the most room.
fn largest() -> Evidence {
    let mut recorder = recorder("1");
    let awkward = |number: u32| f64::from(number) + 1.0 / 3.0;
    let mut hash = 1_u32;
    for number in 0..u32::try_from(MAX_USERS).unwrap() {
        hash = hash.wrapping_mul(2_654_435_761).wrapping_add(12_345);
        let arm = arm(usize::try_from(number % 3).unwrap());
        recorder.expose(Unit(hash), arm);
        for _ in 0..4 {
            recorder.ended(Unit(hash), arm, FAILED);
            recorder.scored(Unit(hash), arm, [awkward(number) / 1e5]);
        }
        recorder.happened(Unit(hash), true, click(0.3, None));
        recorder.happened(Unit(hash ^ 0x5555), true, click(0.7, None));
        recorder.judged(Unit(hash), &[Some(true), Some(false), Some(true)]);
    }
    recorder.snapshot()
}

/// What is fetched of a metric stays well below what a ConfigMap holds, and so does what is kept.
#[test]
fn one_metric_of_forty_thousand_users_is_less_than_640_kb_and_all_less_than_the_bound() {
    let all = largest();
    assert_eq!(all.sums.users.len(), MAX_USERS);
    assert_eq!(all.sums.unseen.len(), MAX_UNSEEN);
    for metric in all.subject.metrics.clone() {
        let one = all.clone().only(metric.name.as_str()).unwrap();
        let bytes = one.to_bytes();
        println!("{}: {} bytes", metric.name, bytes.len());
        assert!(bytes.len() < 640_000, "{}: {}", metric.name, bytes.len());
        assert_eq!(Evidence::from_bytes(&bytes).as_ref(), Ok(&one));
    }
    let (bytes, json) = (all.to_bytes().len(), all.to_json().len());
    println!("all: {bytes} bytes, {json} as JSON");
    assert!(bytes < MAX_BYTES / 4 && json < MAX_BYTES, "{bytes} {json}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bytes_of_anybody_are_refused_and_break_nothing(
        place in any::<prop::sample::Index>(), byte in any::<u8>(),
        noise in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut bytes = small().to_bytes();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if let Ok(read) = Evidence::from_bytes(&bytes) {
            prop_assert_eq!(read.to_bytes(), bytes);
        }
        let noise = [&b"\xe7XP\x01"[..], &noise].concat();
        let _ = Evidence::from_bytes(&noise);
        let _ = Evidence::parse(&noise);
    }

    #[test]
    fn a_sum_comes_back_to_the_last_bit(value in any::<f64>(), whole in -1_000_000_i32..1_000_000) {
        for value in [value, f64::from(whole), -0.0, 4.5e15] {
            let mut evidence = small();
            if value.is_finite() {
                evidence.sums.unseen.0[0].2.cell.sum = value;
                let read = Evidence::from_bytes(&evidence.to_bytes()).unwrap();
                prop_assert_eq!(read.sums.unseen.0[0].2.cell.sum.to_bits(), value.to_bits());
            }
        }
    }
}
