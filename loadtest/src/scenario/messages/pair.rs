//! A receiving and a sending connection with their queues.

use std::collections::{HashMap, VecDeque};
use std::future::{Future as _, poll_fn};
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::Result;
use glommio::timer::Timer;
use smp_server::crypto::smp_box::BoxKey;
use smp_server::protocol::{Command, Response, Version};

use super::tally::Tally;
use crate::body::{Bodies, Stamp};
use crate::client::{Client, Incoming, Options, unexpected};
use crate::error::ClientError;
use crate::executors::Worker;
use crate::ledger::Ledger;
use crate::outbox::{CorrId, Outbox};
use crate::queue::{KeyPool, Queue, RecipientKeys, SenderAuth, SenderKey, SessionKey, open_body};
use crate::target::Target;

/// Staged bytes above which no further message is staged: a few blocks.
const MAX_STAGED: usize = 8 * 16384;
/// Commands in flight while queues are created and deleted.
const SETUP_BATCH: usize = 256;

/// What a pair does.
pub struct Plan {
    /// Id of the run, in every body.
    pub run_id: u64,
    /// Numbers of the queues.
    pub queues: Range<usize>,
    /// Bytes of a body.
    pub size: usize,
    /// Messages to send.
    pub count: Option<u64>,
    /// Time to send.
    pub duration: Option<Duration>,
    /// Messages under way per queue.
    pub window: usize,
    /// Time between messages of this pair; none: as fast as the window allows.
    pub interval: Option<Duration>,
    /// When to begin with the first interval.
    pub offset: Duration,
    /// How messages are authorised.
    pub sender_auth: SenderAuth,
    /// Open one of so many received bodies.
    pub open_one_of: u64,
}

struct QueueState {
    recipient_id: Vec<u8>,
    sender_id: Vec<u8>,
    keys: Rc<RecipientKeys>,
    body_key: BoxKey,
    sender_key: SessionKey,
    ledger: Ledger,
    /// When the acknowledgement under way was sent, and whether it is one of a message rather
    /// than of a quota marker.
    acking: Option<(Instant, bool)>,
}

struct InFlight {
    queue: usize,
    sequence: u64,
    sent: Instant,
}

/// The two connections.
pub struct Pair {
    recipient: Client,
    sender: Client,
    state: State,
}

/// Everything but the connections.
struct State {
    plan: Plan,
    worker: Worker,
    queues: Vec<QueueState>,
    by_recipient_id: HashMap<Vec<u8>, usize>,
    /// One entry for each message that may be sent now: its queue.
    credits: VecDeque<usize>,
    in_flight: HashMap<CorrId, InFlight>,
    /// Messages sent and neither acknowledged nor refused.
    outstanding: u64,
    bodies: Bodies,
    opening: Vec<u8>,
    received: u64,
    start: Instant,
    /// When the next message is due in the open loop.
    due: Instant,
    last_progress: Instant,
    tally: Tally,
    failed: Option<ClientError>,
}

impl Pair {
    /// Connects and creates the queues.
    pub async fn connect(
        target: &Target,
        options: Options,
        plan: Plan,
        keys: &KeyPool,
        worker: Worker,
    ) -> Result<Self> {
        let mut recipient = Client::connect(target, options).await?;
        let mut sender = Client::connect(target, options).await?;
        let password = target.password.as_deref();
        let mut queues = Vec::with_capacity(plan.queues.len());
        for begin in plan.queues.clone().step_by(SETUP_BATCH) {
            let batch = begin..plan.queues.end.min(begin + SETUP_BATCH);
            create(
                &mut recipient,
                batch.clone(),
                keys,
                password,
                &plan,
                &mut queues,
            )
            .await?;
            let from = queues.len() - batch.len();
            secure(&mut recipient, &mut sender, queues.get_mut(from..)).await?;
        }
        let mut states = Vec::with_capacity(queues.len());
        for (queue, keys, key) in queues {
            states.push(QueueState {
                body_key: queue.body_key(&keys),
                recipient_id: queue.recipient_id,
                sender_id: queue.sender_id,
                keys,
                sender_key: key.for_session(sender.outbox())?,
                ledger: Ledger::default(),
                acking: None,
            });
        }
        let ids = states.iter().map(|q| q.recipient_id.clone());
        let now = Instant::now();
        let state = State {
            by_recipient_id: ids.zip(0..).collect(),
            credits: (0..plan.window).flat_map(|_| 0..states.len()).collect(),
            queues: states,
            in_flight: HashMap::new(),
            outstanding: 0,
            bodies: Bodies::new(plan.run_id, plan.size),
            opening: Vec::new(),
            received: 0,
            start: now,
            due: now,
            last_progress: now,
            tally: Tally::default(),
            failed: None,
            plan,
            worker,
        };
        Ok(Self {
            recipient,
            sender,
            state,
        })
    }

    /// Sends until the plan is fulfilled, then waits for everything that is under way.
    pub async fn run(mut self) -> Result<Self> {
        let patience = self.recipient.timeout();
        let now = Instant::now();
        self.state.start = now;
        self.state.due = now + self.state.plan.offset;
        self.state.last_progress = now;
        loop {
            let now = Instant::now();
            self.state.stage(now, self.sender.outbox())?;
            let owed = self.state.is_owed();
            // Without credits nothing more can be sent: every queue has refused its window.
            let sending = self.state.is_sending(now) && !self.state.credits.is_empty();
            if !owed && !sending {
                return Ok(self);
            }
            if owed && now >= self.state.last_progress + patience {
                let outstanding = self.state.outstanding;
                self.state.tally.problem(|| {
                    format!("gave up after {patience:?} of silence, {outstanding} under way")
                });
                self.state.tally.error("no answer in time".to_owned());
                return Ok(self);
            }
            let wake_at = self.state.wake_at(now, patience);
            self.turn(wake_at).await?;
            // Other pairs have their turn.
            futures_lite::future::yield_now().await;
            self.state.worker.check()?;
        }
    }

    /// Waits until something came, or until `wake_at`.
    async fn turn(&mut self, wake_at: Instant) -> Result<(), ClientError> {
        let Self {
            recipient,
            sender,
            state,
        } = self;
        let mut timer: Option<Timer> = None;
        poll_fn(|cx| {
            let sent = sender.poll_drive(cx, &mut |incoming, _| state.answered(&incoming))?;
            let received =
                recipient.poll_drive(cx, &mut |incoming, out| state.receive(&incoming, out))?;
            if let Some(e) = state.failed.take() {
                return Poll::Ready(Err(e));
            }
            if sent.is_ready() || received.is_ready() {
                state.last_progress = Instant::now();
                return Poll::Ready(Ok(()));
            }
            let timer = timer.get_or_insert_with(|| {
                Timer::new(wake_at.saturating_duration_since(Instant::now()))
            });
            Pin::new(timer).poll(cx).map(|_| Ok(()))
        })
        .await
    }

    /// Closes the books, and deletes the queues if wanted.
    pub async fn finish(mut self, delete: bool) -> Result<Tally> {
        let mut tally = self.state.tally;
        for (queue, number) in self.state.queues.iter().zip(self.state.plan.queues) {
            tally.sent += queue.ledger.sent();
            tally.balance(number, queue.ledger.balance());
        }
        if delete && let Err(e) = delete_all(&mut self.recipient, &self.state.queues).await {
            tally.problem(|| format!("queues could not be deleted: {e}"));
        }
        Ok(tally)
    }
}

async fn delete_all(recipient: &mut Client, queues: &[QueueState]) -> Result<(), ClientError> {
    for batch in queues.chunks(SETUP_BATCH) {
        let mut corr_ids = Vec::with_capacity(batch.len());
        for queue in batch {
            let id = &queue.recipient_id;
            corr_ids.push(recipient.send(&Command::Del, id, queue.keys.sign())?);
        }
        for corr_id in corr_ids {
            match recipient.reply(&corr_id).await?.response {
                Response::Ok => {}
                other => return Err(unexpected("DEL", &other)),
            }
        }
    }
    Ok(())
}

type Created = (Queue, Rc<RecipientKeys>, SenderKey);

async fn create(
    recipient: &mut Client,
    numbers: Range<usize>,
    keys: &KeyPool,
    password: Option<&str>,
    plan: &Plan,
    queues: &mut Vec<Created>,
) -> Result<()> {
    let mut corr_ids = Vec::with_capacity(numbers.len());
    for number in numbers.clone() {
        let keys = keys.get(number);
        let command = keys.new_queue(password, true);
        corr_ids.push(recipient.send(&command, &[], keys.sign())?);
    }
    for (number, corr_id) in numbers.zip(corr_ids) {
        match recipient.reply(&corr_id).await?.response {
            Response::Ids(ids) => queues.push((
                Queue::new(&ids),
                Rc::clone(keys.get(number)),
                SenderKey::generate(plan.sender_auth)?,
            )),
            other => return Err(unexpected("NEW", &other).into()),
        }
    }
    Ok(())
}

/// Secures queues, by the sender where the version allows it.
async fn secure(
    recipient: &mut Client,
    sender: &mut Client,
    queues: Option<&mut [Created]>,
) -> Result<(), ClientError> {
    let by_sender = sender.outbox().version() >= Version::SENDER_KEY;
    let mut corr_ids = Vec::new();
    for (queue, keys, key) in queues.into_iter().flatten() {
        let Some(public) = key.public() else {
            continue;
        };
        corr_ids.push(if by_sender {
            sender.send(&Command::SKey(public), &queue.sender_id, key.auth())?
        } else {
            recipient.send(&Command::Key(public), &queue.recipient_id, keys.sign())?
        });
    }
    let client = if by_sender { sender } else { recipient };
    for corr_id in corr_ids {
        match client.reply(&corr_id).await?.response {
            Response::Ok => {}
            other => return Err(unexpected("SKEY", &other)),
        }
    }
    Ok(())
}

impl State {
    fn sent(&self) -> u64 {
        self.tally.send_ok.count() + self.in_flight.len() as u64
    }

    fn is_sending(&self, now: Instant) -> bool {
        let more = self.plan.count.is_none_or(|count| self.sent() < count);
        more && self.end().is_none_or(|end| now < end)
    }

    fn end(&self) -> Option<Instant> {
        self.plan.duration.map(|d| self.start + d)
    }

    /// Whether the server owes an answer or a message.
    fn is_owed(&self) -> bool {
        self.outstanding > 0 || !self.in_flight.is_empty()
    }

    /// When the pair must act even if nothing comes.
    fn wake_at(&self, now: Instant, patience: Duration) -> Instant {
        let mut wake = if self.is_owed() {
            self.last_progress + patience
        } else {
            now + patience
        };
        if self.is_sending(now) {
            wake = self.end().map_or(wake, |end| wake.min(end));
            if self.plan.interval.is_some() && !self.credits.is_empty() {
                wake = wake.min(self.due);
            }
        }
        wake
    }

    /// Stages all messages that may be sent now.
    fn stage(&mut self, now: Instant, outbox: &mut Outbox) -> Result<(), ClientError> {
        while self.is_sending(now) && outbox.len() < MAX_STAGED {
            if self.plan.interval.is_some() && self.due > now {
                break;
            }
            let Some(index) = self.credits.pop_front() else {
                break;
            };
            let intended = match self.plan.interval {
                Some(interval) => {
                    let due = self.due;
                    self.tally.lag.record(now - due);
                    self.due += interval;
                    due
                }
                None => now,
            };
            self.send(index, intended, outbox)?;
            if self.outstanding == 1 {
                // Silence counts from the moment an answer is owed.
                self.last_progress = now;
            }
        }
        Ok(())
    }

    fn send(
        &mut self,
        index: usize,
        intended: Instant,
        outbox: &mut Outbox,
    ) -> Result<(), ClientError> {
        let queue = &mut self.queues[index];
        let sequence = queue.ledger.send();
        let since_start = intended.saturating_duration_since(self.start);
        let body = self.bodies.make(Stamp {
            queue: number(&self.plan, index),
            sequence,
            time: u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX),
        });
        let command = Command::Send {
            notify: false,
            body,
        };
        let corr_id = outbox.send(&command, &queue.sender_id, queue.sender_key.auth())?;
        self.outstanding += 1;
        let in_flight = InFlight {
            queue: index,
            sequence,
            sent: intended,
        };
        self.in_flight.insert(corr_id, in_flight);
        Ok(())
    }

    /// An answer on the sending connection.
    fn answered(&mut self, incoming: &Incoming<'_>) {
        let sent = CorrId::try_from(incoming.corr_id)
            .ok()
            .and_then(|id| self.in_flight.remove(&id));
        let Some(sent) = sent else {
            self.failed = Some(unexpected("SEND", &incoming.response));
            return;
        };
        self.tally.send_ok.record(sent.sent.elapsed());
        let ledger = &mut self.queues[sent.queue].ledger;
        match &incoming.response {
            Response::Ok => ledger.confirm(sent.sequence),
            other => {
                // No credit comes back: an overloaded queue is not pressed further.
                ledger.refuse(sent.sequence);
                self.outstanding -= 1;
                self.tally.error(unexpected("SEND", other).to_string());
            }
        }
    }

    /// A message or an answer on the receiving connection.
    fn receive(&mut self, incoming: &Incoming<'_>, outbox: &mut Outbox) {
        if let Err(e) = self.handle(incoming, outbox) {
            self.failed = Some(e);
        }
    }

    fn handle(&mut self, incoming: &Incoming<'_>, outbox: &mut Outbox) -> Result<(), ClientError> {
        let Some(&index) = self.by_recipient_id.get(incoming.entity_id) else {
            return Err(unexpected("SUB", &incoming.response));
        };
        let now = Instant::now();
        if !incoming.corr_id.is_empty() {
            self.acknowledged(index, now);
        }
        match &incoming.response {
            Response::Msg { msg_id, boxed } => {
                let is_message = self.delivered(index, msg_id, boxed, now);
                let queue = &mut self.queues[index];
                queue.acking = Some((now, is_message));
                let command = Command::Ack { msg_id };
                outbox.send(&command, &queue.recipient_id, queue.keys.sign())?;
            }
            Response::Ok if !incoming.corr_id.is_empty() => {}
            other => {
                let kind = unexpected("ACK", other).to_string();
                self.tally.error(kind);
            }
        }
        Ok(())
    }

    /// The acknowledgement under way was confirmed.
    fn acknowledged(&mut self, index: usize, now: Instant) {
        if let Some((sent, is_message)) = self.queues[index].acking.take() {
            self.tally.ack.record(now - sent);
            if is_message {
                self.outstanding = self.outstanding.saturating_sub(1);
                self.credits.push_back(index);
            }
        }
    }

    /// Judges a message; false for a quota marker.
    fn delivered(&mut self, index: usize, msg_id: &[u8], boxed: &[u8], now: Instant) -> bool {
        let number = number(&self.plan, index);
        let queue = &mut self.queues[index];
        let name = number as usize;
        self.received += 1;
        self.worker.advance(1);
        if !self.received.is_multiple_of(self.plan.open_one_of) {
            let verdict = queue.ledger.receive_unopened();
            self.tally.receive(name, 0, verdict, now);
            return true;
        }
        self.opening.clear();
        self.opening.extend_from_slice(boxed);
        let body = match open_body(&queue.body_key, msg_id, &mut self.opening) {
            Ok(Some(body)) => body,
            Ok(None) => {
                self.tally.error("quota marker".to_owned());
                return false;
            }
            Err(e) => {
                self.tally.corrupt(name, &e.to_string());
                return true;
            }
        };
        match self.bodies.read(body) {
            Some(stamp) if stamp.queue == number => {
                let verdict = queue.ledger.receive(stamp.sequence);
                self.tally.receive(name, stamp.sequence, verdict, now);
                let passed = (now - self.start).as_nanos();
                let passed = u64::try_from(passed).unwrap_or(u64::MAX);
                self.tally
                    .send_msg
                    .record_ns(passed.saturating_sub(stamp.time));
            }
            Some(_) => self.tally.corrupt(name, "a message of another queue"),
            None => self.tally.corrupt(name, "a body that was not sent"),
        }
        true
    }
}

/// The number of a pair's queue within the run.
fn number(plan: &Plan, index: usize) -> u32 {
    u32::try_from(plan.queues.start + index).unwrap_or(u32::MAX)
}
