//! Errors and how older versions see them (spec: protocol §11).

use super::super::error::{
    BlockingInfo, BlockingReason, BrokerError, ClientNotice, CommandError, ErrorType,
    HandshakeError, NameError, NetworkError, ProxyError, TransportError,
};
use super::super::{Response, Version};
use super::{assert_encodes, assert_response};

fn decode(text: &str) -> Result<ErrorType, super::super::encoding::DecodeError> {
    let bytes = format!("ERR {text}");
    match Response::decode(bytes.as_bytes(), Version(18))? {
        Response::Err(e) => Ok(e),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_text() {
    let cmd = ErrorType::Cmd;
    let proxy = ErrorType::Proxy;
    let broker = |e| proxy(ProxyError::Broker(e));
    let transport = |e| broker(BrokerError::Transport(e));
    let handshake = |e| transport(TransportError::Handshake(e));
    let network = |e| broker(BrokerError::Network(Some(e)));
    let protocol = |e| proxy(ProxyError::Protocol(Box::new(e)));
    let nested = BlockingInfo {
        reason: BlockingReason::Spam,
        notice: Some(ClientNotice { ttl: None }),
    };
    for (text, error) in [
        ("BLOCK", ErrorType::Block),
        ("SESSION", ErrorType::Session),
        ("CMD UNKNOWN", cmd(CommandError::Unknown)),
        ("CMD SYNTAX", cmd(CommandError::Syntax)),
        ("CMD PROHIBITED", cmd(CommandError::Prohibited)),
        ("CMD NO_AUTH", cmd(CommandError::NoAuth)),
        ("CMD HAS_AUTH", cmd(CommandError::HasAuth)),
        ("CMD NO_ENTITY", cmd(CommandError::NoEntity)),
        ("AUTH", ErrorType::Auth),
        ("SERVICE", ErrorType::Service),
        ("CRYPTO", ErrorType::Crypto),
        ("QUOTA", ErrorType::Quota),
        ("STORE disk full", ErrorType::Store("disk full".to_owned())),
        ("STORE ", ErrorType::Store(String::new())),
        ("EXPIRED", ErrorType::Expired),
        ("NO_MSG", ErrorType::NoMsg),
        ("LARGE_MSG", ErrorType::LargeMsg),
        ("INTERNAL", ErrorType::Internal),
        ("PROXY BASIC_AUTH", proxy(ProxyError::BasicAuth)),
        ("PROXY NO_SESSION", proxy(ProxyError::NoSession)),
        ("PROXY PROTOCOL QUOTA", protocol(ErrorType::Quota)),
        (
            "PROXY PROTOCOL CMD SYNTAX",
            protocol(cmd(CommandError::Syntax)),
        ),
        (
            "PROXY PROTOCOL BLOCKED reason=spam,notice={}",
            protocol(ErrorType::Blocked(nested)),
        ),
        (
            "PROXY BROKER RESPONSE \x05BLOCK",
            broker(BrokerError::Response(b"BLOCK".to_vec())),
        ),
        (
            "PROXY BROKER UNEXPECTED \0",
            broker(BrokerError::Unexpected(Vec::new())),
        ),
        (
            "PROXY BROKER TRANSPORT BLOCK",
            transport(TransportError::Block),
        ),
        (
            "PROXY BROKER TRANSPORT VERSION",
            transport(TransportError::Version),
        ),
        (
            "PROXY BROKER TRANSPORT LARGE_MSG",
            transport(TransportError::LargeMsg),
        ),
        (
            "PROXY BROKER TRANSPORT SESSION",
            transport(TransportError::Session),
        ),
        (
            "PROXY BROKER TRANSPORT NO_AUTH",
            transport(TransportError::NoAuth),
        ),
        (
            "PROXY BROKER TRANSPORT HANDSHAKE PARSE",
            handshake(HandshakeError::Parse),
        ),
        (
            "PROXY BROKER TRANSPORT HANDSHAKE BAD_AUTH",
            handshake(HandshakeError::BadAuth),
        ),
        (
            "PROXY BROKER TRANSPORT HANDSHAKE BAD_SERVICE",
            handshake(HandshakeError::BadService),
        ),
        ("PROXY BROKER NETWORK", broker(BrokerError::Network(None))),
        (
            "PROXY BROKER NETWORK CONNECT \x07refused",
            network(NetworkError::Connect(b"refused".to_vec())),
        ),
        (
            "PROXY BROKER NETWORK TLS \0",
            network(NetworkError::Tls(Vec::new())),
        ),
        (
            "PROXY BROKER NETWORK UNKNOWNCA",
            network(NetworkError::UnknownCa),
        ),
        ("PROXY BROKER NETWORK FAILED", network(NetworkError::Failed)),
        (
            "PROXY BROKER NETWORK TIMEOUT",
            network(NetworkError::Timeout),
        ),
        (
            "PROXY BROKER NETWORK SUBSCRIBE \x01x",
            network(NetworkError::Subscribe(b"x".to_vec())),
        ),
        ("PROXY BROKER TIMEOUT", broker(BrokerError::Timeout)),
        ("PROXY BROKER HOST", broker(BrokerError::Host)),
        ("PROXY BROKER NO_SERVICE", broker(BrokerError::NoService)),
        ("NAME NO_RESOLVER", ErrorType::Name(NameError::NoResolver)),
        ("NAME NOT_FOUND", ErrorType::Name(NameError::NotFound)),
        (
            "NAME RESOLVER timed out",
            ErrorType::Name(NameError::Resolver("timed out".to_owned())),
        ),
    ] {
        let bytes = format!("ERR {text}");
        for version in 6..=20 {
            assert_response(version, bytes.as_bytes(), &Response::Err(error.clone()));
        }
    }
}

#[test]
fn other_spellings() {
    let no_entity = ErrorType::Cmd(CommandError::NoEntity);
    assert_eq!(decode("CMD NO_QUEUE"), Ok(no_entity));
    for unparseable in [
        "NETWORK WHAT",
        "NETWORK ",
        "NETWORK CONNECT",
        "NETWORK CONNECT \x05abc",
        "NETWORK FAILED more",
    ] {
        let failed = BrokerError::Network(Some(NetworkError::Failed));
        assert_eq!(
            decode(&format!("PROXY BROKER {unparseable}")),
            Ok(ErrorType::Proxy(ProxyError::Broker(failed)))
        );
    }
    for bad in [
        "",
        "WHAT",
        "AUTH ",
        "AUTH x",
        "CMD",
        "CMD ",
        "CMD WHAT",
        "CMD SYNTAX ",
        "STORE",
        "DUPLICATE_",
        "PROXY",
        "PROXY WHAT",
        "PROXY PROTOCOL",
        "PROXY BROKER RESPONSE",
        "PROXY BROKER RESPONSE \x05abc",
        "PROXY BROKER RESPONSE \x01ab",
        "PROXY BROKER TRANSPORT HANDSHAKE",
        "NAME WHAT",
    ] {
        assert!(decode(bad).is_err(), "{bad:?}");
    }
    assert!(Response::decode(b"ERR STORE \xff", Version(18)).is_err());
    // Hostile nesting ends somewhere.
    let nested = "PROXY PROTOCOL ".repeat(1000) + "AUTH";
    assert!(decode(&nested).is_err());
    assert!(decode("PROXY PROTOCOL PROXY PROTOCOL AUTH").is_ok());
}

#[test]
fn blocked_queues() {
    let blocked =
        |reason, notice| Response::Err(ErrorType::Blocked(BlockingInfo { reason, notice }));
    let ttl = |ttl| Some(ClientNotice { ttl });
    let notice = blocked(BlockingReason::Content, ttl(Some(86400)));
    let full = b"ERR BLOCKED reason=content,notice={\"ttl\":86400}";
    for version in 18..=20 {
        assert_response(version, full, &notice);
        let bytes = b"ERR BLOCKED reason=spam,notice={}";
        assert_response(version, bytes, &blocked(BlockingReason::Spam, ttl(None)));
    }
    for version in 12..=17 {
        assert_encodes(version, &notice, b"ERR BLOCKED reason=content");
    }
    for version in 6..=11 {
        assert_encodes(version, &notice, b"ERR AUTH");
    }
    // Inside a proxy error nothing is adjusted.
    let nested = Response::Err(ErrorType::Proxy(ProxyError::Protocol(Box::new(
        ErrorType::Blocked(BlockingInfo {
            reason: BlockingReason::Spam,
            notice: ttl(Some(1)),
        }),
    ))));
    let bytes = b"ERR PROXY PROTOCOL BLOCKED reason=spam,notice={\"ttl\":1}";
    assert_response(6, bytes, &nested);

    for (json, expected) in [
        ("{\"ttl\":null}", ttl(None)),
        ("{\"ttl\": -1, \"other\": [1]}", ttl(Some(-1))),
    ] {
        let info = BlockingInfo {
            reason: BlockingReason::Spam,
            notice: expected,
        };
        let decoded = decode(&format!("BLOCKED reason=spam,notice={json}"));
        assert_eq!(decoded, Ok(ErrorType::Blocked(info)));
    }
    for bad in [
        "BLOCKED",
        "BLOCKED ",
        "BLOCKED reason=",
        "BLOCKED reason=other",
        "BLOCKED reason=spam,",
        "BLOCKED reason=spam,notice=",
        "BLOCKED reason=spam,notice={",
        "BLOCKED reason=spam,notice={}x",
        "BLOCKED reason=spam,notice={\"ttl\":\"1\"}",
        "BLOCKED reason=spam,notice={\"ttl\":1.5}",
    ] {
        assert!(decode(bad).is_err(), "{bad}");
    }
}
