//! Threads: how many the mathematics has, and who steps back where there are too few cores.
//!
//! Owns what the process tells the tensor library and the kernel about its threads. Invariant: where
//! neither listens, all goes on, only slower.

use std::num::NonZero;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Where candle and rayon look for the number of threads.
const VARIABLE: &str = "RAYON_NUM_THREADS";
/// How much those step back who take and answer requests: beside an engine that computes all the
/// time each gets a tenth of what it gets, which is enough until far too many requests come.
const STEP: i32 = 10;

/// Starts this program anew with its number of threads in the environment, unless it is there.
///
/// candle asks the environment in every product of matrices, and where it finds nothing it reads and
/// parses /proc/cpuinfo: a quarter of the time of a small model, and more the more cores there are.
/// An environment is changed safely only for another program, so this one becomes that.
pub(crate) fn announce(threads: usize) {
    let set = std::env::var(VARIABLE).ok();
    let wanted = match (threads, &set) {
        (0, Some(_)) => return,
        (0, None) => std::thread::available_parallelism().map_or(1, NonZero::get),
        (threads, _) => threads,
    }
    .to_string();
    if set.as_ref() == Some(&wanted) {
        return;
    }
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let mut arguments = std::env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // Comes back only with an error; then it goes on as it is.
    let _ = command.args(arguments).env(VARIABLE, wanted).exec();
}

/// Lets the calling thread step back behind the engine's: where both want a core, what is taken in
/// already comes first, and what still waits outside is told so later.
pub(crate) fn step_back() {
    let thread = Some(rustix::thread::gettid());
    // Linux keeps a priority for each thread. Stepping back needs no right.
    let _ = rustix::process::setpriority_process(thread, STEP);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_steps_back_alone() {
        let of_this = || rustix::process::getpriority_process(Some(rustix::thread::gettid()));
        let before = of_this().unwrap();
        let other = std::thread::spawn(move || {
            step_back();
            of_this().unwrap()
        });
        assert_eq!(other.join().unwrap(), before.max(STEP));
        assert_eq!(of_this().unwrap(), before);
    }
}
