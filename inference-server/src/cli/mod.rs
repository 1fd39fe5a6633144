//! Commands for people and Jobs: one file each.

pub(crate) mod evaluate;
pub(crate) mod fetch;
pub(crate) mod health;
mod lines;
pub(crate) mod model;
mod progress;
pub(crate) mod score;
pub(crate) mod verify;
