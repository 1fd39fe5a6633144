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
        && !serve_args::names_device(&server)
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
