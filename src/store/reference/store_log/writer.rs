//! Writes records of the store log as the reference does.

use super::LogRecord;
use crate::crypto::keys::PublicAuthKey;
use crate::store::reference::text::{put, put_base64, put_day, put_key};
use crate::store::{Id, LinkContent, NotifierRecord, QueueRecord, QueueStatus, ServiceRecord};

/// Appends a record and the end of its line, as the reference writes them.
pub fn write_record(out: &mut Vec<u8>, record: &LogRecord) {
    match record {
        LogRecord::Create(entry) => {
            return write_queue(out, &entry.record, entry.link.as_ref());
        }
        LogRecord::Service(service) => return write_service(out, service),
        LogRecord::Link(id, link_id, content) => {
            put_tag(out, "LINK ", id);
            out.push(b' ');
            put_base64(out, link_id);
            out.push(b' ');
            put_link_content(out, content);
        }
        LogRecord::DeleteLink(id) => put_tag(out, "LDELETE ", id),
        LogRecord::Secure(id, key) => {
            put_tag(out, "SECURE ", id);
            out.push(b' ');
            put_key(out, key);
        }
        LogRecord::Keys(id, keys) => {
            put_tag(out, "KEYS ", id);
            out.push(b' ');
            put_keys(out, keys);
        }
        LogRecord::Notifier(id, notifier) => {
            put_tag(out, "NOTIFIER ", id);
            out.push(b' ');
            put_notifier(out, notifier);
        }
        LogRecord::DeleteNotifier(id) => put_tag(out, "NDELETE ", id),
        LogRecord::Status(id, QueueStatus::Off) => put_tag(out, "SUSPEND ", id),
        LogRecord::Status(id, QueueStatus::Active) => put_tag(out, "UNBLOCK ", id),
        LogRecord::Status(id, QueueStatus::Blocked(info)) => {
            put_tag(out, "BLOCK ", id);
            out.push(b' ');
            info.encode(out);
        }
        LogRecord::Delete(id) => put_tag(out, "DELETE ", id),
        LogRecord::Day(id, day) => {
            put_tag(out, "TIME ", id);
            out.push(b' ');
            put_day(out, *day);
        }
        LogRecord::QueueService(id, service_id) => {
            put_tag(out, "QUEUE_SERVICE ", id);
            put(out, " R ");
            put_base64(out, service_id.as_ref().map_or(&[], |id| id));
        }
        LogRecord::NotifierService(id, service_id) => {
            put_tag(out, "QUEUE_SERVICE ", id);
            put(out, " N ");
            put_base64(out, service_id.as_ref().map_or(&[], |id| id));
        }
    }
    out.push(b'\n');
}

fn put_tag(out: &mut Vec<u8>, tag: &str, id: &Id) {
    put(out, tag);
    put_base64(out, id);
}

fn put_keys(out: &mut Vec<u8>, keys: &[PublicAuthKey]) {
    for (i, key) in keys.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        put_key(out, key);
    }
}

fn put_link_content(out: &mut Vec<u8>, content: &LinkContent) {
    put_base64(out, &content.fixed);
    out.push(b' ');
    put_base64(out, &content.user);
}

fn put_notifier(out: &mut Vec<u8>, notifier: &NotifierRecord) {
    put_base64(out, &notifier.notifier_id);
    out.push(b' ');
    put_key(out, &notifier.auth_key);
    out.push(b' ');
    put_base64(out, &notifier.dh_secret.0);
    if let Some(id) = &notifier.service_id {
        put(out, " nsrv=");
        put_base64(out, id);
    }
}

/// Appends a queue. `link` belongs to the link id of the record: without either, the queue is
/// written without link.
pub fn write_queue(out: &mut Vec<u8>, record: &QueueRecord, link: Option<&LinkContent>) {
    put(out, "CREATE rid=");
    put_base64(out, &record.recipient_id);
    put(out, " rk=");
    put_keys(out, &record.recipient_keys);
    put(out, " rdh=");
    put_base64(out, &record.rcv_dh_secret.0);
    put(out, " sid=");
    put_base64(out, &record.sender_id);
    put(out, " sk=");
    if let Some(key) = &record.sender_key {
        put_key(out, key);
    }
    if let Some(mode) = record.mode {
        put(out, " queue_mode=");
        out.push(mode.letter());
    }
    if let (Some(id), Some(content)) = (&record.link_id, link) {
        put(out, " link_id=");
        put_base64(out, id);
        put(out, " queue_data=");
        put_link_content(out, content);
    }
    if let Some(notifier) = &record.notifier {
        put(out, " notifier=");
        put_notifier(out, notifier);
    }
    if record.updated_day > 0 {
        put(out, " updated_at=");
        put_day(out, record.updated_day);
    }
    match &record.status {
        QueueStatus::Active => {}
        QueueStatus::Off => put(out, " status=off"),
        QueueStatus::Blocked(info) => {
            put(out, " status=blocked,");
            info.encode(out);
        }
    }
    if let Some(id) = &record.service_id {
        put(out, " rsrv=");
        put_base64(out, id);
    }
    out.push(b'\n');
}

/// Appends a service.
pub fn write_service(out: &mut Vec<u8>, service: &ServiceRecord) {
    put(out, "NEW_SERVICE service_id=");
    put_base64(out, &service.id);
    put(out, " role=");
    out.push(service.role.letter());
    put(out, " cert=");
    for (i, certificate) in service.chain.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        put_base64(out, certificate);
    }
    put(out, " cert_hash=");
    put_base64(out, &service.fingerprint);
    put(out, " created_at=");
    put_day(out, service.created_day);
    out.push(b'\n');
}
