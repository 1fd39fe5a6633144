//! What the routers did, and when: from reports to two durations.
//!
//! Invariant: a router counts as without share only while its last report says so.

use std::collections::{BTreeMap, BTreeSet};

use crate::faulty::Moment;

/// What one router did with the canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// When that was heard.
    pub(super) at: Moment,
    /// Which router.
    pub(super) router: usize,
    /// Hundredths of a percent.
    pub(super) share: u16,
    /// When it cut the canary off by itself, if it did.
    pub(super) cut: Option<Moment>,
}

/// All that was seen of one canary, in the order of time.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    pub(super) seen: Vec<Seen>,
    /// When a table without a share for it was seen.
    pub(super) decided: Option<Moment>,
    /// Why routers cut it off by themselves.
    pub(super) causes: BTreeSet<String>,
}

impl Timeline {
    /// The first moment, not before `from`, at which none of so many routers has a share.
    pub(super) fn gone(&self, routers: usize, from: Moment) -> Option<Moment> {
        let mut now = BTreeMap::new();
        self.seen.iter().find_map(|seen| {
            now.insert(seen.router, seen.share);
            let all = now.len() == routers && now.values().all(|share| *share == 0);
            (all && seen.at >= from).then_some(seen.at)
        })
    }

    /// When the first one that decides had decided: a router, or whoever writes the table.
    pub(super) fn first_decision(&self, from: Moment) -> Option<Moment> {
        let after = |at: &Moment| *at >= from;
        let own = self.seen.iter().filter_map(|seen| seen.cut);
        let zero = self.seen.iter().filter(|seen| seen.share == 0);
        own.chain(self.decided)
            .chain(zero.map(|seen| seen.at))
            .filter(after)
            .min()
    }

    /// Whether any router gave it a share again.
    pub(super) fn came_back(&self, gone: Moment) -> bool {
        self.seen
            .iter()
            .any(|seen| seen.at > gone && seen.share > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(at: u64, router: usize, share: u16) -> Seen {
        Seen {
            at: Moment(at),
            router,
            share,
            cut: None,
        }
    }

    fn timeline(seen: &[Seen]) -> Timeline {
        Timeline {
            seen: seen.to_vec(),
            ..Timeline::default()
        }
    }

    #[test]
    fn it_is_gone_once_it_is_gone_from_every_router() {
        let both = [seen(1, 0, 25), seen(2, 1, 25), seen(5, 0, 0), seen(7, 1, 0)];
        assert_eq!(timeline(&both).gone(2, Moment(3)), Some(Moment(7)));
        assert_eq!(timeline(&both).gone(3, Moment(3)), None);
        let back = [seen(1, 0, 0), seen(2, 0, 25), seen(3, 1, 0), seen(4, 0, 0)];
        assert_eq!(timeline(&back).gone(2, Moment(0)), Some(Moment(4)));
        assert!(timeline(&back).came_back(Moment(1)));
        assert!(!timeline(&back).came_back(Moment(4)));
    }

    #[test]
    fn the_first_decision_is_whoever_s_it_was() {
        let mut both = timeline(&[seen(1, 0, 25), seen(6, 0, 0), seen(7, 1, 0)]);
        assert_eq!(both.first_decision(Moment(2)), Some(Moment(6)));
        both.decided = Some(Moment(5));
        assert_eq!(both.first_decision(Moment(2)), Some(Moment(5)));
        both.seen[1].cut = Some(Moment(4));
        assert_eq!(both.first_decision(Moment(2)), Some(Moment(4)));
        assert_eq!(both.first_decision(Moment(8)), None);
    }
}
