//! Commands for people and Jobs: one file each.

pub(crate) mod evaluate;
pub(crate) mod fetch;
pub(crate) mod health;
mod progress;
pub(crate) mod score;
pub(crate) mod verify;
