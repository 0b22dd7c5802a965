use super::*;
use crate::persist::access::Acks;
use crate::persist::choice::{self, Live};
use crate::persist::materials::Content;
use crate::persist::state::{Ids, LinkLengths, Operation, SecuredBy, Told, ToldNotifier};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

const LENGTHS: LinkLengths = LinkLengths { fixed: 9, user: 9 };

fn create(contact: bool) -> Operation {
    Operation::Create {
        contact,
        link: Some(LENGTHS),
        notifier: true,
        subscribe: false,
    }
}

fn send(sequence: u32) -> Operation {
    Operation::Send(Message {
        sequence,
        size: 100,
        notify: false,
        marker: false,
    })
}

fn notifier(id: u8) -> ToldNotifier {
    ToldNotifier {
        id: vec![id; 24],
        server_dh: [6; 32],
    }
}

/// Issues and confirms.
fn perform(queue: &mut Queue, operation: Operation) {
    let step = queue.issue(operation);
    let told = match operation {
        Operation::Create { .. } => Told::Ids(Box::new(Ids {
            recipient: vec![1; 24],
            sender: vec![2; 24],
            server_dh: [3; 32],
            link: Some(vec![4; 24]),
            notifier: Some(notifier(5)),
        })),
        Operation::EnableNotifier => Told::Notifier(notifier(step as u8)),
        _ => Told::Nothing,
    };
    assert_eq!(queue.confirm(step, told, 0), Some(operation));
}

/// A contact queue with everything: sender key, link, notifier, 2 acknowledged messages and 3
/// waiting ones.
fn full() -> Queue {
    let mut queue = Queue::default();
    perform(&mut queue, create(true));
    perform(&mut queue, Operation::Secure(SecuredBy::Recipient));
    (0..5).for_each(|n| perform(&mut queue, send(n)));
    (0..2).for_each(|n| perform(&mut queue, Operation::Acknowledge(n)));
    queue
}

fn received(message: &Message) -> Received {
    Received {
        content: match message.size {
            0 if message.marker => Content::Quota,
            0 => Content::Empty,
            _ => Content::Message(message.sequence),
        },
        size: usize::from(message.size),
        notify: message.notify,
        time: 0,
    }
}

/// What shows of a queue in this state, of whose acknowledgements the last `again` were lost.
fn seen(queue: &Queue, state: &State, again: usize) -> Observation {
    let acknowledged = &state.acknowledged;
    let from = acknowledged.len().saturating_sub(again);
    let again = acknowledged.range(from..).map(|a| received(&a.message));
    let messages: Vec<_> = again.chain(state.waiting.iter().map(received)).collect();
    let told = |step: &Step| queue.notifier(*step).is_some();
    Observation {
        recipient_keys: state.recipient_keys.clone(),
        description: state.exists.then_some(Description {
            secured: state.sender_key.is_some(),
            notifier: state.notifier.is_some(),
            size: messages.len(),
        }),
        sender_key: state.sender_key.map_or(SenderKey::None, SenderKey::Known),
        links: Some(state.link.map(right).into_iter().collect()),
        notifiers: state.notifier.filter(told).into_iter().collect(),
        accepts: Some(state.exists && !state.suspended),
        by_service: false,
        messages,
        secured_with: None,
        sent: None,
    }
}

fn right(link: Link) -> LinkSeen {
    LinkSeen {
        made: link.made,
        data: Some(link),
        leads_home: true,
    }
}

fn kinds(queue: &Queue, seen: &Observation) -> Vec<Kind> {
    let judgement = judge(queue, seen, 1, Acks::Allowed);
    let kinds: Vec<_> = judgement.faults.iter().map(|f| f.kind).collect();
    assert_eq!(judgement.tally.faults(), kinds.len() as u64);
    kinds
}

/// Judges what shows of a settled queue after `change`.
fn after(queue: &Queue, change: impl FnOnce(&mut Observation)) -> Vec<Kind> {
    let mut seen = seen(queue, &queue.state, 0);
    assert_eq!(kinds(queue, &seen), [], "the unchanged observation");
    change(&mut seen);
    kinds(queue, &seen)
}

#[test]
fn what_is_as_promised_is_proved_fact_by_fact() {
    let queue = full();
    let judgement = judge(&queue, &seen(&queue, &queue.state, 0), 1, Acks::Allowed);
    let expected = Tally {
        queues: 1,
        // The queue, recipient key, sender key, link, notifier, three messages.
        proved: 8,
        ..Tally::default()
    };
    assert_eq!((judgement.tally, judgement.faults), (expected, vec![]));
}

#[test]
fn every_lost_fact_is_found() {
    let queue = full();
    let lost = [Kind::Lost];
    assert_eq!(after(&queue, |s| s.recipient_keys.clear()), lost);
    assert_eq!(after(&queue, |s| s.sender_key = SenderKey::None), lost);
    assert_eq!(after(&queue, |s| s.links = Some(vec![])), lost);
    let notifier = |s: &mut Observation| {
        s.notifiers.clear();
        s.description.as_mut().unwrap().notifier = false;
    };
    assert_eq!(after(&queue, notifier), lost);
    for position in 0..3 {
        let message = |s: &mut Observation| {
            s.messages.remove(position);
            s.description.as_mut().unwrap().size -= 1;
        };
        assert_eq!(after(&queue, message), lost, "message {position}");
    }
    let mut suspended = full();
    perform(&mut suspended, Operation::Suspend);
    assert_eq!(after(&suspended, |s| s.accepts = Some(true)), lost);
}

#[test]
fn a_queue_that_is_gone_is_lost_with_all_its_facts() {
    let queue = full();
    let nothing = seen(&queue, &State::default(), 0);
    // The queue, sender key, link, notifier, three messages.
    assert_eq!(kinds(&queue, &nothing), [Kind::Lost; 7]);
}

#[test]
fn what_was_deleted_must_stay_away() {
    let mut queue = full();
    let before = queue.state.clone();
    perform(&mut queue, Operation::Delete);
    let back = seen(&queue, &before, 0);
    assert_eq!(kinds(&queue, &back), [Kind::Lost]);

    let mut queue = full();
    let before = queue.state.link.unwrap();
    perform(&mut queue, Operation::DeleteLink);
    perform(&mut queue, Operation::DisableNotifier);
    assert_eq!(
        after(&queue, |s| s.links = Some(vec![right(before)])),
        [Kind::Lost]
    );
    assert_eq!(after(&queue, |s| s.notifiers = vec![0]), [Kind::Lost]);
    let told = |s: &mut Observation| s.description.as_mut().unwrap().notifier = true;
    assert_eq!(after(&queue, told), [Kind::Lost]);
}

#[test]
fn older_values_in_place_of_confirmed_ones_are_lost_changes() {
    let mut queue = full();
    let link = queue.state.link.unwrap();
    perform(&mut queue, Operation::ReplaceUserData(5));
    perform(&mut queue, Operation::ReplaceKeys(2));
    perform(&mut queue, Operation::EnableNotifier);
    assert_eq!(
        after(&queue, |s| s.links = Some(vec![right(link)])),
        [Kind::Lost]
    );
    let keys = |s: &mut Observation| s.recipient_keys = vec![KeyNumber::of(0)];
    assert_eq!(after(&queue, keys), [Kind::Lost]);
    let both = |s: &mut Observation| s.notifiers.push(0);
    assert_eq!(
        after(&queue, both),
        [Kind::Lost],
        "the old notifier answers too"
    );
}

#[test]
fn what_never_was_like_that_is_corrupted() {
    let queue = full();
    let corrupted = [Kind::Corrupted];
    assert_eq!(
        after(&queue, |s| s.sender_key = SenderKey::Foreign),
        corrupted
    );
    assert_eq!(after(&queue, |s| s.accepts = Some(false)), corrupted);
    // The queue says that it has one, and it is none of those it had.
    assert_eq!(after(&queue, |s| s.notifiers.clear()), corrupted);
    let data = |s: &mut Observation| s.links.as_mut().unwrap()[0].data = None;
    assert_eq!(after(&queue, data), corrupted);
    let home = |s: &mut Observation| s.links.as_mut().unwrap()[0].leads_home = false;
    assert_eq!(after(&queue, home).len(), 1);
    assert_eq!(after(&queue, |s| s.messages[1].size += 1), corrupted);
    assert_eq!(after(&queue, |s| s.messages[1].notify = true), corrupted);
    let size = |s: &mut Observation| s.description.as_mut().unwrap().size = 9;
    assert_eq!(after(&queue, size), corrupted);
    for content in [Content::Foreign, Content::Quota, Content::Message(77)] {
        let kinds = after(&queue, |s| s.messages[1].content = content);
        assert_eq!(kinds, [Kind::Corrupted, Kind::Lost], "{content:?}");
    }
}

#[test]
fn repeated_and_reordered_messages_are_found() {
    let queue = full();
    let repeat = |s: &mut Observation| {
        s.messages.push(s.messages[0]);
        s.description.as_mut().unwrap().size += 1;
    };
    assert_eq!(after(&queue, repeat), [Kind::Repeated]);
    let swap = |s: &mut Observation| s.messages.swap(0, 1);
    assert_eq!(after(&queue, swap), [Kind::Reordered]);
}

#[test]
fn acknowledged_messages_may_come_again_at_the_head_without_a_gap() {
    let queue = full();
    for again in 0..=2 {
        let judgement = judge(&queue, &seen(&queue, &queue.state, again), 1, Acks::Allowed);
        assert_eq!(judgement.faults, []);
        assert_eq!(judgement.tally.reappeared, again as u64);
        assert_eq!(judgement.tally.proved, 8);
    }
    let gap = |s: &mut Observation| {
        s.messages
            .insert(0, received(&queue.state.acknowledged[0].message));
        s.description.as_mut().unwrap().size += 1;
    };
    assert_eq!(after(&queue, gap), [Kind::Half]);
    let late = |s: &mut Observation| {
        s.messages
            .push(received(&queue.state.acknowledged[1].message));
        s.description.as_mut().unwrap().size += 1;
    };
    assert_eq!(after(&queue, late), [Kind::Reordered]);
}

#[test]
fn acknowledged_messages_must_not_come_again_where_that_is_promised() {
    let queue = full();
    for again in 1..=2 {
        let seen = seen(&queue, &queue.state, again);
        let judgement = judge(&queue, &seen, 1, Acks::Strict);
        let kinds: Vec<_> = judgement.faults.iter().map(|f| f.kind).collect();
        assert_eq!(kinds, vec![Kind::Lost; again]);
        assert_eq!(
            (judgement.tally.lost, judgement.tally.reappeared),
            (again as u64, 0)
        );
    }
    let none = judge(&queue, &seen(&queue, &queue.state, 0), 1, Acks::Strict);
    assert_eq!((none.faults, none.tally.proved), (vec![], 8));
    // One in doubt may be lost, and no other.
    let mut queue = full();
    queue.issue(Operation::Acknowledge(2));
    for (state, again, faults) in [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 1), (1, 2, 1)] {
        let state = &queue.candidates(0)[state];
        let judgement = judge(&queue, &seen(&queue, state, again), 1, Acks::Strict);
        assert_eq!(judgement.faults.len(), faults, "{again} of {state:?}");
    }
}

#[test]
fn the_marker_of_a_full_queue_is_a_message_like_others() {
    let mut queue = full();
    let marker = Message {
        sequence: 5,
        size: 0,
        notify: false,
        marker: true,
    };
    queue.issue(Operation::Send(marker));
    for state in queue.candidates(0) {
        assert_eq!(kinds(&queue, &seen(&queue, &state, 0)), []);
    }
    assert_eq!(queue.confirm(6, Told::Nothing, 0), None, "out of turn");
    let step = queue.next_step - 1;
    let confirmed = queue.confirm(step, Told::Nothing, 0);
    assert_eq!(confirmed, Some(Operation::Send(marker)));
    assert!(queue.state.is_full());
    let lost = |s: &mut Observation| {
        s.messages.pop();
        s.description.as_mut().unwrap().size -= 1;
    };
    assert_eq!(after(&queue, lost), [Kind::Lost]);
    let earlier = |s: &mut Observation| s.messages.swap(2, 3);
    assert_eq!(after(&queue, earlier), [Kind::Reordered]);
    let other = |s: &mut Observation| s.messages[3].content = Content::Empty;
    assert_eq!(after(&queue, other), [Kind::Corrupted, Kind::Lost]);
}

#[test]
fn a_notifier_belongs_to_whoever_asked_last() {
    let mut queue = full();
    perform(&mut queue, Operation::Associate);
    assert_eq!(queue.association(), (true, true));
    let mut shown = seen(&queue, &queue.state, 0);
    let settled = judge(&queue, &shown, 1, Acks::Strict).queue;
    assert_eq!(
        settled.association(),
        (false, false),
        "another client asked"
    );
    shown.by_service = true;
    let settled = judge(&queue, &shown, 1, Acks::Strict).queue;
    assert_eq!(settled.association(), (true, true));
}

#[test]
fn what_was_seen_to_be_gone_after_a_restart_must_not_come_again() {
    let queue = full();
    let first = judge(&queue, &seen(&queue, &queue.state, 1), 1, Acks::Allowed).queue;
    let known: Vec<_> = first
        .state
        .acknowledged
        .iter()
        .map(|a| a.message.sequence)
        .collect();
    assert_eq!(
        known,
        [1, 2, 3, 4],
        "0 is gone, the others were acknowledged just now"
    );
    let mut again = seen(&first, &first.state, 4);
    assert_eq!(kinds(&first, &again), []);
    again
        .messages
        .insert(0, received(&queue.state.acknowledged[0].message));
    again.description.as_mut().unwrap().size += 1;
    assert_eq!(kinds(&first, &again), [Kind::Corrupted]);
    // In the same life the acknowledgement may still be lost.
    let same = judge(&queue, &seen(&queue, &queue.state, 0), 0, Acks::Allowed).queue;
    assert_eq!(same.state.acknowledged.len(), 5);
}

#[test]
fn operations_in_doubt_may_have_happened_or_not() {
    let doubtful = [
        Operation::Secure(SecuredBy::Sender),
        send(5),
        Operation::Subscribe,
        Operation::Acknowledge(2),
        Operation::ReplaceUserData(3),
        Operation::DeleteLink,
        Operation::EnableNotifier,
        Operation::DisableNotifier,
        Operation::Associate,
        Operation::ReplaceKeys(2),
        Operation::Suspend,
        Operation::Delete,
    ];
    for operation in doubtful {
        let mut queue = full();
        if matches!(operation, Operation::Secure(_)) {
            queue.state.sender_key = None;
        }
        queue.issue(operation);
        for state in queue.candidates(0) {
            let judgement = judge(&queue, &seen(&queue, &state, 0), 1, Acks::Allowed);
            assert_eq!(judgement.faults, [], "{operation:?}");
            assert!(judgement.queue.is_settled());
            assert_eq!(judgement.queue.state.exists, state.exists);
            assert_eq!(judgement.queue.state.link, state.link);
            assert_eq!(judgement.queue.state.notifier, state.notifier);
            let tally = judgement.tally;
            assert_eq!(tally.happened + tally.did_not_happen, 1);
        }
        // Nothing else is excused by the doubt.
        if operation != Operation::Delete {
            let mut nothing = seen(&queue, &queue.state, 0);
            nothing.messages.remove(1);
            nothing.description.as_mut().unwrap().size -= 1;
            assert!(
                kinds(&queue, &nothing).contains(&Kind::Lost),
                "{operation:?}"
            );
        }
    }
}

#[test]
fn operations_in_doubt_must_not_be_half_done() {
    let mut queue = full();
    queue.issue(Operation::Delete);
    let gone = seen(&queue, &State::default(), 0);
    assert_eq!(kinds(&queue, &gone), []);
    let half: [fn(&Queue, &mut Observation); 3] = [
        |_, s| s.accepts = Some(true),
        |q, s| s.links = Some(vec![right(q.state.link.unwrap())]),
        |_, s| s.notifiers = vec![0],
    ];
    for change in half {
        let mut seen = gone.clone();
        change(&queue, &mut seen);
        assert_eq!(kinds(&queue, &seen), [Kind::Half]);
    }

    let mut queue = full();
    queue.issue(Operation::ReplaceKeys(2));
    let mut mixed = seen(&queue, &queue.state, 0);
    mixed.recipient_keys = queue.recipient_keys.clone();
    assert_eq!(
        kinds(&queue, &mixed),
        [Kind::Lost],
        "old and new keys together"
    );

    let mut queue = full();
    queue.issue(Operation::EnableNotifier);
    let mut neither = seen(&queue, &queue.state, 0);
    neither.notifiers.clear();
    neither.description.as_mut().unwrap().notifier = false;
    assert_eq!(
        kinds(&queue, &neither),
        [Kind::Lost],
        "the old notifier went, no new one came"
    );
}

#[test]
fn a_burst_in_doubt_arrives_from_its_beginning() {
    let mut queue = full();
    (5..8).for_each(|n| {
        queue.issue(send(n));
    });
    let states = queue.candidates(0);
    assert_eq!(states.len(), 4);
    for (happened, state) in states.iter().enumerate() {
        let judgement = judge(&queue, &seen(&queue, state, 0), 1, Acks::Allowed);
        assert_eq!(judgement.faults, []);
        assert_eq!(judgement.tally.happened, happened as u64);
        assert_eq!(judgement.tally.did_not_happen, 3 - happened as u64);
    }
    let mut gap = seen(&queue, &states[3], 0);
    gap.messages.remove(4);
    gap.description.as_mut().unwrap().size -= 1;
    assert_ne!(kinds(&queue, &gap), []);
}

#[test]
fn the_first_message_of_a_secured_queue_takes_its_link_away() {
    let mut queue = Queue::default();
    perform(&mut queue, create(false));
    perform(&mut queue, Operation::Secure(SecuredBy::Link));
    queue.issue(send(0));
    let states = queue.candidates(0);
    let facts = |s: &State| (s.link.is_some(), s.waiting.len());
    let facts: Vec<_> = states.iter().map(facts).collect();
    assert_eq!(facts, [(true, 0), (false, 0), (false, 1)]);
    for state in &states {
        assert_eq!(kinds(&queue, &seen(&queue, state, 0)), []);
    }
    let mut both = seen(&queue, &states[2], 0);
    both.links = Some(vec![right(states[0].link.unwrap())]);
    assert_ne!(
        kinds(&queue, &both),
        [],
        "the message came and the link is there"
    );
}

#[test]
fn creations_in_doubt_are_whole_or_not_at_all() {
    let kinds = |link, accepts| {
        let (faults, tally) = judge_newborn(link, accepts);
        assert_eq!(tally.faults(), faults.len() as u64);
        faults.into_iter().map(|f| f.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(None, true), []);
    assert_eq!(kinds(None, false), []);
    assert_eq!(kinds(Some(Some(true)), true), []);
    assert_eq!(kinds(Some(None), false), []);
    assert_eq!(kinds(Some(Some(true)), false), [Kind::Half]);
    assert_eq!(kinds(Some(None), true), [Kind::Half]);
    assert_eq!(kinds(Some(Some(false)), true), [Kind::Corrupted]);
}

/// The life of a queue up to a crash, random operations in doubt at its end.
fn life(seed: u64, rng: &mut StdRng) -> Queue {
    let mut queue = Queue::default();
    let creation = choice::creation(&mut choice::rng(seed, 0, &queue));
    perform(&mut queue, creation);
    for _ in 0..rng.random_range(0..40) {
        if queue.state.exists {
            let operations = choice::next(&mut choice::rng(seed, 0, &queue), &queue, live(&queue));
            operations.into_iter().for_each(|o| perform(&mut queue, o));
        }
    }
    if queue.state.exists && rng.random_bool(0.7) {
        let operations = choice::next(&mut choice::rng(seed, 0, &queue), &queue, live(&queue));
        let confirmed = rng.random_range(0..operations.len());
        for (number, operation) in operations.into_iter().enumerate() {
            if number < confirmed {
                perform(&mut queue, operation);
            } else {
                queue.issue(operation);
            }
        }
    }
    queue
}

fn live(queue: &Queue) -> Live {
    Live {
        subscribed: true,
        delivered: queue.state.waiting.front().map(|m| m.sequence),
        quota: queue.contact.then_some(8),
        service: true,
        quiet: false,
    }
}

#[test]
fn a_server_that_keeps_its_promises_is_never_blamed() {
    let (mut doubtful, mut reappeared) = (0, 0);
    for seed in 0..500 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let mut queue = life(seed, rng);
        for epoch in 1..4 {
            let states = queue.candidates(epoch - 1);
            let state = &states[rng.random_range(0..states.len())];
            let lost = rng.random_range(0..=state.acknowledged.len());
            let shown = seen(&queue, state, lost);
            let judgement = judge(&queue, &shown, epoch, Acks::Allowed);
            assert_eq!(judgement.faults, [], "seed {seed}: {queue:?}\n{shown:?}");
            doubtful += judgement.tally.happened;
            reappeared += judgement.tally.reappeared;
            queue = judgement.queue;
        }
    }
    assert!(doubtful > 50 && reappeared > 50, "{doubtful}, {reappeared}");
}

#[test]
fn a_server_that_breaks_one_is_always_found_out() {
    let mut damages = 0;
    for seed in 0..500 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let queue = life(seed, rng);
        if !queue.is_settled() || !queue.state.exists {
            continue;
        }
        let state = &queue.state;
        let whole = seen(&queue, state, 0);
        let mut broken = Vec::new();
        let mut damage = |change: &dyn Fn(&mut Observation)| {
            let mut seen = whole.clone();
            change(&mut seen);
            if seen != whole {
                broken.push(seen);
            }
        };
        damage(&|s| s.recipient_keys = vec![]);
        damage(&|s| s.sender_key = SenderKey::None);
        damage(&|s| s.sender_key = SenderKey::Foreign);
        damage(&|s| s.links = Some(vec![]));
        damage(&|s| s.links.iter_mut().flatten().for_each(|l| l.data = None));
        damage(&|s| s.notifiers.clear());
        damage(&|s| s.accepts = s.accepts.map(|accepts| !accepts));
        damage(&|s| s.description = None);
        let at = rng.random_range(0..whole.messages.len().max(1));
        damage(&|s| s.messages.truncate(at));
        damage(&|s| s.messages.reverse());
        damage(&|s| s.messages.extend(whole.messages.get(at)));
        damage(&|s| s.messages.iter_mut().skip(at).for_each(|m| m.size += 1));
        damage(&|s| {
            s.messages
                .iter_mut()
                .skip(at)
                .for_each(|m| m.content = Content::Foreign)
        });
        for seen in broken {
            damages += 1;
            assert_ne!(kinds(&queue, &seen), [], "seed {seed}: {queue:?}\n{seen:?}");
        }
    }
    assert!(damages > 500, "{damages}");
}
