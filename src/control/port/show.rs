//! What is said about queues, in the shapes of the reference (spec: operations §3.3).

use super::UNKNOWN_QUEUE;
use crate::protocol::error::{BlockingInfo, BlockingReason};
use crate::protocol::response::QueueMode;
use crate::relay::{OperatorAnswer, QueueState};
use crate::store::QueueStatus;

const SECONDS_PER_DAY: u64 = 86_400;

/// The answer to `block`.
pub fn blocked(answer: &OperatorAnswer, info: &BlockingInfo) -> String {
    match answer {
        OperatorAnswer::Was(before) => {
            let now = status(&QueueStatus::Blocked(info.clone()));
            match before {
                QueueStatus::Active => format!("ok, queue blocked: {now}"),
                QueueStatus::Off | QueueStatus::Blocked(_) => {
                    format!("ok, already inactive: {now}")
                }
            }
        }
        other => failed(other),
    }
}

/// The answer to `unblock`.
pub fn unblocked(answer: &OperatorAnswer) -> String {
    match answer {
        OperatorAnswer::Was(QueueStatus::Blocked(info)) => {
            let info = blocking_info(info);
            format!("ok, queue unblocked, reason to block was: {info}")
        }
        OperatorAnswer::Was(QueueStatus::Active) => "ok, queue was active".to_owned(),
        OperatorAnswer::Was(QueueStatus::Off) => "error, queue is inactive".to_owned(),
        other => failed(other),
    }
}

/// The answer to `delete`.
pub fn deleted(answer: &OperatorAnswer) -> String {
    match answer {
        OperatorAnswer::Deleted(messages) => format!("ok, {messages} messages deleted"),
        other => failed(other),
    }
}

/// The answer to `status`.
pub fn queue_state(answer: &OperatorAnswer) -> String {
    match answer {
        OperatorAnswer::Is(state) => state_line(state),
        other => failed(other),
    }
}

fn state_line(state: &QueueState) -> String {
    let status = status(&state.status);
    let updated = match u64::from(state.updated_day) * SECONDS_PER_DAY {
        0 => "Nothing".to_owned(),
        seconds => format!("Just (RoundedSystemTime {{roundedSeconds = {seconds}}})"),
    };
    let mode = match state.mode {
        None => "Nothing",
        Some(QueueMode::Messaging) => "Just QMMessaging",
        Some(QueueMode::Contact) => "Just QMContact",
    };
    format!("status: {status}, updatedAt: {updated}, queueMode: {mode}")
}

fn failed(answer: &OperatorAnswer) -> String {
    match answer {
        OperatorAnswer::Failed(error) => format!("error: {error}"),
        _ => UNKNOWN_QUEUE.to_owned(),
    }
}

fn status(status: &QueueStatus) -> String {
    match status {
        QueueStatus::Active => "EntityActive".to_owned(),
        QueueStatus::Off => "EntityOff".to_owned(),
        QueueStatus::Blocked(info) => format!("EntityBlocked ({})", blocking_info(info)),
    }
}

fn blocking_info(info: &BlockingInfo) -> String {
    let reason = match info.reason {
        BlockingReason::Spam => "BRSpam",
        BlockingReason::Content => "BRContent",
    };
    let notice = match info.notice.map(|notice| notice.ttl) {
        None => "Nothing".to_owned(),
        Some(None) => "Just (ClientNotice {ttl = Nothing})".to_owned(),
        // Negative numbers are shown in brackets.
        Some(Some(ttl)) if ttl < 0 => format!("Just (ClientNotice {{ttl = Just ({ttl})}})"),
        Some(Some(ttl)) => format!("Just (ClientNotice {{ttl = Just {ttl}}})"),
    };
    format!("BlockingInfo {{reason = {reason}, notice = {notice}}}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::error::ClientNotice;
    use crate::store::StoreError;

    const SPAM: BlockingInfo = BlockingInfo {
        reason: BlockingReason::Spam,
        notice: None,
    };

    fn content(ttl: Option<i64>) -> BlockingInfo {
        BlockingInfo {
            reason: BlockingReason::Content,
            notice: Some(ClientNotice { ttl }),
        }
    }

    #[test]
    fn answers_have_the_shapes_of_the_reference() {
        let was = OperatorAnswer::Was;
        let active = was(QueueStatus::Active);
        let off = was(QueueStatus::Off);
        let spam = was(QueueStatus::Blocked(SPAM));
        assert_eq!(
            blocked(&active, &SPAM),
            "ok, queue blocked: EntityBlocked (BlockingInfo {reason = BRSpam, notice = Nothing})"
        );
        assert_eq!(
            blocked(&off, &content(Some(86_400))),
            "ok, already inactive: EntityBlocked (BlockingInfo {reason = BRContent, \
             notice = Just (ClientNotice {ttl = Just 86400})})"
        );
        assert_eq!(
            blocked(&spam, &content(None)),
            "ok, already inactive: EntityBlocked (BlockingInfo {reason = BRContent, \
             notice = Just (ClientNotice {ttl = Nothing})})"
        );
        assert_eq!(
            unblocked(&spam),
            "ok, queue unblocked, reason to block was: \
             BlockingInfo {reason = BRSpam, notice = Nothing}"
        );
        assert_eq!(unblocked(&active), "ok, queue was active");
        assert_eq!(unblocked(&off), "error, queue is inactive");
        assert_eq!(
            deleted(&OperatorAnswer::Deleted(3)),
            "ok, 3 messages deleted"
        );
    }

    #[test]
    fn states_are_shown_with_what_is_known() {
        let mut state = QueueState {
            status: QueueStatus::Active,
            updated_day: 20_779,
            mode: Some(QueueMode::Contact),
        };
        assert_eq!(
            queue_state(&OperatorAnswer::Is(state.clone())),
            "status: EntityActive, updatedAt: Just (RoundedSystemTime \
             {roundedSeconds = 1795305600}), queueMode: Just QMContact"
        );
        state.status = QueueStatus::Off;
        state.updated_day = 0;
        state.mode = None;
        assert_eq!(
            queue_state(&OperatorAnswer::Is(state)),
            "status: EntityOff, updatedAt: Nothing, queueMode: Nothing"
        );
    }

    #[test]
    fn what_fails_says_why() {
        let unknown = OperatorAnswer::Unknown;
        let full = OperatorAnswer::Failed(StoreError::Full);
        for text in [
            blocked(&unknown, &SPAM),
            unblocked(&unknown),
            deleted(&unknown),
            queue_state(&unknown),
        ] {
            assert_eq!(text, "error: AUTH");
        }
        assert!(deleted(&full).starts_with("error: store is full"));
    }
}
