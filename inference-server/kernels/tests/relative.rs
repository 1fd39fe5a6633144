//! Attention with relative positions against a naive one in f64, and that the bits of a sequence are its own.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "small numbers are cut, and what tests are made of may panic"
)]

mod common;

use common::{Three, bits, near, numbers};
use kernels::{Alone, Attention, Heads, Kernels, Pool, Positions, Reach, Relative};
use proptest::prelude::*;

/// Places of a table.
const PLACES: usize = 150;

#[derive(Clone, Debug)]
struct Case {
    attention: Attention,
    lengths: Vec<usize>,
    /// Queries, keys and values, one behind the other in each token.
    fused: Vec<f32>,
    /// Keys and queries of places, where there are.
    tables: [Option<Vec<f32>>; 2],
    places: Vec<u32>,
}

impl Case {
    fn row(&self) -> usize {
        self.attention.heads * self.attention.width
    }

    fn run(&self, kernels: Kernels, pool: &dyn Pool) -> Vec<f32> {
        let (heads, width) = (self.attention.heads, self.attention.width);
        let table = |which: usize| {
            let values = self.tables[which].as_ref()?;
            Some(Positions::new(values, heads, width).unwrap())
        };
        let (keys, queries) = (table(0), table(1));
        let relative = Relative {
            keys: keys.as_ref(),
            queries: queries.as_ref(),
            places: &self.places,
        };
        let mut ends = Vec::new();
        for length in &self.lengths {
            ends.push(ends.last().copied().unwrap_or(0) + length);
        }
        let inputs = [0, 1, 2].map(|part| Heads {
            values: &self.fused,
            stride: 3 * self.row(),
            first: part * self.row(),
        });
        let mut out = vec![f32::NAN; self.fused.len() / 3];
        let how = (&self.attention, &relative);
        kernels
            .relative_attention(pool, how, &ends, inputs, &mut out)
            .unwrap();
        out
    }

    fn head<'a>(&self, values: &'a [f32], row: usize, head: usize) -> &'a [f32] {
        let start = row + head * self.attention.width;
        &values[start..start + self.attention.width]
    }

    /// All scores, softmax, all products.
    fn naive(&self) -> Vec<f64> {
        let of = |token: usize, part: usize, head: usize| {
            self.head(&self.fused, (3 * token + part) * self.row(), head)
        };
        let mut out = vec![0.0; self.fused.len() / 3];
        let mut start = 0;
        for length in &self.lengths {
            for query in start..start + length {
                for head in 0..self.attention.heads {
                    let powers: Vec<f64> = (start..start + length)
                        .map(|key| {
                            let place = self.places[self.places.len() / 2 + query - key] as usize;
                            let mut score = dot(of(query, 0, head), of(key, 1, head));
                            if let Some(keys) = &self.tables[0] {
                                let there = self.head(keys, place * self.row(), head);
                                score += dot(of(query, 0, head), there);
                            }
                            if let Some(queries) = &self.tables[1] {
                                let there = self.head(queries, place * self.row(), head);
                                score += dot(of(key, 1, head), there);
                            }
                            (score * f64::from(self.attention.scale)).exp()
                        })
                        .collect();
                    let total: f64 = powers.iter().sum();
                    for i in 0..self.attention.width {
                        let mixed = (powers.iter().enumerate())
                            .map(|(key, power)| power * f64::from(of(start + key, 2, head)[i]));
                        let place = query * self.row() + head * self.attention.width + i;
                        out[place] = mixed.sum::<f64>() / total;
                    }
                }
            }
            start += length;
        }
        out
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    products.sum()
}

fn case() -> impl Strategy<Value = Case> {
    let length = prop_oneof![0usize..20, 60usize..70, 180usize..210];
    let lengths = prop::collection::vec(length, 0..4);
    let tables = (any::<bool>(), any::<bool>());
    (lengths, 1usize..4, 1usize..40, tables, any::<u64>()).prop_map(
        |(lengths, heads, width, (keys, queries), seed)| {
            let longest = lengths.iter().copied().max().unwrap_or(0).max(1) as i64;
            let row = heads * width;
            let table = |there: bool, seed| there.then(|| numbers(PLACES * row, seed));
            // Near distances have a place each, and all that are further share the last.
            let half = PLACES as i64 / 2;
            let place = |distance: i64| (distance + half).clamp(0, PLACES as i64 - 1);
            Case {
                attention: Attention {
                    heads,
                    groups: heads,
                    width,
                    scale: 0.5,
                    cap: None,
                    reach: Reach::All,
                },
                fused: numbers(lengths.iter().sum::<usize>() * 3 * row, seed),
                lengths,
                tables: [table(keys, seed ^ 1), table(queries, seed ^ 2)],
                places: (1 - longest..longest)
                    .map(|distance| u32::try_from(place(distance)).unwrap())
                    .collect(),
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn blocks_give_what_all_pairs_and_their_distances_give(case in case()) {
        let expected = case.naive();
        for kernels in Kernels::all() {
            near(kernels, &case.run(kernels, &Alone), &expected)?;
        }
    }

    #[test]
    fn a_sequence_is_the_same_bits_alone_and_in_a_batch_on_any_threads(case in case()) {
        for kernels in Kernels::all() {
            let batch = case.run(kernels, &Three);
            let (row, mut start) = (case.row(), 0);
            for length in &case.lengths {
                let end = start + length;
                // Its places are those of its own length, and lie elsewhere in the table of a longer one.
                let spare = case.places.len() / 2 + 1 - (*length).max(1);
                let alone = Case {
                    lengths: vec![*length],
                    fused: case.fused[start * 3 * row..end * 3 * row].to_vec(),
                    places: case.places[spare..case.places.len() - spare].to_vec(),
                    ..case.clone()
                };
                prop_assert_eq!(bits(&alone.run(kernels, &Alone)), bits(&batch[start * row..end * row]));
                start = end;
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let x = vec![1.0; 4 * 6];
    let heads = Heads {
        values: &x,
        stride: 6,
        first: 0,
    };
    let plain = Attention {
        heads: 2,
        groups: 2,
        width: 3,
        scale: 1.0,
        cap: None,
        reach: Reach::All,
    };
    let table = Positions::new(&[0.0; 5 * 6], 2, 3).unwrap();
    let run = |attention: Attention, places: &[u32]| {
        let relative = Relative {
            keys: Some(&table),
            queries: None,
            places,
        };
        let mut out = vec![0.0; 24];
        Kernels::best()
            .relative_attention(&Alone, (&attention, &relative), &[4], [heads; 3], &mut out)
            .map_err(|error| error.to_string())
    };
    assert_eq!(run(plain, &[0, 1, 2, 3, 4, 4, 4]), Ok(()));
    let refused = |result: Result<(), String>, word: &str| {
        let message = result.unwrap_err();
        assert!(message.contains(word), "{message}");
    };
    refused(run(plain, &[0, 1, 2]), "3 places of distances");
    refused(run(plain, &[0, 1, 2, 3, 4, 4, 5]), "not more than 5");
    let causal = Attention {
        reach: Reach::Causal,
        ..plain
    };
    refused(run(causal, &[0, 1, 2, 3, 4, 4, 4]), "see all");
    assert!(Positions::new(&[0.0; 7], 2, 3).is_err());
}
