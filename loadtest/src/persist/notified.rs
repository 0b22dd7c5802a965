//! Notifications: those that come must open with the key agreed for them, and those of messages
//! that were just sent must come.

use std::collections::HashMap;

use anyhow::Result;
use smp_server::crypto::smp_box::BoxKey;
use smp_server::protocol::Response;

use super::check::Findings;
use super::materials::Materials;
use super::service::SERVICE;
use super::state::Queue;
use super::verdict::{Fault, Kind};
use crate::client::{Client, Reply};
use crate::error::ClientError;
use crate::queue::open_notification;

/// A notification that must come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Number of the queue.
    pub number: u32,
    /// Id of its notifier.
    pub notifier_id: Vec<u8>,
    /// Id of the message it is about.
    pub msg_id: Vec<u8>,
    /// When the server got that message, in seconds since the Unix epoch.
    pub time: i64,
}

/// Notifications of one connection.
#[derive(Default)]
pub struct Notified {
    keys: HashMap<Vec<u8>, (u32, BoxKey)>,
    expected: Vec<Expected>,
}

impl Notified {
    /// Notifications of all notifiers that a queue ever had may come.
    pub fn know(&mut self, materials: Materials, number: u32, queue: &Queue) {
        for (made, told) in &queue.notifiers {
            if !self.keys.contains_key(&told.id) {
                let key = materials.notification_key(number, *made, told);
                self.keys.insert(told.id.clone(), (number, key));
            }
        }
    }

    /// This one must come.
    pub fn expect(&mut self, expected: Expected) {
        self.expected.push(expected);
    }

    /// Judges what was pushed; everything but notifications is passed over.
    pub fn take(&mut self, entity_id: &[u8], response: Response<'_>, findings: &mut Findings) {
        let Response::NMsg { nonce, boxed } = response else {
            return;
        };
        let corrupted = |what: &str| Fault::new(Kind::Corrupted, what);
        let Some((number, key)) = self.keys.get(entity_id) else {
            let fault = corrupted("a notification came for a notifier that nobody subscribed");
            return findings.count(SERVICE, [fault]);
        };
        let mut boxed = boxed.into_owned();
        let Ok(meta) = open_notification(key, &nonce, &mut boxed) else {
            return findings.count(*number, [corrupted("a notification does not open")]);
        };
        findings.tally.notified += 1;
        let is_expected = |e: &Expected| e.notifier_id == entity_id && e.msg_id == meta.msg_id;
        let Some(at) = self.expected.iter().position(is_expected) else {
            return;
        };
        let expected = self.expected.swap_remove(at);
        if expected.time == meta.timestamp {
            findings.tally.proved += 1;
        } else {
            let fault = corrupted("a notification tells another time than its message");
            findings.count(*number, [fault]);
        }
    }

    /// Judges what has come.
    pub fn take_all(&mut self, client: &mut Client, findings: &mut Findings) {
        while let Some(Reply {
            entity_id,
            response,
            ..
        }) = client.buffered_push()
        {
            self.take(&entity_id, response, findings);
        }
    }

    /// Waits for what must come; what has not when the time of the client is over is lost.
    pub async fn wait(&mut self, client: &mut Client, findings: &mut Findings) -> Result<()> {
        self.take_all(client, findings);
        while !self.expected.is_empty() {
            match client.next_push().await {
                Ok(push) => self.take(&push.entity_id, push.response, findings),
                Err(ClientError::Timeout(_)) => break,
                Err(e) => return Err(e.into()),
            }
        }
        self.give_up(findings);
        Ok(())
    }

    /// What has not come is lost.
    fn give_up(&mut self, findings: &mut Findings) {
        for expected in self.expected.drain(..) {
            let fault = Fault::new(Kind::Lost, "the notification of the last message");
            findings.count(expected.number, [fault]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::state::ToldNotifier;
    use smp_server::crypto::keys::{X25519PublicKey, X25519SecretKey};
    use smp_server::crypto::message::encrypt_notification;

    const MATERIALS: u64 = 5;
    const NUMBER: u32 = 9;
    const MADE: u32 = 3;

    fn server() -> X25519SecretKey {
        X25519SecretKey::from_bytes([2; 32])
    }

    fn queue() -> Queue {
        let told = ToldNotifier {
            id: vec![1; 24],
            server_dh: server().public_key().0,
        };
        Queue {
            notifiers: vec![(MADE, told)],
            ..Queue::default()
        }
    }

    fn expected() -> Expected {
        Expected {
            number: NUMBER,
            notifier_id: vec![1; 24],
            msg_id: vec![7; 24],
            time: 1000,
        }
    }

    /// What a server sends that keeps this secret for the notifier.
    fn sent(secret: &X25519SecretKey, msg_id: [u8; 24], time: i64) -> Response<'static> {
        let credentials = Materials::new(MATERIALS).notifier(NUMBER, MADE).unwrap();
        let key = BoxKey::from(&secret.agree(&X25519PublicKey(credentials.dh_key.0)));
        let boxed = encrypt_notification(&key, &[4; 24], &msg_id, time).unwrap();
        Response::NMsg {
            nonce: [4; 24],
            boxed: boxed.to_vec().into(),
        }
    }

    fn taken(entity_id: [u8; 24], response: Response<'_>) -> (Findings, usize) {
        let (findings, notified) = after(entity_id, response);
        (findings, notified.expected.len())
    }

    fn after(entity_id: [u8; 24], response: Response<'_>) -> (Findings, Notified) {
        let mut notified = Notified::default();
        notified.know(Materials::new(MATERIALS), NUMBER, &queue());
        notified.expect(expected());
        let mut findings = Findings::default();
        notified.take(&entity_id, response, &mut findings);
        (findings, notified)
    }

    #[test]
    fn what_does_not_come_is_lost() {
        let (mut findings, mut notified) = after([1; 24], sent(&server(), [8; 24], 1000));
        notified.give_up(&mut findings);
        let lost = findings.faults.iter().map(|(n, f)| (*n, f.kind));
        assert_eq!(lost.collect::<Vec<_>>(), [(NUMBER, Kind::Lost)]);
    }

    #[test]
    fn the_right_notification_is_proved_and_another_is_still_waited_for() {
        let (findings, left) = taken([1; 24], sent(&server(), [7; 24], 1000));
        assert_eq!((findings.tally.proved, findings.tally.notified), (1, 1));
        assert_eq!((findings.faults.len(), left), (0, 0));
        let (findings, left) = taken([1; 24], sent(&server(), [8; 24], 1000));
        assert_eq!((findings.tally.proved, findings.tally.notified), (0, 1));
        assert_eq!((findings.faults.len(), left), (0, 1));
    }

    #[test]
    fn wrong_notifications_are_found() {
        let foreign = X25519SecretKey::from_bytes([6; 32]);
        for (entity_id, response) in [
            ([1; 24], sent(&foreign, [7; 24], 1000)),
            ([1; 24], sent(&server(), [7; 24], 1001)),
            ([2; 24], sent(&server(), [7; 24], 1000)),
        ] {
            let (findings, _) = taken(entity_id, response);
            let kinds: Vec<_> = findings.faults.iter().map(|(_, f)| f.kind).collect();
            assert_eq!(kinds, [Kind::Corrupted]);
            assert_eq!((findings.tally.corrupted, findings.tally.proved), (1, 0));
        }
    }
}
