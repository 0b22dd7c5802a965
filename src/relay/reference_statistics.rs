//! Counters from and to the statistics file of the reference (spec: server §11.6).
//!
//! Fields that both have bear the same names. What the reference counts and this relay does not
//! (receiving services) is dropped by an import and zero in an export; acknowledgement times are in
//! no file.

use super::activity::{ActiveQueues, PeriodCounts};
use super::counters::Counters;
use crate::store::reference::{
    ActiveSets, PeriodSets, ProxyStatistics, Statistics, StatisticsSections,
};

/// Declares both ways between equal names.
macro_rules! same_names {
    ($($name:ident,)*) => {
        fn take_numbers(counters: &mut Counters, statistics: &Statistics) {
            $(counters.$name = count(statistics.numbers.$name);)*
        }

        fn put_numbers(counters: &Counters, statistics: &mut Statistics) {
            $(statistics.numbers.$name = number(counters.$name);)*
        }
    };
}

same_names! {
    queues_created, queues_secured, queues_deleted, queues_deleted_new, queues_deleted_secured,
    queues_blocked, messages_sent, messages_received, flagged_sent, flagged_received,
    messages_expired, subscribed, sub_auth, sub_duplicate, sub_prohibited, send_auth, send_quota,
    send_large, send_blocked, notifications_delivered, notifications_lost, get_received,
    get_message, get_no_message, get_auth, get_duplicate, get_prohibited, notifiers_created,
    notifiers_new_created, notifiers_deleted, ntf_subscribed, ntf_sub_auth, ntf_sub_duplicate,
    deleted_all_batches, sub_all_batches, sub_ended, sub_ended_batches, ntf_deleted_batches,
    ntf_sub_batches, notification_batches, notifications_expired,
}

/// Declares both ways for the counters of a proxy: section, then its counters.
macro_rules! proxies {
    ($($section:ident: $requests:ident $successes:ident $connect:ident $versions:ident $other:ident;)*) => {
        fn take_proxies(counters: &mut Counters, sections: &StatisticsSections) {
            $(
                counters.$requests = count(sections.$section.requests);
                counters.$successes = count(sections.$section.successes);
                counters.$connect = count(sections.$section.errors_connect);
                counters.$versions = count(sections.$section.errors_compatibility);
                counters.$other = count(sections.$section.errors_other);
            )*
        }

        fn put_proxies(counters: &Counters, sections: &mut StatisticsSections) {
            $(sections.$section = ProxyStatistics {
                requests: number(counters.$requests),
                successes: number(counters.$successes),
                errors_connect: number(counters.$connect),
                errors_compatibility: number(counters.$versions),
                errors_other: number(counters.$other),
            };)*
        }
    };
}

proxies! {
    relays: relays_requests relays_successes relays_errors_connect relays_errors_compatibility
        relays_errors_other;
    relays_own: relays_own_requests relays_own_successes relays_own_errors_connect
        relays_own_errors_compatibility relays_own_errors_other;
    forwards: forwards_requests forwards_successes forwards_errors_connect
        forwards_errors_compatibility forwards_errors_other;
    forwards_own: forwards_own_requests forwards_own_successes forwards_own_errors_connect
        forwards_own_errors_compatibility forwards_own_errors_other;
}

/// The reference's counters can be negative by its own mistakes.
fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl From<&Statistics> for Counters {
    fn from(statistics: &Statistics) -> Self {
        let mut counters = Self::default();
        take_numbers(&mut counters, statistics);
        let services = &statistics.sections.notification_services;
        counters.ntf_assoc_new = count(services.assoc_new);
        counters.ntf_assoc_duplicate = count(services.assoc_duplicate);
        counters.ntf_assoc_updated = count(services.assoc_updated);
        counters.ntf_assoc_removed = count(services.assoc_removed);
        counters.ntf_service_subscribed = count(services.subscribed);
        counters.ntf_service_queues = count(services.sub_queues);
        take_proxies(&mut counters, &statistics.sections);
        counters.forwards_received = count(statistics.sections.forwards_received);
        counters
    }
}

impl Counters {
    /// The file's counters, without sets of active queues. Counting began at `from_time_ns`
    /// (nanoseconds since the Unix epoch), and there are `queues` queues now.
    pub fn to_statistics(&self, from_time_ns: i64, queues: u64) -> Statistics {
        let mut statistics = Statistics {
            from_time_ns,
            ..Statistics::default()
        };
        put_numbers(self, &mut statistics);
        statistics.numbers.queues = number(queues);
        let services = &mut statistics.sections.notification_services;
        services.assoc_new = number(self.ntf_assoc_new);
        services.assoc_duplicate = number(self.ntf_assoc_duplicate);
        services.assoc_updated = number(self.ntf_assoc_updated);
        services.assoc_removed = number(self.ntf_assoc_removed);
        services.subscribed = number(self.ntf_service_subscribed);
        services.sub_queues = number(self.ntf_service_queues);
        put_proxies(self, &mut statistics.sections);
        statistics.sections.forwards_received = number(self.forwards_received);
        statistics
    }
}

impl From<&ActiveSets> for ActiveQueues {
    fn from(sets: &ActiveSets) -> Self {
        Self {
            messages: (&sets.messages).into(),
            notifications: (&sets.notifications).into(),
        }
    }
}

impl From<&PeriodSets> for PeriodCounts {
    fn from(sets: &PeriodSets) -> Self {
        let [day, week, month] = sets.each().map(|set| set.len() as u64);
        Self { day, week, month }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_returns_from_the_file() {
        // Distinct numbers by way of the file, then back.
        let mut statistics = Counters::default().to_statistics(5, 6);
        assert_eq!((statistics.from_time_ns, statistics.numbers.queues), (5, 6));
        let mut text = Vec::new();
        statistics.write(&mut text);
        let text = String::from_utf8(text).unwrap();
        let numbered: String = text
            .lines()
            .enumerate()
            .map(|(i, line)| match line.strip_suffix("=0") {
                Some(label) => format!("{label}={}\n", i + 1),
                None => format!("{line}\n"),
            })
            .collect();
        statistics = Statistics::read(numbered.as_bytes()).unwrap();
        let counters = Counters::from(&statistics);
        let values: Vec<_> = counters.iter().map(|(_, n)| n).collect();
        let mut distinct = values.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), values.len());
        assert!(values.iter().all(|n| *n > 0), "{counters:?}");
        let again = counters.to_statistics(5, 6);
        assert_eq!(Counters::from(&again), counters);
        assert_eq!(again.numbers.queues_created, 2);
        assert_eq!(again.numbers.notifications_unsubscribed, 0);
    }

    #[test]
    fn a_negative_number_counts_as_none() {
        let mut statistics = Statistics::default();
        statistics.numbers.messages_received = -3;
        statistics.numbers.sub_auth = 2;
        let counters = Counters::from(&statistics);
        assert_eq!((counters.messages_received, counters.sub_auth), (0, 2));
    }

    #[test]
    fn sets_are_counted() {
        let mut sets = ActiveSets::default();
        sets.messages.week = vec![1, 2];
        sets.notifications.month = vec![3];
        let active = ActiveQueues::from(&sets);
        let counts = |day, week, month| PeriodCounts { day, week, month };
        assert_eq!(active.messages, counts(0, 2, 0));
        assert_eq!(active.notifications, counts(0, 0, 1));
    }
}
