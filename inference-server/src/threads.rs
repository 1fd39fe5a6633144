//! Threads: who steps back where there are too few cores.
//!
//! Owns what the process tells the kernel about its threads. Invariant: where it does not listen, all
//! goes on, only slower.

/// How much those step back who take and answer requests: beside an engine that computes all the
/// time each gets a tenth of what it gets, which is enough until far too many requests come.
const STEP: i32 = 10;

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
