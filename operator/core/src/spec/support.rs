//! What a spec asks for and this operator was not set up for.
//!
//! Invariant: it is said before anything is started, not by a pod that cannot start or a gate that nobody answers.

use crds::RewardModelSpec;

use crate::gates::{self, Kind};
use crate::objects::pod;
use crate::objects::serve_args;
use crate::observed::Settings;

/// Whether an operator with these `settings` can do what `spec` asks for.
///
/// # Errors
/// What is missing, and what to do.
pub(crate) fn check(spec: &RewardModelSpec, settings: &Settings) -> Result<(), String> {
    let server = spec.server.clone().unwrap_or_default();
    let asks_for_gpu = pod::gpus(server.resources.as_ref()) > 0;
    if asks_for_gpu
        && server.image.is_none()
        && settings.server_image_cuda.is_none()
        && !serve_args::asks_for_cpu(&server)
    {
        return Err(
            "server.resources asks for nvidia.com/gpu, and this operator has no image that computes on one: name one in server.image or in the operator's flag --server-image-cuda, or write server.args: [--device=cpu] to hold a GPU and compute on the CPU"
                .to_owned(),
        );
    }
    let gates = spec.rollout.as_ref().map(gates::read).transpose()?;
    let mut gates = gates.iter().flatten();
    if let Some(gate) = gates.find(|gate| matches!(gate.kind, Kind::Prometheus { .. }))
        && !settings.asks_prometheus
    {
        return Err(format!(
            "gate {} asks a Prometheus, and this operator was told of none: set its flag --prometheus-url",
            gate.name
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn settings(cuda: bool, asks_prometheus: bool) -> Settings {
        Settings {
            server_image: "server:1".to_owned(),
            server_image_cuda: cuda.then(|| "server:1-cuda".to_owned()),
            asks_prometheus,
            operator_namespace: "o".to_owned(),
            admin_key: None,
        }
    }

    fn spec(more: Value) -> RewardModelSpec {
        let mut spec = json!({"model": {"source": {"pvc": {"claimName": "models"}}}});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        serde_json::from_value(spec).unwrap()
    }

    #[rstest]
    #[case::plain(json!({}), true)]
    #[case::cpu(json!({"args": ["--device=cpu"]}), true)]
    #[case::in_two_words(json!({"args": ["--device", "cpu"]}), true)]
    #[case::by_variable(json!({"env": [{"name": "REWARD_DEVICE", "value": "cpu"}]}), true)]
    #[case::own_image(json!({"image": "mine:1"}), true)]
    #[case::cuda_by_name(json!({"args": ["--device=cuda"]}), false)]
    #[case::cuda_in_two_words(json!({"args": ["--device", "cuda"]}), false)]
    fn a_gpu_takes_an_image_that_computes_on_it(#[case] mut server: Value, #[case] is_fine: bool) {
        let is_plain = server == json!({});
        server["resources"] = json!({"limits": {"nvidia.com/gpu": "1"}});
        let spec = spec(json!({"server": server}));
        assert_eq!(check(&spec, &settings(true, true)), Ok(()));
        let found = check(&spec, &settings(false, true));
        assert_eq!(found.is_ok(), is_fine && !is_plain, "{found:?}");
        if let Err(why) = found {
            assert!(why.contains("--server-image-cuda"), "{why}");
        }
    }

    #[test]
    fn a_gate_that_asks_a_prometheus_takes_one() {
        let gate =
            json!({"name": "queue", "prometheus": {"query": "up", "threshold": {"max": "1"}}});
        let spec =
            spec(json!({"rollout": {"gates": [gate], "steps": [{"gate": {"names": ["queue"]}}]}}));
        assert_eq!(check(&spec, &settings(false, true)), Ok(()));
        let why = check(&spec, &settings(false, false)).unwrap_err();
        assert!(
            why.contains("gate queue") && why.contains("--prometheus-url"),
            "{why}"
        );
    }
}
