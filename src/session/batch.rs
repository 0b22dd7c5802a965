//! The answers to one received block, complete only together.

use super::outbox::weight;
use crate::protocol::{ID_LEN, Response};
use crate::store::Id;
use smallvec::SmallVec;

/// A correlation or entity id to be repeated in the answer.
pub type EchoId = SmallVec<[u8; ID_LEN]>;

/// The answers to the commands of one block.
#[derive(Debug)]
pub struct PendingBatch {
    slots: SmallVec<[Slot; 1]>,
    unanswered: usize,
    /// What the answers and messages weigh.
    bytes: usize,
    /// Messages to follow the answers, with the command each belongs to.
    messages: Vec<(usize, Id, Response<'static>)>,
}

#[derive(Debug)]
struct Slot {
    corr_id: EchoId,
    entity_id: EchoId,
    response: Option<Response<'static>>,
}

/// An answer with its ids, ready to be packed.
#[derive(Debug)]
pub struct Outgoing {
    /// Correlation id, empty for what nobody asked for.
    pub corr_id: EchoId,
    /// Entity id.
    pub entity_id: EchoId,
    /// What is sent.
    pub response: Response<'static>,
}

impl PendingBatch {
    /// Room for the answers to `items` commands.
    pub fn with_capacity(items: usize) -> Self {
        Self {
            slots: SmallVec::with_capacity(items),
            unanswered: 0,
            bytes: 0,
            messages: Vec::new(),
        }
    }

    /// Adds a command; `response` is known when it needs no shard.
    pub fn push(&mut self, corr_id: &[u8], entity_id: &[u8], response: Option<Response<'static>>) {
        self.unanswered += usize::from(response.is_none());
        self.bytes += response.as_ref().map_or(0, weight);
        self.slots.push(Slot {
            corr_id: corr_id.into(),
            entity_id: entity_id.into(),
            response,
        });
    }

    /// Puts an answer in its place; a second answer to a command is dropped.
    pub fn answer(&mut self, index: u8, response: Response<'static>) {
        if let Some(slot) = self.slots.get_mut(usize::from(index))
            && slot.response.is_none()
        {
            self.bytes += weight(&response);
            slot.response = Some(response);
            self.unanswered -= 1;
        }
    }

    /// The entity of command `index`, when it is one of this server's ids.
    pub fn entity(&self, index: u8) -> Option<Id> {
        Id::try_from(&self.slots.get(usize::from(index))?.entity_id[..]).ok()
    }

    /// Adds a message that must follow the answer to command `index`.
    pub fn follow(&mut self, index: u8, message: Response<'static>) {
        if let Some(entity) = self.entity(index) {
            self.bytes += weight(&message);
            self.messages.push((usize::from(index), entity, message));
        }
    }

    /// Keeps an event back when the answer that makes it meaningful to the client, the
    /// confirmation of its subscription, still waits here. Returns the event when it does not.
    pub fn hold_back(
        &mut self,
        entity: &Id,
        event: Response<'static>,
    ) -> Option<Response<'static>> {
        let confirms = |slot: &Slot| match &slot.response {
            Some(Response::Sok(_)) => slot.entity_id[..] == entity[..],
            Some(Response::Ids(ids)) => ids.recipient_id[..] == entity[..],
            _ => false,
        };
        match self.slots.iter().rposition(confirms) {
            Some(index) => {
                self.bytes += weight(&event);
                self.messages.push((index, *entity, event));
                None
            }
            None => Some(event),
        }
    }

    /// Whether every command is answered.
    pub fn is_complete(&self) -> bool {
        self.unanswered == 0
    }

    /// Commands without an answer.
    pub fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Bytes waiting, approximately.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The answers in order, then the messages in the order of the commands: shards answer in any
    /// order.
    pub fn into_outgoing(mut self) -> impl Iterator<Item = Outgoing> {
        // Stable, so that what happens to one queue stays in its order.
        self.messages.sort_by_key(|(index, ..)| *index);
        let answers = self.slots.into_iter().filter_map(|slot| {
            let response = slot.response?;
            Some(Outgoing {
                corr_id: slot.corr_id,
                entity_id: slot.entity_id,
                response,
            })
        });
        let messages = self
            .messages
            .into_iter()
            .map(|(_, entity, event)| Outgoing::push(&entity, event));
        answers.chain(messages)
    }
}

impl Outgoing {
    /// What nobody asked for: an empty correlation id.
    pub fn push(entity: &Id, response: Response<'static>) -> Self {
        Self {
            corr_id: EchoId::new(),
            entity_id: (&entity[..]).into(),
            response,
        }
    }
}
