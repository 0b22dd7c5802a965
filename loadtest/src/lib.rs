//! Load generator and verifier for SMP relays.
//!
//! It speaks only the wire protocol, so it works with any relay, and its client serves the tests
//! of the relay too.
//!
//! | module | what it is |
//! |---|---|
//! | [`target`] | the server under test: address and TLS |
//! | [`client`] | a connection: commands, answers, pushes, raw blocks |
//! | [`outbox`] | commands staged, authorised and packed into blocks |
//! | [`service`] | service clients: certificates, sessions, what is signed for them |
//! | [`queue`] | queues as their two ends know them: keys, ids |
//! | [`body`] | message bodies that identify themselves |
//! | [`ledger`] | the verdict on loss, duplication and order |
//! | [`executors`] | several executors that work in step |
//! | [`persist`] | proof that promises survive the death of the server |
//! | [`report`] | latencies, the table, the CSV row |
//! | [`server_process`] | CPU time and memory of the server |
//! | [`progress`] | the progress bar |
//! | [`scenario`] | what is measured, one file each |
//! | [`cli`] | the command line |

pub mod body;
pub mod cli;
pub mod client;
pub mod error;
pub mod executors;
mod handshake;
pub mod ledger;
pub mod outbox;
mod owned;
pub mod persist;
mod pinned;
pub mod progress;
pub mod queue;
pub mod report;
pub mod scenario;
pub mod server_process;
pub mod service;
pub mod target;

pub use client::{Client, Incoming, Options, Reply};
pub use error::ClientError;
pub use outbox::{Auth, CorrId, Outbox};
pub use service::{ServiceCredentials, ServiceProof, ServiceSession};
pub use target::{Target, TlsOptions, TlsVersion};
