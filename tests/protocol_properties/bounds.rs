//! How much a decoded value holds: never more than the bytes it came from.

use smp_server::protocol::address::{ServerAddress, TransportHost};
use smp_server::protocol::command::{Command, LinkData, NewQueue, QueueRequest};
use smp_server::protocol::error::{BrokerError, ErrorType, NameError, NetworkError, ProxyError};
use smp_server::protocol::handshake::CertChainKey;
use smp_server::protocol::response::Response;

fn len(bytes: Option<impl AsRef<[u8]>>) -> usize {
    bytes.map_or(0, |b| b.as_ref().len())
}

fn data(data: &LinkData<'_>) -> usize {
    data.fixed.len() + data.user.len()
}

/// Bytes of an address; an address in octets is shorter than its text in most forms.
pub fn address(address: &ServerAddress) -> usize {
    assert!((1..=255).contains(&address.hosts.len()));
    let hosts = address.hosts.iter().map(|host| match host {
        TransportHost::Ipv4(_) | TransportHost::Ipv6(_) => 0,
        TransportHost::Onion(name) | TransportHost::Domain(name) => name.len(),
    });
    hosts.sum::<usize>() + address.port.len() + address.key_hash.len()
}

fn new_queue(new: &NewQueue<'_>) -> usize {
    let queue = match &new.queue {
        Some(QueueRequest::Messaging(Some(link))) => link.sender_id.len() + data(&link.data),
        Some(QueueRequest::Contact(Some(link))) => {
            link.link_id.len() + link.sender_id.len() + data(&link.data)
        }
        _ => 0,
    };
    64 + len(new.password) + queue + new.notifier.as_ref().map_or(0, |_| 64)
}

pub fn command(command: &Command<'_>) -> usize {
    match command {
        Command::New(new) => new_queue(new),
        Command::Key(_) | Command::SKey(_) | Command::LKey(_) => 32,
        Command::RKey(keys) => {
            assert!((1..=255).contains(&keys.len()));
            32 * keys.len()
        }
        Command::LSet { link_id, data: d } => link_id.len() + data(d),
        Command::NKey(_) => 64,
        Command::Ack { msg_id } => msg_id.len(),
        Command::Send { body, .. } => body.len(),
        Command::Prxy { server, password } => address(server) + len(*password),
        Command::Pfwd { encrypted, .. } => 32 + encrypted.len(),
        Command::Rfwd { encrypted } => encrypted.len(),
        Command::Rslv { domain } => domain.len(),
        _ => 0,
    }
}

pub fn chain(key: &CertChainKey<'_>) -> usize {
    assert!((1..=255).contains(&key.chain.len()));
    let certificates = key.chain.iter().map(|c| c.len());
    certificates.sum::<usize>() + key.signed_key.len()
}

pub fn response(response: &Response<'_>) -> usize {
    match response {
        Response::Ids(ids) => {
            let notifier = ids.notifier.as_ref().map_or(0, |(id, _)| id.len() + 32);
            let optional = len(ids.link_id.as_ref()) + len(ids.service_id.as_ref());
            ids.recipient_id.len() + ids.sender_id.len() + 32 + optional + notifier
        }
        Response::Lnk(link) => link.sender_id.len() + link.fixed.len() + link.user.len(),
        Response::Sok(id) => len(id.as_ref()),
        Response::Msg { msg_id, boxed } => msg_id.len() + boxed.len(),
        Response::Nid { notifier_id, .. } => notifier_id.len() + 32,
        Response::NMsg { boxed, .. } => 24 + boxed.len(),
        Response::Pkey(relay) => relay.session_id.len() + chain(&relay.key),
        Response::Pres(b) | Response::Rres(b) | Response::Info(b) | Response::Rname(b) => b.len(),
        Response::Err(e) => error(e),
        _ => 0,
    }
}

fn error(e: &ErrorType) -> usize {
    match e {
        ErrorType::Store(text) | ErrorType::Name(NameError::Resolver(text)) => text.len(),
        ErrorType::Proxy(ProxyError::Protocol(nested)) => error(nested),
        ErrorType::Proxy(ProxyError::Broker(broker)) => match broker {
            BrokerError::Response(text) | BrokerError::Unexpected(text) => text.len(),
            BrokerError::Network(Some(
                NetworkError::Connect(text)
                | NetworkError::Tls(text)
                | NetworkError::Subscribe(text),
            )) => text.len(),
            _ => 0,
        },
        _ => 0,
    }
}
