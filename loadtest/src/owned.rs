//! Responses that outlive the block they came in.

use std::borrow::Cow;

use smp_server::protocol::Response;
use smp_server::protocol::handshake::CertChainKey;
use smp_server::protocol::response::{Bytes, LinkAnswer, QueueIds, RelaySession};

fn bytes(bytes: Bytes<'_>) -> Bytes<'static> {
    Cow::Owned(bytes.into_owned())
}

/// Copies what `response` borrows.
pub fn into_owned(response: Response<'_>) -> Response<'static> {
    match response {
        Response::Ids(ids) => Response::Ids(Box::new(QueueIds {
            recipient_id: bytes(ids.recipient_id),
            sender_id: bytes(ids.sender_id),
            dh_key: ids.dh_key,
            mode: ids.mode,
            link_id: ids.link_id.map(bytes),
            service_id: ids.service_id.map(bytes),
            notifier: ids.notifier.map(|(id, key)| (bytes(id), key)),
        })),
        Response::Lnk(link) => Response::Lnk(Box::new(LinkAnswer {
            sender_id: bytes(link.sender_id),
            fixed: bytes(link.fixed),
            user: bytes(link.user),
        })),
        Response::Sok(service) => Response::Sok(service.map(bytes)),
        Response::Soks(queues) => Response::Soks(queues),
        Response::Msg { msg_id, boxed } => Response::Msg {
            msg_id: bytes(msg_id),
            boxed: bytes(boxed),
        },
        Response::Nid {
            notifier_id,
            dh_key,
        } => Response::Nid {
            notifier_id: bytes(notifier_id),
            dh_key,
        },
        Response::NMsg { nonce, boxed } => Response::NMsg {
            nonce,
            boxed: bytes(boxed),
        },
        Response::Pkey(session) => {
            let session = *session;
            Response::Pkey(Box::new(RelaySession {
                session_id: bytes(session.session_id),
                versions: session.versions,
                key: CertChainKey {
                    chain: session.key.chain.into_iter().map(bytes).collect(),
                    signed_key: bytes(session.key.signed_key),
                },
            }))
        }
        Response::Pres(encrypted) => Response::Pres(bytes(encrypted)),
        Response::Rres(encrypted) => Response::Rres(bytes(encrypted)),
        Response::End => Response::End,
        Response::Ends(queues) => Response::Ends(queues),
        Response::Deld => Response::Deld,
        Response::Alls => Response::Alls,
        Response::Info(json) => Response::Info(bytes(json)),
        Response::Ok => Response::Ok,
        Response::Err(e) => Response::Err(e),
        Response::Pong => Response::Pong,
        Response::Rname(json) => Response::Rname(bytes(json)),
    }
}
