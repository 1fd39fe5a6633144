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

    /// The same for texts that are cut to a number of tokens: their characters are bounded by those
    /// of the body.
    #[must_use]
    pub const fn of_cut_texts(self) -> Self {
        Self {
            max_characters: usize::MAX,
            max_batch: self.max_batch,
        }
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
                    "{name} has {characters} characters, {} are allowed: shorten it, or raise --max-characters",
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
                "{name} has {items} items, {} are allowed: send several requests, or raise --max-batch",
                self.max_batch
            )))
        } else {
            Ok(())
        }
    }
}
