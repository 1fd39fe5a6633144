//! Attention against a naive one in f64, and that the bits of a sequence are its own.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    clippy::single_range_in_vec_init,
    clippy::unwrap_used,
    reason = "rounding is what is tested, small numbers are cut, and what tests are made of may panic"
)]

mod common;

use std::ops::Range;

use common::{Three, bits, near, numbers};
use kernels::{Alone, Attention, Heads, KernelError, Kernels, Pool, Reach, Sequences};
use proptest::prelude::*;

/// Queries, keys and values of some sequences, in one buffer as a fused projection leaves them.
#[derive(Clone, Debug)]
struct Case {
    attention: Attention,
    ends: Vec<usize>,
    fused: Vec<f32>,
}

impl Case {
    fn new(attention: Attention, lengths: &[usize], seed: u64) -> Self {
        let mut ends = Vec::new();
        for length in lengths {
            ends.push(ends.last().copied().unwrap_or(0) + length);
        }
        let tokens = ends.last().copied().unwrap_or(0);
        let fused = numbers(tokens * Self::stride(&attention), seed);
        Self {
            attention,
            ends,
            fused,
        }
    }

    fn stride(attention: &Attention) -> usize {
        (attention.heads + 2 * attention.groups) * attention.width
    }

    fn heads(&self) -> [Heads<'_>; 3] {
        let Attention {
            heads,
            groups,
            width,
            ..
        } = self.attention;
        [0, heads * width, (heads + groups) * width].map(|first| Heads {
            values: &self.fused,
            stride: Self::stride(&self.attention),
            first,
        })
    }

    fn run(&self, kernels: Kernels, pool: &dyn Pool) -> Vec<f32> {
        let [queries, keys, values] = self.heads();
        let mut out = vec![f32::NAN; self.tokens() * self.attention.heads * self.attention.width];
        kernels
            .attention(
                pool,
                &self.attention,
                &self.ends,
                queries,
                keys,
                values,
                &mut out,
            )
            .unwrap();
        out
    }

    fn tokens(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The sequence `start..end` by itself.
    fn cut(&self, start: usize, end: usize) -> Self {
        let stride = Self::stride(&self.attention);
        Self {
            attention: self.attention,
            ends: vec![end - start],
            fused: self.fused[start * stride..end * stride].to_vec(),
        }
    }

    fn sees(&self, query: usize, key: usize) -> bool {
        match self.attention.reach {
            Reach::All => true,
            Reach::Causal => key <= query,
            Reach::Window(width) => key <= query && query - key < width,
            Reach::Around(distance) => query.abs_diff(key) <= distance,
        }
    }

    /// Number `i` of head `head` of `token`, of queries (0), keys (1) or values (2).
    fn number(&self, which: usize, token: usize, head: usize, i: usize) -> f64 {
        let heads = self.heads()[which];
        f64::from(
            heads.values[token * heads.stride + heads.first + head * self.attention.width + i],
        )
    }

    /// All scores, softmax, all products.
    fn naive(&self) -> Vec<f64> {
        let attention = &self.attention;
        let mut out = Vec::new();
        let mut start = 0;
        for &end in &self.ends {
            for query in start..end {
                for head in 0..attention.heads {
                    let group = head / (attention.heads / attention.groups);
                    let powers: Vec<f64> = (start..end)
                        .map(|key| {
                            let products = (0..attention.width).map(|i| {
                                self.number(0, query, head, i) * self.number(1, key, group, i)
                            });
                            let mut score = products.sum::<f64>() * f64::from(attention.scale);
                            if let Some(cap) = attention.cap.map(f64::from) {
                                score = (score / cap).tanh() * cap;
                            }
                            if self.sees(query - start, key - start) {
                                score.exp()
                            } else {
                                0.0
                            }
                        })
                        .collect();
                    let total: f64 = powers.iter().sum();
                    for i in 0..attention.width {
                        let mixed: f64 = (start..end)
                            .map(|key| powers[key - start] * self.number(2, key, group, i))
                            .sum();
                        out.push(mixed / total);
                    }
                }
            }
            start = end;
        }
        out
    }
}

fn reach() -> impl Strategy<Value = Reach> {
    prop_oneof![
        Just(Reach::All),
        Just(Reach::Causal),
        (1usize..150).prop_map(Reach::Window),
        (0usize..100).prop_map(Reach::Around),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let lengths = prop::collection::vec(prop_oneof![0usize..20, 60usize..70, 125usize..200], 0..4);
    let shape = (1usize..4, 1usize..4, 1usize..40);
    let cap = prop::option::of(0.5f32..5.0);
    (lengths, shape, 0.1f32..8.0, cap, reach(), any::<u64>()).prop_map(
        |(lengths, (groups, share, width), scale, cap, reach, seed)| {
            let attention = Attention {
                heads: groups * share,
                groups,
                width,
                scale,
                cap,
                reach,
            };
            Case::new(attention, &lengths, seed)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn blocks_give_what_all_pairs_give(case in case()) {
        let expected = case.naive();
        for kernels in Kernels::all() {
            near(kernels, &case.run(kernels, &Alone), &expected)?;
        }
    }

    #[test]
    fn a_sequence_is_the_same_bits_alone_and_in_a_batch_on_any_threads(case in case()) {
        for kernels in Kernels::all() {
            let batch = case.run(kernels, &Three);
            let width = case.attention.heads * case.attention.width;
            let mut start = 0;
            for &end in &case.ends {
                let alone = case.cut(start, end).run(kernels, &Alone);
                prop_assert_eq!(bits(&alone), bits(&batch[start * width..end * width]));
                start = end;
            }
        }
    }

    #[test]
    fn what_comes_later_changes_no_bit_where_it_is_not_seen(case in case(), share in 0.0f64..1.0) {
        prop_assume!(matches!(case.attention.reach, Reach::Causal | Reach::Window(_)));
        let tokens = case.ends.first().copied().unwrap_or(0);
        let cut = (tokens as f64 * share) as usize;
        let width = case.attention.heads * case.attention.width;
        for kernels in Kernels::all() {
            let long = case.cut(0, tokens).run(kernels, &Alone);
            let short = case.cut(0, cut).run(kernels, &Alone);
            prop_assert_eq!(bits(&long[..cut * width]), bits(&short));
        }
    }
}

const PLAIN: Attention = Attention {
    heads: 2,
    groups: 1,
    width: 5,
    scale: 1.0,
    cap: None,
    reach: Reach::Causal,
};

#[test]
fn large_scores_neither_overflow_nor_vanish() {
    for kernels in Kernels::all() {
        let mut case = Case::new(PLAIN, &[150], 1);
        case.fused.iter_mut().for_each(|x| *x *= 1e3);
        let found = case.run(kernels, &Alone);
        assert!(found.iter().all(|x| x.is_finite()));
        let case = Case {
            attention: Attention {
                scale: 0.0,
                ..PLAIN
            },
            ..case
        };
        for (found, expected) in case.run(kernels, &Alone).iter().zip(case.naive()) {
            assert!((f64::from(*found) - expected).abs() < 1e-3);
        }
    }
}

#[test]
fn nan_and_infinity_reach_those_that_see_them_and_no_other_sequence() {
    for kernels in Kernels::all() {
        for bad in [f32::NAN, f32::INFINITY] {
            for place in 0..3 {
                let mut case = Case::new(PLAIN, &[70, 90, 5], 2);
                let first = case.heads()[place].first;
                case.fused[100 * Case::stride(&PLAIN) + first] = bad;
                let found = case.run(kernels, &Alone);
                for (token, row) in found.chunks(10).enumerate() {
                    let known = row.iter().all(|x| x.is_finite());
                    if !(70..160).contains(&token) {
                        assert!(known, "{token}");
                    } else if token == 100 && (bad.is_nan() || place != 1) {
                        // An infinite key may have a score of minus infinity, which weighs nothing.
                        assert!(!known, "{bad} {place}");
                    }
                }
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let x = vec![1.0; 40];
    let run = |attention: Attention, ends: &[usize], first| {
        let heads = Heads {
            values: &x,
            stride: 10,
            first,
        };
        let mut out = vec![0.0; 40];
        Kernels::best().attention(&Alone, &attention, ends, heads, heads, heads, &mut out)
    };
    assert_eq!(run(PLAIN, &[4], 0), Ok(()));
    let refused = |result: Result<(), KernelError>, word: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    };
    refused(
        run(Attention { groups: 3, ..PLAIN }, &[4], 0),
        "cannot share 3",
    );
    refused(
        run(Attention { width: 0, ..PLAIN }, &[4], 0),
        "2 heads of 0",
    );
    refused(
        run(
            Attention {
                reach: Reach::Window(0),
                ..PLAIN
            },
            &[4],
            0,
        ),
        "window of 0",
    );
    refused(run(PLAIN, &[4, 3, 4], 0), "before they begin");
    refused(run(PLAIN, &[5], 0), "asks for 50");
    refused(run(PLAIN, &[4], 1), "more than the 10");
    assert_eq!(
        Kernels::best().attention(
            &Alone,
            &PLAIN,
            &[],
            Heads::alone(&[], 2, 5),
            Heads::alone(&[], 1, 5),
            Heads::alone(&[], 1, 5),
            &mut []
        ),
        Ok(())
    );
}

/// A batch whose sequences begin alike.
struct Batch {
    /// Of each sequence all rows in their order.
    all: Vec<Vec<usize>>,
    ends: Vec<usize>,
    before: Vec<Vec<Range<usize>>>,
}

impl Batch {
    /// Of sequences that have so much of what the one before has, and so much of their own.
    fn of(lengths: &[(usize, usize)]) -> Self {
        let (mut all, mut ends, mut before) = (Vec::<Vec<usize>>::new(), Vec::new(), Vec::new());
        let mut runs: Vec<Range<usize>> = Vec::new();
        let mut end = 0;
        for &(shared, own) in lengths {
            let mut kept = Vec::new();
            let mut left = shared;
            for run in runs {
                let take = run.len().min(left);
                kept.push(run.start..run.start + take);
                left -= take;
            }
            before.push(kept.clone());
            kept.push(end..end + own);
            end += own;
            ends.push(end);
            all.push(kept.iter().cloned().flatten().collect());
            runs = kept;
        }
        Self { all, ends, before }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn sequences_that_begin_alike_have_the_bits_of_each_whole(
        lengths in prop::collection::vec((0usize..150, prop_oneof![0usize..4, 50usize..140]), 1..5),
        groups in 1usize..3,
        together in 1usize..3,
        width in 1usize..20,
        window in prop::option::of(1usize..100),
        seed in any::<u64>(),
    ) {
        let attention = Attention {
            heads: groups * together,
            groups,
            width,
            scale: 0.5,
            cap: None,
            reach: window.map_or(Reach::Causal, Reach::Window),
        };
        let Batch { all, ends, before } = Batch::of(&lengths);
        let tokens = ends.last().copied().unwrap();
        let case = Case::new(attention, &[tokens], seed);
        let (stride, row) = (Case::stride(&attention), attention.heads * width);
        for kernels in Kernels::all() {
            let mut out = vec![f32::NAN; tokens * row];
            let sequences = Sequences { ends: &ends, before: &before };
            kernels.shared_attention(&Three, &attention, sequences, case.heads(), &mut out).unwrap();
            for rows in &all {
                let whole = Case {
                    attention,
                    ends: vec![rows.len()],
                    fused: rows.iter().flat_map(|token| case.fused[token * stride..(token + 1) * stride].to_vec()).collect(),
                };
                let expected = whole.run(kernels, &Alone);
                for (token, expected) in rows.iter().zip(expected.chunks_exact(row)) {
                    prop_assert_eq!(bits(&out[token * row..(token + 1) * row]), bits(expected));
                }
            }
        }
    }
}

#[test]
fn a_shared_beginning_is_refused_where_tokens_look_ahead_or_it_is_not_there() {
    let x = [1.0; 12];
    let heads = Heads {
        values: &x,
        stride: 3,
        first: 0,
    };
    let run = |reach: Reach, before: &[Vec<Range<usize>>]| {
        let attention = Attention {
            heads: 1,
            groups: 1,
            width: 1,
            scale: 1.0,
            cap: None,
            reach,
        };
        let sequences = Sequences {
            ends: &[2, 4],
            before,
        };
        let mut out = [0.0; 4];
        Kernels::best().shared_attention(&Alone, &attention, sequences, [heads; 3], &mut out)
    };
    assert_eq!(run(Reach::Causal, &[vec![], vec![0..2]]), Ok(()));
    for (reach, before) in [
        (Reach::All, vec![vec![], vec![0..2]]),
        (Reach::Causal, vec![vec![]]),
        (Reach::Causal, vec![vec![], vec![3..5]]),
    ] {
        assert!(matches!(run(reach, &before), Err(KernelError::Shape(_))));
    }
}
