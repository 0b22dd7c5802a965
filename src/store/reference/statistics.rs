//! The counters' file (spec: server §11.6).

mod reader;

use super::activity::{ActiveSets, PeriodSets};
use super::text::{Malformed, put, put_integer};
use super::time_text;
use reader::Lines;
use std::io::{self, Read};
use thiserror::Error;

/// Longest file read: sets of some ten million queues.
const MAX_LEN: u64 = 1 << 31;

/// Declares lines `label number` with their field.
macro_rules! numbers {
    ($(#[$struct_doc:meta])* $name:ident { $($(#[$doc:meta])* $field:ident = $label:literal,)* }) => {
        $(#[$struct_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $name {
            $($(#[$doc])* pub $field: i64,)*
        }

        impl $name {
            /// The numbers with their labels, in the order of the file.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, i64)> {
                [$(($label, self.$field)),*].into_iter()
            }

            fn iter_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut i64)> {
                [$(($label, &mut self.$field)),*].into_iter()
            }
        }
    };
}

numbers! {
    /// The first block of counters; fields that this relay counts have its names.
    Numbers {
        /// Queues created.
        queues_created = "qCreated=",
        /// Queues secured.
        queues_secured = "qSecured=",
        /// Queues deleted.
        queues_deleted = "qDeletedAll=",
        /// Deleted queues that nobody had secured.
        queues_deleted_new = "qDeletedNew=",
        /// Deleted queues that were secured.
        queues_deleted_secured = "qDeletedSecured=",
        /// Blocks that start with `DEL`.
        deleted_all_batches = "qDeletedAllB=",
        /// Queues blocked.
        queues_blocked = "qBlocked=",
        /// Queues there are; the reference counts anew when it starts.
        queues = "qCount=",
        /// New subscriptions that delivered a message.
        subscribed = "qSub=",
        /// Blocks that start with `SUB`.
        sub_all_batches = "qSubAllB=",
        /// `SUB` refused.
        sub_auth = "qSubAuth=",
        /// `SUB` repeated.
        sub_duplicate = "qSubDuplicate=",
        /// `SUB` after `GET`.
        sub_prohibited = "qSubProhibited=",
        /// `END`, `DELD` and `ENDS` sent.
        sub_ended = "qSubEnd=",
        /// Their batches.
        sub_ended_batches = "qSubEndB=",
        /// `NKEY`.
        notifiers_created = "ntfCreated=",
        /// `NEW` with notifier credentials.
        notifiers_new_created = "ntfNewCreated=",
        /// `NDEL` that removed credentials.
        notifiers_deleted = "ntfDeleted=",
        /// Blocks that start with `NDEL`.
        ntf_deleted_batches = "ntfDeletedB=",
        /// New individual `NSUB`.
        ntf_subscribed = "ntfSub=",
        /// Blocks that start with `NSUB`.
        ntf_sub_batches = "ntfSubB=",
        /// `NSUB` refused.
        ntf_sub_auth = "ntfSubAuth=",
        /// `NSUB` repeated.
        ntf_sub_duplicate = "ntfSubDuplicate=",
        /// Messages stored.
        messages_sent = "msgSent=",
        /// `SEND` refused.
        send_auth = "msgSentAuth=",
        /// `SEND` refused by the quota.
        send_quota = "msgSentQuota=",
        /// `SEND` too large.
        send_large = "msgSentLarge=",
        /// `SEND` to a blocked queue.
        send_blocked = "msgSentBlock=",
        /// Messages acknowledged.
        messages_received = "msgRecv=",
        /// Messages fetched with `GET` and acknowledged.
        get_received = "msgRecvGet=",
        /// `GET` with a message.
        get_message = "msgGet=",
        /// `GET` of an empty queue.
        get_no_message = "msgGetNoMsg=",
        /// `GET` refused.
        get_auth = "msgGetAuth=",
        /// `GET` of a message that was outstanding already.
        get_duplicate = "msgGetDuplicate=",
        /// `GET` while subscribed.
        get_prohibited = "msgGetProhibited=",
        /// Messages expired.
        messages_expired = "msgExpired=",
        /// Messages stored with the notification flag.
        flagged_sent = "msgSentNtf=",
        /// Messages acknowledged with the notification flag.
        flagged_received = "msgRecvNtf=",
        /// Notifications given to subscribers.
        notifications_delivered = "msgNtfs=",
        /// Batches of notifications.
        notification_batches = "msgNtfsB=",
        /// Notifications without subscriber; the reference never counts them.
        notifications_unsubscribed = "msgNtfNoSub=",
        /// Notifications dropped.
        notifications_lost = "msgNtfLost=",
        /// Notifications expired.
        notifications_expired = "msgNtfExpired=",
    }
}

numbers! {
    /// Counters of a proxy's requests.
    ProxyStatistics {
        /// Requests.
        requests = "requests=",
        /// Requests that were answered, if only with an error.
        successes = "successes=",
        /// Failed connections.
        errors_connect = "errorsConnect=",
        /// No common version.
        errors_compatibility = "errorsCompat=",
        /// Other failures.
        errors_other = "errorsOther=",
    }
}

numbers! {
    /// Counters of services.
    ServiceStatistics {
        /// Queues newly associated.
        assoc_new = "assocNew=",
        /// Associated already.
        assoc_duplicate = "assocDuplicate=",
        /// Moved to another service.
        assoc_updated = "assocUpdatedt=",
        /// Association removed.
        assoc_removed = "assocRemoved=",
        /// Subscriptions of a service.
        subscribed = "subCount=",
        /// Repeated subscriptions.
        sub_duplicate = "subDuplicate=",
        /// Queues subscribed through services.
        sub_queues = "subQueues=",
        /// Subscriptions ended.
        sub_ended = "subEnd=",
    }
}

/// The sections after the sets of queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatisticsSections {
    /// `PRXY` to any relay.
    pub relays: ProxyStatistics,
    /// `PRXY` to the operator's own relays.
    pub relays_own: ProxyStatistics,
    /// `PFWD` to any relay.
    pub forwards: ProxyStatistics,
    /// `PFWD` to the operator's own relays.
    pub forwards_own: ProxyStatistics,
    /// `RFWD` answered.
    pub forwards_received: i64,
    /// Messaging services.
    pub messaging_services: ServiceStatistics,
    /// Notification services.
    pub notification_services: ServiceStatistics,
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statistics {
    /// When counting began, nanoseconds since the Unix epoch.
    pub from_time_ns: i64,
    /// Counters.
    pub numbers: Numbers,
    /// Queues used in the periods that have not ended.
    pub active: ActiveSets,
    /// Proxy and services.
    pub sections: StatisticsSections,
}

/// A file that is no statistics file.
#[derive(Debug, Error)]
pub enum StatisticsError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line is not what it must be.
    #[error("line {line}: {reason}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: Malformed,
    },
}

impl Statistics {
    /// Reads a file of any version from 1 to 7.
    pub fn read(reader: impl Read) -> Result<Self, StatisticsError> {
        let mut text = Vec::new();
        if reader.take(MAX_LEN + 1).read_to_end(&mut text)? as u64 > MAX_LEN {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge).into());
        }
        let mut lines = Lines::new(&text);
        lines.statistics().map_err(|reason| StatisticsError::Line {
            line: lines.number,
            reason,
        })
    }

    /// Appends the file of version 6.5.
    pub fn write(&self, out: &mut Vec<u8>) {
        put(out, "fromTime=");
        put(out, &time_text::format(self.from_time_ns));
        out.push(b'\n');
        put_numbers(out, self.numbers.iter());
        put(out, "activeQueues:\n");
        put_sets(out, &self.active.messages);
        put(out, "activeQueuesNtf:\n");
        put_sets(out, &self.active.notifications);
        let sections = &self.sections;
        for (title, section) in [
            ("pRelays:\n", &sections.relays),
            ("pRelaysOwn:\n", &sections.relays_own),
            ("pMsgFwds:\n", &sections.forwards),
            ("pMsgFwdsOwn:\n", &sections.forwards_own),
        ] {
            put(out, title);
            put_numbers(out, section.iter());
        }
        put_numbers(out, [("pMsgFwdsRecv=", sections.forwards_received)]);
        put(out, "rcvServices:\n");
        put_numbers(out, sections.messaging_services.iter());
        put(out, "ntfServices:\n");
        put_numbers(out, sections.notification_services.iter());
    }
}

fn put_numbers(out: &mut Vec<u8>, numbers: impl IntoIterator<Item = (&'static str, i64)>) {
    for (label, number) in numbers {
        put(out, label);
        put_integer(out, number);
        out.push(b'\n');
    }
}

fn put_sets(out: &mut Vec<u8>, sets: &PeriodSets) {
    for (label, set) in ["dayHashes=", "weekHashes=", "monthHashes="]
        .into_iter()
        .zip(sets.each())
    {
        put(out, label);
        for (i, hash) in set.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            put_integer(out, *hash);
        }
        out.push(b'\n');
    }
}
