//! Sessions with a router that only notes what it is given (spec: protocol §5, §6, §18.1).

mod bounds;
mod handshakes;
mod ordering;
mod peer;
mod refusals;
