//! Sessions with a router that only notes what it is given (spec: protocol §5, §6, §18.1).

mod bounds;
mod events;
mod handshakes;
mod lanes;
mod model;
mod ordering;
mod peer;
mod refusals;
mod services;
mod simulation;
mod turns;
