//! Commands for people and Jobs: one file each.

pub(crate) mod health;
pub(crate) mod score;
pub(crate) mod verify;
