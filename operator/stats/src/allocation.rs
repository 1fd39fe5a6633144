//! Which variant owns which of the 10,000 slots that users hash to.
//!
//! Owns allocations and how they change with the fewest users moved. It must not know how a user gets
//! its slot. Invariant: ranges are not empty, ascend, and do not overlap; a slot that nobody owns is
//! control's, outside the experiment.

/// All slots.
pub const SLOTS: u16 = 10_000;

/// Slots from `from` to before `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub from: u16,
    /// The first after.
    pub to: u16,
    /// The owner, by index.
    pub variant: usize,
}

/// Who owns what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocation {
    ranges: Vec<Range>,
}

impl Allocation {
    /// `None` unless the ranges are as the invariant says.
    pub fn new(ranges: Vec<Range>) -> Option<Self> {
        let mut end = 0;
        for range in &ranges {
            if range.from < end || range.to <= range.from || range.to > SLOTS {
                return None;
            }
            end = range.to;
        }
        Some(Self { ranges })
    }

    /// That of a new experiment (stats.md 5, `initial_allocation` of the reference): each variant has the
    /// slots that its weight is, and uses the left part of them that `coverage` is, so that more coverage
    /// moves nobody from one arm to another. All in hundredths of a percent; `None` where the weights are
    /// more than the whole, or coverage is.
    pub fn initial(weights: &[u16], coverage: u16) -> Option<Self> {
        let mut ranges = Vec::with_capacity(weights.len());
        let mut from: u16 = 0;
        for (variant, weight) in weights.iter().enumerate() {
            let next = from.checked_add(*weight).filter(|next| *next <= SLOTS)?;
            let part = u32::from(*weight) * u32::from(coverage) / u32::from(SLOTS);
            let used = u16::try_from(part).ok()?;
            if used > 0 {
                ranges.push(Range {
                    from,
                    to: from.checked_add(used)?,
                    variant,
                });
            }
            from = next;
        }
        (coverage <= SLOTS).then_some(Self { ranges })
    }

    /// Its ranges.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// Who owns the slot. `None` is control, outside the experiment.
    pub fn owner(&self, slot: u16) -> Option<usize> {
        let mut ranges = self.ranges.iter();
        let range = ranges.find(|range| (range.from..range.to).contains(&slot))?;
        Some(range.variant)
    }

    /// With as many slots for each variant as it is given (`reallocate` of the reference): those that
    /// shrink give up their highest slots, those that grow take free ones, the lowest first. No user is
    /// moved that need not be. `None` where more slots are wanted than there are, or an owner has no
    /// target.
    pub fn reallocate(&self, targets: &[u16]) -> Option<Self> {
        let mut wanted: u16 = 0;
        for target in targets {
            wanted = wanted.checked_add(*target)?;
        }
        let known = self
            .ranges
            .iter()
            .all(|range| range.variant < targets.len());
        if wanted > SLOTS || !known {
            return None;
        }
        // Each variant keeps its lowest slots, as many as it is given.
        let mut left = targets.to_vec();
        let mut owners: Vec<Option<usize>> = (0..SLOTS)
            .map(|slot| {
                let variant = self.owner(slot)?;
                let more = left.get_mut(variant)?;
                *more = more.checked_sub(1)?;
                Some(variant)
            })
            .collect();
        let mut free = owners.iter_mut().filter(|owner| owner.is_none());
        for (variant, more) in left.iter().enumerate() {
            for owner in free.by_ref().take(usize::from(*more)) {
                *owner = Some(variant);
            }
        }
        Some(Self::of(&owners))
    }

    fn of(owners: &[Option<usize>]) -> Self {
        let mut ranges: Vec<Range> = Vec::new();
        for (slot, owner) in (0..SLOTS).zip(owners) {
            let Some(variant) = *owner else { continue };
            match ranges.last_mut() {
                Some(last) if last.variant == variant && last.to == slot => last.to = slot + 1,
                Some(_) | None => ranges.push(Range {
                    from: slot,
                    to: slot + 1,
                    variant,
                }),
            }
        }
        Self { ranges }
    }
}
