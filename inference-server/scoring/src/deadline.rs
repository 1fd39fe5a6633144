//! When an answer is of no use any more.

use std::time::{Duration, Instant};

/// When an answer is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// At this instant, whatever it waited for.
    At(Instant),
    /// So long after there was room for it; it waits as long for that room. The deadline of a part of
    /// a long request, whose parts come after each other.
    OnceAdmitted(Duration),
}

impl Deadline {
    /// The end of what begins at `now`: the waiting for room, or the work.
    pub fn from(self, now: Instant) -> Instant {
        match self {
            Self::At(instant) => instant,
            Self::OnceAdmitted(time) => later(now, time),
        }
    }

    /// The latest end of all, waiting and work, that begins at `now`.
    pub fn last(self, now: Instant) -> Instant {
        match self {
            Self::At(instant) => instant,
            Self::OnceAdmitted(time) => later(later(now, time), time),
        }
    }
}

/// A clock does not reach as far as the longest duration.
fn later(now: Instant, time: Duration) -> Instant {
    const FAR: Duration = Duration::from_hours(365 * 24);
    now.checked_add(time).unwrap_or(now + FAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_a_part_starts_when_there_is_room_for_it() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let part = Deadline::OnceAdmitted(second);
        assert_eq!(part.from(now), now + second);
        assert_eq!(part.from(now + second), now + 2 * second);
        assert_eq!(part.last(now), now + 2 * second);
        assert_eq!(Deadline::At(now).from(now + second), now);
        assert!(Deadline::OnceAdmitted(Duration::MAX).last(now) > now);
    }
}
