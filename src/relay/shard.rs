//! One shard's state and the way every command takes through it.

use super::Timestamp;
use super::activity::Activity;
use super::agreement::AgreementCache;
use super::command;
use super::counters::{AckTimes, Counters};
use super::effect::{Answer, Effect, PeerMessage};
use super::notification::{MIN_PER_QUEUE, NotificationLimits, Notifications, WINDOW};
use super::partition::Partitioner;
use super::pending::{PendingChange, PendingChanges, Undurable};
use super::request::Request;
use super::service::Services;
use super::session_ref::{SessionContext, SessionRef};
use super::subscription::Subscriptions;
use super::verify::Preverified;
use crate::config::values::Password;
use crate::crypto::keys::{SigningKey, VerifyingKey};
use crate::protocol::error::CommandError;
use crate::protocol::{Command, ErrorType, Response};
use crate::store::{
    Id, IdKind, Location, Lsn, QueueChange, QueueSlot, QueueStatus, Store, StoreError,
};
use rand_chacha::ChaCha20Rng;
use std::sync::Once;

/// Queues of a session that are forgotten as soon as it closes: more than most have.
const FORGOTTEN_AT_ONCE: usize = 64;

/// What a shard is told at start.
#[derive(Debug, Clone)]
pub struct ShardConfig {
    /// Number of this shard.
    pub index: u16,
    /// Which ids belong where.
    pub partitioner: Partitioner,
    /// Messages a queue holds before senders are refused.
    pub queue_quota: usize,
    /// Whether queues may be created.
    pub new_queues: bool,
    /// Password for creating queues.
    pub create_password: Option<Password>,
    /// Seconds after which a message is dropped; none = never.
    pub message_ttl: Option<i64>,
    /// Whether a queue is rid of expired messages when another comes.
    pub expire_on_send: bool,
    /// Seconds after which a notification is dropped.
    pub notification_ttl: i64,
    /// Seconds after midnight (UTC) at which a day of the statistics begins.
    pub day_starts_at: i64,
}

/// The queues of some partitions, and who listens to them.
#[derive(Debug)]
pub struct Shard<S> {
    pub(super) config: ShardConfig,
    pub(super) store: S,
    pub(super) subscriptions: Subscriptions,
    pub(super) notifications: Notifications,
    pub(super) services: Services,
    pub(super) pending: PendingChanges,
    pub(super) counters: Counters,
    pub(super) ack_times: AckTimes,
    pub(super) activity: Activity,
    pub(super) rng: ChaCha20Rng,
    pub(super) agreements: AgreementCache,
    pub(super) scratch: Vec<u8>,
    /// An Ed25519 key whose private half nobody has.
    pub(super) nobodys_key: [u8; 32],
    undurable: Undurable,
}

/// A command being executed: who sent it and where its effects go.
pub(super) struct Call<'a> {
    pub now: Timestamp,
    pub session: SessionRef,
    pub context: &'a SessionContext,
    pub request: &'a Request<'a>,
    pub effects: &'a mut Vec<Effect>,
}

/// An answer, and the change that must be durable before it leaves.
pub(super) struct Done {
    pub answer: Answer,
    pub lsn: Option<Lsn>,
}

/// Result of a command; an error is an answer too.
pub(super) type Outcome = Result<Done, ErrorType>;

/// Why a command has no effect.
pub(super) enum Failure {
    /// It was not authorised: such answers come first (spec: server §2.5).
    Refused(ErrorType),
    /// It was, and failed.
    Failed(ErrorType),
}

impl From<ErrorType> for Failure {
    fn from(error: ErrorType) -> Self {
        Self::Failed(error)
    }
}

impl Done {
    /// An answer that promises nothing.
    pub fn now(answer: impl Into<Answer>) -> Outcome {
        Ok(Self {
            answer: answer.into(),
            lsn: None,
        })
    }

    /// An answer that promises a change.
    pub fn after(lsn: Lsn, answer: impl Into<Answer>) -> Outcome {
        Ok(Self {
            answer: answer.into(),
            lsn: Some(lsn),
        })
    }
}

impl From<StoreError> for ErrorType {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Duplicate => Self::Auth,
            StoreError::Full => Self::Store(error.to_string()),
        }
    }
}

impl<S: Store> Shard<S> {
    /// A shard over its store. `rng` makes ids and keys: seed it from the system.
    pub fn new(config: ShardConfig, store: S, mut rng: ChaCha20Rng) -> Self {
        let limits = NotificationLimits {
            // A recipient that acknowledges nothing loses none.
            per_queue: config.queue_quota.max(MIN_PER_QUEUE),
            window: WINDOW.div_ceil(usize::from(config.partitioner.shards())),
        };
        Self {
            nobodys_key: nobodys_key(&mut rng),
            activity: Activity::new(config.day_starts_at),
            config,
            subscriptions: Subscriptions::default(),
            notifications: Notifications::new(limits),
            services: Services::new(store.service_fingerprints()),
            store,
            pending: PendingChanges::default(),
            counters: Counters::default(),
            ack_times: AckTimes::default(),
            rng,
            agreements: AgreementCache::default(),
            scratch: Vec::new(),
            undurable: Undurable::default(),
        }
    }

    /// Verifies and executes commands of one session, in order.
    pub fn execute(
        &mut self,
        now: Timestamp,
        session: SessionRef,
        context: &SessionContext,
        requests: &[Request<'_>],
        effects: &mut Vec<Effect>,
    ) {
        let preverified = Preverified::of(self, context, requests);
        for (i, request) in requests.iter().enumerate() {
            let mut call = Call {
                now,
                session,
                context,
                request,
                effects: &mut *effects,
            };
            let outcome = self.execute_one(&mut call, preverified.key(i));
            let (answer, lsn) = match outcome {
                Ok(Some(done)) => (done.answer, done.lsn),
                // The answer follows when another shard has decided.
                Ok(None) => continue,
                Err(Failure::Failed(error)) => (error.into(), None),
                Err(Failure::Refused(error)) => (Answer::Refused(error), None),
            };
            let reply = Effect::Reply {
                session,
                ticket: request.ticket,
                answer,
            };
            self.emit(lsn, reply, effects);
        }
    }

    /// Emits an effect once `lsn` is durable.
    pub(super) fn emit(&mut self, lsn: Option<Lsn>, effect: Effect, effects: &mut Vec<Effect>) {
        match lsn {
            None => effects.push(effect),
            Some(lsn) => self
                .undurable
                .hold(lsn, self.store.durable(), effect, effects),
        }
    }

    /// Emits the answers whose changes have become durable.
    pub fn release_durable(&mut self, effects: &mut Vec<Effect>) {
        self.undurable.release(self.store.durable(), effects);
    }

    fn execute_one(
        &mut self,
        call: &mut Call<'_>,
        preverified: Option<&[u8; 32]>,
    ) -> Result<Option<Done>, Failure> {
        use Command as C;
        let Some(kind) = entity_kind(&call.request.command) else {
            return self.execute_without_queue(call);
        };
        let slot = match self.locate(kind, call.request.transmission.entity_id) {
            Some(Location::Queue(slot)) => slot,
            Some(Location::Shard(shard)) => {
                let transmission = call.request.bytes.to_vec();
                return Ok(Some(Done {
                    answer: Answer::Redirect {
                        shard,
                        transmission,
                    },
                    lsn: None,
                }));
            }
            None => {
                self.verify_missing(call);
                return Err(self.refused(call, ErrorType::Auth));
            }
        };
        if let Err(error) = self.verify_queue_command(call, slot, preverified) {
            return Err(self.refused(call, error));
        }
        let done = match &call.request.command {
            C::Send { notify, body } => {
                self.stamp_day(slot, call.now);
                command::send::execute(self, call, slot, *notify, body)
            }
            C::Off => command::off::execute(self, slot),
            C::Del => return Ok(command::del::execute(self, call, slot)?),
            C::NSub => command::nsub::execute(self, call, slot),
            wrapped => {
                if let QueueStatus::Blocked(info) = self.store.queue(slot).status {
                    return Err(ErrorType::Blocked(info).into());
                }
                self.stamp_day(slot, call.now);
                match wrapped {
                    C::Sub => command::sub::execute(self, call, slot),
                    C::Ack { msg_id } => command::ack::execute(self, call, slot, msg_id),
                    C::Get => command::get::execute(self, call, slot),
                    C::Key(key) => command::key::execute(self, slot, key),
                    C::SKey(key) => command::skey::execute(self, slot, key),
                    C::RKey(keys) => command::rkey::execute(self, slot, keys),
                    C::Que => command::que::execute(self, call, slot),
                    C::LSet { link_id, data } => {
                        return Ok(command::lset::execute(self, call, slot, link_id, data)?);
                    }
                    C::LDel => return Ok(command::ldel::execute(self, call, slot)?),
                    C::LKey(key) => command::lkey::execute(self, slot, key),
                    C::LGet => command::lget::execute(self, slot),
                    C::NKey(credentials) => command::nkey::execute(self, call, slot, credentials),
                    C::NDel => command::ndel::execute(self, call, slot),
                    other => Err(not_built(other)),
                }
            }
        };
        Ok(Some(done?))
    }

    /// Commands whose entity is not a queue.
    fn execute_without_queue(&mut self, call: &mut Call<'_>) -> Result<Option<Done>, Failure> {
        use Command as C;
        self.verify_service_command(call)
            .map_err(Failure::Refused)?;
        match &call.request.command {
            C::New(new) => command::new::execute(self, call, new),
            C::Ping => Ok(Some(Done::now(Response::Pong)?)),
            C::NSubs(_) => {
                command::nsubs::execute(self, call)?;
                Ok(None)
            }
            C::Subs(_) => Err(ErrorType::Cmd(CommandError::Prohibited).into()),
            other => Err(not_built(other).into()),
        }
    }

    /// A command that was not authorised; some are counted (spec: server §2.4).
    fn refused(&mut self, call: &Call<'_>, error: ErrorType) -> Failure {
        let counters = &mut self.counters;
        if error == ErrorType::Auth {
            match &call.request.command {
                Command::Send { .. } => counters.send_auth += 1,
                Command::Sub => counters.sub_auth += 1,
                Command::NSub => counters.ntf_sub_auth += 1,
                Command::Get => counters.get_auth += 1,
                _ => {}
            }
        }
        Failure::Refused(error)
    }

    fn locate(&self, kind: IdKind, entity_id: &[u8]) -> Option<Location> {
        let id: &Id = entity_id.try_into().ok()?;
        self.store.find(kind, id)
    }

    /// Stamps the day of use, at most once a day per queue (spec: server §2.7).
    fn stamp_day(&mut self, slot: QueueSlot, now: Timestamp) {
        if self.store.queue(slot).updated_day != now.day() {
            // A full disk must not keep recipients from draining their queues.
            let _ = self.store.update(slot, QueueChange::Day(now.day()));
        }
    }

    /// Closes a session: nothing is pushed to it any more. What it leaves is forgotten at once when
    /// it is little, else by [`forget_closed`](Self::forget_closed).
    ///
    /// Commands of a session and its end take the same way in order, so nothing of it can arrive
    /// later.
    pub fn session_closed(&mut self, session: SessionRef) {
        self.subscriptions.close_session(session);
        self.notifications.close_session(session);
        self.pending.session_closed(session);
        self.agreements.forget(session);
        self.forget_closed(FORGOTTEN_AT_ONCE);
    }

    /// Forgets what closed sessions have left, about `queues` queues; says whether there is more.
    pub fn forget_closed(&mut self, queues: usize) -> bool {
        let subscriptions = self.subscriptions.forget_closed(queues);
        self.notifications.forget_closed(queues) || subscriptions
    }

    /// Pushes again the message that a session dropped for want of room. If that one is gone
    /// meanwhile, acknowledged by another connection, the next takes its place.
    pub fn redeliver(
        &mut self,
        now: Timestamp,
        session: SessionRef,
        recipient_id: &Id,
        effects: &mut Vec<Effect>,
    ) {
        let effect = match self.undelivered(now, session, recipient_id) {
            Some(event) => Effect::Push {
                session,
                entity: *recipient_id,
                event,
            },
            None => Effect::NothingToRedeliver { session },
        };
        effects.push(effect);
    }

    /// The message a subscriber was given and has not acknowledged, or what replaced it.
    fn undelivered(
        &mut self,
        now: Timestamp,
        session: SessionRef,
        recipient_id: &Id,
    ) -> Option<Response<'static>> {
        let Some(Location::Queue(slot)) = self.store.find(IdKind::Recipient, recipient_id) else {
            return None;
        };
        match self.subscriptions.subscriber(slot) {
            Some((subscriber, Some(_))) if subscriber == session => {
                self.deliver_head(now, slot, session)
            }
            _ => None,
        }
    }

    /// Handles a message of another shard.
    pub fn peer_message(&mut self, from: u16, message: PeerMessage, effects: &mut Vec<Effect>) {
        match message {
            PeerMessage::ReserveAlias { token, kind, id } => {
                let reserved = self.store.reserve_alias(kind, &id, from);
                let outcome = reserved.map(|_| ());
                let message = PeerMessage::AliasReserved { token, outcome };
                let answer = Effect::Peer {
                    shard: from,
                    message,
                };
                // A refusal must not overtake the grant that is its reason.
                self.emit(Some(self.store.last()), answer, effects);
            }
            PeerMessage::AliasReserved { token, outcome } => match self.pending.remove(token) {
                Some(PendingChange::Queue(queue)) => {
                    command::new::resume(self, *queue, outcome, effects);
                }
                Some(PendingChange::Link(link)) => {
                    command::lset::resume(self, *link, outcome, effects);
                }
                None => {}
            },
            PeerMessage::CheckAlias { kind, id } => self.check_alias(from, kind, id, effects),
            PeerMessage::Service(message) => self.service_message(from, message, effects),
            PeerMessage::ReleaseAlias {
                kind,
                id,
                confirmation,
            } => self.alias_released(from, kind, &id, confirmation, effects),
        }
    }

    /// What keeps the queues.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The same, to be looked after.
    pub fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// Whether a session is subscribed to messages or notifications of any queue by itself.
    pub fn has_subscriptions(&self, session: SessionRef) -> bool {
        self.subscriptions.is_subscriber(session) || self.notifications.has_subscriptions(session)
    }

    /// Queues of this shard that a session is subscribed to or fetches from.
    pub fn subscriptions_of(&self, session: SessionRef) -> usize {
        self.subscriptions.count_of(session)
    }

    /// Notes that a queue is in use.
    pub(super) fn note_activity(&mut self, now: Timestamp, slot: QueueSlot, flagged: bool) {
        let before = self.store.active_days(slot);
        let mut days = before;
        self.activity.note(now.seconds(), flagged, &mut days);
        if days != before {
            self.store.set_active_days(slot, days);
        }
    }

    /// What waits for the disk.
    #[cfg(test)]
    pub(super) fn undurable(&self) -> &Undurable {
        &self.undurable
    }
}

/// A fresh public key; its private half is forgotten.
fn nobodys_key(rng: &mut ChaCha20Rng) -> [u8; 32] {
    match SigningKey::generate_ed25519(rng).map(|key| key.verifying_key()) {
        Ok(VerifyingKey::Ed25519(key)) => key,
        // No signature is valid under what is no point of the curve either.
        _ => [0xff; 32],
    }
}

/// Which space the entity id of a command belongs to; `None` for commands without a queue.
fn entity_kind(command: &Command<'_>) -> Option<IdKind> {
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
        | C::Que => Some(IdKind::Recipient),
        C::SKey(_) | C::Send { .. } => Some(IdKind::Sender),
        C::LKey(_) | C::LGet => Some(IdKind::Link),
        C::NSub => Some(IdKind::Notifier),
        C::New(_)
        | C::Ping
        | C::Subs(_)
        | C::NSubs(_)
        | C::Prxy { .. }
        | C::Pfwd { .. }
        | C::Rfwd { .. }
        | C::Rslv { .. } => None,
    }
}

/// The answer to commands this version does not carry out.
fn not_built(command: &Command<'_>) -> ErrorType {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        tracing::warn!(
            "refused a {} command: forwarding to other relays is not built yet",
            command.tag()
        );
    });
    ErrorType::Cmd(CommandError::Prohibited)
}
