//! The language of the control port (spec: operations §3): commands, roles, and the form of every
//! answer. Whoever runs a session brings bytes, clocks and what the shards told.

mod command;
mod connections;
mod facts;
mod lines;
mod quota;
mod role;
mod server_info;
mod show;
mod sockets;
mod statistics;
mod threads;
mod throttle;

pub use command::{BackupRequest, Command, ParseError};
pub use connections::{Backlog, CONNECTIONS_HEADER, ConnectionRow, connection_line};
pub use facts::{ProcessFacts, runtime_facts};
pub use lines::{Line, Lines, MAX_LINE};
pub use role::{Passwords, Role};
pub use server_info::{ConnectionSums, server_info};
pub use show::{blocked, deleted, queue_state, unblocked};
pub use sockets::{socket_threads, sockets};
pub use statistics::statistics;
pub use threads::{ThreadRow, threads};
pub use throttle::Throttle;

/// Name of the socket in the state directory where the same language is spoken by an admin.
pub const SOCKET_FILE: &str = "smp-server.sock";
/// What a session begins with.
pub const BANNER: &str = "SMP server control port\n'help' for supported commands\n";
/// The answer to `help`, which does not tell everything there is.
pub const HELP: &str = "commands: stats, stats-rts, clients, sockets, socket-threads, threads, \
                        server-info, delete, save, help, quit";
/// The answer to a command that the role does not allow.
pub const REFUSED: &str = "AUTH";
/// The answer when no queue has the id.
pub const UNKNOWN_QUEUE: &str = "error: AUTH";
/// What one too many gets.
pub const TOO_MANY_SESSIONS: &str = "error: too many sessions";
/// The answer to `suspend`.
pub const NO_SUSPEND: &str = "suspend not implemented";
/// The answer to `resume`.
pub const NO_RESUME: &str = "resume not implemented";
/// The answer to a line that is longer than [`MAX_LINE`].
pub const LINE_TOO_LONG: &str = "error: line too long";
/// What `save` says before and after.
pub const SAVING: &str = "saving server state...";
/// What `backup` says before.
pub const BACKING_UP: &str = "backing up...";
/// What `backup` says when there is one.
pub const BACKED_UP: &str = "backup complete";
/// What the answers that are errors begin with.
pub const ERROR: &str = "error: ";
/// See [`SAVING`].
pub const SAVED: &str = "server state saved!";
