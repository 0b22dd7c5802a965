//! The messages of one queue, with the rules by which the reference takes them in
//! (spec: server §11.4).

use super::message_log::LoggedMessage;

/// Consecutive messages of one queue, at most the quota and a marker.
#[derive(Debug)]
pub struct MessageRun {
    messages: Vec<LoggedMessage>,
    quota: usize,
    can_write: bool,
}

impl MessageRun {
    /// Nothing yet. `quota` is the number of messages that a queue holds.
    pub fn new(quota: usize) -> Self {
        Self {
            messages: Vec::new(),
            quota,
            can_write: true,
        }
    }

    /// Appends a message unless the queue is full, and returns whether an ordinary message was
    /// kept. The first that is refused leaves a marker; a marker takes the place of one at the
    /// head.
    pub fn push(&mut self, message: LoggedMessage) -> bool {
        let is_marker = message.is_marker();
        if is_marker && self.messages.first().is_some_and(LoggedMessage::is_marker) {
            self.messages.remove(0);
        }
        if !self.can_write && !self.messages.is_empty() {
            return is_marker;
        }
        self.can_write = self.messages.len() < self.quota;
        if self.can_write {
            self.messages.push(message);
        } else {
            self.messages.push(message.marker());
        }
        self.can_write || is_marker
    }

    /// What the queue holds, in order; the run is empty then.
    pub fn take(&mut self) -> impl Iterator<Item = LoggedMessage> {
        self.can_write = true;
        self.messages.drain(..)
    }
}
