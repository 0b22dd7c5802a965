//! Bounded lock-free queues between executors, one per ordered pair, with one wake-up per batch.
//!
//! Sending never blocks and never drops: what a full queue does not take waits at the sender, and
//! as long as anything waits there the sender's connections read no further commands. What can
//! wait is therefore bounded by the commands already in flight.

use atomic_waker::AtomicWaker;
use crossbeam::queue::ArrayQueue;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

/// Messages a queue between two executors holds.
pub const QUEUE_DEPTH: usize = 2048;
/// Messages taken from one queue before the others get a turn.
const RECEIVE_BURST: usize = 256;

/// What the two ends of a queue share.
#[derive(Debug)]
struct Link<M> {
    queue: ArrayQueue<M>,
    /// Set by a sender that found the queue full and wants to be woken when there is room.
    starved: AtomicBool,
}

/// Wakes the task that receives for one executor.
#[derive(Debug, Default)]
struct Node {
    waker: AtomicWaker,
}

/// One executor's ends of all its queues.
#[derive(Debug)]
pub struct Mesh<M> {
    peers: Vec<Option<Peer<M>>>,
    nodes: Arc<[Node]>,
    index: usize,
    /// Messages waiting at this sender.
    waiting: Cell<usize>,
    /// The peer to receive from first.
    first: Cell<usize>,
}

#[derive(Debug)]
struct Peer<M> {
    outbound: Arc<Link<M>>,
    inbound: Arc<Link<M>>,
    overflow: RefCell<VecDeque<M>>,
    /// Whether something was sent since the peer was last woken.
    unannounced: Cell<bool>,
}

/// Wakes executors from outside, to look at the shutdown flag.
#[derive(Debug, Clone)]
pub struct MeshAlarm {
    nodes: Arc<[Node]>,
}

impl MeshAlarm {
    /// Wakes every executor.
    pub fn wake_all(&self) {
        for node in self.nodes.iter() {
            node.waker.wake();
        }
    }
}

/// Makes the ends for `executors` executors, in order.
pub fn connect<M>(executors: usize) -> (Vec<Mesh<M>>, MeshAlarm) {
    let nodes: Arc<[Node]> = (0..executors).map(|_| Node::default()).collect();
    let link = || {
        Arc::new(Link {
            queue: ArrayQueue::new(QUEUE_DEPTH),
            starved: AtomicBool::new(false),
        })
    };
    // links[from][to]
    let links: Vec<Vec<Arc<Link<M>>>> = (0..executors)
        .map(|_| (0..executors).map(|_| link()).collect())
        .collect();
    let mesh = |index: usize| {
        let peer = |other: usize| {
            (other != index).then(|| Peer {
                outbound: Arc::clone(&links[index][other]),
                inbound: Arc::clone(&links[other][index]),
                overflow: RefCell::default(),
                unannounced: Cell::new(false),
            })
        };
        Mesh {
            peers: (0..executors).map(peer).collect(),
            nodes: Arc::clone(&nodes),
            index,
            waiting: Cell::new(0),
            first: Cell::new(0),
        }
    };
    ((0..executors).map(mesh).collect(), MeshAlarm { nodes })
}

impl<M> Mesh<M> {
    /// Sends to another executor; the order of messages to one executor is kept.
    ///
    /// The peer is woken by the next [`announce`](Self::announce).
    pub fn send(&self, to: u16, message: M) {
        let Some(Some(peer)) = self.peers.get(usize::from(to)) else {
            tracing::error!("no executor {to} to send to");
            return;
        };
        peer.unannounced.set(true);
        let mut overflow = peer.overflow.borrow_mut();
        let refused = if overflow.is_empty() {
            peer.outbound.queue.push(message).err()
        } else {
            Some(message)
        };
        if let Some(message) = refused {
            overflow.push_back(message);
            self.waiting.set(self.waiting.get() + 1);
            peer.outbound.starved.store(true, Ordering::SeqCst);
        }
    }

    /// Wakes every executor that was sent something since the last call.
    pub fn announce(&self) {
        for (peer, node) in self.peers.iter().zip(self.nodes.iter()) {
            if peer
                .as_ref()
                .is_some_and(|peer| peer.unannounced.replace(false))
            {
                node.waker.wake();
            }
        }
    }

    /// Whether connections must stop reading commands.
    pub fn is_congested(&self) -> bool {
        self.waiting.get() > 0
    }

    /// Messages that have arrived and are not taken, and messages that wait at this sender.
    pub fn depth(&self) -> (usize, usize) {
        let peers = self.peers.iter().flatten();
        let arrived = peers.map(|peer| peer.inbound.queue.len()).sum();
        (arrived, self.waiting.get())
    }

    /// Registers the one task of this executor that receives.
    pub fn register(&self, waker: &Waker) {
        self.nodes[self.index].waker.register(waker);
    }

    /// Wakes the task of this executor that receives.
    pub fn rouse(&self) {
        self.nodes[self.index].waker.wake();
    }

    /// Moves waiting messages to queues that have room again; says whether this ended a
    /// congestion.
    pub fn flush(&self) -> bool {
        if !self.is_congested() {
            return false;
        }
        for peer in self.peers.iter().flatten() {
            let mut overflow = peer.overflow.borrow_mut();
            while let Some(message) = overflow.pop_front() {
                if let Err(message) = peer.outbound.queue.push(message) {
                    overflow.push_front(message);
                    peer.outbound.starved.store(true, Ordering::SeqCst);
                    // Room made between the refusal and the note would go unnoticed.
                    if !peer.outbound.queue.is_full() {
                        continue;
                    }
                    break;
                }
                self.waiting.set(self.waiting.get() - 1);
                peer.unannounced.set(true);
            }
        }
        self.announce();
        !self.is_congested()
    }

    /// Takes what has arrived, a bounded number from each peer and only while `take` says so; says
    /// whether more may be there.
    pub fn receive(&self, take: impl FnMut(u16, M) -> bool) -> bool {
        self.receive_from(|_| true, take)
    }

    /// [`receive`](Self::receive) from some peers only. What others sent stays in their queues, and
    /// they are pushed back when those are full; whoever calls this has to come back for it.
    pub fn receive_from(
        &self,
        from_peer: impl Fn(u16) -> bool,
        mut take: impl FnMut(u16, M) -> bool,
    ) -> bool {
        let mut on = true;
        let mut more = false;
        // Another peer is first each time, or a busy one could keep the others waiting.
        let first = self.first.get();
        self.first.set((first + 1) % self.peers.len());
        let numbered = (0..=u16::MAX).zip(&self.peers);
        for (from, peer) in numbered.clone().skip(first).chain(numbered.take(first)) {
            let Some(peer) = peer else { continue };
            let mut taken = 0;
            // Also while it goes on: what is taken may change the answer.
            while on
                && taken < RECEIVE_BURST
                && from_peer(from)
                && let Some(message) = peer.inbound.queue.pop()
            {
                taken += 1;
                on = take(from, message);
            }
            more |= taken == RECEIVE_BURST || !on;
            // Whether or not anything was taken: the sender may have found the queue full just
            // before it was emptied, and have noted so just after.
            if peer.inbound.starved.load(Ordering::SeqCst)
                && peer.inbound.starved.swap(false, Ordering::SeqCst)
                && let Some(node) = self.nodes.get(usize::from(from))
            {
                node.waker.wake();
            }
        }
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_fn};
    use glommio::{LocalExecutorBuilder, Placement};
    use std::task::{Poll, Wake};
    use std::thread;

    /// Takes whatever there is.
    fn all<M>(mut take: impl FnMut(u16, M)) -> impl FnMut(u16, M) -> bool {
        move |from, message| {
            take(from, message);
            true
        }
    }

    /// Receives until `done` says so, as an executor's task does.
    async fn pump<M>(mesh: &Mesh<M>, mut take: impl FnMut(u16, M), mut done: impl FnMut() -> bool) {
        poll_fn(|cx| {
            mesh.register(cx.waker());
            let more = mesh.receive(all(&mut take));
            mesh.flush();
            mesh.announce();
            if done() {
                return Poll::Ready(());
            }
            if more {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
    }

    #[test]
    fn order_is_kept_beyond_the_depth_of_the_queue() {
        const COUNT: usize = 10 * QUEUE_DEPTH;
        let (meshes, _) = connect::<usize>(2);
        let threads: Vec<_> = meshes
            .into_iter()
            .map(|mesh| {
                thread::spawn(move || {
                    let other = 1 - u16::try_from(mesh.index).unwrap();
                    for i in 0..COUNT {
                        mesh.send(other, i);
                    }
                    mesh.announce();
                    let next = Cell::new(0);
                    let take = |from, i| {
                        assert_eq!((from, i), (other, next.get()));
                        next.set(i + 1);
                    };
                    // Both must receive everything and have nothing left to send.
                    let done = || next.get() == COUNT && !mesh.is_congested();
                    block_on(pump(&mesh, take, done));
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_full_queue_congests_and_clears() {
        let (mut meshes, _) = connect::<usize>(2);
        let (b, a) = (meshes.pop().unwrap(), meshes.pop().unwrap());
        for i in 0..=QUEUE_DEPTH {
            assert!(!a.is_congested());
            a.send(1, i);
        }
        assert!(a.is_congested());
        let mut received = 0;
        while b.receive(all(|_, i| {
            assert_eq!(i, received);
            received += 1;
        })) {}
        a.flush();
        assert!(!a.is_congested());
        b.receive(all(|_, i| received = i + 1));
        assert_eq!(received, QUEUE_DEPTH + 1);
    }

    #[test]
    fn everyone_reaches_everyone() {
        let (meshes, _) = connect::<u16>(5);
        for mesh in &meshes {
            for to in (0..5).filter(|to| usize::from(*to) != mesh.index) {
                mesh.send(to, to);
            }
        }
        for (index, mesh) in meshes.iter().enumerate() {
            let mut from = Vec::new();
            mesh.receive(all(|peer, to| {
                assert_eq!(usize::from(to), index);
                from.push(peer);
            }));
            assert_eq!(from.len(), 4);
        }
    }

    /// Runs one task per executor, on glommio as the relay does.
    fn on_executors<M: Send + 'static, F: Future<Output = ()>>(
        meshes: Vec<Mesh<M>>,
        task: impl Fn(Mesh<M>) -> F + Send + Clone + 'static,
    ) {
        let executors: Vec<_> = meshes
            .into_iter()
            .map(|mesh| {
                let task = task.clone();
                LocalExecutorBuilder::new(Placement::Unbound)
                    .io_memory(64 << 10)
                    .spawn(move || async move { task(mesh).await })
                    .unwrap()
            })
            .collect();
        for executor in executors {
            executor.join().unwrap();
        }
    }

    #[test]
    fn executors_exchange_more_than_the_queues_hold() {
        const COUNT: usize = 10 * QUEUE_DEPTH + 1;
        let (meshes, _) = connect::<usize>(2);
        on_executors(meshes, |mesh| async move {
            let other = 1 - u16::try_from(mesh.index).unwrap();
            for i in 0..COUNT {
                mesh.send(other, i);
            }
            mesh.announce();
            let next = Cell::new(0);
            let take = |from, i| {
                assert_eq!((from, i), (other, next.get()));
                next.set(i + 1);
            };
            let done = || next.get() == COUNT && !mesh.is_congested();
            pump(&mesh, take, done).await;
        });
    }

    #[test]
    fn no_wake_up_is_lost_in_many_rounds() {
        // Around the depth of the queue senders starve and are woken again.
        const BURSTS: [usize; 6] = [1, 2, 255, QUEUE_DEPTH, QUEUE_DEPTH + 1, 2 * QUEUE_DEPTH];
        const ROUNDS: usize = 100;
        let (meshes, _) = connect::<usize>(2);
        on_executors(meshes, |mesh| async move {
            let echoes = mesh.index == 1;
            for round in 0..ROUNDS {
                let burst = BURSTS[round % BURSTS.len()];
                let received = Cell::new(0);
                if !echoes {
                    (0..burst).for_each(|i| mesh.send(1, i));
                    mesh.announce();
                }
                let take = |from, i| {
                    assert_eq!(i, received.replace(i + 1));
                    if echoes {
                        mesh.send(from, i);
                    }
                };
                let done = || received.get() == burst && !mesh.is_congested();
                pump(&mesh, take, done).await;
            }
        });
    }

    /// A waker that notes that it was used.
    #[derive(Default)]
    struct Alarm(AtomicBool);

    impl Wake for Alarm {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_sender_that_starved_while_its_queue_was_emptied_is_woken() {
        let (mut meshes, _) = connect::<usize>(2);
        let (b, a) = (meshes.pop().unwrap(), meshes.pop().unwrap());
        for i in 0..=QUEUE_DEPTH {
            a.send(1, i);
        }
        let link = &b.peers[0].as_ref().unwrap().inbound;
        // The receiver empties the queue between the refusal and the sender's note of it.
        link.starved.store(false, Ordering::SeqCst);
        while b.receive(all(|_, _| {})) {}
        link.starved.store(true, Ordering::SeqCst);
        let alarm = Arc::new(Alarm::default());
        a.register(&Waker::from(Arc::clone(&alarm)));
        assert!(!b.receive(|_, _| panic!("nothing was sent")));
        assert!(alarm.0.load(Ordering::SeqCst));
        assert!(a.flush());
        let mut received = Vec::new();
        b.receive(all(|_, i| received.push(i)));
        assert_eq!(received, [QUEUE_DEPTH]);
    }

    #[test]
    fn only_those_who_were_sent_something_are_woken() {
        let (meshes, alarm) = connect::<usize>(3);
        let wakers: Vec<_> = meshes
            .iter()
            .map(|mesh| {
                let waker = Arc::new(Alarm::default());
                mesh.register(&Waker::from(Arc::clone(&waker)));
                waker
            })
            .collect();
        let woken = || {
            let flags = wakers.iter().map(|w| w.0.swap(false, Ordering::SeqCst));
            flags.collect::<Vec<_>>()
        };
        meshes[0].send(2, 1);
        meshes[0].send(2, 2);
        assert_eq!(woken(), [false; 3]);
        meshes[0].announce();
        assert_eq!(woken(), [false, false, true]);
        meshes[0].announce();
        assert_eq!(woken(), [false; 3]);
        // A waker is used up once woken.
        meshes[2].register(&Waker::from(Arc::clone(&wakers[2])));
        alarm.wake_all();
        assert_eq!(woken(), [true; 3]);
    }
}
