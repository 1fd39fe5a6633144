//! What is scored in parts, where the scorer may have it answered by several models.

use serde_json::json;

use super::*;

/// A scorer that takes long requests whole.
struct Whole(Fake);

impl Scorer for Whole {
    async fn score(&self, request: ScoreRequest) -> Result<Scores, ScoreError> {
        assert_eq!(request.inputs.turns().len(), 2, "four at once");
        assert!(request.bulk);
        self.0.score(request).await
    }

    fn takes_turns(&self) -> bool {
        true
    }
}

/// A scorer that is another model at each question.
struct Changing(Fake, Mutex<u32>);

impl Scorer for Changing {
    async fn score(&self, request: ScoreRequest) -> Result<Scores, ScoreError> {
        let mut scores = self.0.score(request).await?;
        let mut asked = self.1.lock().unwrap();
        *asked += 1;
        let by = Description {
            digest: format!("sha256:{asked}"),
            ..scores.by.as_ref().clone()
        };
        scores.by = Arc::new(by);
        Ok(scores)
    }
}

#[tokio::test]
async fn who_may_have_a_request_answered_by_several_is_given_all_of_it_at_once() {
    let fake = Fake::default();
    let (router, _) = app(Whole(fake.clone()), None);
    let texts = ["1", "2", "3", "4", "5", "6"];
    let (status, answer) = say(&router, "/get_reward", json!({"query": texts})).await;
    assert_eq!(status, 200);
    assert_eq!(answer["rewards"], json!([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    assert_eq!(fake.asked().len(), 1);
    let pair = json!({"chosen": "1", "rejected": "0"});
    let (status, _) = say(&router, "/evaluate", json!({"pairs": [pair, pair, pair]})).await;
    assert_eq!((status.as_u16(), fake.asked().len()), (200, 2));
}

#[tokio::test]
async fn two_models_are_no_answer_to_one_request() {
    let (router, _) = app(Changing(Fake::default(), Mutex::new(0)), None);
    let texts = ["1"; 6];
    let (status, _) = say(&router, "/get_reward", json!({"query": texts})).await;
    assert_eq!(status, 503);
    let (status, _) = say(&router, "/get_reward", json!({"query": texts[..4]})).await;
    assert_eq!(status, 200);
}
