//! Connections that say nothing and listen to nothing (spec: server §8).

use super::connection::Connection;
use super::{Core, CoreMessage};
use crate::relay::SessionRef;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

/// Places of the table of sessions looked at before connections get a turn.
const PLACES_PER_STEP: usize = 64;
/// Sessions of which other shards are asked at a time.
pub(super) const MAX_ASKED: usize = 256;

/// A round of looking for silent sessions.
#[derive(Debug, Default)]
pub(super) struct IdleRound {
    /// Answers to earlier rounds count no more: much may have happened since.
    number: u32,
    ttl: Duration,
    next_place: usize,
    /// Silent sessions, with the number of shards that have not said whether these are subscribed
    /// to anything.
    asked: HashMap<SessionRef, usize>,
}

/// How far a round is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleProgress {
    /// There are more sessions to look at.
    More,
    /// There are more, once shards have answered.
    Waiting,
    /// All sessions have been looked at.
    Done,
}

impl IdleRound {
    /// Forgets a session that ended.
    pub fn forget(&mut self, session: SessionRef) {
        self.asked.remove(&session);
    }
}

impl Core {
    /// Begins to close connections that were silent for `ttl`, unless they are subscribed to
    /// something; [`close_idle`](Self::close_idle) does it in steps.
    pub fn begin_idle_round(&self, ttl: Duration) {
        let mut round = self.idle.borrow_mut();
        *round = IdleRound {
            number: round.number.wrapping_add(1),
            ttl,
            ..IdleRound::default()
        };
    }

    /// Looks at some sessions. Of those that were silent, the shards they have used are asked.
    pub fn close_idle(&self) -> IdleProgress {
        let mut round = self.idle.borrow_mut();
        let sessions = self.sessions.borrow();
        for _ in 0..PLACES_PER_STEP {
            if round.next_place >= sessions.table.capacity() {
                return IdleProgress::Done;
            }
            if round.asked.len() >= MAX_ASKED {
                return IdleProgress::Waiting;
            }
            let place = round.next_place;
            round.next_place += 1;
            if let Some((_, connection)) = sessions.table.get(place) {
                self.look_at(connection, &mut round);
            }
        }
        self.mesh.announce();
        IdleProgress::More
    }

    fn look_at(&self, connection: &Rc<Connection>, round: &mut IdleRound) {
        let session = connection.session.borrow();
        if connection.idle_for() <= round.ttl || session.holds_service_subscription() {
            return;
        }
        let reference = session.reference();
        if self.shard.borrow().has_subscriptions(reference) {
            return;
        }
        let shards = session.touched_shards().iter();
        let others = shards.filter(|shard| **shard != self.index);
        let mut awaited = 0;
        for shard in others {
            let question = CoreMessage::AskSubscribed(reference, round.number);
            self.mesh.send(*shard, question);
            awaited += 1;
        }
        if awaited == 0 {
            connection.abort();
        } else {
            round.asked.insert(reference, awaited);
        }
    }

    /// A shard has said whether a silent session is subscribed to anything of it.
    pub(super) fn note_subscribed(&self, session: SessionRef, number: u32, subscribed: bool) {
        let mut round = self.idle.borrow_mut();
        if round.number != number {
            return;
        }
        let Some(awaited) = round.asked.get_mut(&session) else {
            return;
        };
        *awaited -= 1;
        if !subscribed && *awaited > 0 {
            return;
        }
        round.asked.remove(&session);
        // It may have spoken meanwhile.
        if let Some(connection) = self.connection(session)
            && !subscribed
            && connection.idle_for() > round.ttl
        {
            connection.abort();
        }
    }
}
