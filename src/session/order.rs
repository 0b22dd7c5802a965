//! Which commands of a connection may be under way at the same time.
//!
//! Commands of a connection take effect in the order sent. A shard keeps that order by itself;
//! over several shards a command waits until what it must not overtake has been executed.

use crate::protocol::Command;
use crate::protocol::command::QueueRequest;
use smallvec::SmallVec;

/// How the effects of a command relate to those of its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Changes nothing that others can see: nothing later waits for it.
    Read,
    /// Its effects may be exchanged with those of its like on other shards.
    Commuting,
    /// Takes effect after everything before it and before everything behind it.
    Ordered,
    /// Involves several shards: nothing else is under way meanwhile.
    Exclusive,
}

/// Commands of one connection that may not have taken effect yet.
#[derive(Debug, Default)]
pub struct Gate {
    /// Shards with such commands, exclusive ones apart; no entry is empty.
    shards: SmallVec<[Unexecuted; 4]>,
    /// Whether an exclusive one is under way.
    exclusive: bool,
}

#[derive(Debug)]
struct Unexecuted {
    shard: u16,
    commuting: u32,
    ordered: u32,
}

impl Order {
    /// The order of a command.
    pub fn of(command: &Command<'_>) -> Self {
        use Command as C;
        match command {
            C::Ping
            | C::Sub
            | C::Subs(_)
            | C::Get
            | C::Que
            | C::Prxy { .. }
            | C::Pfwd { .. }
            | C::Rslv { .. } => Self::Read,
            // What a proxy forwards comes from clients that wait for their answers.
            C::Ack { .. } | C::NSub | C::Rfwd { .. } => Self::Commuting,
            // It may find its queue by way of another shard, where a later change could overtake it.
            C::LGet => Self::Commuting,
            // The shard of the link id has a say.
            C::LSet { .. } | C::NSubs(_) => Self::Exclusive,
            C::New(new) if matches!(new.queue, Some(QueueRequest::Contact(Some(_)))) => {
                Self::Exclusive
            }
            C::New(_)
            | C::Send { .. }
            | C::Key(_)
            | C::SKey(_)
            | C::LKey(_)
            | C::RKey(_)
            | C::LDel
            | C::NKey(_)
            | C::NDel
            | C::Off
            | C::Del => Self::Ordered,
        }
    }
}

impl Gate {
    /// Whether a command for `shard` may be dispatched now.
    pub fn admits(&self, order: Order, shard: u16) -> bool {
        let mut elsewhere = self.shards.iter().filter(|s| s.shard != shard);
        !self.exclusive
            && match order {
                Order::Read | Order::Commuting => elsewhere.all(|s| s.ordered == 0),
                Order::Ordered => elsewhere.next().is_none(),
                Order::Exclusive => self.shards.is_empty(),
            }
    }

    /// Counts a command that is dispatched.
    pub fn dispatched(&mut self, order: Order, shard: u16) {
        let (commuting, ordered) = match order {
            Order::Read => return,
            Order::Exclusive => {
                self.exclusive = true;
                return;
            }
            Order::Commuting => (1, 0),
            Order::Ordered => (0, 1),
        };
        match self.shards.iter_mut().find(|s| s.shard == shard) {
            Some(entry) => {
                entry.commuting += commuting;
                entry.ordered += ordered;
            }
            None => self.shards.push(Unexecuted {
                shard,
                commuting,
                ordered,
            }),
        }
    }

    /// A command that was dispatched to `shard` has taken effect.
    pub fn executed(&mut self, order: Order, shard: u16) {
        let (commuting, ordered) = match order {
            Order::Read => return,
            Order::Exclusive => {
                self.exclusive = false;
                return;
            }
            Order::Commuting => (1, 0),
            Order::Ordered => (0, 1),
        };
        let Some(place) = self.shards.iter().position(|s| s.shard == shard) else {
            return;
        };
        let entry = &mut self.shards[place];
        entry.commuting -= commuting;
        entry.ordered -= ordered;
        if entry.commuting == 0 && entry.ordered == 0 {
            self.shards.swap_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Order::{Commuting, Exclusive, Ordered, Read};
    use super::*;
    use crate::crypto::keys::{PublicAuthKey, X25519PublicKey};
    use crate::protocol::command::{
        ContactLink, LinkData, MessagingLink, NewQueue, NotifierCredentials, ServiceQueues,
    };

    const EVERY: [Order; 4] = [Read, Commuting, Ordered, Exclusive];

    /// A gate with these commands under way.
    fn gate(under_way: &[(Order, u16)]) -> Gate {
        let mut gate = Gate::default();
        for (order, shard) in under_way {
            assert!(gate.admits(*order, *shard), "{under_way:?}");
            gate.dispatched(*order, *shard);
        }
        gate
    }

    /// Which orders are admitted on shard 0, and which on shard 1.
    fn admitted(gate: &Gate) -> [Vec<Order>; 2] {
        [0, 1].map(|shard| {
            let admits = |order: &Order| gate.admits(*order, shard);
            EVERY.into_iter().filter(admits).collect()
        })
    }

    #[test]
    fn each_order_waits_for_what_it_must_not_overtake() {
        let all = EVERY.to_vec();
        type UnderWay = &'static [(Order, u16)];
        let cases: [(UnderWay, _); 7] = [
            (&[], [all.clone(), all.clone()]),
            (&[(Read, 0), (Read, 1)], [all.clone(), all]),
            (
                &[(Commuting, 0)],
                [vec![Read, Commuting, Ordered], vec![Read, Commuting]],
            ),
            (
                &[(Commuting, 0), (Commuting, 1)],
                [vec![Read, Commuting], vec![Read, Commuting]],
            ),
            (&[(Ordered, 0)], [vec![Read, Commuting, Ordered], vec![]]),
            (
                &[(Commuting, 0), (Ordered, 0)],
                [vec![Read, Commuting, Ordered], vec![]],
            ),
            (&[(Exclusive, 0)], [vec![], vec![]]),
        ];
        for (under_way, expected) in cases {
            assert_eq!(admitted(&gate(under_way)), expected, "{under_way:?}");
        }
    }

    #[test]
    fn a_gate_opens_when_everything_is_executed() {
        let mut gate = gate(&[(Ordered, 0), (Commuting, 0), (Ordered, 0)]);
        gate.executed(Ordered, 0);
        gate.executed(Commuting, 0);
        assert!(!gate.admits(Ordered, 1) && !gate.admits(Read, 1));
        gate.executed(Read, 0);
        assert!(!gate.admits(Read, 1));
        gate.executed(Ordered, 0);
        assert!(EVERY.into_iter().all(|order| gate.admits(order, 1)));
        gate.dispatched(Exclusive, 3);
        gate.executed(Exclusive, 3);
        assert!(EVERY.into_iter().all(|order| gate.admits(order, 1)));
    }

    /// Only a command that turned out to belong elsewhere makes this possible.
    #[test]
    fn with_ordered_commands_on_two_shards_nothing_is_admitted() {
        let mut gate = gate(&[(Ordered, 0), (Ordered, 0)]);
        gate.executed(Ordered, 0);
        gate.dispatched(Ordered, 1);
        assert_eq!(admitted(&gate), [vec![], vec![]]);
        gate.executed(Ordered, 0);
        let own = vec![Read, Commuting, Ordered];
        assert_eq!(admitted(&gate), [vec![], own]);
    }

    #[test]
    fn with_one_shard_only_exclusive_commands_wait() {
        let gate = gate(&[(Ordered, 0), (Commuting, 0), (Read, 0), (Ordered, 0)]);
        assert_eq!(admitted(&gate)[0], [Read, Commuting, Ordered]);
    }

    #[test]
    fn commands_have_the_order_of_their_effects() {
        let key = || PublicAuthKey::Ed25519([1; 32]);
        let notifier = || NotifierCredentials {
            auth_key: key(),
            dh_key: X25519PublicKey([1; 32]),
        };
        let data = LinkData {
            fixed: &[],
            user: &[],
        };
        let new = |queue| {
            Command::New(NewQueue {
                auth_key: key(),
                dh_key: X25519PublicKey([1; 32]),
                password: None,
                subscribe: true,
                queue,
                notifier: None,
            })
        };
        let messaging = MessagingLink {
            sender_id: &[],
            data,
        };
        let contact = ContactLink {
            link_id: &[],
            sender_id: &[],
            data,
        };
        let (notify, body) = (false, [].as_slice());
        let cases = [
            (Command::Sub, Read),
            (Command::Subs(ServiceQueues::UNKNOWN), Read),
            (Command::Get, Read),
            (Command::Que, Read),
            (Command::LGet, Commuting),
            (Command::Ping, Read),
            (Command::Ack { msg_id: &[] }, Commuting),
            (Command::NSub, Commuting),
            (Command::Rfwd { encrypted: &[] }, Commuting),
            (Command::Send { notify, body }, Ordered),
            (Command::Key(key()), Ordered),
            (Command::SKey(key()), Ordered),
            (Command::LKey(key()), Ordered),
            (Command::RKey(vec![]), Ordered),
            (Command::LDel, Ordered),
            (Command::NKey(notifier()), Ordered),
            (Command::NDel, Ordered),
            (Command::Off, Ordered),
            (Command::Del, Ordered),
            (new(None), Ordered),
            (new(Some(QueueRequest::Contact(None))), Ordered),
            (new(Some(QueueRequest::Messaging(Some(messaging)))), Ordered),
            (new(Some(QueueRequest::Contact(Some(contact)))), Exclusive),
            (Command::LSet { link_id: &[], data }, Exclusive),
            (Command::NSubs(ServiceQueues::UNKNOWN), Exclusive),
        ];
        for (command, order) in cases {
            assert_eq!(Order::of(&command), order, "{command:?}");
        }
    }
}
