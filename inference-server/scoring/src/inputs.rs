//! Inputs that are shared: splitting a long request copies none of them.

use std::ops::Range;
use std::sync::Arc;

use inference_api::Input;

/// Some of the inputs of a request, in their order.
#[derive(Clone, Debug)]
pub struct Inputs {
    all: Arc<[Input]>,
    range: Range<usize>,
}

impl From<Vec<Input>> for Inputs {
    fn from(inputs: Vec<Input>) -> Self {
        Self {
            range: 0..inputs.len(),
            all: inputs.into(),
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

    /// The same in parts of `most` inputs and `bytes` bytes of text at the most; an input that is
    /// longer is a part of its own.
    pub fn parts(&self, most: usize, bytes: usize) -> Vec<Self> {
        let mut parts = Vec::new();
        let (mut start, mut size) = (self.range.start, 0);
        let part = |range: Range<usize>| Self {
            all: self.all.clone(),
            range,
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
