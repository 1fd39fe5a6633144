//! What an error of a device means for whoever serves.
//!
//! Owns which of CUDA's errors can be gone the next time, and which end the process. Must not know of requests.
//! Invariant: an error that is not known is neither: it fails its request, as one of the CPU does.

/// What an error means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device has no room; a smaller batch, or a later one, may find some.
    OutOfMemory(String),
    /// The device, or this process's hold on it, is gone: all that follows fails too.
    DeviceLost(String),
    /// Anything else.
    Other,
}

/// Names by which the driver and its libraries say that there is no room.
const NO_ROOM: [&str; 2] = ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"];

/// Names of errors after which the driver refuses all further work of the process ("the process must be
/// terminated and relaunched", CUDA Driver API, `CUresult`), or after which the device is not there.
const LOST: [&str; 21] = [
    "CUDA_ERROR_ASSERT",
    "CUDA_ERROR_CONTEXT_IS_DESTROYED",
    "CUDA_ERROR_DEINITIALIZED",
    "CUDA_ERROR_DEVICE_UNAVAILABLE",
    "CUDA_ERROR_ECC_UNCORRECTABLE",
    "CUDA_ERROR_EXTERNAL_DEVICE",
    "CUDA_ERROR_HARDWARE_STACK_ERROR",
    "CUDA_ERROR_ILLEGAL_ADDRESS",
    "CUDA_ERROR_ILLEGAL_INSTRUCTION",
    "CUDA_ERROR_INVALID_ADDRESS_SPACE",
    "CUDA_ERROR_INVALID_CONTEXT",
    "CUDA_ERROR_INVALID_PC",
    "CUDA_ERROR_LAUNCH_FAILED",
    "CUDA_ERROR_LAUNCH_TIMEOUT",
    "CUDA_ERROR_MISALIGNED_ADDRESS",
    "CUDA_ERROR_NO_DEVICE",
    "CUDA_ERROR_NVLINK_UNCORRECTABLE",
    "CUDA_ERROR_SYSTEM_NOT_READY",
    "CUDA_ERROR_UNKNOWN",
    "CUBLAS_STATUS_EXECUTION_FAILED",
    "CUBLAS_STATUS_MAPPING_ERROR",
];

/// What an error of the tensor library means, by its text: all that it keeps of the driver's are their names.
pub fn fault(error: &str) -> Fault {
    // Of a backtrace, nobody needs more than the first line.
    let first = || error.lines().next().unwrap_or_default().to_owned();
    let names = |list: &[&str]| list.iter().any(|name| is_named(error, name));
    if names(&LOST) {
        Fault::DeviceLost(first())
    } else if names(&NO_ROOM) {
        Fault::OutOfMemory(first())
    } else {
        Fault::Other
    }
}

/// Whether `error` has the word `name`: a longer name is another error.
fn is_named(error: &str, name: &str) -> bool {
    error
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .any(|word| word == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_device_is_told_from_a_lost_one_and_from_all_else() {
        let full = r#"DriverError(CUDA_ERROR_OUT_OF_MEMORY, "out of memory")"#;
        assert_eq!(fault(full), Fault::OutOfMemory(full.to_owned()));
        assert!(matches!(
            fault("CublasError(CUBLAS_STATUS_ALLOC_FAILED)"),
            Fault::OutOfMemory(_)
        ));
        for lost in LOST {
            let said = format!("DriverError({lost}, \"of no use\")\n   0: a backtrace");
            let first = said.lines().next().unwrap().to_owned();
            assert_eq!(fault(&said), Fault::DeviceLost(first));
        }
        for other in [
            "shape mismatch in matmul, lhs: [1, 2], rhs: [3, 4]",
            "DriverError(CUDA_ERROR_INVALID_VALUE, \"invalid argument\")",
            "DriverError(CUDA_ERROR_UNKNOWN_TO_US)",
            "",
        ] {
            assert_eq!(fault(other), Fault::Other, "{other}");
        }
    }

    #[test]
    fn a_device_that_is_lost_while_it_is_full_is_lost() {
        let both = "CUDA_ERROR_OUT_OF_MEMORY after CUDA_ERROR_ECC_UNCORRECTABLE";
        assert!(matches!(fault(both), Fault::DeviceLost(_)));
    }
}
