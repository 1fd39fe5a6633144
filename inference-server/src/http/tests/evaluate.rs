//! `POST /evaluate`.

use serde_json::json;

use super::*;

fn calibrated() -> (Router, Fake) {
    let fake = labelled(&["LABEL_0"], Some("scale=1,shift=0"));
    (app(fake.clone(), Some("scale=1,shift=0")).0, fake)
}

#[tokio::test]
async fn an_evaluation_counts_wins_ties_and_losses() {
    let (router, fake) = calibrated();
    let pairs = json!([
        {"prompt": "q", "chosen": "2", "rejected": "1", "category": "a"},
        {"chosen": "1", "rejected": "1", "category": "a"},
        {"chosen": "0", "rejected": "1", "category": "b"},
        {"chosen": "5", "rejected": "1"},
    ]);
    let (status, answer) = say(&router, "/evaluate", json!({"pairs": pairs})).await;
    assert_eq!(status, 200, "{answer}");
    for (field, expected) in [
        ("accuracy", 0.625),
        ("precision", 2.0 / 3.0),
        ("recall", 0.5),
        ("f1_score", 4.0 / 7.0),
    ] {
        near(&answer[field], expected);
    }
    assert_eq!(answer["pairs"], 4);
    assert_eq!(answer["ties"], 1);
    assert_eq!(answer["model_version"], "v");
    near(&answer["by_category"]["a"]["accuracy"], 0.75);
    assert_eq!(answer["by_category"]["b"]["pairs"], 1);
    assert!(answer["interval"][0].as_f64().unwrap() < 0.625);
    assert!(answer["brier"].is_number() && answer["calibration_error"].is_number());
    assert!(answer.get("chosen_scores").is_none());
    let parts: Vec<_> = fake.asked().iter().map(|(part, _)| part.len()).collect();
    assert_eq!(parts, [4, 4], "split by --max-batch");
}

#[tokio::test]
async fn the_guides_form_and_the_scores_are_there_on_demand() {
    let (router, fake) = fake();
    let body = json!({
        "texts": ["2", "3"], "contexts": ["q", null], "rejected": ["1", "4"],
        "include_scores": true,
    });
    let (status, answer) = say(&router, "/evaluate", body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["chosen_scores"], json!([2.0, 3.0]));
    assert_eq!(answer["rejected_scores"], json!([1.0, 4.0]));
    assert!(answer["brier"].is_null(), "nothing was calibrated");
    let first = Input::answer(Some("q".into()), "2".into());
    assert_eq!(fake.asked()[0].0[0], first);
}

#[tokio::test]
async fn a_pair_that_cannot_be_scored_is_named_and_too_many_are_refused() {
    let (router, _) = fake();
    let good = json!({"chosen": "1", "rejected": "0"});
    let bad = json!({"chosen": "1", "rejected": "x"});
    let pairs = json!({"pairs": [good, good, good, bad]});
    let (status, problem) = say(&router, "/evaluate", pairs).await;
    assert_eq!((status.as_u16(), &problem["index"]), (422, &json!(3)));
    let pairs = vec![good; 7];
    let (status, problem) = say(&router, "/evaluate", json!({"pairs": pairs})).await;
    assert_eq!(status, 422);
    assert!(problem["detail"].as_str().unwrap().contains("--max-pairs"));
}
