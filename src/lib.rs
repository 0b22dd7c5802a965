//! A relay for the SimpleX Messaging Protocol (SMP): thread-per-core, drop-in for the reference
//! `smp-server`.
//!
//! Lower modules never import higher ones; `docs/ARCHITECTURE.md` draws the whole.
//!
//! | module | what it is |
//! |---|---|
//! | [`crypto`] | keys, boxes, key chains, command authorization, certificates |
//! | [`protocol`] | bytes ⇄ types for every SMP version, both directions, no I/O |
//! | [`store`] | what a shard keeps: queue records and messages behind one seam |
//! | [`relay`] | the shard: a pure state machine from commands to answers |
//! | [`session`] | the connection: a pure state machine from blocks to routed commands and back |
//! | [`web`] | web pages and answers to requests for them, no I/O but files |
//! | [`transport`] | TLS configuration and the TLS stream over glommio |
//! | [`control`] | what an operator sees and does, without sockets and files |
//! | [`runtime`] | executors, the mesh between them, timers, signals, shutdown |
//! | [`config`] | the INI file and typed settings |
//! | [`cli`] | the command line |

pub mod cli;
pub mod config;
pub mod control;
pub mod crypto;
pub mod protocol;
pub mod relay;
pub mod runtime;
pub mod session;
pub mod store;
pub mod transport;
pub mod web;
