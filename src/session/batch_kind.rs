//! Blocks that the statistics count (spec: server §2.5).

use crate::protocol::Command;

/// A block of several commands of one party, named by the first of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchKind {
    /// Starts with `SUB`.
    Sub,
    /// Starts with `DEL`.
    Del,
    /// Starts with `NDEL`.
    NDel,
    /// Starts with `NSUB`.
    NSub,
}

/// Whose command it is, as far as blocks are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Party {
    Recipient,
    Notifier,
    Other,
}

/// Finds out the kind of a block, one command after the other.
#[derive(Debug, Default)]
pub struct Tally {
    first: Option<(Party, Option<BatchKind>)>,
    several: bool,
    mixed: bool,
}

impl Tally {
    /// Adds the next well-formed command.
    pub fn add(&mut self, command: &Command<'_>) {
        let party = party(command);
        match self.first {
            None => self.first = Some((party, kind(command))),
            Some((first, _)) => {
                self.several = true;
                self.mixed |= first != party;
            }
        }
    }

    /// The kind of the block; `None` for blocks that are not counted.
    pub fn kind(&self) -> Option<BatchKind> {
        let (_, kind) = self.first?;
        kind.filter(|_| self.several && !self.mixed)
    }
}

fn kind(command: &Command<'_>) -> Option<BatchKind> {
    match command {
        Command::Sub => Some(BatchKind::Sub),
        Command::Del => Some(BatchKind::Del),
        Command::NDel => Some(BatchKind::NDel),
        Command::NSub => Some(BatchKind::NSub),
        _ => None,
    }
}

fn party(command: &Command<'_>) -> Party {
    use Command as C;
    match command {
        C::Sub
        | C::Key(_)
        | C::RKey(_)
        | C::LSet { .. }
        | C::LDel
        | C::NKey(_)
        | C::NDel
        | C::Get
        | C::Ack { .. }
        | C::Off
        | C::Del
        | C::Que => Party::Recipient,
        C::NSub => Party::Notifier,
        _ => Party::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_one_party_are_named_by_their_first_command() {
        use Command as C;
        let ack = C::Ack { msg_id: &[] };
        let cases: [(&[C<'_>], Option<BatchKind>); 11] = [
            (&[], None),
            (&[C::Sub], None),
            (&[C::Sub, C::Sub], Some(BatchKind::Sub)),
            (&[C::Sub, C::Del, ack.clone()], Some(BatchKind::Sub)),
            (&[C::Del, C::Sub], Some(BatchKind::Del)),
            (&[C::NDel, C::NDel], Some(BatchKind::NDel)),
            (&[C::NSub, C::NSub, C::NSub], Some(BatchKind::NSub)),
            // Commands that are counted only singly.
            (&[ack, C::Sub], None),
            (&[C::Sub, C::NSub], None),
            (&[C::Sub, C::Sub, C::Ping], None),
            (&[C::Ping, C::Ping], None),
        ];
        for (commands, expected) in cases {
            let mut tally = Tally::default();
            commands.iter().for_each(|command| tally.add(command));
            assert_eq!(tally.kind(), expected, "{commands:?}");
        }
    }
}
