//! One run: a seed, some hundred steps, and what must be true at the end.

use super::relay::Relay;
use crate::relay::tests::inspect;
use rand::Rng;
use rand::seq::IteratorRandom;
use std::collections::BTreeMap;

/// Blocks that clients send in a run; of 1 to 4 commands each.
const BLOCKS: usize = 60;
/// Connections at a time.
const CONNECTIONS: usize = 4;

/// Says how to repeat a run that fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!(
                "seed {seed} failed: SMP_MODEL_SEED={seed} cargo test -p smp-server --lib \
                 the_relay_does_what_the_model_does -- --nocapture"
            );
        }
    }
}

/// Runs a seed; returns how often what was seen.
pub fn run(seed: u64, traced: bool) -> BTreeMap<&'static str, u64> {
    let guard = Seed(seed);
    let mut relay = Relay::new(seed, traced);
    for _ in 0..CONNECTIONS {
        relay.open();
    }
    let mut blocks = 0;
    while blocks < BLOCKS {
        blocks += usize::from(step(&mut relay));
    }
    settle(&mut relay);
    check_settled(&relay);
    clean_up(&mut relay);
    drop(guard);
    relay.world.coverage
}

/// Something happens; says whether a client sent a block.
fn step(relay: &mut Relay) -> bool {
    let rng = &mut relay.world.rng;
    let party = rng.random_range(0..CONNECTIONS);
    let shard = rng.random_range(0..relay.world.partitioner.shards());
    match rng.random_range(0..100) {
        0..30 => {
            relay.submit(party);
            return true;
        }
        30..70 => {
            let pairs = relay.world.mail.keys().copied();
            if let Some((from, to)) = pairs.choose(rng) {
                relay.deliver(from, to);
            }
        }
        70..82 => {
            let everything = rng.random_bool(0.6);
            while relay.read(party) && everything {}
        }
        82..89 => {
            let (begins, queues) = (rng.random_bool(0.7), rng.random_range(1..4));
            relay.by_clock(shard, |shard, _, effects| {
                if begins {
                    shard.begin_notification_tick();
                }
                shard.deliver_notifications(queues, effects);
            });
        }
        89..92 => {
            let seconds = rng.random_range(0..12);
            relay.world.now.nanos += seconds * 1_000_000_000;
        }
        92..94 => expire(relay, shard),
        94..96 => relay.flush(shard),
        96..98 => {
            let upto = rng.random_range(1..20);
            sync(relay, shard, upto);
        }
        _ => {
            if rng.random_bool(0.5) {
                relay.close(party);
                relay.open();
            }
        }
    }
    false
}

fn expire(relay: &mut Relay, shard: u16) {
    let world = &mut relay.world;
    let before = world.reference.tally;
    world.reference.expire(shard, world.now.seconds());
    let after = world.reference.tally;
    let expected = (
        after.messages_expired - before.messages_expired,
        after.notifications_expired - before.notifications_expired,
    );
    let now = world.now;
    assert_eq!(
        inspect::expire(&mut world.shards[usize::from(shard)], now),
        expected
    );
    if expected.0 > 0 {
        world.count("messages expired");
    }
    if expected.1 > 0 {
        world.count("notifications expired");
    }
}

/// The disk of a shard catches up with some changes, if it lags.
fn sync(relay: &mut Relay, shard: u16, upto: u64) {
    if inspect::lagging(&relay.world.shards[usize::from(shard)]) > 0 {
        relay.by_clock(shard, |shard, _, effects| {
            inspect::sync(shard, upto);
            shard.release_durable(effects);
        });
    }
}

/// Lets everything that is under way happen.
pub fn settle(relay: &mut Relay) {
    let shards = relay.world.partitioner.shards();
    loop {
        let pairs = relay.world.mail.keys().copied();
        if let Some((from, to)) = pairs.choose(&mut relay.world.rng) {
            relay.deliver(from, to);
            continue;
        }
        let lags = |shard: &u16| inspect::lagging(&relay.world.shards[usize::from(*shard)]) > 0;
        if let Some(shard) = (0..shards).find(lags) {
            sync(relay, shard, u64::MAX / 2);
            continue;
        }
        let mut is_done = true;
        for shard in 0..shards {
            let mut more = false;
            relay.by_clock(shard, |shard, _, effects| {
                shard.begin_notification_tick();
                more = shard.deliver_notifications(usize::MAX, effects);
            });
            is_done &= !more;
            relay.flush(shard);
        }
        for party in 0..relay.parties.len() {
            while relay.read(party) {}
        }
        if is_done && relay.world.mail.is_empty() {
            return;
        }
    }
}

/// Nothing is under way: nothing may be owed or forgotten.
fn check_settled(relay: &Relay) {
    let (world, reference) = (&relay.world, &relay.world.reference);
    for party in &relay.parties {
        let session = relay.session(party);
        assert!(session.is_settled() && !session.has_output());
        world.logs[&party.session].check_settled();
        if let Some(service) = party.service() {
            let home = world.partitioner.shard_of(&service.id);
            let is_subscriber = reference.views.get(&(home, service.id)) == Some(&party.session);
            assert_eq!(session.holds_service_subscription(), is_subscriber);
        }
    }
    for owed in reference.owed.values() {
        assert!(owed.is_empty(), "still owed: {owed:?}");
    }
    assert!(reference.joins.is_empty(), "{:?}", reference.joins);
    for service in reference.roles.keys() {
        let views = (0..world.partitioner.shards()).map(|s| reference.views.get(&(s, *service)));
        let views: std::collections::HashSet<_> = views.collect();
        assert_eq!(
            views.len(),
            1,
            "shards know different subscribers: {views:?}"
        );
    }
    for (number, queue) in reference.live() {
        let Some(notifier) = &queue.notifier else {
            continue;
        };
        let is_told = reference.notified(queue).is_none() || notifier.waiting.is_empty();
        assert!(is_told, "queue {number} has notifications for a subscriber");
    }
    // Reserved are the links that live apart from their queues, and no others.
    let apart = reference.live().filter_map(|(_, queue)| {
        let link = queue.link.as_ref()?.id;
        (world.partitioner.shard_of(&link) != queue.home).then_some(link)
    });
    assert_eq!(
        apart.collect::<std::collections::HashSet<_>>(),
        reference.reserved
    );
    check_shards(relay);
}

/// Shards hold as much as the model.
fn check_shards(relay: &Relay) {
    let (world, reference) = (&relay.world, &relay.world.reference);
    for (home, shard) in (0..).zip(&world.shards) {
        let own = || {
            reference
                .live()
                .filter(|(_, queue)| queue.home == home)
                .map(|(_, q)| q)
        };
        let totals = shard.totals();
        let messages: usize = own().map(|queue| queue.messages.len()).sum();
        assert_eq!(totals.queues as usize, own().count());
        assert_eq!(totals.messages as usize, messages);
        let notifiers: Vec<_> = own().filter_map(|queue| queue.notifier.as_ref()).collect();
        assert_eq!(totals.notifiers as usize, notifiers.len());
        let of_services = notifiers.iter().filter(|n| n.service.is_some()).count();
        assert_eq!(totals.notifier_service_queues as usize, of_services);
        let waiting: usize = notifiers.iter().map(|n| n.waiting.len()).sum();
        assert_eq!(shard.waiting_notifications() as usize, waiting);
        let listened = own().filter(|q| q.subscriber.is_some() || !q.getters.is_empty());
        assert_eq!(shard.subscription_counts().0, listened.count());
    }
    let counted = |of: fn(&crate::relay::Counters) -> u64| -> u64 {
        world.shards.iter().map(|shard| of(shard.counters())).sum()
    };
    let tally = reference.tally;
    assert_eq!(counted(|c| c.queues_created), tally.created);
    assert_eq!(counted(|c| c.queues_deleted), tally.deleted);
    assert_eq!(counted(|c| c.messages_sent), tally.sent);
    assert_eq!(counted(|c| c.messages_received), tally.received);
    assert_eq!(counted(|c| c.messages_expired), tally.messages_expired);
    assert_eq!(counted(|c| c.notifications_delivered), tally.notifications);
    assert_eq!(
        counted(|c| c.notifications_expired),
        tally.notifications_expired
    );
}

/// Everybody goes and every queue is deleted: nothing may be left.
fn clean_up(relay: &mut Relay) {
    while !relay.parties.is_empty() {
        relay.close(0);
        settle(relay);
    }
    relay.delete_queues();
    settle(relay);
    check_settled(relay);
    relay.close(0);
    settle(relay);
    for (index, shard) in relay.world.shards.iter().enumerate() {
        let left = inspect::leftovers(shard);
        assert!(left.is_empty(), "shard {index} still has {left:?}");
    }
}
