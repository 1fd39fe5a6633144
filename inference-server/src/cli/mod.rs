//! Commands for people and Jobs: one file each.

pub(crate) mod evaluate;
pub(crate) mod fetch;
pub(crate) mod health;
pub(crate) mod model;
mod progress;
pub(crate) mod score;
pub(crate) mod verify;
