//! Whether a message may be delivered now.

use super::access::Acks;
use super::materials::{Content, Received};
use super::state::Queue;
use super::verdict::{Fault, Kind, is};

/// The number of a delivered message when it is one that may come now.
pub fn acknowledgeable(queue: &Queue, received: &Received, acks: Acks) -> Result<u32, Fault> {
    let state = &queue.state;
    if let Some(message) = state.waiting.front().filter(|m| is(received, m)) {
        return Ok(message.sequence);
    }
    let mut acknowledged = state.acknowledged.iter().map(|a| a.message);
    if let Some(message) = acknowledged.find(|m| is(received, m)) {
        let sequence = message.sequence;
        return match acks {
            Acks::Allowed => Ok(sequence),
            Acks::Strict => Err(Fault::new(
                Kind::Lost,
                format!("acknowledgement of message {sequence}: it was delivered again"),
            )),
        };
    }
    let waits = |m| Content::Message(m) == received.content;
    if state.waiting.iter().any(|m| waits(m.sequence)) {
        return Err(Fault::new(
            Kind::Reordered,
            format!("{received:?} was delivered before older messages"),
        ));
    }
    Err(Fault::new(
        Kind::Corrupted,
        format!("{received:?} was delivered, which is not in the queue"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::state::{Acknowledged, Message, State};

    fn message(sequence: u32) -> Message {
        Message {
            sequence,
            size: 50,
            notify: false,
            marker: false,
        }
    }

    fn received(sequence: u32) -> Received {
        Received {
            content: Content::Message(sequence),
            size: 50,
            notify: false,
            time: 0,
        }
    }

    #[test]
    fn only_the_oldest_waiting_message_may_come() {
        let state = State {
            acknowledged: [Acknowledged {
                message: message(0),
                epoch: 0,
            }]
            .into(),
            waiting: [message(1), message(2)].into(),
            ..State::default()
        };
        let queue = Queue {
            state,
            ..Queue::default()
        };
        let kind = |sequence, acks| {
            let outcome = acknowledgeable(&queue, &received(sequence), acks);
            outcome.map_err(|fault| fault.kind)
        };
        for acks in [Acks::Strict, Acks::Allowed] {
            assert_eq!(kind(1, acks), Ok(1));
            assert_eq!(kind(2, acks), Err(Kind::Reordered));
            assert_eq!(kind(3, acks), Err(Kind::Corrupted));
        }
        assert_eq!(kind(0, Acks::Allowed), Ok(0));
        assert_eq!(kind(0, Acks::Strict), Err(Kind::Lost));
    }
}
