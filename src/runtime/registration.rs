//! Services in their handshake: it asks the shard of the certificate who they are, and waits.

use super::core::Core;
use super::requests::Requests;
use crate::relay::ServiceRegistration;
use crate::session::ServiceClaim;
use crate::store::Id;

/// Handshakes of one executor that wait for the registry: the answer is the id of the service, or
/// none when it is refused. Each is one of its bounded number of handshakes.
pub type Registrations = Requests<Option<Id>>;

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
