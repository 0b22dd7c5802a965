//! Responses and errors at every version.

use crate::handshakes::cert_chain_key;
use crate::parts::{Parts, parts};
use crate::{bounds, mutation, versions};
use proptest::prelude::*;
use smp_server::protocol::command::ServiceQueues;
use smp_server::protocol::error::{
    BlockingInfo, BlockingReason, BrokerError, ClientNotice, CommandError, ErrorType,
    HandshakeError, NameError, NetworkError, ProxyError, TransportError,
};
use smp_server::protocol::handshake::CertChainKey;
use smp_server::protocol::response::{LinkAnswer, QueueIds, QueueMode, RelaySession};
use smp_server::protocol::{Response, Version, VersionRange};

const TAGS: &[&str] = &[
    "IDS",
    "LNK",
    "SOK",
    "SOKS",
    "MSG",
    "NID",
    "NMSG",
    "PKEY",
    "PRES",
    "RRES",
    "END",
    "ENDS",
    "DELD",
    "ALLS",
    "INFO",
    "OK",
    "ERR",
    "ERR CMD",
    "ERR STORE",
    "ERR BLOCKED",
    "ERR NAME RESOLVER",
    "ERR PROXY PROTOCOL",
    "ERR PROXY BROKER RESPONSE",
    "ERR PROXY BROKER TRANSPORT",
    "ERR PROXY BROKER NETWORK",
    "ERR PROXY BROKER NETWORK CONNECT",
    "PONG",
    "RNAME",
];

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..=255)
}

fn blocking_info() -> impl Strategy<Value = BlockingInfo> {
    let reason = prop::sample::select(vec![BlockingReason::Spam, BlockingReason::Content]);
    let notice = prop::option::of(any::<Option<i64>>().prop_map(|ttl| ClientNotice { ttl }));
    (reason, notice).prop_map(|(reason, notice)| BlockingInfo { reason, notice })
}

fn transport_error() -> impl Strategy<Value = TransportError> {
    prop::sample::select(vec![
        TransportError::Block,
        TransportError::Version,
        TransportError::LargeMsg,
        TransportError::Session,
        TransportError::NoAuth,
        TransportError::Handshake(HandshakeError::Parse),
        TransportError::Handshake(HandshakeError::Identity),
        TransportError::Handshake(HandshakeError::BadAuth),
        TransportError::Handshake(HandshakeError::BadService),
    ])
}

fn network_error() -> impl Strategy<Value = NetworkError> {
    prop_oneof![
        text().prop_map(NetworkError::Connect),
        text().prop_map(NetworkError::Tls),
        text().prop_map(NetworkError::Subscribe),
        Just(NetworkError::UnknownCa),
        Just(NetworkError::Failed),
        Just(NetworkError::Timeout),
    ]
}

fn broker_error() -> impl Strategy<Value = BrokerError> {
    prop_oneof![
        text().prop_map(BrokerError::Response),
        text().prop_map(BrokerError::Unexpected),
        transport_error().prop_map(BrokerError::Transport),
        prop::option::of(network_error()).prop_map(BrokerError::Network),
        Just(BrokerError::Timeout),
        Just(BrokerError::Host),
        Just(BrokerError::NoService),
    ]
}

fn error() -> impl Strategy<Value = ErrorType> {
    let command = prop::sample::select(vec![
        CommandError::Unknown,
        CommandError::Syntax,
        CommandError::Prohibited,
        CommandError::NoAuth,
        CommandError::HasAuth,
        CommandError::NoEntity,
    ]);
    let bare = prop::sample::select(vec![
        ErrorType::Block,
        ErrorType::Session,
        ErrorType::Auth,
        ErrorType::Service,
        ErrorType::Crypto,
        ErrorType::Quota,
        ErrorType::Expired,
        ErrorType::NoMsg,
        ErrorType::LargeMsg,
        ErrorType::Internal,
        ErrorType::Proxy(ProxyError::BasicAuth),
        ErrorType::Proxy(ProxyError::NoSession),
        ErrorType::Name(NameError::NoResolver),
        ErrorType::Name(NameError::NotFound),
    ]);
    let leaf = prop_oneof![
        bare,
        command.prop_map(ErrorType::Cmd),
        ".{0,60}".prop_map(ErrorType::Store),
        ".{0,60}".prop_map(|text| ErrorType::Name(NameError::Resolver(text))),
        blocking_info().prop_map(ErrorType::Blocked),
        broker_error().prop_map(|e| ErrorType::Proxy(ProxyError::Broker(e))),
    ];
    leaf.prop_recursive(2, 2, 1, |inner| {
        inner.prop_map(|e| ErrorType::Proxy(ProxyError::Protocol(Box::new(e))))
    })
}

/// One response of each kind.
fn every_response<'a>(
    p: &'a Parts,
    key: &'a CertChainKey<'a>,
    error: &ErrorType,
) -> Vec<Response<'a>> {
    let [id1, id2, id3, id4] = p.ids.each_ref().map(|id| id[..].into());
    let [large1, large2] = p.large.each_ref().map(|l| l[..].into());
    let [flag1, flag2, flag3, flag4] = p.flags;
    let queues = ServiceQueues {
        count: p.number,
        ids_hash: p.hash,
    };
    let mode = if flag1 {
        QueueMode::Messaging
    } else {
        QueueMode::Contact
    };
    let max = Version(p.word.saturating_add(u16::from(flag1)));
    let versions = VersionRange::new(Version(p.word), max);
    vec![
        Response::Ids(Box::new(QueueIds {
            recipient_id: p.ids[0][..].into(),
            sender_id: p.ids[1][..].into(),
            dh_key: p.dh_keys[0],
            mode: flag2.then_some(mode),
            link_id: flag3.then(|| p.ids[2][..].into()),
            service_id: flag4.then(|| p.ids[3][..].into()),
            notifier: flag1.then(|| (p.ids[3][..].into(), p.dh_keys[1])),
        })),
        Response::Lnk(Box::new(LinkAnswer {
            sender_id: p.ids[0][..].into(),
            fixed: p.large[0][..].into(),
            user: p.large[1][..].into(),
        })),
        Response::Sok(flag1.then_some(id1)),
        Response::Soks(queues),
        Response::Msg {
            msg_id: id2,
            boxed: large1,
        },
        Response::Nid {
            notifier_id: id3,
            dh_key: p.dh_keys[0],
        },
        Response::NMsg {
            nonce: p.nonce,
            boxed: id4,
        },
        Response::Pkey(Box::new(RelaySession {
            session_id: p.ids[0][..].into(),
            versions: versions.unwrap_or(VersionRange::PROXIED),
            key: key.clone(),
        })),
        Response::Pres(large2),
        Response::Rres(p.large[0][..].into()),
        Response::End,
        Response::Ends(queues),
        Response::Deld,
        Response::Alls,
        Response::Info(p.large[0][..].into()),
        Response::Ok,
        Response::Err(error.clone()),
        Response::Pong,
        Response::Rname(p.large[1][..].into()),
    ]
}

/// What is left of a response at a version.
fn seen_at<'a>(version: Version, response: &Response<'a>) -> Response<'a> {
    let mut response = response.clone();
    match &mut response {
        Response::Ids(ids) => {
            if version.0 < 17 {
                ids.notifier = None;
            }
            if version.0 < 16 {
                ids.service_id = None;
            }
            if version.0 < 15 {
                ids.link_id = None;
                ids.mode = match ids.mode {
                    _ if version.0 < 9 => None,
                    Some(QueueMode::Messaging) => Some(QueueMode::Messaging),
                    _ => Some(QueueMode::Contact),
                };
            }
        }
        Response::Sok(_) if version.0 < 16 => return Response::Ok,
        Response::Deld if version.0 < 10 => return Response::End,
        Response::Soks(queues) | Response::Ends(queues) if version.0 < 19 => {
            queues.ids_hash = [0; 16];
        }
        Response::Err(ErrorType::Blocked(_)) if version.0 < 12 => {
            return Response::Err(ErrorType::Auth);
        }
        Response::Err(ErrorType::Blocked(info)) if version.0 < 18 => info.notice = None,
        _ => {}
    }
    response
}

fn encode(response: &Response<'_>, version: Version) -> Vec<u8> {
    let mut out = Vec::new();
    response.encode(version, &mut out);
    out
}

/// Decodes hostile bytes: what comes out is bounded and stable.
fn survive(bytes: &[u8]) -> Result<(), TestCaseError> {
    for version in versions() {
        if let Ok(response) = Response::decode(bytes, version) {
            prop_assert!(bounds::response(&response) <= bytes.len());
            let expected = seen_at(version, &response);
            let encoded = encode(&response, version);
            prop_assert_eq!(Response::decode(&encoded, version), Ok(expected));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn responses_round_trip(parts in parts(), key in cert_chain_key(), error in error()) {
        for response in every_response(&parts, &key, &error) {
            for version in versions() {
                let bytes = encode(&response, version);
                let decoded = Response::decode(&bytes, version).map_err(|e| {
                    TestCaseError::fail(format!("{version} {response:?}: {e}"))
                })?;
                prop_assert!(bounds::response(&decoded) <= bytes.len());
                prop_assert_eq!(encode(&decoded, version), &bytes[..]);
                prop_assert_eq!(decoded, seen_at(version, &response));
            }
        }
    }

    #[test]
    fn damaged_responses_do_no_harm(
        parts in parts(),
        key in cert_chain_key(),
        error in error(),
        mutations in mutation::mutations(),
        version in 6u16..=20,
    ) {
        for response in every_response(&parts, &key, &error) {
            let mut bytes = encode(&response, Version(version));
            mutation::mutate(&mut bytes, &mutations);
            survive(&bytes)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn errors_round_trip(error in error()) {
        for version in versions() {
            let response = Response::Err(error.clone());
            let bytes = encode(&response, version);
            let expected = seen_at(version, &response);
            prop_assert_eq!(Response::decode(&bytes, version), Ok(expected));
        }
    }

    #[test]
    fn damaged_errors_do_no_harm(error in error(), mutations in mutation::mutations()) {
        let mut bytes = encode(&Response::Err(error), Version(20));
        mutation::mutate(&mut bytes, &mutations);
        survive(&bytes)?;
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in mutation::bytes(TAGS)) {
        survive(&bytes)?;
    }
}
