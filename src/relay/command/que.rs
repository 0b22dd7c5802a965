//! `QUE`: describe a queue to its recipient (spec: server §3.17, protocol §10.2).

use crate::protocol::{ErrorType, Response};
use crate::relay::shard::{Call, Done, Outcome, Shard};
use crate::relay::subscription::Mode;
use crate::store::{MessageKind, QueueSlot, Store};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QueueInfo {
    qi_snd: bool,
    qi_ntf: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    qi_sub: Option<SubscriptionInfo>,
    qi_size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    qi_msg: Option<MessageInfo>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SubscriptionInfo {
    q_sub_thread: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    q_delivered: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageInfo {
    msg_id: String,
    msg_ts: String,
    msg_type: &'static str,
}

/// Answers a JSON object; ids are in the standard base64 alphabet, unlike everywhere else.
pub(in crate::relay) fn execute<S: Store>(
    shard: &Shard<S>,
    call: &Call<'_>,
    slot: QueueSlot,
) -> Outcome {
    let record = shard.store.queue(slot);
    let qi_sub = shard
        .subscriptions
        .of(slot, call.session)
        .map(|(mode, delivered)| SubscriptionInfo {
            q_sub_thread: match mode {
                Mode::Subscribed => "noSub",
                Mode::Getting => "prohibitSub",
            },
            q_delivered: delivered.map(|d| STANDARD.encode(d.id)),
        });
    let qi_msg = shard.store.head(slot).map(|head| MessageInfo {
        msg_id: STANDARD.encode(head.id),
        msg_ts: utc(head.time_ns),
        msg_type: match head.kind {
            MessageKind::Message { .. } => "message",
            MessageKind::Quota => "quota",
        },
    });
    let info = QueueInfo {
        qi_snd: record.sender_key.is_some(),
        qi_ntf: record.notifier.is_some(),
        qi_sub,
        qi_size: shard.store.message_count(slot),
        qi_msg,
    };
    let json = serde_json::to_vec(&info).map_err(|_| ErrorType::Internal)?;
    Done::now(Response::Info(json.into()))
}

/// ISO 8601 in UTC with up to nine fraction digits.
fn utc(nanos: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(nanos))
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}
