//! The connection: a pure state machine.
