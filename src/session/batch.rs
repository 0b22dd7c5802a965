//! The answers to one received block, complete only together.

use super::events::is_end;
use super::order::Order;
use super::outbox::weight;
use crate::protocol::{Command, ErrorType, ID_LEN, Response};
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
    /// Whether the answer is a refusal before execution.
    refused: bool,
    /// What the client may be sent once the command has taken effect.
    opens: Opens,
    /// Whether the command took effect before it is answered.
    in_effect: bool,
    /// While the command may not have taken effect: its order and its shard.
    counted: Option<(Order, u16)>,
}

/// What a command makes the server send without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opens {
    Nothing,
    /// Events of the command's entity.
    Entity,
    /// Events of an entity that only the answer names.
    NewQueue,
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
    /// What it waits behind.
    pub lane: Lane,
}

/// What may overtake what on the way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Leaves in order.
    Response,
    /// An unsolicited message: later responses may overtake it.
    Message,
}

impl Opens {
    fn of(command: &Command<'_>) -> Self {
        match command {
            Command::Sub | Command::NSub | Command::Subs(_) | Command::NSubs(_) => Self::Entity,
            Command::New(new) if new.subscribe => Self::NewQueue,
            _ => Self::Nothing,
        }
    }
}

impl Slot {
    /// Whether events of `entity` make sense to the client only behind this answer.
    fn confirms(&self, entity: &Id) -> bool {
        match &self.response {
            Some(Response::Sok(_) | Response::Soks(_)) => self.entity_id[..] == entity[..],
            Some(Response::Ids(ids)) => ids.recipient_id[..] == entity[..],
            Some(_) => false,
            None => {
                self.in_effect
                    && match self.opens {
                        Opens::Nothing => false,
                        Opens::Entity => self.entity_id[..] == entity[..],
                        Opens::NewQueue => true,
                    }
            }
        }
    }
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

    fn push(&mut self, corr_id: &[u8], entity_id: &[u8], response: Option<Response<'static>>) {
        self.unanswered += usize::from(response.is_none());
        self.bytes += response.as_ref().map_or(0, weight);
        self.slots.push(Slot {
            corr_id: corr_id.into(),
            entity_id: entity_id.into(),
            response,
            refused: false,
            opens: Opens::Nothing,
            in_effect: false,
            counted: None,
        });
    }

    /// Adds a command that a shard answers.
    pub fn push_command(&mut self, corr_id: &[u8], entity_id: &[u8], command: &Command<'_>) {
        self.push(corr_id, entity_id, None);
        if let Some(slot) = self.slots.last_mut() {
            slot.opens = Opens::of(command);
        }
    }

    /// Adds a command with its answer.
    pub fn push_answered(&mut self, corr_id: &[u8], entity_id: &[u8], response: Response<'static>) {
        self.push(corr_id, entity_id, Some(response));
    }

    /// Adds what is refused without a look at its entity.
    pub fn push_refused(&mut self, corr_id: &[u8], entity_id: &[u8], error: ErrorType) {
        self.push(corr_id, entity_id, Some(Response::Err(error)));
        if let Some(slot) = self.slots.last_mut() {
            slot.refused = true;
        }
    }

    fn waiting(&mut self, index: u8) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(usize::from(index))?;
        slot.response.is_none().then_some(slot)
    }

    /// Puts an answer in its place; a second answer to a command is dropped.
    pub fn answer(&mut self, index: u8, response: Response<'static>) {
        if let Some(slot) = self.waiting(index) {
            let bytes = weight(&response);
            slot.response = Some(response);
            self.bytes += bytes;
            self.unanswered -= 1;
        }
    }

    /// Puts a refusal before execution in its place.
    pub fn refuse(&mut self, index: u8, error: ErrorType) {
        if let Some(slot) = self.waiting(index) {
            slot.refused = true;
            self.answer(index, Response::Err(error));
        }
    }

    /// Notes that command `index` is under way to `shard`.
    pub fn dispatched(&mut self, index: u8, order: Order, shard: u16) {
        if order != Order::Read
            && let Some(slot) = self.waiting(index)
        {
            slot.counted = Some((order, shard));
        }
    }

    /// Command `index` has been executed: what was noted of it, once.
    pub fn executed(&mut self, index: u8) -> Option<(Order, u16)> {
        self.slots.get_mut(usize::from(index))?.counted.take()
    }

    /// Command `index` has taken effect, now or earlier. Returns its entity when it has just
    /// become something the client receives events of.
    pub fn takes_effect(&mut self, index: u8) -> Option<Id> {
        let slot = self.waiting(index)?;
        if std::mem::replace(&mut slot.in_effect, true) || slot.opens != Opens::Entity {
            return None;
        }
        Id::try_from(&slot.entity_id[..]).ok()
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
        match self.slots.iter().rposition(|slot| slot.confirms(entity)) {
            Some(index) => {
                self.bytes += weight(&event);
                self.messages.push((index, *entity, event));
                None
            }
            None => Some(event),
        }
    }

    /// Drops what says that the subscription to `entity` ended, and has not left.
    pub fn forget_end(&mut self, entity: &Id) {
        let bytes = &mut self.bytes;
        self.messages.retain(|(_, of, event)| {
            let stale = of == entity && is_end(event);
            if stale {
                *bytes -= weight(event);
            }
            !stale
        });
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

    /// Refusals before execution, then the other answers, then the messages; each in the order of
    /// the commands, whatever the order in which shards answered (spec: server §2.5).
    pub fn into_outgoing(mut self) -> impl Iterator<Item = Outgoing> {
        // Both sorts are stable, so that what happens to one queue stays in its order.
        if self.slots.iter().any(|slot| slot.refused) {
            self.slots.sort_by_key(|slot| !slot.refused);
        }
        self.messages.sort_by_key(|(index, ..)| *index);
        let answers = self.slots.into_iter().filter_map(|slot| {
            let response = slot.response?;
            Some(Outgoing {
                corr_id: slot.corr_id,
                entity_id: slot.entity_id,
                response,
                lane: Lane::Response,
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
        let lane = match response {
            Response::Msg { .. } => Lane::Message,
            _ => Lane::Response,
        };
        Self {
            corr_id: EchoId::new(),
            entity_id: (&entity[..]).into(),
            response,
            lane,
        }
    }
}
