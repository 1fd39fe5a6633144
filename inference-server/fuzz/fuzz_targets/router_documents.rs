//! What routers are told and tell: tables, reports, and evidence of rollouts and experiments in both forms.
//!
//! Owns nothing but the form of its input. Invariants: bytes are a document or refused; evidence that is
//! read is written as evidence that is read the same, in both forms, and can be put together with itself
//! under another name; never a panic, and no memory that a length alone asks for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use traffic::evidence::{self, experiment};
use traffic::status::Report;
use traffic::table::{Table, accept};

fuzz_target!(|data: &[u8]| {
    if let Ok(table) = Table::parse(data) {
        let again = Table::parse(table.to_json().as_bytes());
        assert_eq!(again.as_ref(), Ok(&table), "another table");
        let _ = accept(Some(&table), table.clone());
    }
    if let Ok(report) = Report::parse(data) {
        let again = Report::parse(report.to_json().as_bytes());
        assert!(again.is_ok(), "a report that is not read again");
    }
    let of_rollouts = [
        evidence::Evidence::parse(data),
        evidence::Evidence::from_bytes(data),
    ];
    for read in of_rollouts.into_iter().flatten() {
        rollout(read);
    }
    let of_experiments = [
        experiment::Evidence::parse(data),
        experiment::Evidence::from_bytes(data),
    ];
    for read in of_experiments.into_iter().flatten() {
        trial(read);
    }
});

fn rollout(read: evidence::Evidence) {
    let bytes = read.to_bytes();
    let again = evidence::Evidence::from_bytes(&bytes);
    assert_eq!(again.as_ref(), Ok(&read), "another document");
    let again = evidence::Evidence::parse(read.to_json().as_bytes());
    assert_eq!(again.as_ref(), Ok(&read), "another document in JSON");
    let mut together = evidence::Together::new(read.subject.clone());
    let mut other = read.clone();
    "another".clone_into(&mut other.instance);
    for snapshot in [read, other] {
        assert_eq!(together.fold(snapshot), Ok(()), "its own rollout");
    }
    let _ = together.total();
}

fn trial(read: experiment::Evidence) {
    let bytes = read.to_bytes();
    let again = experiment::Evidence::from_bytes(&bytes);
    assert_eq!(again.as_ref(), Ok(&read), "another document");
    let again = experiment::Evidence::parse(read.to_json().as_bytes());
    assert_eq!(again.as_ref(), Ok(&read), "another document in JSON");
    let mut together = experiment::Together::new(read.subject.clone());
    let mut other = read.clone();
    "another".clone_into(&mut other.instance);
    for snapshot in [read, other] {
        assert_eq!(together.fold(snapshot), Ok(()), "its own experiment");
    }
    let _ = together.total().settled();
}
