//! How much one request may hold.

use crate::Problem;

/// How much one request may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Unicode scalars of one string.
    pub max_characters: usize,
    /// Items of one batch.
    pub max_batch: usize,
}

impl Limits {
    /// None but those of memory: for files on one's own machine.
    pub const UNLIMITED: Self = Self {
        max_characters: usize::MAX,
        max_batch: usize::MAX,
    };

    /// The same for texts that are cut to a number of tokens: one of them may be as long as all the
    /// texts of a request together.
    #[must_use]
    pub const fn of_cut_texts(self) -> Self {
        Self {
            max_characters: self.together(),
            max_batch: self.max_batch,
        }
    }

    /// Unicode scalars of all the strings of a batch.
    const fn together(self) -> usize {
        self.max_characters.saturating_mul(self.max_batch)
    }

    /// Checks what a request holds in all, where each string counts as often as it is scored: a prompt
    /// does so with each of its answers. Texts that are cut have no other bound.
    ///
    /// # Errors
    /// 422 when it is more than a batch of the longest strings would hold.
    pub fn check_together<'a>(
        &self,
        texts: impl Iterator<Item = (&'a str, usize)> + Clone,
    ) -> Result<(), Problem> {
        let sum = |count: fn(&str) -> usize| {
            let mut all = texts.clone();
            all.try_fold(0_usize, |sum, (text, times)| {
                sum.checked_add(count(text).checked_mul(times)?)
            })
        };
        let most = self.together();
        let fits = |sum: Option<usize>| sum.is_some_and(|sum| sum <= most);
        // Bytes are an upper bound of characters, and known without a count.
        if fits(sum(str::len)) || fits(sum(|text| text.chars().count())) {
            return Ok(());
        }
        Err(Problem::unprocessable(format!(
            "the texts have more than {most} characters in all, where a prompt counts with each of its answers: cut them before they are sent, or send several requests"
        )))
    }

    /// Checks one string of the field `name`.
    ///
    /// # Errors
    /// 422 when it is too long.
    pub fn check_text(&self, name: &str, text: &str) -> Result<(), Problem> {
        // Bytes are an upper bound of characters, and known without a count.
        if text.len() > self.max_characters {
            let characters = text.chars().count();
            if characters > self.max_characters {
                return Err(Problem::unprocessable(format!(
                    "{name} has {characters} characters, {} are allowed: shorten it, or raise --max-characters (of a RewardModel: traffic.limits.maxCharacters)",
                    self.max_characters
                )));
            }
        }
        Ok(())
    }

    /// Checks the number of items of the field `name`.
    ///
    /// # Errors
    /// 422 when there are none, or too many.
    pub fn check_batch(&self, name: &str, items: usize) -> Result<(), Problem> {
        if items == 0 {
            Err(Problem::unprocessable(format!(
                "{name} is empty: send at least one item"
            )))
        } else if items > self.max_batch {
            Err(Problem::unprocessable(format!(
                "{name} has {items} items, {} are allowed: send several requests, or raise --max-batch (of a RewardModel: traffic.limits.maxBatch)",
                self.max_batch
            )))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_counts_with_each_of_its_answers() {
        let limits = Limits {
            max_characters: 5,
            max_batch: 4,
        };
        let together = |prompt: &str, answers: usize| {
            let texts = [(prompt, answers), ("aé", answers)];
            limits.check_together(texts.into_iter()).is_ok()
        };
        assert!(together("12345678", 2));
        assert!(!together("123456789", 2));
        assert!(together("éééééééé", 2), "characters count, and not bytes");
        assert!(!together("", usize::MAX));
        assert_eq!(limits.of_cut_texts().max_characters, 20);
        let none = Limits::UNLIMITED;
        assert!(none.check_together([("a", 1)].into_iter()).is_ok());
    }
}
