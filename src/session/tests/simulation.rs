//! A session between a client, several shards and their disks, in any order of events.

use super::peer::{Peer, Received, message, numbered, of_order, queue};
use crate::protocol::{Command, ErrorType, Response, Version};
use crate::relay::{Answer, Ticket};
use crate::session::order::Order::{self, Commuting, Exclusive, Ordered, Read};
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::VecDeque;

const SHARDS: u8 = 3;
/// Messages that wait at a time, few enough to find room.
const MAX_MESSAGES: usize = 20;
/// Small responses that fit beside a message in any case.
const BESIDE_MESSAGE: usize = 3;

/// What a client sends.
#[derive(Debug, Clone, Copy)]
enum Item {
    Command(Order, u8),
    Ping,
    Garbage,
}

#[derive(Debug, Clone)]
enum Step {
    /// A block from the client.
    Receive(Vec<Item>),
    /// A shard carries out its next command.
    Execute(Index, Outcome),
    /// An answer that waited for the disk.
    Durable(Index),
    /// A message that nobody asked for.
    Push,
    /// A block to the client.
    Take,
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Answer,
    Refuse,
    /// The answer waits for the disk.
    Wait,
    Redirect(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let order = prop_oneof![
        3 => Just(Read),
        3 => Just(Commuting),
        6 => Just(Ordered),
        1 => Just(Exclusive),
    ];
    let item = prop_oneof![
        9 => (order, 0..SHARDS).prop_map(|(order, shard)| Item::Command(order, shard)),
        1 => Just(Item::Ping),
        1 => Just(Item::Garbage),
    ];
    let outcome = prop_oneof![
        6 => Just(Outcome::Answer),
        2 => Just(Outcome::Refuse),
        4 => Just(Outcome::Wait),
        1 => (0..SHARDS).prop_map(Outcome::Redirect),
    ];
    prop_oneof![
        3 => proptest::collection::vec(item, 1..12).prop_map(Step::Receive),
        12 => (any::<Index>(), outcome).prop_map(|(shard, outcome)| Step::Execute(shard, outcome)),
        3 => any::<Index>().prop_map(Step::Durable),
        3 => Just(Step::Push),
        3 => Just(Step::Take),
    ]
}

/// What is known of a sent item.
#[derive(Debug)]
struct Sent {
    ticket: Ticket,
    bytes: Vec<u8>,
    order: Option<Order>,
    dispatched_at: Option<usize>,
    redirected_at: Option<usize>,
    executed: bool,
    answer: Option<Response<'static>>,
    refused: bool,
}

struct World {
    peer: Peer,
    sent: Vec<Sent>,
    /// Sizes of the blocks whose answers have not been released.
    blocks: VecDeque<usize>,
    /// Commands that shards have not carried out, as places in `sent`.
    inboxes: [VecDeque<usize>; SHARDS as usize],
    /// Commands whose answers wait for the disk.
    undurable: Vec<usize>,
    clock: usize,
    /// Answers in the order in which the client must see them.
    released: Vec<(Vec<u8>, Response<'static>)>,
    /// For each message how many answers were released before it.
    pushed: Vec<usize>,
    received: usize,
    messages: usize,
    after_message: bool,
}

/// Whether `later` must not take effect before `earlier`.
fn follows(earlier: Order, later: Order) -> bool {
    match earlier {
        Read => false,
        Commuting => matches!(later, Ordered | Exclusive),
        Ordered | Exclusive => true,
    }
}

fn corr_id(place: usize) -> Vec<u8> {
    (place as u32).to_be_bytes().to_vec()
}

impl World {
    fn new(encrypted: bool) -> Self {
        Self {
            peer: Peer::new(Version::CURRENT, encrypted),
            sent: Vec::new(),
            blocks: VecDeque::new(),
            inboxes: Default::default(),
            undurable: Vec::new(),
            clock: 0,
            released: Vec::new(),
            pushed: Vec::new(),
            received: 0,
            messages: 0,
            after_message: false,
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Receive(items) if self.peer.session.wants_input() => self.receive(items),
            Step::Receive(_) => {}
            Step::Execute(pick, outcome) => {
                let busy = (0..SHARDS).filter(|shard| !self.inbox(*shard).is_empty());
                let busy: Vec<_> = busy.collect();
                if !busy.is_empty() {
                    self.execute(busy[pick.index(busy.len())], *outcome);
                }
            }
            Step::Durable(pick) => {
                if !self.undurable.is_empty() {
                    let place = pick.index(self.undurable.len());
                    let place = self.undurable.swap_remove(place);
                    self.answer(place, false);
                }
            }
            Step::Push => {
                if self.pushed.len() - self.messages < MAX_MESSAGES {
                    let n = self.pushed.len() as u8;
                    self.peer.push([0xee; 24], message(n));
                    self.pushed.push(self.released.len());
                }
            }
            Step::Take => {
                self.take();
            }
        }
        self.note_dispatched();
    }

    fn inbox(&mut self, shard: u8) -> &mut VecDeque<usize> {
        &mut self.inboxes[usize::from(shard)]
    }

    fn receive(&mut self, items: &[Item]) {
        let batch = match self.sent.last() {
            Some(last) => last.ticket.batch + 1,
            None => 0,
        };
        let mut block = Vec::new();
        for (item, index) in items.iter().zip(0..) {
            let place = self.sent.len();
            let id = corr_id(place);
            let (command, entity, order) = match item {
                Item::Command(order, shard) => {
                    (of_order(*order), queue(1, *shard).to_vec(), Some(*order))
                }
                Item::Ping => (Command::Ping, vec![], None),
                Item::Garbage => (Command::Que, vec![], None),
            };
            let bytes = self.peer.transmission(&id, &entity, &command);
            block.push(bytes.clone());
            let refused = matches!(item, Item::Garbage);
            let answer = match item {
                Item::Command(..) => None,
                Item::Ping => Some(Response::Pong),
                Item::Garbage => Some(Response::Err(ErrorType::Cmd(
                    crate::protocol::error::CommandError::NoAuth,
                ))),
            };
            self.sent.push(Sent {
                ticket: Ticket { batch, index },
                bytes,
                order,
                dispatched_at: None,
                redirected_at: None,
                executed: order.is_none(),
                answer,
                refused,
            });
        }
        self.blocks.push_back(items.len());
        self.peer.send(&block);
        self.release();
    }

    /// Puts what the session dispatched into the inboxes, where it must be for the first time or
    /// redirected.
    fn note_dispatched(&mut self) {
        for (shard, ticket) in std::mem::take(&mut self.peer.router.dispatched) {
            self.clock += 1;
            let place = self.sent.iter().position(|s| s.ticket == ticket).unwrap();
            let sent = &mut self.sent[place];
            assert!(!sent.executed);
            assert!(sent.dispatched_at.is_none() || sent.redirected_at.is_some());
            sent.dispatched_at.get_or_insert(self.clock);
            assert!(self.inboxes.iter().all(|inbox| !inbox.contains(&place)));
            self.inboxes[usize::from(shard)].push_back(place);
        }
    }

    fn execute(&mut self, shard: u8, outcome: Outcome) {
        let place = self.inbox(shard).pop_front().unwrap();
        self.clock += 1;
        let sent = &mut self.sent[place];
        let Ticket { batch, index } = sent.ticket;
        if let (Outcome::Redirect(shard), None) = (outcome, sent.redirected_at) {
            sent.redirected_at = Some(self.clock);
            let transmission = sent.bytes.clone();
            let answer = Answer::Redirect {
                shard: shard.into(),
                transmission,
            };
            self.peer.answer(batch, index, answer);
            return;
        }
        self.check_order(place);
        self.sent[place].executed = true;
        match outcome {
            Outcome::Answer | Outcome::Redirect(_) => self.answer(place, false),
            Outcome::Refuse => self.answer(place, true),
            Outcome::Wait => {
                self.undurable.push(place);
                self.peer.executed(batch, index);
            }
        }
    }

    /// Whatever must precede a command has been carried out. Nothing could be done about what was
    /// already under way when a command turned out to belong elsewhere.
    fn check_order(&self, place: usize) {
        let command = &self.sent[place];
        for earlier in &self.sent[..place] {
            let under_way = earlier
                .redirected_at
                .is_some_and(|at| command.dispatched_at.unwrap() < at);
            if let (Some(first), Some(then)) = (earlier.order, command.order)
                && follows(first, then)
                && !under_way
            {
                assert!(earlier.executed, "{earlier:?} overtaken by {command:?}");
            }
        }
    }

    fn answer(&mut self, place: usize, refused: bool) {
        let sent = &mut self.sent[place];
        assert!(sent.answer.is_none());
        let Ticket { batch, index } = sent.ticket;
        sent.refused = refused;
        let (answer, response) = if refused {
            (
                Answer::Refused(ErrorType::Auth),
                Response::Err(ErrorType::Auth),
            )
        } else {
            (numbered(place).into(), numbered(place))
        };
        sent.answer = Some(response);
        self.peer.answer(batch, index, answer);
        self.release();
    }

    /// Answers of whole blocks, refusals first.
    fn release(&mut self) {
        while let Some(size) = self.blocks.front() {
            let start = self.released.len();
            let places = start..start + size;
            if self.sent[places.clone()].iter().any(|s| s.answer.is_none()) {
                return;
            }
            self.blocks.pop_front();
            for refused in [true, false] {
                for place in places.clone() {
                    let sent = &self.sent[place];
                    if sent.refused == refused {
                        let answer = sent.answer.clone().unwrap();
                        self.released.push((corr_id(place), answer));
                    }
                }
            }
        }
    }

    /// Takes a block and checks what is in it; false when there is none.
    fn take(&mut self) -> bool {
        let waiting = self.released.len() - self.received;
        let waiting_messages = self.pushed.len() - self.messages;
        let Some(block) = self.peer.next() else {
            assert_eq!((waiting, waiting_messages), (0, 0));
            return false;
        };
        let crowded = self.after_message && waiting > BESIDE_MESSAGE;
        let due = waiting_messages > 0 && self.pushed[self.messages] <= self.received;
        let is_message = |r: &Received| matches!(r.response, Response::Msg { .. });
        let messages = block.iter().filter(|r| is_message(r)).count();
        // Neither lane waits longer than a block.
        assert_eq!(due && !crowded, is_message(&block[0]));
        assert!(messages <= usize::from(!crowded));
        for received in &block {
            if is_message(received) {
                assert!(
                    self.pushed[self.messages] <= self.received,
                    "overtook a response"
                );
                assert_eq!(received.response, message(self.messages as u8));
                self.messages += 1;
            } else {
                let (id, response) = &self.released[self.received];
                assert_eq!((&received.corr_id, &received.response), (id, response));
                self.received += 1;
            }
        }
        let responses = block.len() - messages;
        if messages == 0 {
            assert!(self.received == self.released.len() || block.len() == 255);
        } else {
            assert!(responses >= waiting.min(BESIDE_MESSAGE));
        }
        self.after_message = messages > 0 && self.peer.session.has_output();
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn order_and_lanes_hold_whatever_happens_when(
        steps in proptest::collection::vec(step(), 1..120),
        encrypted: bool,
    ) {
        let mut world = World::new(encrypted);
        for step in &steps {
            world.run(step);
        }
        // Then everything is carried out: nothing is forgotten or waits for ever.
        loop {
            if let Some(shard) = (0..SHARDS).find(|shard| !world.inbox(*shard).is_empty()) {
                world.execute(shard, Outcome::Answer);
            } else if let Some(place) = world.undurable.pop() {
                world.answer(place, false);
            } else {
                break;
            }
            world.note_dispatched();
        }
        while world.take() {}
        prop_assert!(world.sent.iter().all(|sent| sent.answer.is_some()));
        prop_assert_eq!(world.received, world.sent.len());
        prop_assert_eq!(world.messages, world.pushed.len());
        prop_assert!(world.peer.session.is_settled());
    }

    #[test]
    fn with_one_shard_nothing_waits_but_for_exclusive_commands(
        blocks in proptest::collection::vec(
            proptest::collection::vec(0..3usize, 1..12),
            1..10,
        ),
    ) {
        let mut peer = Peer::plain();
        for block in &blocks {
            let items: Vec<_> = block
                .iter()
                .map(|order| of_order([Read, Commuting, Ordered][*order]))
                .map(|command| peer.transmission(&[1], &queue(1, 0), &command))
                .collect();
            peer.send(&items);
            prop_assert_eq!(peer.dispatched().len(), block.len());
        }
    }
}
