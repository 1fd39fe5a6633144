//! The Job that scores a golden set by a new revision's servers, without a GPU, before a user meets them.

use std::collections::BTreeMap;

use crds::v1alpha1::reward_model::rollout::GoldenSet;
use crds::value::Digest;
use crds::{RewardModel, labels};
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, KeyToPath, PersistentVolumeClaimVolumeSource, PodSpec,
    PodTemplateSpec, ResourceRequirements, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;

use super::{HTTP_PORT, metadata, pod, verify_job};
use crate::golden::Work;
use crate::identity::{RevisionHash, canonical, names};
use crate::observed::Settings;

/// Where the set is mounted.
const MOUNT: &str = "/golden";
const VOLUME: &str = "golden";
/// How often a pod that the cluster has ended is made anew.
const TRIES: i32 = 3;
/// The longest that a set may take, in seconds: what hangs holds nobody for ever.
const LONGEST: i64 = 3_600;

/// The Job that does `work` with `set`. Its name is made of all that it does. With `known` the stable
/// revision is not asked where the set turns out to have that digest.
pub fn build(
    model: &RewardModel,
    set: &GoldenSet,
    work: &Work,
    known: Option<&Digest>,
    settings: &Settings,
) -> Job {
    let component = labels::component::GOLDEN;
    let marks = BTreeMap::from([(labels::GOLDEN.to_owned(), work.to_string())]);
    let template = PodTemplateSpec {
        metadata: Some(verify_job::pod_metadata(model, component, &marks)),
        spec: Some(pod_spec(model, set, work, known, settings)),
    };
    let hash = canonical::short_hash(&canonical::to_value(&template));
    let name = names::golden_job(&model.name_any(), &hash);
    let mut metadata = metadata(model, name, component, None);
    metadata.annotations = Some(marks);
    Job {
        metadata,
        spec: Some(JobSpec {
            backoff_limit: Some(TRIES),
            active_deadline_seconds: Some(LONGEST),
            pod_failure_policy: Some(verify_job::failure_policy(names::GOLDEN)),
            template,
            ..JobSpec::default()
        }),
        status: None,
    }
}

fn pod_spec(
    model: &RewardModel,
    set: &GoldenSet,
    work: &Work,
    known: Option<&Digest>,
    settings: &Settings,
) -> PodSpec {
    let server = model.spec.server.clone().unwrap_or_default();
    // It holds texts and asks: nothing of the image's device or of the servers' size is of use to it.
    let image = pod::image_on_cpu(&server, settings);
    let placement = server.pod_template.unwrap_or_default();
    let (volume, file) = mounted(set);
    let container = pod::reader(names::GOLDEN, image, args(model, work, known, file));
    PodSpec {
        restart_policy: Some("Never".to_owned()),
        containers: vec![Container {
            resources: Some(resources()),
            volume_mounts: Some(vec![VolumeMount {
                name: VOLUME.to_owned(),
                mount_path: MOUNT.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            }]),
            ..container
        }],
        volumes: Some(vec![volume]),
        // What places scoring pods on nodes with GPUs does not hold for a pod without one.
        ..pod::base(&crds::v1alpha1::reward_model::server::PodTemplate {
            image_pull_secrets: placement.image_pull_secrets,
            priority_class_name: placement.priority_class_name,
            ..Default::default()
        })
    }
}

fn args(model: &RewardModel, work: &Work, known: Option<&Digest>, file: String) -> Vec<String> {
    let url = |revision: &RevisionHash| {
        let name = names::revision(&model.name_any(), revision);
        let namespace = model.namespace().unwrap_or_default();
        format!("http://{name}.{namespace}.svc:{HTTP_PORT}")
    };
    let mut args = vec![
        "evaluate".to_owned(),
        "--json".to_owned(),
        "--output".to_owned(),
        pod::TERMINATION_LOG.to_owned(),
        "--pairs".to_owned(),
        file,
        "--url".to_owned(),
        url(&work.canary),
    ];
    if let Some(stable) = &work.stable {
        args.extend(["--against".to_owned(), url(stable)]);
        let known = known.map(|digest| ["--against-known".to_owned(), digest.to_string()]);
        args.extend(known.into_iter().flatten());
    }
    args
}

/// The volume of the set, and the file in the container.
fn mounted(set: &GoldenSet) -> (Volume, String) {
    let mut volume = Volume {
        name: VOLUME.to_owned(),
        ..Volume::default()
    };
    let file = match (&set.config_map_ref, &set.claim) {
        (Some(map), _) => {
            volume.config_map = Some(ConfigMapVolumeSource {
                name: map.name.clone(),
                items: Some(vec![KeyToPath {
                    key: map.key.clone(),
                    path: map.key.clone(),
                    mode: None,
                }]),
                ..ConfigMapVolumeSource::default()
            });
            map.key.as_str()
        }
        (None, Some(claim)) => {
            volume.persistent_volume_claim = Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim.claim_name.clone(),
                read_only: Some(true),
            });
            claim.path.as_str()
        }
        // The spec is refused before.
        (None, None) => "",
    };
    (volume, format!("{MOUNT}/{file}"))
}

/// A set of a claim may be far larger than a ConfigMap, and is held as a whole.
fn resources() -> ResourceRequirements {
    let quantities = |list: &[(&str, &str)]| {
        let all = list.iter();
        let all = all.map(|(name, value)| ((*name).to_owned(), Quantity((*value).to_owned())));
        Some(all.collect())
    };
    ResourceRequirements {
        requests: quantities(&[("cpu", "100m"), ("memory", "128Mi")]),
        limits: quantities(&[("memory", "2Gi")]),
        ..ResourceRequirements::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::golden::Named;

    fn model(golden_set: serde_json::Value) -> RewardModel {
        serde_json::from_value(json!({
            "apiVersion": "betterai.dev/v1alpha1",
            "kind": "RewardModel",
            "metadata": {"name": "helpfulness", "namespace": "team", "uid": "u"},
            "spec": {
                "model": {"source": {"pvc": {"claimName": "models"}}},
                "server": {"resources": {"limits": {"nvidia.com/gpu": "1"}}, "podTemplate": {"nodeSelector": {"gpu": "h100"}}},
                "rollout": {"goldenSet": golden_set},
            },
        }))
        .unwrap()
    }

    fn settings() -> Settings {
        Settings {
            server_image: "server:1".to_owned(),
            server_image_cuda: Some("server:1-cuda".to_owned()),
            asks_prometheus: true,
            operator_namespace: "betterai-system".to_owned(),
            admin_key: None,
        }
    }

    fn work(stable: bool, set: Named) -> Work {
        let hash = |text| RevisionHash::parse(text).unwrap();
        Work {
            canary: hash("00000000aa"),
            stable: stable.then(|| hash("00000000bb")),
            set,
        }
    }

    fn digest() -> Digest {
        format!("sha256:{}", "a".repeat(64)).as_str().into()
    }

    fn of(model: &RewardModel, work: &Work, known: Option<&Digest>) -> Job {
        let set = model.spec.rollout.clone().unwrap().golden_set.unwrap();
        build(model, &set, work, known, &settings())
    }

    #[test]
    fn a_set_in_a_config_map_is_scored_by_both_revisions_without_a_gpu() {
        let model = model(json!({"configMapRef": {"name": "pairs", "key": "set.jsonl"}}));
        let job = of(&model, &work(true, Named::Digest(digest())), None);
        assert!(job.name_any().len() <= 63);
        insta::assert_yaml_snapshot!(job);
    }

    #[test]
    fn a_set_in_a_claim_is_mounted_and_a_first_revision_is_held_against_none() {
        let model = model(json!({"claim": {"claimName": "sets", "path": "2026/pairs.jsonl"}}));
        let job = of(
            &model,
            &work(false, Named::Rollout("r-1".to_owned())),
            Some(&digest()),
        );
        let pod = job.spec.unwrap().template.spec.unwrap();
        let args = pod.containers[0].args.clone().unwrap().join(" ");
        assert!(
            args.contains(
                "--pairs /golden/2026/pairs.jsonl --url http://helpfulness-00000000aa.team.svc:8000"
            ),
            "{args}"
        );
        assert!(!args.contains("--against"), "{args}");
        let claim = pod
            .volumes
            .unwrap()
            .remove(0)
            .persistent_volume_claim
            .unwrap();
        assert_eq!(
            (claim.claim_name.as_str(), claim.read_only),
            ("sets", Some(true))
        );
    }

    #[test]
    fn another_set_stable_revision_or_image_is_another_job() {
        let model = model(json!({"configMapRef": {"name": "pairs", "key": "set.jsonl"}}));
        let first = work(true, Named::Digest(digest()));
        let one = of(&model, &first, None).name_any();
        let other = format!("sha256:{}", "b".repeat(64));
        assert_ne!(
            of(
                &model,
                &work(true, Named::Digest(other.as_str().into())),
                None
            )
            .name_any(),
            one
        );
        assert_ne!(
            of(&model, &work(false, Named::Digest(digest())), None).name_any(),
            one
        );
        assert_eq!(of(&model, &first, None).name_any(), one);
        let args = of(&model, &first, Some(&digest()))
            .spec
            .unwrap()
            .template
            .spec
            .unwrap();
        let args = args.containers[0].args.clone().unwrap();
        assert_eq!(args.last().unwrap(), digest().as_str());
    }
}
