//! Services in their handshake: it asks the shard of the certificate who they are, and waits.

use super::core::Core;
use crate::relay::ServiceRegistration;
use crate::session::ServiceClaim;
use crate::store::Id;
use futures_lite::future::poll_fn;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::task::{Poll, Waker};

/// Handshakes of one executor that wait for the registry. Each is one of its bounded number of
/// handshakes.
#[derive(Debug, Default)]
pub struct Registrations {
    next: Cell<u64>,
    waiting: RefCell<HashMap<u64, Waiting>>,
}

#[derive(Debug)]
enum Waiting {
    Asked(Option<Waker>),
    Answered(Option<Id>),
}

/// One request; forgotten when its handshake ends before the answer.
#[derive(Debug)]
pub struct Registration<'a> {
    registrations: &'a Registrations,
    token: u64,
}

impl Registrations {
    /// Opens a request.
    pub fn open(&self) -> Registration<'_> {
        let token = self.next.get();
        self.next.set(token.wrapping_add(1));
        self.waiting
            .borrow_mut()
            .insert(token, Waiting::Asked(None));
        Registration {
            registrations: self,
            token,
        }
    }

    /// Takes the answer to a request: the id of the service, or none when it is refused.
    pub fn complete(&self, token: u64, service_id: Option<Id>) {
        if let Some(waiting) = self.waiting.borrow_mut().get_mut(&token)
            && let Waiting::Asked(waker) = std::mem::replace(waiting, Waiting::Answered(service_id))
            && let Some(waker) = waker
        {
            waker.wake();
        }
    }
}

impl Registration<'_> {
    /// Its number.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Waits for the answer.
    pub async fn answer(&self) -> Option<Id> {
        poll_fn(
            |cx| match self.registrations.waiting.borrow_mut().get_mut(&self.token) {
                Some(Waiting::Asked(waker)) => {
                    *waker = Some(cx.waker().clone());
                    Poll::Pending
                }
                Some(Waiting::Answered(service_id)) => Poll::Ready(*service_id),
                None => Poll::Ready(None),
            },
        )
        .await
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.registrations.waiting.borrow_mut().remove(&self.token);
    }
}

impl Core {
    /// Registers a service, or finds it; none when it is refused.
    pub async fn register_service(&self, claim: &ServiceClaim) -> Option<Id> {
        let request = self.registrations().open();
        let registration = ServiceRegistration {
            core: self.index(),
            token: request.token(),
            role: claim.role,
            fingerprint: claim.fingerprint,
            chain: claim.chain.clone(),
        };
        self.run(|router| router.register_service(registration));
        request.answer().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn an_answer_reaches_its_request_alone() {
        let registrations = Registrations::default();
        let (a, b) = (registrations.open(), registrations.open());
        registrations.complete(b.token(), Some([7; 24]));
        assert_eq!(block_on(b.answer()), Some([7; 24]));
        assert_eq!(block_on(poll_once(a.answer())), None);
        registrations.complete(a.token(), None);
        assert_eq!(block_on(a.answer()), None);
    }

    #[test]
    fn a_request_given_up_leaves_nothing() {
        let registrations = Registrations::default();
        let token = registrations.open().token();
        registrations.complete(token, None);
        assert!(registrations.waiting.borrow().is_empty());
    }
}
