//! Which endpoint of a revision takes a request.
//!
//! Owns who is asked at all ([`candidates`], when endpoints change) and which of two takes it
//! ([`choose`], for each request). It must not know addresses. Invariants: an endpoint that leaves gets
//! nothing new while another one serves; one that is ejected only where all are.

/// What is known of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// It takes new requests.
    pub ready: bool,
    /// It answers still, ready or on its way out.
    pub serving: bool,
    /// It failed too often of late ([`crate::ejection`]).
    pub ejected: bool,
}

/// How far down the list one has to go, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Ready,
    Leaving,
    Ejected,
    LeavingAndEjected,
}

fn rank(standing: Standing) -> Option<Rank> {
    match standing {
        Standing {
            ready: true,
            serving: _,
            ejected: false,
        } => Some(Rank::Ready),
        Standing {
            ready: false,
            serving: true,
            ejected: false,
        } => Some(Rank::Leaving),
        Standing {
            ready: true,
            serving: _,
            ejected: true,
        } => Some(Rank::Ejected),
        Standing {
            ready: false,
            serving: true,
            ejected: true,
        } => Some(Rank::LeavingAndEjected),
        Standing {
            ready: false,
            serving: false,
            ejected: _,
        } => None,
    }
}

/// The places of those that may be asked: all of the best rank that there is. An endpoint that leaves is
/// asked before one that fails, because it answers.
pub fn candidates(standings: &[Standing]) -> Vec<usize> {
    let best = standings.iter().copied().filter_map(rank).min();
    let places = standings.iter().enumerate();
    places
        .filter(|(_, standing)| best.is_some() && rank(**standing) == best)
        .map(|(place, _)| place)
        .collect()
}

/// The place of one among `count` candidates: the less loaded of two that the random numbers pick. `load`
/// is the bytes of the inputs that wait at one; there is no tokenizer here that could count better. `None`
/// where there is nobody.
pub fn choose(count: usize, load: impl Fn(usize) -> u64, first: u64, second: u64) -> Option<usize> {
    let one = below(first, count)?;
    // Another one than the first, each with the same probability.
    let Some(step) = below(second, count.saturating_sub(1)) else {
        return Some(one);
    };
    let other = (one + 1 + step) % count;
    Some(if load(other) < load(one) { other } else { one })
}

/// A place among `count`, from 64 random bits.
fn below(random: u64, count: usize) -> Option<usize> {
    let place = (u128::from(random) * u128::try_from(count).ok()?) >> 64;
    usize::try_from(place).ok().filter(|place| *place < count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const READY: Standing = Standing {
        ready: true,
        serving: true,
        ejected: false,
    };
    const LEAVING: Standing = Standing {
        ready: false,
        ..READY
    };
    const GONE: Standing = Standing {
        serving: false,
        ..LEAVING
    };
    const fn ejected(standing: Standing) -> Standing {
        Standing {
            ejected: true,
            ..standing
        }
    }

    #[test]
    fn a_draining_endpoint_gets_nothing_new_while_others_exist() {
        assert_eq!(candidates(&[LEAVING, READY, GONE, READY]), [1, 3]);
        assert_eq!(candidates(&[LEAVING, GONE]), [0]);
        assert_eq!(candidates(&[ejected(READY), LEAVING]), [1]);
        assert_eq!(candidates(&[ejected(READY), ejected(LEAVING)]), [0]);
        assert_eq!(candidates(&[GONE, ejected(GONE)]), [0_usize; 0]);
        assert_eq!(candidates(&[]), [0_usize; 0]);
    }

    #[test]
    fn the_less_loaded_of_two_takes_it() {
        let loads = [9_u64, 1];
        for (first, second) in [(0, 0), (u64::MAX, 0), (0, u64::MAX), (u64::MAX, u64::MAX)] {
            assert_eq!(choose(2, |place| loads[place], first, second), Some(1));
        }
        assert_eq!(choose(1, |_| 0, 3, 3), Some(0));
        assert_eq!(choose(0, |_| 0, 3, 3), None);
    }

    #[test]
    fn every_endpoint_has_its_turn() {
        let mut asked = [0_u32; 5];
        for first in 0..50_u64 {
            for second in 0..50_u64 {
                let spread = |n: u64| n * (u64::MAX / 50) + u64::MAX / 100;
                asked[choose(5, |_| 0, spread(first), spread(second)).unwrap()] += 1;
            }
        }
        assert!(asked.iter().all(|times| *times == 500), "{asked:?}");
    }

    proptest! {
        #[test]
        fn what_is_chosen_is_a_candidate_and_never_the_most_loaded_of_three(
            first: u64, second: u64, loads in proptest::collection::vec(0_u64..1_000, 1..12),
        ) {
            let chosen = choose(loads.len(), |place| loads[place], first, second).unwrap();
            prop_assert!(chosen < loads.len());
            let most = loads.iter().filter(|load| **load >= loads[chosen]).count();
            prop_assert!(loads.len() < 2 || most >= 2, "{loads:?} {chosen}");
        }
    }
}
