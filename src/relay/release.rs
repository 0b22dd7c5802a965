//! Link ids asked of the shard they live on, and given back to it.
//!
//! Whoever is told that a queue or its link is gone may use the id again at once, over any shard:
//! so it is the shard of the id that answers, when it has let go.

use super::effect::{Effect, PeerMessage};
use super::session_ref::{SessionRef, Ticket};
use super::shard::{Call, Shard};
use crate::protocol::{ErrorType, Response};
use crate::store::{Id, IdKind, Location, Lsn, Store};

/// The answer to a command that ends with the release of an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    /// Session that sent the command.
    pub session: SessionRef,
    /// Which of its commands.
    pub ticket: Ticket,
    /// `OK`, or why it failed.
    pub outcome: Result<(), ErrorType>,
}

impl Confirmation {
    /// That a command has been carried out.
    pub(super) fn of(call: &Call<'_>) -> Self {
        Self {
            session: call.session,
            ticket: call.request.ticket,
            outcome: Ok(()),
        }
    }
}

impl From<Confirmation> for Effect {
    fn from(confirmation: Confirmation) -> Self {
        let Confirmation {
            session,
            ticket,
            outcome,
        } = confirmation;
        let response = match outcome {
            Ok(()) => Response::Ok,
            Err(error) => Response::Err(error),
        };
        Self::Reply {
            session,
            ticket,
            answer: response.into(),
        }
    }
}

impl<S: Store> Shard<S> {
    /// Asks the shard that a link id lives on to make it lead here.
    ///
    /// The same id may be on its way back, which waits for the disk: so does this.
    pub(super) fn reserve_link(&mut self, token: u64, id: Id, effects: &mut Vec<Effect>) {
        let shard = self.config.partitioner.shard_of(&id);
        let kind = IdKind::Link;
        let message = PeerMessage::ReserveAlias { token, kind, id };
        let reserve = Effect::Peer { shard, message };
        self.emit(Some(self.store.last()), reserve, effects);
    }

    /// Once `lsn` is durable, gives a link id back to the shard it lives on, which then confirms.
    pub(super) fn release_link(
        &mut self,
        link_id: &Id,
        lsn: Option<Lsn>,
        confirmation: Option<Confirmation>,
        effects: &mut Vec<Effect>,
    ) {
        let shard = self.config.partitioner.shard_of(link_id);
        if shard != self.config.index {
            let message = PeerMessage::ReleaseAlias {
                kind: IdKind::Link,
                id: *link_id,
                confirmation,
            };
            self.emit(lsn, Effect::Peer { shard, message }, effects);
        } else if let Some(confirmation) = confirmation {
            self.emit(lsn, confirmation.into(), effects);
        }
    }

    /// Once `lsn` is durable, gives back those ids of a queue that is gone which live on other
    /// shards. Only imported sender and notifier ids do.
    pub(super) fn release_imported(
        &mut self,
        ids: impl IntoIterator<Item = (IdKind, Id)>,
        lsn: Lsn,
        effects: &mut Vec<Effect>,
    ) {
        for (kind, id) in ids {
            let shard = self.config.partitioner.shard_of(&id);
            if shard != self.config.index {
                let message = PeerMessage::ReleaseAlias {
                    kind,
                    id,
                    confirmation: None,
                };
                self.emit(Some(lsn), Effect::Peer { shard, message }, effects);
            }
        }
    }

    /// Gives back an id that leads here from another shard when there is no queue of it.
    ///
    /// A queue whose end is not durable yet may come back, and one may be on its way: this says
    /// nothing before the disk, and nothing while a change waits for that id.
    pub(super) fn check_alias(
        &mut self,
        from: u16,
        kind: IdKind,
        id: Id,
        effects: &mut Vec<Effect>,
    ) {
        let is_used = matches!(self.store.find(kind, &id), Some(Location::Queue(_)));
        if is_used || kind == IdKind::Link && self.pending.wants(&id) {
            return;
        }
        let message = PeerMessage::ReleaseAlias {
            kind,
            id,
            confirmation: None,
        };
        let release = Effect::Peer {
            shard: from,
            message,
        };
        self.emit(Some(self.store.last()), release, effects);
    }

    /// Lets go of an id that another shard has given back.
    pub(super) fn alias_released(
        &mut self,
        from: u16,
        kind: IdKind,
        id: &Id,
        confirmation: Option<Confirmation>,
        effects: &mut Vec<Effect>,
    ) {
        // A full disk leaves a stale alias, which answers like an unknown id.
        let lsn = self.store.release_alias(kind, id, from).ok();
        if let Some(confirmation) = confirmation {
            self.emit(lsn, confirmation.into(), effects);
        }
    }
}
