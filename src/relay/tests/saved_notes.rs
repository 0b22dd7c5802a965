//! What is saved of waiting notifications is what waits, and is taken over as it was.

use super::clients::{Client, Queue};
use super::notifications::with_notifier;
use super::steps::Notifier;
use super::world::{World, two_clients};
use crate::crypto::message::BOXED_META_LEN;
use crate::protocol::{Command, Response};
use crate::relay::notification::MIN_PER_QUEUE;
use crate::relay::{NotesWalk, Shard};
use crate::store::{Id, Note, SealedMeta};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use std::collections::BTreeMap;
use std::mem;

/// A file of notes: the last that was saved of a notifier.
type File = BTreeMap<Id, Vec<Note>>;

/// Saves what a walk finds in one step, at most so many queues; says whether there is more.
fn save_step(world: &mut World, walk: &mut NotesWalk, queues: usize, file: &mut File) -> bool {
    world.shards[0].save_notes(walk, queues, |id, notes| {
        if notes.is_empty() {
            file.remove(id);
        } else {
            file.insert(*id, notes.iter().cloned().collect());
        }
    })
}

fn save(world: &mut World, all: bool, file: &mut File) {
    let mut walk = world.shards[0].begin_saving_notes(all);
    while save_step(world, &mut walk, 2, file) {}
}

/// A world of one shard that saves its notes.
fn saving_world() -> World {
    let mut world = World::new(1);
    let now = world.now;
    world.shards[0].restore_notes(now, File::new());
    world
}

/// The process ends and begins again: queues stay, and what was saved.
fn restart(world: &mut World, file: File) {
    let shard = &mut world.shards[0];
    let (config, store) = (shard.config.clone(), mem::take(&mut shard.store));
    *shard = Shard::new(config, store, ChaCha20Rng::seed_from_u64(1));
    shard.restore_notes(world.now, file);
}

fn told(world: &mut World, notifier: &Notifier) -> Vec<(Id, i64)> {
    let pushes = mem::take(&mut world.pushes);
    pushes.iter().map(|(_, _, e)| notifier.open(e)).collect()
}

#[test]
fn notes_are_the_same_after_a_restart() {
    let (me, ntf) = two_clients();
    let mut world = saving_world();
    let (queue, notifier) = with_notifier(&mut world, &me, 1);
    for _ in 0..3 {
        world.flag(&me, &queue, 1);
        world.advance(5);
    }
    let mut file = File::new();
    save(&mut world, false, &mut file);
    assert!(!world.shards[0].has_unsaved_notes());
    let expected: Vec<_> = file[&notifier.id]
        .iter()
        .map(|n| (n.message_id, n.at))
        .collect();
    restart(&mut world, file);
    assert_eq!(world.waiting_notifications(), 3);
    world.tick();
    assert!(world.pushes.is_empty());
    world.nsub(&ntf, &notifier);
    world.tick();
    assert_eq!(told(&mut world, &notifier), expected);
    // Once they are told, the file forgets them.
    let mut file = File::from([(notifier.id, vec![Note::new([0; 24], 0)])]);
    save(&mut world, false, &mut file);
    assert!(file.is_empty());
}

#[test]
fn sealed_notes_are_delivered_as_they_are_and_in_order() {
    let (me, ntf) = two_clients();
    let mut world = saving_world();
    let (queue, notifier) = with_notifier(&mut world, &me, 1);
    let sealed = SealedMeta {
        nonce: [7; 24],
        boxed: [8; BOXED_META_LEN],
    };
    let mut note = Note::new([9; 24], world.now.seconds());
    note.sealed = Some(Box::new(sealed));
    restart(&mut world, File::from([(notifier.id, vec![note])]));
    world.flag(&me, &queue, 1);
    world.nsub(&ntf, &notifier);
    world.tick();
    let pushes = mem::take(&mut world.pushes);
    assert_eq!(pushes.len(), 2);
    let expected = Response::NMsg {
        nonce: [7; 24],
        boxed: vec![8; BOXED_META_LEN].into(),
    };
    assert_eq!(pushes[0].2, expected);
    notifier.open(&pushes[1].2);
}

#[test]
fn old_notes_and_those_of_nobody_are_dropped_and_so_are_too_many() {
    let (me, _) = two_clients();
    let mut world = saving_world();
    let (_, notifier) = with_notifier(&mut world, &me, 1);
    let now = world.now.seconds();
    let old = now - world.shards[0].config.notification_ttl;
    let mut notes = vec![Note::new([0; 24], old - 1)];
    notes.extend((0..=MIN_PER_QUEUE).map(|n| Note::new([n as u8; 24], old + n as i64)));
    let file = File::from([
        (notifier.id, notes.clone()),
        ([0xee; 24], vec![Note::new([1; 24], now)]),
    ]);
    restart(&mut world, file);
    assert_eq!(world.waiting_notifications(), MIN_PER_QUEUE as u64);
    let counters = world.counters();
    let counted = (counters.notifications_expired, counters.notifications_lost);
    assert_eq!(counted, (1, 1));
    let mut file = File::new();
    save(&mut world, true, &mut file);
    assert_eq!(file, File::from([(notifier.id, notes.split_off(2))]));
}

#[test]
fn what_is_told_before_it_is_saved_never_is() {
    let (me, ntf) = two_clients();
    let mut world = saving_world();
    let (queue, notifier) = with_notifier(&mut world, &me, 1);
    world.nsub(&ntf, &notifier);
    world.flag(&me, &queue, 2);
    world.tick();
    assert!(!world.shards[0].has_unsaved_notes());
}

#[derive(Debug, Clone)]
enum Op {
    Flag(usize),
    Tick,
    NoMoreNotifier(usize),
    NewNotifier(usize),
    Expire,
    Begin(bool),
    Step,
    Restart,
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..QUEUES).prop_map(Op::Flag),
        2 => Just(Op::Tick),
        1 => (0..QUEUES).prop_map(Op::NoMoreNotifier),
        1 => (0..QUEUES).prop_map(Op::NewNotifier),
        1 => Just(Op::Expire),
        2 => any::<bool>().prop_map(Op::Begin),
        6 => Just(Op::Step),
        1 => Just(Op::Restart),
    ]
}

const QUEUES: usize = 6;

/// Makes a notifier, whom somebody subscribes for every other queue.
fn make_notifier(world: &mut World, n: usize, queue: &Queue, me: &Client, ntf: &Client) {
    let notifier = world.notifier(me, queue, n as u8);
    if n.is_multiple_of(2) {
        world.nsub(ntf, &notifier);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens between the steps of saving, in the end the file has what waits.
    #[test]
    fn what_is_saved_in_steps_amounts_to_what_waits(
        ops in proptest::collection::vec(any_op(), 1..120),
    ) {
        let (me, ntf) = two_clients();
        let mut world = World::configured(1, |config| config.queue_quota = 10_000);
        let now = world.now;
        world.shards[0].restore_notes(now, File::new());
        let queues: Vec<_> = (0..QUEUES).map(|_| world.messaging(&me)).collect();
        for (n, queue) in queues.iter().enumerate() {
            make_notifier(&mut world, n, queue, &me, &ntf);
        }
        let mut file = File::new();
        let mut walk = None;
        for op in ops {
            match op {
                Op::Flag(n) => {
                    world.ask(&me, None, &queues[n].sender, &super::steps::FLAGGED);
                }
                Op::Tick => {
                    world.tick();
                    world.pushes.clear();
                    world.taken(0, &ntf, 10_000);
                }
                Op::NoMoreNotifier(n) => {
                    world.own(&me, &queues[n], &Command::NDel);
                }
                Op::NewNotifier(n) => make_notifier(&mut world, n, &queues[n], &me, &ntf),
                Op::Expire => {
                    world.advance(30_000);
                    world.expire_notifications(64);
                }
                Op::Begin(all) if walk.is_none() => {
                    // Writing everything makes a new file.
                    let new = if all { File::new() } else { file.clone() };
                    walk = Some((world.shards[0].begin_saving_notes(all), new));
                }
                Op::Begin(_) => {}
                Op::Step => {
                    if let Some((walk_, new)) = &mut walk
                        && !save_step(&mut world, walk_, 2, new)
                    {
                        file = mem::take(new);
                        walk = None;
                    }
                }
                // In order: everything has been saved.
                Op::Restart if walk.is_none() => {
                    save(&mut world, false, &mut file);
                    restart(&mut world, file.clone());
                }
                Op::Restart => {}
            }
        }
        if let Some((mut walk, mut new)) = walk {
            while save_step(&mut world, &mut walk, 2, &mut new) {}
            file = new;
        }
        save(&mut world, false, &mut file);
        let before = world.now.seconds() - world.shards[0].config.notification_ttl;
        // What has expired is dropped when the file is read.
        for notes in file.values_mut() {
            notes.retain(|note| note.at >= before);
        }
        file.retain(|_, notes| !notes.is_empty());
        world.expire_notifications(64);
        let mut whole = File::new();
        save(&mut world, true, &mut whole);
        prop_assert_eq!(file, whole);
    }
}
