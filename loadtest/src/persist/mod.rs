//! Proof that what a server has promised survives its death.
//!
//! A writer runs operations and keeps a book of what it asked and what was confirmed; after a
//! restart a checker looks at every queue in all the ways the protocol offers and compares.
//!
//! | module | what it is |
//! |---|---|
//! | [`access`] | how the server is reached, and what it may be expected to keep |
//! | [`state`] | what a queue should look like, and what each operation makes of it |
//! | [`book`] | all queues of a run and the ledger file behind them |
//! | [`materials`] | keys, ids and bodies, derived so that the ledger need not hold them |
//! | [`choice`] | the random mix |
//! | [`command`] | operations as commands, answers as confirmations |
//! | [`writer`] | runs operations over connections |
//! | [`deliverable`] | whether a message may be delivered now |
//! | [`observe`] | looks at a queue |
//! | [`notified`] | notifications that must come |
//! | [`service`] | how many notifiers belong to the service of the run |
//! | [`verdict`] | compares what was seen with what may be |
//! | [`check`] | observes, judges and settles many queues |

pub mod access;
pub mod book;
pub mod check;
pub mod choice;
pub mod command;
mod deliverable;
pub mod materials;
pub mod notified;
pub mod observe;
pub mod service;
pub mod state;
pub mod verdict;
pub mod writer;
