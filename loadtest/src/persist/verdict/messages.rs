//! Whether messages came as they should.

use super::{Comparison, Kind, Observation};
use crate::persist::access::Acks;
use crate::persist::materials::{Content, Received};
use crate::persist::state::{Message, State};

/// Whether what came is this message, by what its body says.
pub(in crate::persist) fn is(received: &Received, message: &Message) -> bool {
    match received.content {
        Content::Message(sequence) => sequence == message.sequence && !message.marker,
        Content::Empty => message.size == 0 && !message.marker,
        Content::Quota => message.marker,
        Content::Foreign => false,
    }
}

/// Waiting messages must come, all, once, in order and unchanged. Acknowledged ones must not come
/// again, or, when their acknowledgements may be lost, only before them and without a gap: they are
/// lost from the last one back. `size` is the number of messages that the recipient was told.
pub(super) fn compare(
    state: &State,
    seen: &Observation,
    (size, acks): (usize, Acks),
    found: &mut Comparison,
) {
    let acknowledged = state.acknowledged.iter().map(|a| a.message);
    let order: Vec<Message> = acknowledged.chain(state.waiting.iter().copied()).collect();
    let required = state.acknowledged.len();
    let mut came = vec![false; order.len()];
    let mut last = None;
    for received in &seen.messages {
        let Some(position) = order.iter().position(|m| is(received, m)) else {
            let what = match received.content {
                Content::Message(sequence) => {
                    format!("message {sequence} came, which should not be there")
                }
                other => format!("a message of {} bytes is {other:?}", received.size),
            };
            found.absent(false, Kind::Corrupted, &what);
            continue;
        };
        let Message {
            sequence,
            size,
            notify,
            ..
        } = order[position];
        if came[position] {
            let what = format!("message {sequence}");
            found.absent(false, Kind::Repeated, &what);
            continue;
        }
        came[position] = true;
        if last.is_some_and(|last| position < last) {
            let what = format!("message {sequence} came after a later one");
            found.absent(false, Kind::Reordered, &what);
        } else if received.size != usize::from(size) || received.notify != notify {
            let what = format!("message {sequence} has another length or flag");
            found.absent(false, Kind::Corrupted, &what);
        } else if position < required && acks == Acks::Strict {
            let what = format!("acknowledgement of message {sequence}: it came again");
            found.absent(false, Kind::Lost, &what);
        } else if position < required {
            found.reappeared += 1;
        } else {
            found.proved += 1;
        }
        last = last.max(Some(position));
    }
    let first = came.iter().position(|came| *came).unwrap_or(order.len());
    for (position, message) in order.iter().enumerate() {
        if came[position] {
            continue;
        }
        let sequence = message.sequence;
        if position >= required {
            let what = format!("message {sequence}");
            found.absent(false, Kind::Lost, &what);
        } else if position > first && acks == Acks::Allowed {
            let what = format!("message {sequence} is gone, an older acknowledged one is not");
            found.absent(false, Kind::Half, &what);
        }
    }
    let what = format!("QUE tells {size} messages, {} came", seen.messages.len());
    found.absent(size == seen.messages.len(), Kind::Corrupted, &what);
}
