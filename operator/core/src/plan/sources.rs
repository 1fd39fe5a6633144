//! Models that are elsewhere: fetched into a cache, or by each pod.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::rollouts::yes;
use super::world::{DIGEST_1, DIGEST_2, TRY_AGAIN, Verify, World};
use crate::observed::{Claim, Kind};
use crate::reading::pods;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// The folder that Jobs fetch into.
const CACHE: &str = "/models/fetched";

fn sound(digest: &str) -> (i32, String) {
    let document = json!({"ok": true, "digest": digest, "bytes": 1_000_000});
    (0, document.to_string())
}

fn failed(code: i32, reason: &str) -> (i32, String) {
    let document = json!({"ok": false, "reason": reason, "message": "words"});
    (code, document.to_string())
}

fn world(model: Value) -> World {
    let gpu = json!({"limits": {"nvidia.com/gpu": "1", "memory": "4Gi"}});
    let proxy = json!([{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}]);
    let server = json!({"resources": gpu, "env": proxy});
    let mut world = World::new(json!({"model": model, "server": server, "replicas": 2}));
    world.answers.insert(CACHE.to_owned(), sound(DIGEST_1));
    world
}

fn hub() -> Value {
    json!({"huggingFace": {
        "repo": "team/model", "revision": COMMIT, "endpoint": "http://hub.lab:8080",
        "tokenSecretRef": {"name": "hub", "key": "token"},
    }})
}

fn cached() -> World {
    world(json!({"source": hub(), "cache": {"claimName": "cache"}}))
}

/// Without a cache; each pod fetches from an object store.
fn alone() -> World {
    let source = json!({"objectStore": {"url": "s3://models/v1", "secretRef": {"name": "store"}}});
    let mut world = world(json!({"source": source, "digest": DIGEST_1}));
    world.observed.claim = Claim::NotNeeded;
    world
}

fn job(world: &World) -> Value {
    let plan = world.plan();
    let mut jobs = plan.apply.iter().filter(|one| one.key.kind == Kind::Job);
    jobs.next().unwrap().body.clone()
}

fn args(job: &Value) -> Vec<String> {
    let args = job.pointer("/spec/template/spec/containers/0/args");
    serde_json::from_value(args.unwrap().clone()).unwrap()
}

fn pods_of(world: &World) -> Value {
    let deployment = &world.revisions()[0];
    serde_json::to_value(deployment.spec.as_ref().unwrap().template.spec.as_ref()).unwrap()
}

fn stalled(world: &World) -> Option<String> {
    world.condition("Stalled").map(|(_, reason)| reason)
}

fn ready(world: &World) -> bool {
    world
        .condition("Ready")
        .is_some_and(|(status, _)| status == "True")
}

#[test]
fn a_model_is_fetched_into_its_cache_without_a_gpu_and_served_from_there() {
    let mut world = cached();
    let job = job(&world);
    insta::assert_yaml_snapshot!("job_that_fetches_into_a_cache", job);
    world.settle();
    assert!(ready(&world), "{}", world.message());
    insta::assert_yaml_snapshot!("pods_that_serve_from_a_cache", pods_of(&world));
}

#[test]
fn without_a_cache_each_pod_fetches_what_was_checked_without_a_gpu() {
    let mut world = alone();
    let job = job(&world);
    insta::assert_yaml_snapshot!("job_that_fetches_for_itself", job);
    world.settle();
    assert!(ready(&world), "{}", world.message());
    insta::assert_yaml_snapshot!("pods_that_fetch_for_themselves", pods_of(&world));
}

#[test]
fn a_secret_is_named_to_who_fetches_and_to_nobody_else() {
    for (mut world, secret) in [(cached(), "hub"), (alone(), "store")] {
        let job = job(&world);
        assert!(!args(&job).iter().any(|arg| arg.contains("token")));
        world.settle();
        let pods = pods_of(&world);
        let server = pods["containers"][0].to_string();
        assert!(
            !server.contains(&format!("\"name\":\"{secret}\"")),
            "{server}"
        );
        let status = serde_json::to_string(&world.observed.model.status).unwrap();
        assert!(!status.contains("tokenSecretRef") && !status.contains("secretRef"));
    }
}

#[test]
fn a_wrong_digest_is_refused_before_anything_asks_for_a_gpu() {
    for mut world in [cached(), alone()] {
        let answer = failed(1, "DigestMismatch");
        world.answers.insert(CACHE.to_owned(), answer);
        world.settle();
        assert_eq!(stalled(&world).as_deref(), Some("DigestMismatch"));
        assert!(world.revisions().is_empty());
    }
}

#[test]
fn a_source_that_does_not_answer_is_named_and_tried_again() {
    let mut world = cached();
    let down = failed(TRY_AGAIN, "SourceUnreachable");
    world.answers.insert(CACHE.to_owned(), down);
    world.settle();
    assert_eq!(stalled(&world).as_deref(), Some("SourceUnreachable"));
    assert!(
        world.message().contains("it is tried again"),
        "{}",
        world.message()
    );
    world.answers.insert(CACHE.to_owned(), sound(DIGEST_1));
    world.settle();
    assert_eq!(stalled(&world), None);
    assert!(ready(&world), "{}", world.message());
}

#[test]
fn a_source_that_says_no_is_tried_again_on_retry_alone() {
    let mut world = cached();
    let refused = failed(1, "SourceUnreachable");
    world.answers.insert(CACHE.to_owned(), refused);
    world.settle();
    assert_eq!(stalled(&world).as_deref(), Some("SourceUnreachable"));
    world.answers.insert(CACHE.to_owned(), sound(DIGEST_1));
    world.settle();
    assert_eq!(stalled(&world).as_deref(), Some("SourceUnreachable"));
    world.command("retry/1");
    world.settle();
    assert!(ready(&world), "{}", world.message());
}

#[test]
fn a_missing_secret_is_named_and_waited_for() {
    let mut world = cached();
    world.verify = Verify::LacksSecret;
    world.settle();
    assert_eq!(stalled(&world).as_deref(), Some("SourceUnreachable"));
    let message = world.message();
    assert!(message.contains("secret \"hub\" not found"), "{message}");
    world.verify = Verify::Answers;
    world.settle();
    assert!(ready(&world), "{}", world.message());
}

#[test]
fn a_bad_cache_is_named() {
    for (claim, reason) in [
        (Claim::Missing, "VolumeUnavailable"),
        (Claim::ReadOnly, "InvalidSpec"),
    ] {
        let mut world = cached();
        world.claim = claim;
        world.settle();
        assert_eq!(stalled(&world).as_deref(), Some(reason));
        assert!(world.message().contains("model.cache.claimName"));
    }
}

#[test]
fn what_any_revision_of_the_namespace_names_is_kept() {
    let mut world = cached();
    world.settle();
    let other = format!("sha256:{}", "3".repeat(64));
    world.observed.in_use.insert(other.as_str().into());
    world.answers.insert(CACHE.to_owned(), sound(DIGEST_2));
    world.respec(|model| {
        let hub = model.spec.model.source.hugging_face.as_mut().unwrap();
        hub.revision = COMMIT.replace('0', "f");
    });
    let args = args(&job(&world));
    for digest in [DIGEST_1, &other] {
        assert!(args.contains(&format!("--keep={digest}")), "{args:?}");
    }
    world.settle();
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
}

#[test]
fn a_model_that_serves_is_kept_although_its_record_is_gone() {
    let mut world = cached();
    world.settle();
    world.observed.children.records.clear();
    let kept = crate::reading::kept::digests(&world.observed.children);
    assert!(kept.contains(&DIGEST_1.into()));
}

#[test]
fn what_is_kept_makes_no_other_job() {
    let mut world = cached();
    let before = job(&world);
    world.observed.in_use.insert(DIGEST_2.into());
    let after = job(&world);
    assert_ne!(args(&before), args(&after));
    assert_eq!(before["metadata"]["name"], after["metadata"]["name"]);
}

#[test]
fn another_cache_is_filled_before_anything_is_served_from_it_and_moves_no_pod() {
    let mut world = cached();
    world.settle();
    let before = world.revisions();
    world.respec(|model| {
        model.spec.model.cache.as_mut().unwrap().claim_name = "larger".to_owned();
    });
    let claim = "/spec/template/spec/volumes/0/persistentVolumeClaim/claimName";
    assert_eq!(job(&world).pointer(claim), Some(&json!("larger")));
    world.settle();
    assert!(ready(&world), "{}", world.message());
    assert_eq!(world.revisions(), before);
    // A changed server of the same model finds it there.
    world.respec(|model| {
        let server = model.spec.server.get_or_insert_default();
        server.args = Some(vec!["--threads=2".to_owned()]);
    });
    world.settle();
    world.cool();
    let volume = pods_of(&world)["volumes"][0].clone();
    assert_eq!(volume["persistentVolumeClaim"]["claimName"], "larger");
}

#[test]
fn a_pod_whose_fetch_is_broken_off_is_given_time() {
    let pod = |restarts: i32, reason: &str| -> Pod {
        let (code, message) = failed(1, reason);
        let end = json!({"terminated": {"exitCode": code, "message": message}});
        serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "status": {"phase": "Pending", "initContainerStatuses": [{
                "name": "fetch", "image": "", "imageID": "", "ready": false, "restartCount": restarts,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": end,
            }]},
        }))
        .unwrap()
    };
    assert_eq!(pods::fatal(&pod(1, "SourceUnreachable")), None);
    assert!(pods::fatal(&pod(3, "SourceUnreachable")).is_some());
    assert!(pods::fatal(&pod(1, "DigestMismatch")).is_some());
}

#[test]
fn a_path_that_a_volume_does_not_have_is_named_with_its_claim() {
    let mut world = World::new(json!({
        "model": {"source": {"pvc": {"claimName": "models", "path": "typo"}}},
        "replicas": 1,
    }));
    let said =
        json!({"ok": false, "reason": "VolumeUnavailable", "message": "the folder cannot be read"});
    world
        .answers
        .insert("/models/typo".to_owned(), (1, said.to_string()));
    world.settle();
    assert_eq!(world.condition("Stalled"), yes("VolumeUnavailable"));
    for word in ["\"models\"", "\"typo\"", "kubectl describe pvc models"] {
        assert!(world.message().contains(word), "{}", world.message());
    }
}

#[test]
fn a_claim_that_is_not_bound_is_named_where_the_scheduler_names_none() {
    let words = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.";
    let spec =
        serde_json::from_value(json!({"model": {"source": {"pvc": {"claimName": "models"}}}}));
    let told = crate::spec::placed(&spec.unwrap(), words);
    assert!(crate::spec::is_about_a_claim(words));
    assert!(
        told.starts_with(words) && told.contains("\"models\""),
        "{told}"
    );
    assert!(!crate::spec::is_about_a_claim(
        "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    ));
}
