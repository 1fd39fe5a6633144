//! The environment: what libraries ask of it, and of nothing else.
//!
//! Owns the variables that this program sets for itself. An environment is changed safely only for
//! another program, so this one becomes that, once. Invariants: what the user has set stays, but for
//! the number of threads where a flag says another; where it cannot be, all goes on, only slower.

use std::env;
use std::num::NonZero;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Where candle and rayon look for the number of threads. candle does so in every product of
/// matrices, and where it finds nothing it reads and parses /proc/cpuinfo: a quarter of the time of a
/// small model, and more the more cores there are.
const THREADS: &str = "RAYON_NUM_THREADS";
/// Whether the allocator takes its large pieces of memory at once. With 0 it takes what it needs: half
/// the resident memory of a small model.
const COMMIT: &str = "MIMALLOC_ARENA_EAGER_COMMIT";

/// Starts this program anew with what `threads` and the libraries want, unless it is there; 0 is one
/// thread for each core.
pub(crate) fn prepare(threads: usize) {
    let found = |name: &str| env::var(name).ok();
    let wanted = [
        (THREADS, thread_count(threads, found(THREADS))),
        (COMMIT, found(COMMIT).unwrap_or_else(|| "0".to_owned())),
    ];
    if wanted
        .iter()
        .all(|(name, value)| found(name).as_ref() == Some(value))
    {
        return;
    }
    let Ok(program) = env::current_exe() else {
        return;
    };
    let mut arguments = env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // Comes back only with an error; then it goes on as it is.
    let _ = command.args(arguments).envs(wanted).exec();
}

fn thread_count(threads: usize, set: Option<String>) -> String {
    match (threads, set) {
        (0, Some(set)) => set,
        (0, None) => std::thread::available_parallelism()
            .map_or(1, NonZero::get)
            .to_string(),
        (threads, _) => threads.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_says_how_many_threads_then_the_environment_then_the_cores() {
        assert_eq!(thread_count(3, Some("5".to_owned())), "3");
        assert_eq!(thread_count(0, Some("5".to_owned())), "5");
        assert_ne!(thread_count(0, None), "0");
    }
}
