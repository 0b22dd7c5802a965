//! Shards driven by sessions with real keys (spec: server §2–§5, protocol §7, §17, §18).

mod aliases;
mod associations;
mod batches;
mod blocking;
pub(crate) mod clients;
mod commands;
mod counting;
mod creation;
mod delivery;
mod disk;
mod durability;
mod expiry;
pub(crate) mod inspect;
mod limits;
mod link_aliases;
mod links;
mod notifications;
mod notifiers;
mod promises;
mod quota;
mod registry;
mod service_subscriptions;
mod services;
mod steps;
mod usage;
mod verification;
pub(crate) mod world;
