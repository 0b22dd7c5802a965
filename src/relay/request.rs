//! A parsed command on its way to a shard.

use super::session_ref::{SessionContext, Ticket};
use crate::crypto::authorization::{Authorization, Authorized, Claim};
use crate::protocol::error::CommandError;
use crate::protocol::transmission::Transmission;
use crate::protocol::{Command, ErrorType, Version};

/// A command with well-formed credentials, not yet verified.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Where the answer belongs.
    pub ticket: Ticket,
    /// The whole transmission as it came, to be passed on.
    pub bytes: &'a [u8],
    /// Ids and authorised bytes.
    pub transmission: Transmission<'a>,
    /// Proof of authorization.
    pub authorization: Authorization<'a>,
    /// The command.
    pub command: Command<'a>,
}

/// Why a transmission is answered without being executed, and with which ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// Correlation id of the answer.
    pub corr_id: &'a [u8],
    /// Entity id of the answer.
    pub entity_id: &'a [u8],
    /// The answer.
    pub error: ErrorType,
}

impl<'a> Request<'a> {
    /// Parses one transmission of a session (spec: server §2.3).
    pub fn parse(
        bytes: &'a [u8],
        ticket: Ticket,
        version: Version,
        session_id: &[u8],
    ) -> Result<Self, Refusal<'a>> {
        let Ok(transmission) = Transmission::decode(bytes, version) else {
            return Err(Refusal {
                corr_id: &[],
                entity_id: &[],
                error: ErrorType::Block,
            });
        };
        let corr_id = transmission.corr_id;
        let without_entity = |error| Refusal {
            corr_id,
            entity_id: &[],
            error,
        };
        if transmission.session_id.is_some_and(|id| id != session_id) {
            return Err(without_entity(ErrorType::Session));
        }
        let Some(authorization) = Authorization::from_bytes(transmission.authorization) else {
            return Err(without_entity(ErrorType::Block));
        };
        let refuse = |e: CommandError| Refusal {
            corr_id,
            entity_id: transmission.entity_id,
            error: ErrorType::Cmd(e),
        };
        let command = Command::decode(transmission.command, version).map_err(refuse)?;
        command
            .check_credentials(
                !transmission.authorization.is_empty(),
                !transmission.entity_id.is_empty(),
            )
            .map_err(refuse)?;
        Ok(Self {
            ticket,
            bytes,
            transmission,
            authorization,
            command,
        })
    }

    /// What the authorization claims.
    pub fn claim(&self, context: &'a SessionContext) -> Claim<'a> {
        let authorized = if context.version() < Version::AUTH_COMMANDS {
            Authorized::sent_only(self.transmission.sent)
        } else {
            Authorized::new(context.session_id(), self.transmission.sent)
        };
        // With a service's signature the entity key signs which service it is (protocol §7.4).
        let authorized = match context.service() {
            Some(service) if self.transmission.service_signature.is_some() => {
                authorized.for_service(&service.fingerprint)
            }
            _ => authorized,
        };
        Claim {
            authorization: self.authorization,
            corr_id: self.transmission.corr_id,
            authorized,
        }
    }
}
