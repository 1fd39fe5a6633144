//! Whole moves in a cluster that has as many places as it may take, one plan after another.

use proptest::prelude::*;
use rstest::rstest;

use super::*;

/// A cluster with `places`, in which pods become ready one round after they have a place.
struct Cluster {
    limits: Limits,
    places: i32,
    incoming: Side,
    outgoing: Side,
    weight: Percent,
    applied: Percent,
    trace: Vec<String>,
}

#[derive(Clone, Copy, Default)]
struct Side {
    wanted: i32,
    placed: i32,
    ready: i32,
}

impl Cluster {
    fn new(replicas: i32, surge: i32, min_available: i32, places: i32) -> Self {
        let limits = Limits {
            replicas,
            surge,
            min_available,
            warm: 0,
        };
        Self {
            limits,
            places,
            incoming: Side::default(),
            outgoing: Side {
                wanted: replicas,
                placed: replicas,
                ready: replicas,
            },
            weight: Percent::NONE,
            applied: Percent::NONE,
            trace: Vec::new(),
        }
    }

    fn plan(&self, goal: Percent) -> Option<Shift> {
        let pods = |side: &Side| Pods {
            wanted: side.wanted,
            made: side.wanted,
            ready: side.ready,
            over_quota: false,
        };
        let moving = Move {
            incoming: pods(&self.incoming),
            outgoing: pods(&self.outgoing),
            goal,
            commanded: self.weight,
            leaves: goal == Percent::ALL,
            applied: self.applied,
        };
        shift(&self.limits, &moving)
    }

    /// One round; answers whether something changed.
    fn round(&mut self, goal: Percent) -> bool {
        let before = (
            self.incoming.wanted,
            self.outgoing.wanted,
            self.weight,
            self.applied,
            self.incoming.ready,
        );
        let Some(next) = self.plan(goal) else {
            return false;
        };
        self.applied = self.weight;
        self.weight = next.weight;
        self.incoming.wanted = next.incoming;
        self.outgoing.wanted = next.outgoing;
        self.outgoing.placed = self.outgoing.placed.min(next.outgoing);
        self.outgoing.ready = self.outgoing.ready.min(next.outgoing);
        self.incoming.ready = self.incoming.placed.min(next.incoming);
        self.incoming.placed = next.incoming.min(self.places - self.outgoing.placed);
        self.outgoing.placed = next.outgoing.min(self.places - self.incoming.placed);
        self.outgoing.ready = self.outgoing.placed;
        let line = format!(
            "{} new, {} old: {}",
            self.incoming.wanted, self.outgoing.wanted, self.weight
        );
        if self.trace.last() != Some(&line) {
            self.trace.push(line);
        }
        before
            != (
                self.incoming.wanted,
                self.outgoing.wanted,
                self.weight,
                self.applied,
                self.incoming.ready,
            )
    }

    fn go(&mut self, goal: i32) {
        let goal = Percent::clamped(goal);
        for _ in 0..200 {
            if !self.round(goal) {
                return;
            }
        }
        panic!("it goes on for ever: {:?}", self.trace);
    }
}

#[test]
fn the_worked_table() {
    let mut table: Vec<String> = Vec::new();
    for (replicas, surge) in [(1, 0), (1, 1), (2, 0), (2, 1), (4, 0), (4, 1), (10, 2)] {
        let least = (replicas + 1) / 2;
        let mut cluster = Cluster::new(replicas, surge, least, replicas + surge);
        for goal in [10, 50, 100] {
            cluster.go(goal);
        }
        table.push(format!(
            "{replicas} replicas, surge {surge}, {least} available"
        ));
        if cluster.trace.is_empty() {
            table.push("  no legal path".to_owned());
        }
        for line in &cluster.trace {
            table.push(format!("  {line}"));
        }
    }
    insta::assert_snapshot!(table.join("\n"));
}

#[rstest]
#[case::borrows_what_must_serve(1, 0, 1)]
#[case::all_must_serve(4, 0, 4)]
fn where_no_path_is_legal_nothing_is_touched(#[case] r: i32, #[case] s: i32, #[case] m: i32) {
    assert_eq!(
        Cluster::new(r, s, m, r + s).plan(Percent::clamped(10)),
        None
    );
}

#[test]
fn a_pod_stands_in_line_before_another_gives_up_its_place() {
    let cluster = Cluster::new(2, 0, 1, 2);
    let limits = cluster.limits;
    let mut moving = Move {
        incoming: Pods::default(),
        outgoing: Pods {
            wanted: 2,
            made: 2,
            ready: 2,
            over_quota: false,
        },
        goal: Percent::clamped(50),
        commanded: Percent::NONE,
        applied: Percent::NONE,
        leaves: false,
    };
    let first = shift(&limits, &moving).unwrap();
    assert_eq!((first.incoming, first.outgoing), (1, 2));
    moving.incoming = Pods {
        wanted: 1,
        made: 1,
        ready: 0,
        over_quota: false,
    };
    let second = shift(&limits, &moving).unwrap();
    assert_eq!((second.incoming, second.outgoing), (1, 1));
    // A quota of two keeps it out of the line: the place comes first.
    moving.incoming = Pods {
        wanted: 1,
        made: 0,
        ready: 0,
        over_quota: true,
    };
    assert_eq!(shift(&limits, &moving).unwrap().outgoing, 1);
}

#[test]
fn until_it_is_promoted_all_traffic_leaves_the_old_revision_what_it_may_have() {
    for (surge, kept) in [(0, 1), (1, 1), (2, 2)] {
        let limits = Cluster::new(4, surge, 2, 8).limits;
        let pods = |count| Pods {
            wanted: count,
            made: count,
            ready: count,
            over_quota: false,
        };
        let moving = Move {
            incoming: pods(limits.most()),
            outgoing: pods(kept),
            goal: Percent::ALL,
            commanded: Percent::ALL,
            applied: Percent::ALL,
            leaves: false,
        };
        assert_eq!(
            shift(&limits, &moving).unwrap().outgoing,
            kept,
            "surge {surge}"
        );
    }
}

#[test]
fn where_the_old_revision_is_down_the_new_one_gets_what_it_is_to_have() {
    let cluster = Cluster::new(4, 1, 2, 5);
    let moving = Move {
        incoming: Pods {
            wanted: 4,
            made: 4,
            ready: 1,
            over_quota: false,
        },
        outgoing: Pods {
            wanted: 2,
            made: 2,
            ready: 0,
            over_quota: false,
        },
        goal: Percent::ALL,
        commanded: Percent::clamped(10),
        applied: Percent::clamped(10),
        leaves: false,
    };
    assert_eq!(
        shift(&cluster.limits, &moving).unwrap().weight,
        Percent::ALL
    );
}

fn sizes() -> impl Strategy<Value = (i32, i32, i32, i32)> {
    (1..12_i32, 0..4_i32).prop_flat_map(|(replicas, surge)| {
        let most = if surge == 0 { replicas - 1 } else { replicas };
        (Just(replicas), Just(surge), 0..=most.max(0), 0..3_i32)
    })
}

proptest! {
    /// At any size a move arrives, and on its way no promise is broken.
    #[test]
    fn every_legal_move_arrives_and_keeps_what_was_promised(
        (replicas, surge, least, more) in sizes(),
        goals in prop::collection::btree_set(1..=100_i32, 1..4),
    ) {
        prop_assume!(replicas + surge > 1);
        let mut cluster = Cluster::new(replicas, surge, least, replicas + surge + more);
        for goal in goals {
            let goal = Percent::clamped(goal);
            for round in 0.. {
                prop_assert!(round < 200, "never arrives: {:?}", cluster.trace);
                let weight = cluster.weight;
                let carried = cluster.limits.carried(cluster.incoming.ready);
                let moved = cluster.round(goal);
                prop_assert!(cluster.weight >= weight, "a weight fell");
                prop_assert!(cluster.weight <= weight.max(carried), "traffic came before its pods");
                prop_assert!(cluster.incoming.ready + cluster.outgoing.ready >= least, "{:?}", cluster.trace);
                prop_assert!(cluster.applied == Percent::ALL || cluster.outgoing.wanted >= 1);
                if !moved {
                    break;
                }
            }
            prop_assert_eq!(cluster.weight, goal);
            prop_assert!(cluster.incoming.ready >= cluster.limits.need(goal).min(cluster.limits.most()));
            prop_assert!(cluster.incoming.wanted + cluster.outgoing.wanted <= replicas + surge);
        }
    }

    /// From any state, however it came about, a plan asks for no more places than there may be.
    #[test]
    fn no_plan_takes_more_than_its_room(
        (replicas, surge, least, _) in sizes(),
        ready in (0..14_i32, 0..14_i32),
        shares in (0..=100_i32, 0..=100_i32, 0..=100_i32),
    ) {
        prop_assume!(replicas + surge > 1);
        let limits = Limits { replicas, surge, min_available: least, warm: 0 };
        let pods = |ready| Pods { wanted: ready, made: i32::MAX, ready, over_quota: false };
        let moving = Move {
            incoming: pods(ready.0),
            outgoing: pods(ready.1),
            goal: Percent::clamped(shares.0.max(shares.1)),
            commanded: Percent::clamped(shares.1),
            applied: Percent::clamped(shares.2),
            leaves: shares.0 == 100,
        };
        if let Some(next) = shift(&limits, &moving) {
            prop_assert!(next.incoming + next.outgoing <= replicas + surge);
            let stays = next.outgoing.min(ready.1) + next.incoming.min(ready.0);
            prop_assert!(stays >= least.min(ready.0.min(next.incoming) + ready.1).min(replicas), "{next:?}");
        }
    }
}
