//! Texts of every length, in orders that look random: for the tests of bits, here and over HTTP.
#![allow(unreachable_pub, reason = "two crates' tests have it as a module")]

/// 200 texts: answers of people, one word, and three that have to be cut to `longest` words at most.
pub fn texts(pairs: &str, longest: usize) -> Vec<String> {
    let answer = |line| {
        let pair: serde_json::Value = serde_json::from_str(line).unwrap();
        format!("{}\n{}", pair["prompt"], pair["chosen"])
    };
    let mut texts: Vec<String> = pairs.lines().take(196).map(answer).collect();
    texts.push("a".to_owned());
    texts.extend(["word ", "x1 ", "é "].map(|word| word.repeat(longest)));
    texts
}

/// Numbers that look random and are the same in every run.
pub struct Lcg(pub u64);

impl Lcg {
    /// A number below `end`, 0 where that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % end.max(1)
    }

    /// Fisher and Yates' shuffle.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}
