//! Shards driven by sessions with real keys (spec: server §2–§5, protocol §7, §17, §18).

mod aliases;
mod batches;
pub(crate) mod clients;
mod commands;
mod creation;
mod delivery;
mod durability;
pub(crate) mod inspect;
mod quota;
mod verification;
pub(crate) mod world;
