//! Events that nobody asked for (spec: server §4).

use super::party::{Recipient, send};
use glommio::timer::Timer;
use loadtest::{Auth, Client};
use smp_server::protocol::{ErrorType, Response};
use std::time::Duration;

/// Asserts that the next push is this event of this entity.
pub async fn expect_event(client: &mut Client, entity: &[u8], event: Response<'_>) {
    let push = client.next_push().await.unwrap();
    assert_eq!((&push.entity_id[..], push.response), (entity, event));
}

/// The next push of this event, whatever else comes before it; returns its entity.
pub async fn await_event(client: &mut Client, event: &Response<'_>) -> Vec<u8> {
    loop {
        let push = client.next_push().await.unwrap();
        if push.response == *event {
            return push.entity_id;
        }
    }
}

/// Asserts that a response is this error.
#[track_caller]
pub fn expect_error(response: Response<'_>, error: ErrorType) {
    assert_eq!(response, Response::Err(error));
}

/// Time between looks at something that only time changes.
const PAUSE: Duration = Duration::from_millis(50);

impl Recipient {
    /// Waits until every message of this queue has expired.
    pub async fn until_expired(&self, client: &mut Client) {
        while self.info(client).await["qiSize"] != 0 {
            Timer::new(PAUSE).await;
        }
    }

    /// Sends this queue, which nobody secured, a message and asserts that it is pushed to
    /// `client`, which acknowledges it.
    pub async fn expect_delivery(&self, sender: &mut Client, client: &mut Client) {
        let sent = send(sender, self.sender_id(), Auth::None, b"delivery").await;
        assert_eq!(sent, Response::Ok);
        let (id, body) = self.pushed(client).await;
        assert_eq!(body, b"delivery");
        assert_eq!(self.ack(client, &id).await, Response::Ok);
    }
}
