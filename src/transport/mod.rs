//! TLS configuration and the TLS stream over glommio (spec: protocol §2).
//!
//! | module | what it is |
//! |---|---|
//! | [`provider`] | the cipher suites and groups of SMP, with the Finished capture built in |
//! | [`capture`] | what a handshake reveals only through hooks: session identifier, SNI |
//! | [`credential`] | certificate chain and key of this server, loaded and checked |
//! | [`path`] | validation of certificate chains as SMP peers do it |
//! | [`verify`] | the two verifiers: servers by fingerprint, service clients by path |
//! | [`config`] | `rustls` configurations for the server and the client role |
//! | [`stream`] | [`TlsStream`]: blocks in, blocks out, no buffers while idle |
//! | [`client_hello`] | a look at who wants pages on a port shared with HTTPS |
//! | [`web_credential`] | certificate and key of the pages, replaceable |
//! | [`http`] | HTTP/1.1 over a socket or TLS stream |
//! | [`listener`] | one listening socket per executor on one port |

pub mod capture;
pub mod client_hello;
pub mod config;
pub mod credential;
mod engine;
pub mod http;
pub mod listener;
pub mod path;
mod pending;
pub mod provider;
mod scratch;
pub mod stream;
#[cfg(test)]
mod test_certificates;
pub mod verify;
pub mod web_credential;

pub use crate::protocol::BLOCK_SIZE;
pub use capture::SessionId;
pub use stream::{TlsError, TlsStream};
