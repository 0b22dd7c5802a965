//! Clients with service certificates (spec: protocol §5.3, §14).

use super::server::Server;
use loadtest::{Client, ClientError, Options, ServiceCredentials, TlsOptions};
use smp_server::protocol::command::ServiceQueues;
use smp_server::protocol::handshake::ServiceRole;
use smp_server::protocol::{Command, Response};

/// A fresh self-signed certificate.
pub fn service_credentials(role: ServiceRole) -> ServiceCredentials {
    ServiceCredentials::generate(role).unwrap()
}

impl Server {
    /// A session of a service.
    pub async fn service(&self, credentials: &ServiceCredentials) -> Client {
        let client = self.try_service(credentials).await.unwrap();
        assert_eq!(client.service_id().unwrap().len(), 24);
        client
    }

    /// A session of a service, or why there is none.
    pub async fn try_service(
        &self,
        credentials: &ServiceCredentials,
    ) -> Result<Client, ClientError> {
        let target = self.target(TlsOptions::default());
        Client::connect(
            &target.with_service(credentials.clone()),
            Options::default(),
        )
        .await
    }
}

/// What `NSUBS` (role N) or `SUBS` is answered with.
pub async fn subscribe_service(client: &mut Client) -> ServiceQueues {
    let service = client.service().expect("a service");
    let command = match service.role {
        ServiceRole::Notifier => Command::NSubs(ServiceQueues::UNKNOWN),
        _ => Command::Subs(ServiceQueues::UNKNOWN),
    };
    match client.service_command(&command).await.unwrap() {
        Response::Soks(queues) => queues,
        other => panic!("{other:?}"),
    }
}

/// Asserts that `NSUB` or `SUB` was confirmed for the service of the session, if it has one.
#[track_caller]
pub fn expect_subscribed(client: &Client, response: Response<'_>) {
    let Response::Sok(service) = &response else {
        panic!("{response:?}");
    };
    assert_eq!(service.as_deref(), client.service_id());
}
