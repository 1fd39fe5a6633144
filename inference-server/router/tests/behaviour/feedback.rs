//! Labelled preferences, scored by both revisions.

use router::{MOST_PREFERENCES, NotTaken, Preference, Taken};
use traffic::evidence::{Counts, Preferences};

use super::*;

fn preference(prompt: &str, chosen: &str, rejected: &str) -> Preference {
    Preference {
        prompt: prompt.to_owned(),
        chosen: chosen.to_owned(),
        rejected: rejected.to_owned(),
        user: None,
    }
}

fn accepted(accepted: usize) -> Taken {
    Taken {
        accepted,
        ..Taken::default()
    }
}

fn seen(router: &Router) -> Preferences {
    router.evidence().unwrap().sums.preferences
}

#[tokio::test]
async fn both_revisions_score_a_pair_and_it_is_counted_who_was_right() {
    let (stable, canary, router) = pair(0).await;
    canary.now(Does::Constant);
    let pairs = vec![
        preference("one", "the longer one", "short"),
        preference("two", "short", "the longer one"),
    ];
    assert_eq!(router.prefer(pairs), Ok(accepted(2)));
    until(|| seen(&router).counts().total() == 2).await;
    // Whoever gives both one score is wrong.
    let counts = Counts {
        only_stable: 1,
        both_wrong: 1,
        ..Counts::default()
    };
    assert_eq!(seen(&router).counts(), counts);
    assert_eq!((stable.questions(), canary.questions()), (2, 2));
    assert_eq!(stable.seen.bulk.load(Ordering::SeqCst), 2);
    // It is no request of anybody.
    let arms = router.evidence().unwrap().sums.arms;
    assert_eq!(arms.stable.cells.total().requests, 0);
}

#[tokio::test]
async fn one_prompt_and_one_user_count_once() {
    let (stable, _canary, router) = pair(0).await;
    let twice = || {
        vec![
            preference("p", "longer", "short"),
            preference("p", "longer", "short"),
        ]
    };
    assert_eq!(router.prefer(twice()), Ok(accepted(2)));
    until(|| seen(&router).repeated == 1).await;
    assert_eq!(seen(&router).counts().both_right, 1);
    // Afterwards it is known without asking anybody.
    let asked = stable.questions();
    let taken = router.prefer(twice()).unwrap();
    assert_eq!((taken.accepted, taken.repeated), (0, 2));
    assert_eq!((seen(&router).repeated, stable.questions()), (3, asked));
    let by = |user: &str, prompt: &str| Preference {
        user: Some(user.to_owned()),
        ..preference(prompt, "longer", "short")
    };
    let pairs = vec![by("u", "p"), by("u", "q"), by("v", "p")];
    assert_eq!(router.prefer(pairs), Ok(accepted(3)));
    until(|| seen(&router).repeated == 4).await;
    assert_eq!(seen(&router).counts().both_right, 3);
}

#[tokio::test]
async fn the_canary_is_wrong_about_what_it_does_not_score() {
    let (_stable, canary, router) = pair(0).await;
    for (only_stable, does) in [(1, Does::Fails), (2, Does::NotANumber), (3, Does::Declines)] {
        canary.now(does);
        let pairs = vec![preference(&format!("p {only_stable}"), "longer", "short")];
        assert_eq!(router.prefer(pairs), Ok(accepted(1)));
        until(|| seen(&router).counts().only_stable == only_stable).await;
    }
    assert_eq!(seen(&router).failed, 0);
}

#[tokio::test]
async fn what_stable_does_not_score_or_a_canary_that_is_away_is_no_pair_and_may_be_sent_again() {
    let (stable, canary, router) = pair(0).await;
    let ask = || {
        let pairs = vec![preference("p", "longer", "short")];
        assert_eq!(router.prefer(pairs), Ok(accepted(1)));
    };
    stable.now(Does::Fails);
    ask();
    until(|| seen(&router).failed == 1).await;
    stable.now(Does::Scores);
    for (failed, does) in [(2, Does::Refuses), (3, Does::Breaks)] {
        canary.now(does);
        ask();
        until(|| seen(&router).failed == failed).await;
    }
    canary.now(Does::Scores);
    ask();
    until(|| seen(&router).counts().both_right == 1).await;
}

#[tokio::test]
async fn all_of_a_call_are_taken_or_none() {
    let (_stable, canary, router) = pair(0).await;
    canary.now(Does::Hangs);
    let many = |count: usize, from: usize| -> Vec<Preference> {
        let one = |index: usize| preference(&format!("p {index}"), "longer", "short");
        (from..from + count).map(one).collect()
    };
    let too_many = many(MOST_PREFERENCES + 1, 0);
    assert_eq!(router.prefer(too_many), Err(NotTaken::TooMany));
    assert_eq!(router.prefer(many(200, 0)), Ok(accepted(200)));
    assert_eq!(router.prefer(many(57, 200)), Err(NotTaken::NoRoom));
    assert_eq!(router.prefer(many(56, 200)), Ok(accepted(56)));
    let long = vec![preference("p", &"x".repeat(17 * 1024 * 1024), "short")];
    assert_eq!(router.prefer(long), Err(NotTaken::TooMany));
}

#[tokio::test]
async fn pairs_have_their_places_while_a_canary_that_hangs_holds_all_of_the_shadow() {
    let (stable, canary) = (Server::start("s").await, Server::start("c").await);
    let rows = json!([
        row("s", "Stable", 10_000, &[&stable]),
        row("c", "Canary", 0, &[&canary])
    ]);
    let mut table = table(1, rows);
    table["shadow"] = json!({"percent": 100, "timeoutMs": 60_000});
    let router = over(&table).await;
    canary.now(Does::Hangs);
    for key in 0..300 {
        ask(&router, &format!("key {key}")).await.unwrap();
    }
    let full = |router: &Router| router.evidence().unwrap().sums.shadow.dropped.full;
    assert_eq!(full(&router), 44, "the shadow has no place");
    canary.now(Does::Scores);
    let one = |index: usize| preference(&format!("p {index}"), "longer", "short");
    let pairs: Vec<Preference> = (0..MOST_PREFERENCES).map(one).collect();
    assert_eq!(router.prefer(pairs), Ok(accepted(MOST_PREFERENCES)));
    // They are scored, too, and do not stand behind what hangs.
    let most = u64::try_from(MOST_PREFERENCES).unwrap();
    until(|| seen(&router).counts().total() == most).await;
    assert_eq!(seen(&router).counts().both_right, most);
}

#[tokio::test]
async fn without_a_rollout_there_is_nothing_to_compare() {
    let stable = Server::start("s").await;
    let router = over(&table(1, json!([row("s", "Stable", 10_000, &[&stable])]))).await;
    let pairs = vec![preference("p", "longer", "short")];
    assert_eq!(router.prefer(pairs), Err(NotTaken::NoRollout));
    assert_eq!(stable.questions(), 0);
}

#[tokio::test]
async fn a_user_with_a_zero_byte_is_named() {
    let (_stable, _canary, router) = pair(0).await;
    let mut wrong = preference("p", "longer", "short");
    wrong.user = Some("a\0b".to_owned());
    let pairs = vec![preference("q", "longer", "short"), wrong];
    assert_eq!(router.prefer(pairs), Err(NotTaken::User { index: 1 }));
    assert_eq!(seen(&router).counts().total(), 0);
}
