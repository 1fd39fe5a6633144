//! The devices that models are computed on.
//!
//! Owns what `--device` may say, how a GPU is opened, and what is asked of it before it is used. Must not know of
//! layers. Invariant: who asks for a GPU computes on it or is told why not, and is never given a CPU instead.

use std::fmt;
use std::str::FromStr;

use candle_core::{DType, Device};
use kernels::{Isa, Kernels};

use crate::backend::{Backend, Place};
use crate::dtype::Dtype;
use crate::error::{LoadError, Reason};

/// Where a model is to be computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// On the CPU, by the packed kernels.
    #[default]
    Cpu,
    /// On the NVIDIA GPU of that number, of those that the process sees.
    Cuda(usize),
    /// On the first GPU where this program computes on GPUs and there is one, else on the CPU.
    Auto,
    /// On the CPU, by the code for GPUs: to try that where there is none.
    Tensors,
}

/// A word that names no device that this program computes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownDevice {
    /// It names none at all.
    #[error("a device is cpu, cuda, cuda:N for the GPU of that number, or auto")]
    Unknown,
    /// It names a GPU, and the program was built without.
    #[error(
        "this program was built without CUDA: take one that was built with it (of a RewardModel: server.image), or compute on the CPU with --device cpu (server.args: [--device=cpu])"
    )]
    WithoutCuda,
}

impl FromStr for DeviceChoice {
    type Err = UnknownDevice;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let gpu = match name {
            "cpu" => return Ok(Self::Cpu),
            "auto" => return Ok(Self::Auto),
            "tensors" => return Ok(Self::Tensors),
            "cuda" => 0,
            _ => {
                let number = name.strip_prefix("cuda:");
                let number = number.filter(|n| n.bytes().all(|byte| byte.is_ascii_digit()));
                let number = number.and_then(|number| number.parse().ok());
                number.ok_or(UnknownDevice::Unknown)?
            }
        };
        if cfg!(feature = "cuda") {
            Ok(Self::Cuda(gpu))
        } else {
            Err(UnknownDevice::WithoutCuda)
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Auto => f.write_str("auto"),
            Self::Tensors => f.write_str("tensors"),
        }
    }
}

impl DeviceChoice {
    /// Opens it. `isa` is the instruction set to compute with on the CPU, `None` the best that there is.
    ///
    /// # Errors
    /// `LoadFailed` when there is no such device, or it cannot be used, with what to do.
    pub fn open(self, isa: Option<Isa>) -> Result<Backend, LoadError> {
        match self {
            Self::Cpu => kernels(isa),
            Self::Cuda(number) => Ok(tensors(gpu(number)?)),
            Self::Auto => match gpu(0) {
                Ok(device) => Ok(tensors(device)),
                Err(_) => kernels(isa),
            },
            Self::Tensors => Ok(tensors(Device::Cpu)),
        }
    }
}

fn kernels(isa: Option<Isa>) -> Result<Backend, LoadError> {
    let kernels = match isa {
        None => Kernels::best(),
        Some(isa) => Kernels::of(isa).map_err(|error| failed(format!("--isa: {error}")))?,
    };
    Ok(Backend::Kernels(kernels))
}

const fn tensors(device: Device) -> Backend {
    Backend::Tensors(Place {
        device,
        format: DType::F32,
    })
}

fn failed(message: impl Into<String>) -> LoadError {
    LoadError::new(Reason::LoadFailed, message)
}

/// Refuses a format that `backend` does not compute in.
///
/// # Errors
/// `LoadFailed`, with the formats that it does.
pub fn check_dtype(backend: &Backend, dtype: Dtype) -> Result<(), LoadError> {
    match (backend, dtype) {
        (Backend::Tensors(_), Dtype::Int8) => Err(failed(
            "--dtype int8 is for the CPU: on a GPU choose bf16, f16 or f32, or auto for what the checkpoint is stored in",
        )),
        (Backend::Kernels(_) | Backend::Tensors(_), _) => Ok(()),
    }
}

/// The name of the device in answers: `cpu`, or `cuda:N`.
pub fn name(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".to_owned(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// The kind of the device in the name of an engine: `cpu`, or the name of the GPU in one word, since another one
/// sums in other orders.
#[cfg(not(feature = "cuda"))]
pub fn model(device: &Device) -> String {
    name(device)
}

#[cfg(not(feature = "cuda"))]
fn gpu(_: usize) -> Result<Device, LoadError> {
    Err(failed(UnknownDevice::WithoutCuda.to_string()))
}

/// Bytes that are free on the device, where it has memory of its own.
#[cfg(not(feature = "cuda"))]
pub const fn free_memory(_: &Device) -> Option<u64> {
    None
}

#[cfg(feature = "cuda")]
pub use with_cuda::{free_memory, model};

#[cfg(feature = "cuda")]
use with_cuda::gpu;

#[cfg(feature = "cuda")]
mod with_cuda {
    use super::*;

    /// The kernels are made for it and later ones; before, there is no bf16.
    const LEAST: (i32, i32) = (8, 0);

    pub(super) fn gpu(number: usize) -> Result<Device, LoadError> {
        let device = Device::new_cuda(number).map_err(|error| {
            failed(format!(
                "--device cuda:{number} cannot be opened ({error}): the pod has to ask for nvidia.com/gpu, and its node needs a driver of the 580 series or later"
            ))
        })?;
        let capability = match &device {
            Device::Cuda(cuda) => cuda.cuda_stream().context().compute_capability().ok(),
            Device::Cpu | Device::Metal(_) => None,
        };
        match capability {
            Some((major, minor)) if (major, minor) < LEAST => Err(failed(format!(
                "{} has compute capability {major}.{minor}, and this program needs {}.{} (A100, or later): take another GPU, or compute on the CPU with --device cpu",
                model(&device),
                LEAST.0,
                LEAST.1
            ))),
            Some(_) | None => Ok(device),
        }
    }

    /// The kind of the device in the name of an engine: `cpu`, or the name of the GPU in one word, since another
    /// one sums in other orders.
    pub fn model(device: &Device) -> String {
        let gpu = match device {
            Device::Cuda(cuda) => cuda.cuda_stream().context().name().ok(),
            Device::Cpu | Device::Metal(_) => None,
        };
        gpu.map_or_else(|| name(device), |gpu| gpu.replace(' ', "-"))
    }

    /// Bytes that are free on the device, where it has memory of its own.
    pub fn free_memory(device: &Device) -> Option<u64> {
        match device {
            Device::Cuda(cuda) => {
                let (free, _) = cuda.cuda_stream().context().mem_get_info().ok()?;
                u64::try_from(free).ok()
            }
            Device::Cpu | Device::Metal(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_named_in_one_word() {
        for (name, choice) in [
            ("cpu", DeviceChoice::Cpu),
            ("auto", DeviceChoice::Auto),
            ("tensors", DeviceChoice::Tensors),
        ] {
            assert_eq!(name.parse(), Ok(choice));
            assert_eq!(choice.to_string(), name);
        }
        for name in [
            "", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:+1", "CPU", "cuda:1:2",
        ] {
            assert_eq!(
                name.parse::<DeviceChoice>(),
                Err(UnknownDevice::Unknown),
                "{name}"
            );
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn without_cuda_a_gpu_is_refused_and_auto_is_the_cpu() {
        for name in ["cuda", "cuda:0", "cuda:12"] {
            assert_eq!(
                name.parse::<DeviceChoice>(),
                Err(UnknownDevice::WithoutCuda)
            );
        }
        assert!(matches!(
            DeviceChoice::Auto.open(None),
            Ok(Backend::Kernels(_))
        ));
        assert!(DeviceChoice::Cuda(0).open(None).is_err());
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn a_gpu_is_named_by_its_number() {
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        assert_eq!("cuda:12".parse(), Ok(DeviceChoice::Cuda(12)));
    }

    #[test]
    fn int8_is_refused_on_tensors_with_what_to_choose() {
        let tensors = DeviceChoice::Tensors.open(None).unwrap();
        let error = check_dtype(&tensors, Dtype::Int8).unwrap_err();
        assert!(error.message.contains("bf16"), "{error}");
        assert!(check_dtype(&tensors, Dtype::Bf16).is_ok());
        assert!(check_dtype(&DeviceChoice::Cpu.open(None).unwrap(), Dtype::Int8).is_ok());
    }
}
