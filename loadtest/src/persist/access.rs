//! How the server is reached, and what it may be expected to keep.

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use crate::client::{Client, Options};
use crate::target::Target;

/// What becomes of confirmed acknowledgements when the server dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Acks {
    /// They hold: a message that was acknowledged never comes again.
    Strict,
    /// They may be lost, from the last one back: `ACK` promises nothing.
    Allowed,
}

/// A service for notifications that belongs to the run.
#[derive(Clone)]
pub struct Service {
    /// The server, with the credentials of the service.
    pub target: Target,
    /// Id that the server gave it, once that is known.
    pub id: Option<Vec<u8>>,
}

/// A server whose promises are put to the proof.
#[derive(Clone)]
pub struct Access {
    /// The server.
    pub target: Target,
    /// How clients behave.
    pub options: Options,
    /// See [`Acks`].
    pub acks: Acks,
    /// Messages a queue holds before a sender is refused, when it is to be reached.
    pub quota: Option<usize>,
    /// Owner of some notifiers.
    pub service: Option<Service>,
}

impl Access {
    /// Nothing beyond what every relay promises.
    pub fn new(target: Target, options: Options) -> Self {
        Self {
            target,
            options,
            acks: Acks::Allowed,
            quota: None,
            service: None,
        }
    }

    /// Connects as an ordinary client.
    pub async fn connect(&self) -> Result<Client> {
        let client = Client::connect(&self.target, self.options).await;
        client.context("connect")
    }

    /// Connects as the service, if there is one. Fails when the server takes it for another than
    /// before: its registration was lost.
    pub async fn connect_service(&self) -> Result<Option<Client>> {
        let Some(service) = &self.service else {
            return Ok(None);
        };
        let client = Client::connect(&service.target, self.options).await;
        let client = client.context("connect as a service")?;
        let told = client.service_id();
        ensure!(told.is_some(), "the server gives the service no id");
        ensure!(
            service.id.is_none() || service.id.as_deref() == told,
            "lost: the service that was registered has another id now"
        );
        Ok(Some(client))
    }
}
