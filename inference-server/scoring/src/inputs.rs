//! Inputs that are shared: splitting a long request copies none of them.

use std::ops::Range;
use std::sync::Arc;

use inference_api::Input;

/// Some of the inputs of a request, in their order.
#[derive(Clone, Debug)]
pub struct Inputs {
    all: Arc<[Input]>,
    range: Range<usize>,
    at_once: Option<AtOnce>,
}

/// The most that is asked at once.
#[derive(Clone, Copy, Debug)]
struct AtOnce {
    inputs: usize,
    bytes: usize,
}

impl From<Vec<Input>> for Inputs {
    fn from(inputs: Vec<Input>) -> Self {
        Self {
            range: 0..inputs.len(),
            all: inputs.into(),
            at_once: None,
        }
    }
}

impl Inputs {
    /// The inputs.
    pub fn as_slice(&self) -> &[Input] {
        self.all.get(self.range.clone()).unwrap_or_default()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Place of the first one in the whole request.
    pub const fn first(&self) -> usize {
        self.range.start
    }

    /// The same, of which no more than `inputs` inputs and `bytes` bytes are asked at once: whoever asks
    /// for them does so in [`Self::turns`].
    #[must_use]
    pub fn in_turns(self, inputs: usize, bytes: usize) -> Self {
        Self {
            at_once: Some(AtOnce { inputs, bytes }),
            ..self
        }
    }

    /// The most bytes that are asked at once, where an input alone is not longer.
    pub fn bytes_at_once(&self) -> usize {
        self.at_once.map_or(usize::MAX, |most| most.bytes)
    }

    /// What is asked at once, in its order.
    pub fn turns(&self) -> Vec<Self> {
        match self.at_once {
            Some(AtOnce { inputs, bytes }) => self.parts(inputs, bytes),
            None => vec![self.clone()],
        }
    }

    /// The same in parts of `most` inputs and `bytes` bytes of text at the most; an input that is
    /// longer is a part of its own.
    pub fn parts(&self, most: usize, bytes: usize) -> Vec<Self> {
        let mut parts = Vec::new();
        let (mut start, mut size) = (self.range.start, 0);
        let part = |range: Range<usize>| Self {
            all: self.all.clone(),
            range,
            at_once: None,
        };
        for (input, place) in self.as_slice().iter().zip(self.range.clone()) {
            let full = place - start >= most.max(1) || size + input.bytes() > bytes;
            if place > start && full {
                parts.push(part(start..place));
                (start, size) = (place, 0);
            }
            size += input.bytes();
        }
        if start < self.range.end {
            parts.push(part(start..self.range.end));
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inputs(lengths: &[usize]) -> Inputs {
        let text = |&length: &usize| Input::Text("x".repeat(length));
        lengths.iter().map(text).collect::<Vec<_>>().into()
    }

    proptest! {
        #[test]
        fn parts_are_all_inputs_in_their_order_and_as_large_as_they_may_be(
            lengths in prop::collection::vec(0_usize..50, 0..60),
            most in 1_usize..10,
            bytes in 0_usize..120,
        ) {
            let whole = inputs(&lengths);
            let parts = whole.parts(most, bytes);
            let mut next = 0;
            for part in &parts {
                prop_assert_eq!(part.first(), next);
                prop_assert!(!part.is_empty() && part.len() <= most);
                let size: usize = part.as_slice().iter().map(Input::bytes).sum();
                prop_assert!(size <= bytes || part.len() == 1);
                next += part.len();
            }
            prop_assert_eq!(next, lengths.len());
        }
    }

    #[test]
    fn what_is_asked_in_turns_is_all_of_it_and_what_is_not_is_asked_at_once() {
        let whole = inputs(&[1, 2, 3, 4, 5]);
        assert_eq!(whole.turns().len(), 1);
        let turns = whole.in_turns(2, 1_000).turns();
        let firsts: Vec<_> = turns
            .iter()
            .map(|turn| (turn.first(), turn.len()))
            .collect();
        assert_eq!(firsts, [(0, 2), (2, 2), (4, 1)]);
        assert!(turns.iter().all(|turn| turn.turns().len() == 1));
    }

    #[test]
    fn a_part_is_no_copy() {
        let whole = inputs(&[1, 2, 3]);
        let parts = whole.parts(2, 1_000);
        assert_eq!((parts.len(), parts[1].first()), (2, 2));
        assert!(std::ptr::eq(
            &raw const parts[1].as_slice()[0],
            &raw const whole.as_slice()[2]
        ));
    }
}
