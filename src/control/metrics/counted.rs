//! Metrics of the reference, by its names (spec: operations §5.2). Dashboards depend on them,
//! misspelt ones included. What this relay does not count is zero.

use super::Kind::{Counter, Gauge};
use super::{Family, families};

families! {
    /// What is counted since the last row of daily statistics, and what is stored.
    COUNTED {
        queues_created Counter "Created queues" {
            "": |o| o.counters.queues_created;
        }
        queues_secured Counter "Secured queues" {
            "": |o| o.counters.queues_secured;
        }
        queues_deleted Counter "Deleted queues" {
            "type=\"all\"": |o| o.counters.queues_deleted;
            "type=\"new\"": |o| o.counters.queues_deleted_new;
            "type=\"secured\"": |o| o.counters.queues_deleted_secured;
        }
        queues_blocked Counter "Deleted queues" {
            "": |o| o.counters.queues_blocked;
        }
        queues_deleted_batch Counter "Batched requests to delete queues" {
            "": |o| o.counters.deleted_all_batches;
        }
        queues_total1 Gauge "Total number of stored queues (first type of count)." {
            "": |o| o.totals.queues;
        }
        queues_total2 Gauge "Total number of stored queues (second type of count)." {
            "": |o| o.totals.queues;
        }
        queues_daily Gauge "Daily active queues." {
            "": |o| o.active.messages.day;
        }
        queues_weekly Gauge "Weekly active queues." {
            "": |o| o.active.messages.week;
        }
        queues_monthly Gauge "Monthly active queues." {
            "": |o| o.active.messages.month;
        }
        queues_notify_daily Gauge "Daily active queues with notifications." {
            "": |o| o.active.notifications.day;
        }
        queues_notify_weekly Gauge "Weekly active queues with notifications." {
            "": |o| o.active.notifications.week;
        }
        queues_notify_monthly Gauge "Monthly active queues with notifications." {
            "": |o| o.active.notifications.month;
        }
        subscribtion_successes Counter "Successful subscriptions." {
            "": |o| o.counters.subscribed;
        }
        subscribtion_successes_batch Counter "Batched successful subscriptions." {
            "": |o| o.counters.sub_all_batches;
        }
        subscribtion_end Counter "Ended subscriptions." {
            "": |o| o.counters.sub_ended;
        }
        subscribtion_end_batch Counter "Batched ended subscriptions." {
            "": |o| o.counters.sub_ended_batches;
        }
        subscribtion_errors Counter "Subscription errors." {
            "type=\"auth\"": |o| o.counters.sub_auth;
            "type=\"duplicate\"": |o| o.counters.sub_duplicate;
            "type=\"prohibited\"": |o| o.counters.sub_prohibited;
        }
        messages_sent Counter "Sent messages." {
            "": |o| o.counters.messages_sent;
        }
        messages_sent_errors Counter "Total number of messages errors by type." {
            "type=\"auth\"": |o| o.counters.send_auth;
            "type=\"quota\"": |o| o.counters.send_quota;
            "type=\"large\"": |o| o.counters.send_large;
            "type=\"block\"": |o| o.counters.send_blocked;
        }
        messages_received Counter "Received messages." {
            "": |o| o.counters.messages_received;
        }
        messages_expired Counter "Expired messages." {
            "": |o| o.counters.messages_expired;
        }
        messages_total Gauge "Total number of messages stored." {
            "": |o| o.totals.messages;
        }
        messages_notify_sent Counter "Sent messages with notification flag (cleint)." {
            "": |o| o.counters.flagged_sent;
        }
        messages_notify_received Counter "Received messages with notification flag (client)." {
            "": |o| o.counters.flagged_received;
        }
        messages_notify_get_sent Counter "Requests to get messages with notification flag (client)." {
            "": |o| o.counters.get_message;
        }
        messages_notify_get_received Counter "Succesfully received get requests messages with notification flag (client)." {
            "": |o| o.counters.get_received;
        }
        messages_notify_get_errors Counter "Error events with messages with notification flag (client)." {
            "type=\"nomsg\"": |o| o.counters.get_no_message;
            "type=\"auth\"": |o| o.counters.get_auth;
            "type=\"duplicate\"": |o| o.counters.get_duplicate;
            "type=\"prohibited\"": |o| o.counters.get_prohibited;
        }
        queues_notify_created Counter "Created queue notification credentials." {
            "": |o| o.counters.notifiers_created;
        }
        queues_notify_new_created Counter "Created new queues with notification credentials." {
            "": |o| o.counters.notifiers_new_created;
        }
        queues_notify_deleted Counter "Deleted queue notification credentials." {
            "": |o| o.counters.notifiers_deleted;
        }
        queues_notify_deleted_batch Counter "Deleted batched queue notification credentials." {
            "": |o| o.counters.ntf_deleted_batches;
        }
        queues_notify_total1 Gauge "Total number of stored queues with notification flag (first type of count)." {
            "": |o| o.waiting_notifications;
        }
        queues_notify_total2 Gauge "Total number of stored queues with notification flag (second type of count)." {
            "": |o| o.totals.notifiers;
        }
        messages_ntf_successes Counter "Successful events with notification messages (to ntf server)." {
            "": |o| o.counters.notifications_delivered;
        }
        messages_ntf_successes_batch Counter "Successful batched events with notification messages (to ntf server)." {
            "": |o| o.counters.notification_batches;
        }
        messages_ntf_errors Counter "Error events with notification messages (to ntf server)." {
            "type=\"nosub\"": |_| 0;
            "type=\"lost\"": |o| o.counters.notifications_lost;
            "type=\"expired\"": |o| o.counters.notifications_expired;
        }
        subscription_ntf_requests Counter "Subscription requests with notification flag (from ntf server)." {
            "": |o| o.counters.ntf_subscribed;
        }
        subscription_ntf_requests_batch Counter "Batched subscription requests with notification flag (from ntf server)." {
            "": |o| o.counters.ntf_sub_batches;
        }
        subscribtion_ntf_errors Counter "Subscription errors with notification flag (from ntf server)." {
            "type=\"auth\"": |o| o.counters.ntf_sub_auth;
            "type=\"duplicate\"": |o| o.counters.ntf_sub_duplicate;
        }
        relay_sessions_requests Counter "Session requests through relay." {
            "source=\"all\"": |o| o.counters.relays_requests;
            "source=\"own\"": |o| o.counters.relays_own_requests;
        }
        relay_sessions_successes Counter "Successful session events through relay." {
            "source=\"all\"": |o| o.counters.relays_successes;
            "source=\"own\"": |o| o.counters.relays_own_successes;
        }
        relay_sessions_errors Counter "Error session events through relay." {
            "source=\"all\",type=\"connect\"": |o| o.counters.relays_errors_connect;
            "source=\"all\",type=\"compat\"": |o| o.counters.relays_errors_compatibility;
            "source=\"all\",type=\"other\"": |o| o.counters.relays_errors_other;
            "source=\"own\",type=\"connect\"": |o| o.counters.relays_own_errors_connect;
            "source=\"own\",type=\"compat\"": |o| o.counters.relays_own_errors_compatibility;
            "source=\"own\",type=\"other\"": |o| o.counters.relays_own_errors_other;
        }
        relay_messages_requests Counter "Message requests sent through relay." {
            "source=\"all\"": |o| o.counters.forwards_requests;
            "source=\"own\"": |o| o.counters.forwards_own_requests;
        }
        relay_messages_successes Counter "Successful messages sent through relay." {
            "source=\"all\"": |o| o.counters.forwards_successes;
            "source=\"own\"": |o| o.counters.forwards_own_successes;
        }
        relay_messages_errors Counter "Error events with messages sent through relay." {
            "source=\"all\",type=\"connect\"": |o| o.counters.forwards_errors_connect;
            "source=\"all\",type=\"compat\"": |o| o.counters.forwards_errors_compatibility;
            "source=\"all\",type=\"other\"": |o| o.counters.forwards_errors_other;
            "source=\"own\",type=\"connect\"": |o| o.counters.forwards_own_errors_connect;
            "source=\"own\",type=\"compat\"": |o| o.counters.forwards_own_errors_compatibility;
            "source=\"own\",type=\"other\"": |o| o.counters.forwards_own_errors_other;
        }
        relay_messages_received Counter "Relay messages statistics." {
            "": |o| o.counters.forwards_received;
        }
        rcv_services_count Gauge "The count of receiving services." {
            "": |o| o.totals.messaging_services;
        }
        rcv_services_queues_count Gauge "The count of queues associated with receiving services." {
            "": |o| o.totals.messaging_service_queues;
        }
        ntf_services_count Gauge "The count of notification services." {
            "": |o| o.totals.notifier_services;
        }
        ntf_services_queues_count Gauge "The count of queues associated with notification services." {
            "": |o| o.totals.notifier_service_queues;
        }
        rcv_services_assoc_new Counter "New queue associations with receiving services." {
            "": |_| 0;
        }
        rcv_services_assoc_duplicate Counter "Duplicate queue associations with receiving services." {
            "": |_| 0;
        }
        rcv_services_assoc_updated Counter "Updated queue associations with receiving services." {
            "": |_| 0;
        }
        rcv_services_assoc_removed Counter "Removed queue associations with receiving services." {
            "": |_| 0;
        }
        rcv_services_sub_count Counter "Service subscriptions by receiving services." {
            "": |_| 0;
        }
        rcv_services_sub_duplicate Counter "Duplicate service subscriptions by receiving services." {
            "": |_| 0;
        }
        rcv_services_sub_queues Gauge "Queues subscribed by receiving services." {
            "": |_| 0;
        }
        rcv_services_sub_end Gauge "Ended subscriptions with receiving services." {
            "": |_| 0;
        }
        ntf_services_assoc_new Counter "New queue associations with notification services." {
            "": |o| o.counters.ntf_assoc_new;
        }
        ntf_services_assoc_duplicate Counter "Duplicate queue associations with notification services." {
            "": |o| o.counters.ntf_assoc_duplicate;
        }
        ntf_services_assoc_updated Counter "Updated queue associations with notification services." {
            "": |o| o.counters.ntf_assoc_updated;
        }
        ntf_services_assoc_removed Counter "Removed queue associations with notification services." {
            "": |o| o.counters.ntf_assoc_removed;
        }
        ntf_services_sub_count Counter "Service subscriptions by notification services." {
            "": |o| o.counters.ntf_service_subscribed;
        }
        ntf_services_sub_duplicate Counter "Duplicate service subscriptions by notification services." {
            "": |_| 0;
        }
        ntf_services_sub_queues Gauge "Queues subscribed by notification services." {
            "": |o| o.counters.ntf_service_queues;
        }
        ntf_services_sub_end Gauge "Ended subscriptions with notification services." {
            "": |_| 0;
        }
    }
}
