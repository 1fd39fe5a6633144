//! Who owns which of the 10,000 slots that users hash to.
//!
//! Owns how weights become slots, how much of them is used, and what moves when variants come or go. It must
//! not know users. Invariants: each variant owns as many slots as its weight is, to less than one; more
//! coverage takes users from outside the experiment alone; where variants come or go, no slot changes hands
//! that need not.

use crds::v1alpha1::ab_experiment::status::SlotRange;
use stats::{Allocation, Range, SLOTS};

use super::spec::Variant;

/// Who owns what, at full coverage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    ranges: Vec<SlotRange>,
}

/// Half-open ranges of slots.
pub type Ranges = Vec<(u16, u16)>;

/// The slots of each weight: whole numbers with the sum 10,000, by largest remainder; of equal remainders the
/// first. Nothing where all weights are 0.
pub fn parts(weights: &[u32]) -> Vec<u16> {
    let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    if sum == 0 {
        return vec![0; weights.len()];
    }
    let whole = u64::from(SLOTS);
    let exact = |weight: &u32| u64::from(*weight) * whole;
    let mut parts: Vec<u64> = weights.iter().map(|weight| exact(weight) / sum).collect();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|index| {
        let remainder = weights.get(*index).map_or(0, |weight| exact(weight) % sum);
        (std::cmp::Reverse(remainder), *index)
    });
    let mut left = whole.saturating_sub(parts.iter().sum());
    for index in order {
        if left == 0 {
            break;
        }
        if let Some(part) = parts.get_mut(index) {
            *part += 1;
            left -= 1;
        }
    }
    let slot = |part: u64| u16::try_from(part).unwrap_or(SLOTS);
    parts.into_iter().map(slot).collect()
}

impl Slots {
    /// Those of a new experiment.
    pub fn new(variants: &[Variant]) -> Self {
        let allocation = Allocation::initial(&targets(variants), SLOTS).unwrap_or_default();
        Self::of(&allocation, variants)
    }

    /// As a status has them; `None` where they overlap or are out of range.
    pub fn read(ranges: &[SlotRange]) -> Option<Self> {
        let mut end = 0;
        for range in ranges {
            if range.from < end || range.to <= range.from || range.to > i32::from(SLOTS) {
                return None;
            }
            end = range.to;
        }
        Some(Self {
            ranges: ranges.to_vec(),
        })
    }

    /// As a status has them.
    pub fn ranges(&self) -> &[SlotRange] {
        &self.ranges
    }

    /// With these variants: those that are gone give their slots up, and the others get what their weights
    /// are, with the fewest users moved (stats.md 5, `reallocate`).
    #[must_use]
    pub fn dealt_anew(&self, variants: &[Variant]) -> Self {
        let place = |name: &str| variants.iter().position(|one| one.name == name);
        let kept = self.ranges.iter().filter_map(|range| {
            Some(Range {
                from: slot(range.from),
                to: slot(range.to),
                variant: place(&range.variant)?,
            })
        });
        let next = Allocation::new(kept.collect())
            .and_then(|allocation| allocation.reallocate(&targets(variants)));
        next.map_or_else(
            || Self::new(variants),
            |allocation| Self::of(&allocation, variants),
        )
    }

    fn of(allocation: &Allocation, variants: &[Variant]) -> Self {
        let ranges = allocation.ranges().iter().filter_map(|range| {
            Some(SlotRange {
                variant: variants.get(range.variant)?.name.clone(),
                from: range.from.into(),
                to: range.to.into(),
            })
        });
        Self {
            ranges: ranges.collect(),
        }
    }

    /// How many slots a variant owns.
    pub fn owned(&self, variant: &str) -> u16 {
        count(self.of_variant(variant))
    }

    /// Those of a variant that are used: the lowest ones, as many as `coverage` (in hundredths of a percent)
    /// is of them.
    pub fn used(&self, variant: &str, coverage: u16) -> Ranges {
        let owned = u32::from(self.owned(variant));
        let used = owned * u32::from(coverage.min(SLOTS)) / u32::from(SLOTS);
        let mut left = u16::try_from(used).unwrap_or(SLOTS);
        let mut ranges = Ranges::new();
        for (from, to) in self.of_variant(variant) {
            let taken = left.min(to - from);
            if taken > 0 {
                ranges.push((from, from + taken));
            }
            left -= taken;
        }
        ranges
    }

    fn of_variant(&self, variant: &str) -> impl Iterator<Item = (u16, u16)> {
        let own = self
            .ranges
            .iter()
            .filter(move |range| range.variant == variant);
        own.map(|range| (slot(range.from), slot(range.to)))
            .filter(|(from, to)| from < to)
    }
}

/// Slots in ranges.
pub fn count(ranges: impl IntoIterator<Item = (u16, u16)>) -> u16 {
    let sizes = ranges.into_iter().map(|(from, to)| to.saturating_sub(from));
    sizes.fold(0, u16::saturating_add)
}

fn targets(variants: &[Variant]) -> Vec<u16> {
    let weights: Vec<u32> = variants.iter().map(|one| one.weight).collect();
    parts(&weights)
}

fn slot(number: i32) -> u16 {
    u16::try_from(number).unwrap_or(0).min(SLOTS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variants(weights: &[u32]) -> Vec<Variant> {
        let one = |(index, weight): (usize, &u32)| Variant {
            name: format!("v{index}"),
            model: format!("m{index}"),
            weight: *weight,
        };
        weights.iter().enumerate().map(one).collect()
    }

    fn owner(slots: &Slots, coverage: u16, slot: u16) -> Option<String> {
        let names = ["v0", "v1", "v2", "v3"].into_iter();
        let mut owners = names.filter(|name| {
            slots
                .used(name, coverage)
                .iter()
                .any(|(from, to)| (*from..*to).contains(&slot))
        });
        owners.next().map(str::to_owned)
    }

    #[test]
    fn weights_become_slots_by_largest_remainder() {
        for (weights, slots) in [
            (&[1, 1][..], &[5000, 5000][..]),
            (&[1, 1, 1], &[3334, 3333, 3333]),
            (&[1, 19], &[500, 9500]),
            (&[2, 1, 4], &[2857, 1429, 5714]),
            (&[0, 0], &[0, 0]),
        ] {
            assert_eq!(parts(weights), slots);
        }
    }

    #[test]
    fn a_variant_that_leaves_gives_its_slots_up_and_one_that_comes_takes_what_is_free_first() {
        let before = Slots::new(&variants(&[1, 1, 1]));
        let two = before.dealt_anew(&variants(&[1, 1]));
        // v2 is gone: v0 and v1 keep all of theirs.
        for slot in 0..6667 {
            assert_eq!(owner(&two, SLOTS, slot), owner(&before, SLOTS, slot));
        }
        assert_eq!((two.owned("v0"), two.owned("v1")), (5000, 5000));
    }

    #[test]
    fn slots_that_overlap_are_not_read() {
        let range = |from, to| SlotRange {
            variant: "v0".to_owned(),
            from,
            to,
        };
        assert_eq!(Slots::read(&[range(0, 10), range(9, 20)]), None);
        assert_eq!(Slots::read(&[range(0, 10_001)]), None);
        assert_eq!(Slots::read(&[range(5, 5)]), None);
        let slots = Slots::new(&variants(&[1, 2]));
        assert_eq!(Slots::read(slots.ranges()), Some(slots));
    }

    proptest! {
        /// wasabi#157, eppo-docs#672: up, down and up again.
        #[test]
        fn a_ramp_in_any_order_moves_nobody_between_arms(
            weights in prop::collection::vec(1..1000_u32, 2..5),
            ramp in prop::collection::vec(0..=100_u16, 1..6),
            slot in 0..SLOTS,
        ) {
            let slots = Slots::new(&variants(&weights));
            let whole = owner(&slots, SLOTS, slot);
            prop_assert!(whole.is_some());
            let (mut low, mut high): (Option<u16>, Option<u16>) = (None, None);
            for coverage in ramp.into_iter().map(|percent| percent * 100) {
                match owner(&slots, coverage, slot) {
                    Some(owner) => {
                        prop_assert_eq!(Some(owner), whole.clone());
                        low = Some(low.map_or(coverage, |low| low.min(coverage)));
                    }
                    None => high = Some(high.map_or(coverage, |high| high.max(coverage))),
                }
            }
            // More coverage never puts anybody out.
            if let (Some(low), Some(high)) = (low, high) {
                prop_assert!(high < low);
            }
        }

        #[test]
        fn all_slots_are_owned_in_the_parts_of_the_weights(weights in prop::collection::vec(1..1000_u32, 2..5)) {
            let slots = Slots::new(&variants(&weights));
            let sum: u32 = weights.iter().sum();
            let mut whole = 0;
            for (index, weight) in weights.iter().enumerate() {
                let owned = slots.owned(&format!("v{index}"));
                whole += u32::from(owned);
                let exact = f64::from(*weight) * 10_000.0 / f64::from(sum);
                prop_assert!((f64::from(owned) - exact).abs() < 1.0);
            }
            prop_assert_eq!(whole, 10_000);
        }

        #[test]
        fn who_stays_in_an_arm_that_only_shrinks_or_only_grows_is_moved_as_little_as_can_be(
            before in prop::collection::vec(1..100_u32, 2..5),
            after in prop::collection::vec(1..100_u32, 2..5),
        ) {
            let first = Slots::new(&variants(&before));
            let then = first.dealt_anew(&variants(&after));
            let mut gains = 0;
            for index in 0..4 {
                let name = format!("v{index}");
                gains += i32::from(then.owned(&name)).saturating_sub(i32::from(first.owned(&name))).max(0);
            }
            let moved = (0..SLOTS).filter(|slot| owner(&first, SLOTS, *slot) != owner(&then, SLOTS, *slot)).count();
            prop_assert_eq!(i32::try_from(moved).unwrap(), gains);
        }
    }
}
