//! Vectors computed by an implementation independent of this one.

use super::super::command::{
    ContactLink, LinkData, MessagingLink, NewQueue, NotifierCredentials, QueueRequest,
    ServiceQueues,
};
use super::super::encoding::{Reader, put_bool, put_bytes8, put_bytes16, put_list, put_maybe};
use super::super::error::{
    BlockingInfo, BlockingReason, BrokerError, ClientNotice, CommandError, HandshakeError,
    ProxyError, TransportError,
};
use super::super::handshake::CertChainKey;
use super::super::response::{QueueIds, QueueMode, RelaySession};
use super::super::transmission::{Transmission, put_sent, put_transmission};
use super::super::{Command, ErrorType, Response, Version, VersionRange};
use super::{assert_command, assert_encodes, assert_response};
use crate::crypto::authorization::Authorized;
use crate::crypto::keys::{PublicAuthKey, SigningKey, X25519PublicKey};
use crate::crypto::{proxy_layers, vectors};
use crate::protocol::batch::{BatchBuilder, decode_batch};
use serde_json::Value;

fn field<'v>(v: &'v Value, name: &str) -> &'v Value {
    let found = v.get(name);
    found.unwrap_or_else(|| panic!("no field {name}"))
}

fn dh_key(hex: &str) -> X25519PublicKey {
    X25519PublicKey::from_spki(&hex::decode(hex).unwrap()).unwrap()
}

fn auth_key(hex: &str) -> PublicAuthKey {
    PublicAuthKey::from_spki(&hex::decode(hex).unwrap()).unwrap()
}

/// What an authorization covers.
fn authorized(version: Version, session_id: &[u8], sent: &[u8]) -> Vec<u8> {
    let authorized = if version < Version::AUTH_COMMANDS {
        Authorized::sent_only(sent)
    } else {
        Authorized::new(session_id, sent)
    };
    authorized.parts().concat()
}

const NTF_AUTH: &str =
    "302a300506032b6570032100e0e42a28dd54e984681913e32f6a483fdc6b1c8e5dd9d8df544622f6765aee68";
const NTF_DH: &str =
    "302a300506032b656e0321005bfb7918efba75717fc0a8fecc5f2e182716e67ca39d871c2a282222e868362b";
const SERVER_NTF_DH: &str =
    "302a300506032b656e032100ade4be25378749e874fc095e13fda0361ffbbad0fcd3569e0c9dab3a9ba16e38";

fn notifier() -> NotifierCredentials {
    NotifierCredentials {
        auth_key: auth_key(NTF_AUTH),
        dh_key: dh_key(NTF_DH),
    }
}

/// The recipient's keys of the vectors.
fn recipient_keys() -> (PublicAuthKey, X25519PublicKey) {
    let keys = vectors::get("der_keys");
    let spki = |i: usize| vectors::hex(&keys["keys"][i]["spki"]);
    (
        PublicAuthKey::from_spki(&spki(0)).unwrap(),
        X25519PublicKey::from_spki(&spki(2)).unwrap(),
    )
}

#[test]
fn primitives() {
    let v = vectors::get("primitives");
    let cases = v["cases"].as_array().unwrap();
    let mut checked = 0;
    for case in cases {
        let Some(hex) = case.get("hex") else { continue };
        let bytes = vectors::hex(hex);
        let mut r = Reader::new(&bytes);
        let mut out = Vec::new();
        match case["type"].as_str().unwrap() {
            "Word16" => {
                let value = r.u16().unwrap();
                assert_eq!(Some(u64::from(value)), case["value"].as_u64());
                out.extend_from_slice(&value.to_be_bytes());
            }
            "Int64" | "SystemTime(seconds)" => {
                let value = r.i64().unwrap();
                assert_eq!(Some(value), case["value"].as_i64());
                out.extend_from_slice(&value.to_be_bytes());
            }
            "Bool" => {
                let value = r.bool().unwrap();
                assert_eq!(Some(value), case["value"].as_bool());
                put_bool(&mut out, value);
            }
            "Maybe ByteString Nothing" => {
                assert_eq!(r.maybe(Reader::bytes8).unwrap(), None);
                put_maybe(&mut out, None, put_bytes8);
            }
            "Maybe ByteString Just \"abc\"" => {
                assert_eq!(r.maybe(Reader::bytes8).unwrap(), Some(&b"abc"[..]));
                put_maybe(&mut out, Some(&b"abc"[..]), put_bytes8);
            }
            "ByteString \"abc\"" => {
                assert_eq!(r.bytes8().unwrap(), b"abc");
                put_bytes8(&mut out, b"abc");
            }
            "ByteString empty" => {
                assert_eq!(r.bytes8().unwrap(), b"");
                put_bytes8(&mut out, b"");
            }
            "Large \"abc\"" => {
                assert_eq!(r.bytes16().unwrap(), b"abc");
                put_bytes16(&mut out, b"abc");
            }
            "NonEmpty [ \"a\", \"bc\" ] of ByteString" => {
                let list = r.list(Reader::bytes8).unwrap();
                assert_eq!(list, [&b"a"[..], b"bc"]);
                put_list(&mut out, &list, |out, item| put_bytes8(out, item));
            }
            "VersionRange 6-18" => {
                let range = VersionRange::decode(&mut r).unwrap();
                assert_eq!(range, VersionRange::SERVER);
                range.encode(&mut out);
            }
            // Padding and 32-bit words belong to other modules.
            _ => continue,
        }
        r.finish().unwrap();
        assert_eq!(out, bytes);
        checked += 1;
    }
    assert_eq!(checked, 13);
}

#[test]
fn new_transmissions() {
    let v = vectors::get("new_transmissions");
    let (auth_key, dh_key) = recipient_keys();
    let signer = SigningKey::ed25519_from_seed(vectors::array(&v["rcv_auth_seed"])).unwrap();
    let session_id = vectors::hex(&v["session_id"]);
    let corr_id = vectors::hex(&v["corr_id"]);
    let cases = v["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 7);
    for case in cases {
        let number = u16::try_from(case["version"].as_u64().unwrap()).unwrap();
        let version = Version(number);
        let new = Command::New(NewQueue {
            auth_key,
            dh_key,
            password: Some(b"pass123"),
            subscribe: true,
            queue: (number >= 9).then_some(QueueRequest::Messaging(None)),
            notifier: (number >= 18).then(notifier),
        });
        assert_command(number, &vectors::hex(field(case, "command")), &new);

        let mut sent = Vec::new();
        put_sent(&mut sent, version, &session_id, &corr_id, b"", |out| {
            new.encode(version, out);
        });
        let authorized = authorized(version, &session_id, &sent);
        assert_eq!(authorized, vectors::hex(field(case, "authorized")));
        let signature = signer.sign(&authorized);
        assert_eq!(signature, vectors::hex(field(case, "signature")));

        let mut transmission = Vec::new();
        put_transmission(&mut transmission, version, &signature, None, &sent);
        assert_eq!(transmission, vectors::hex(field(case, "transmission")));
        assert_eq!(
            Transmission::decode(&transmission, version),
            Ok(Transmission {
                authorization: &signature,
                service_signature: None,
                session_id: (number == 6).then_some(&session_id[..]),
                corr_id: &corr_id,
                entity_id: b"",
                command: &vectors::hex(field(case, "command")),
                sent: &sent,
            })
        );

        let mut content = Vec::new();
        assert!(BatchBuilder::new(&mut content).push(|out| out.extend_from_slice(&transmission)));
        assert_eq!(content, vectors::hex(field(case, "block_content")));
        assert!(decode_batch(&content).unwrap().eq([&transmission[..]]));
    }
}

#[test]
fn new_with_link_data() {
    let v = vectors::get("link_ids");
    let (auth_key, dh_key) = recipient_keys();
    let (fixed, user) = (vectors::derived("fd", 2048), vectors::derived("ud", 13824));
    let data = LinkData {
        fixed: &fixed,
        user: &user,
    };
    let (sender_id, link_id) = (vectors::hex(&v["sender_id"]), vectors::hex(&v["link_id"]));
    let messaging = QueueRequest::Messaging(Some(MessagingLink {
        sender_id: &sender_id,
        data,
    }));
    let contact = QueueRequest::Contact(Some(ContactLink {
        link_id: &link_id,
        sender_id: &sender_id,
        data,
    }));
    for (name, queue) in [
        ("new_messaging_v17", messaging),
        ("new_contact_v17", contact),
    ] {
        let new = Command::New(NewQueue {
            auth_key,
            dh_key,
            password: None,
            subscribe: false,
            queue: Some(queue),
            notifier: None,
        });
        let mut out = Vec::new();
        new.encode(Version(17), &mut out);
        vectors::assert_large(&v[name], &out);
        assert!(out.starts_with(&vectors::hex(&v[name]["head_hex"])));
        assert_command(17, &out, &new);
    }
}

#[test]
fn ids_of_every_version() {
    let v = vectors::get("ids_responses");
    let id = |name: &str| vectors::hex(field(&v, name));
    let (recipient_id, sender_id) = (id("recipient_id"), id("sender_id"));
    let (link_id, notifier_id) = (id("link_id"), id("notifier_id"));
    let server = vectors::get("crypto_box");
    let ids = QueueIds {
        recipient_id: recipient_id[..].into(),
        sender_id: sender_id[..].into(),
        dh_key: vectors::x25519_public(&server["b_public"]),
        mode: None,
        link_id: None,
        service_id: None,
        notifier: None,
    };
    let case = |name: &str| vectors::hex(field(&v["cases"], name));
    let messaging = QueueIds {
        mode: Some(QueueMode::Messaging),
        ..ids.clone()
    };
    let full = QueueIds {
        link_id: Some(link_id[..].into()),
        notifier: Some((notifier_id[..].into(), dh_key(SERVER_NTF_DH))),
        ..messaging.clone()
    };
    let check = |versions: std::ops::RangeInclusive<u16>, name: &str, ids: &QueueIds<'_>| {
        let bytes = case(name);
        for version in versions {
            let response = Response::Ids(Box::new(ids.clone()));
            assert_response(version, &bytes, &response);
        }
    };
    check(6..=8, "v6..v8", &ids);
    check(9..=14, "v9..v14 (sndSecure=T)", &messaging);
    check(15..=15, "v15 (messaging, no link)", &messaging);
    check(16..=16, "v16 (messaging, no link, no service)", &messaging);
    check(
        17..=20,
        "v17+ (messaging, link id, no service, ntf creds)",
        &full,
    );
    // What a version has no place for is left out.
    let all = QueueIds {
        service_id: Some(b"service"[..].into()),
        ..full
    };
    assert_encodes(8, &Response::Ids(Box::new(all.clone())), &case("v6..v8"));
    assert_encodes(
        14,
        &Response::Ids(Box::new(all)),
        &case("v9..v14 (sndSecure=T)"),
    );
}

#[test]
fn simple_messages() {
    let v = vectors::get("simple_messages");
    let cases = &v["cases"];
    let bytes = |name: &str| vectors::hex(field(cases, name));
    let msg_id = vectors::hex(&vectors::get("msg_body")["msg_id"]);
    let service_id = hex::decode("7f5de772d6da945ababd0b261280d26404cd21338fa11b28").unwrap();
    let notifier_id = vectors::hex(&vectors::get("ids_responses")["notifier_id"]);
    let sender_dh =
        "302a300506032b656e0321005d4ecb2c56cd4b2280cff821c9255aa140f21d35ca3ae48601fb152505fc1d7b";
    let mut seen = 0;
    let mut command = |versions: std::ops::RangeInclusive<u16>, name, command: &Command<'_>| {
        seen += 1;
        versions.for_each(|version| assert_command(version, &bytes(name), command));
    };
    command(6..=20, "SUB", &Command::Sub);
    command(6..=20, "ACK", &Command::Ack { msg_id: &msg_id });
    command(
        6..=20,
        "SEND F hello",
        &Command::Send {
            notify: false,
            body: b"hello",
        },
    );
    command(6..=20, "KEY x25519", &Command::Key(auth_key(sender_dh)));
    command(
        6..=20,
        "RKEY one key",
        &Command::RKey(vec![recipient_keys().0]),
    );
    command(6..=20, "NKEY", &Command::NKey(notifier()));

    let mut response = |versions: std::ops::RangeInclusive<u16>, name, response: &Response<'_>| {
        seen += 1;
        versions.for_each(|version| assert_response(version, &bytes(name), response));
    };
    response(
        6..=20,
        "NID",
        &Response::Nid {
            notifier_id: notifier_id[..].into(),
            dh_key: dh_key(SERVER_NTF_DH),
        },
    );
    let sok = Response::Sok(Some(service_id[..].into()));
    response(16..=20, "SOK Nothing (v16+)", &Response::Sok(None));
    response(16..=20, "SOK service (v16+)", &sok);
    let counts = |count| ServiceQueues {
        count,
        ids_hash: [0; 16],
    };
    response(6..=18, "SOKS 2 (v16-18)", &Response::Soks(counts(2)));
    response(6..=18, "ENDS 1 (v16-18)", &Response::Ends(counts(1)));
    response(6..=20, "OK", &Response::Ok);
    let error = Response::Err;
    response(6..=20, "ERR AUTH", &error(ErrorType::Auth));
    response(
        6..=20,
        "ERR CMD SYNTAX",
        &error(ErrorType::Cmd(CommandError::Syntax)),
    );
    let spam = BlockingInfo {
        reason: BlockingReason::Spam,
        notice: None,
    };
    response(
        12..=20,
        "ERR BLOCKED v12-17",
        &error(ErrorType::Blocked(spam)),
    );
    let content = BlockingInfo {
        reason: BlockingReason::Content,
        notice: Some(ClientNotice { ttl: Some(86400) }),
    };
    response(
        18..=20,
        "ERR BLOCKED v18 with notice",
        &error(ErrorType::Blocked(content)),
    );
    let proxy = |e| error(ErrorType::Proxy(e));
    response(
        6..=20,
        "ERR PROXY BROKER UNEXPECTED",
        &proxy(ProxyError::Broker(BrokerError::Unexpected(b"OK".to_vec()))),
    );
    response(
        6..=20,
        "ERR PROXY BROKER TRANSPORT HANDSHAKE IDENTITY",
        &proxy(ProxyError::Broker(BrokerError::Transport(
            TransportError::Handshake(HandshakeError::Identity),
        ))),
    );
    response(
        6..=20,
        "ERR PROXY PROTOCOL AUTH",
        &proxy(ProxyError::Protocol(Box::new(ErrorType::Auth))),
    );
    assert_eq!(seen, cases.as_object().unwrap().len(), "every case is used");
    // Older spellings.
    assert_encodes(15, &Response::Sok(None), &bytes("OK"));
    assert_encodes(15, &sok, &bytes("OK"));
}

#[test]
fn relay_session() {
    let v = vectors::get("pkey_response");
    let certificates = vectors::get("cert_fingerprint");
    let chain = ["server_der", "ca_der"].map(|name| vectors::hex(&certificates[name]));
    let session_id = vectors::hex(&v["relay_session_id"]);
    let signed_key = vectors::hex(&v["relay_signed_key"]);
    let response = Response::Pkey(Box::new(RelaySession {
        session_id: session_id[..].into(),
        versions: VersionRange::PROXIED,
        key: CertChainKey {
            chain: chain.iter().map(|der| der[..].into()).collect(),
            signed_key: signed_key[..].into(),
        },
    }));
    for version in 6..=20 {
        assert_response(version, &vectors::hex(&v["command"]), &response);
    }
}

#[test]
fn notification() {
    let v = vectors::get("nmsg");
    let boxed = vectors::hex(&v["encrypted"]);
    let response = Response::NMsg {
        nonce: vectors::array(&v["nonce"]),
        boxed: boxed[..].into(),
    };
    let bytes = vectors::hex(&v["command"]);
    assert_eq!((boxed.len(), bytes.len()), (144, 174));
    for version in 6..=20 {
        assert_response(version, &bytes, &response);
    }
}

#[test]
fn message_prefix() {
    let v = vectors::get("msg_body");
    let msg_id = vectors::hex(&v["msg_id"]);
    let boxed = [7; 16122];
    let response = Response::Msg {
        msg_id: msg_id[..].into(),
        boxed: boxed[..].into(),
    };
    let bytes = [vectors::hex(&v["msg_command_prefix"]), boxed.to_vec()].concat();
    assert_response(6, &bytes, &response);
}

#[test]
fn service_authorization() {
    let v = vectors::get("service_auth");
    let get = |name: &str| vectors::hex(field(&v, name));
    let (session_id, corr_id, notifier_id) =
        (get("session_id"), get("corr_id"), get("notifier_id"));
    let fingerprint = vectors::array(&v["service_cert_fingerprint"]);
    for version in [16, 18, 20].map(Version) {
        let mut sent = Vec::new();
        put_sent(
            &mut sent,
            version,
            b"not sent",
            &corr_id,
            &notifier_id,
            |out| {
                Command::NSub.encode(version, out);
            },
        );
        let authorized = Authorized::new(&session_id, &sent);
        assert_eq!(authorized.parts().concat(), get("authorized"));
        let by_entity = authorized.for_service(&fingerprint);
        assert_eq!(by_entity.parts().concat(), get("entity_signed"));
        let service_signature = vectors::array(&v["service_signature"]);
        let signature = get("entity_signature");
        let mut bytes = Vec::new();
        let (service, entity) = (Some(&service_signature), &signature);
        put_transmission(&mut bytes, version, entity, service, &sent);
        assert_eq!(bytes, get("transmission"));
        let decoded = Transmission::decode(&bytes, version).unwrap();
        assert_eq!(decoded.service_signature, Some(&service_signature));
        assert_eq!(decoded.authorization, signature);
        assert_eq!(
            (decoded.corr_id, decoded.entity_id),
            (&corr_id[..], &notifier_id[..])
        );
        assert_eq!((decoded.command, decoded.sent), (&b"NSUB"[..], &sent[..]));
    }
}

#[test]
fn proxied_transmissions() {
    let v = vectors::get("proxy_flow");
    let get = |name: &str| vectors::hex(field(&v, name));
    let relay = vectors::x25519_public(&v["relay_session_public"]);
    let client = vectors::x25519_secret(&v["client_ephemeral_private"]);
    let proxy = vectors::x25519_secret(&v["proxy_session_private"]);
    let client_secret = (&client.agree(&relay)).into();
    let proxy_secret = (&proxy.agree(&relay)).into();
    let (n, m) = (get("pfwd_corr_id"), get("rfwd_corr_id"));
    let (session_id, forwarded_version) = (get("relay_session_id"), Version(17));

    // The command inside.
    let content = get("inner_block_content");
    let mut items = decode_batch(&content).unwrap();
    assert_eq!(items.len(), 1);
    let inner = Transmission::decode(items.next().unwrap(), forwarded_version).unwrap();
    assert_eq!(inner.authorization, get("inner_authenticator"));
    assert_eq!((inner.service_signature, inner.corr_id), (None, &n[..]));
    let covered = authorized(forwarded_version, &session_id, inner.sent);
    assert_eq!(covered, get("inner_authorized"));
    let send = Command::Send {
        notify: false,
        body: b"hello via proxy",
    };
    assert_command(17, inner.command, &send);

    // The two commands that carry it, as transmissions of any version from 7 without authorization.
    let transmission = |corr_id: &[u8], entity_id: &[u8], put: &dyn Fn(&mut Vec<u8>)| {
        let version = Version(18);
        let (mut sent, mut bytes) = (Vec::new(), Vec::new());
        put_sent(&mut sent, version, b"not sent", corr_id, entity_id, |out| {
            put(out)
        });
        put_transmission(&mut bytes, version, b"", None, &sent);
        let decoded = Transmission::decode(&bytes, version).unwrap();
        assert_eq!((decoded.corr_id, decoded.entity_id), (corr_id, entity_id));
        let mut command = Vec::new();
        put(&mut command);
        assert_eq!(decoded.command, command);
        bytes
    };
    let mut inner_box = Vec::new();
    proxy_layers::seal_command(&client_secret, &n, &content, &mut inner_box).unwrap();
    let pfwd = Command::Pfwd {
        version: forwarded_version,
        key: client.public_key(),
        encrypted: &inner_box,
    };
    let bytes = transmission(&n, &session_id, &|out| pfwd.encode(Version(18), out));
    vectors::assert_large(field(&v, "pfwd_transmission"), &bytes);
    assert_eq!(bytes.len(), 16353);

    let forwarded = proxy_layers::ForwardedTransmission {
        corr_id: &n,
        version: forwarded_version.0,
        key: client.public_key(),
        encrypted: &inner_box,
    };
    let mut outer_box = Vec::new();
    proxy_layers::seal_forward(&proxy_secret, &m, &forwarded, &mut outer_box).unwrap();
    let rfwd = Command::Rfwd {
        encrypted: &outer_box,
    };
    let bytes = transmission(&m, b"", &|out| rfwd.encode(Version(18), out));
    vectors::assert_large(field(&v, "rfwd_transmission"), &bytes);
    // It fills a block to the last byte that the builder uses.
    let mut block = Vec::new();
    assert!(BatchBuilder::new(&mut block).push(|out| out.extend_from_slice(&bytes)));
    assert_eq!(block.len(), 16365);
    for command in [pfwd, rfwd] {
        let mut bytes = Vec::new();
        command.encode(Version(8), &mut bytes);
        assert_command(8, &bytes, &command);
    }

    // The answers on the way back.
    let response_content = get("inner_response_content");
    let mut items = decode_batch(&response_content).unwrap();
    let inner = Transmission::decode(items.next().unwrap(), forwarded_version).unwrap();
    assert_eq!((inner.authorization, inner.corr_id), (&b""[..], &n[..]));
    assert_response(17, inner.command, &Response::Ok);
    let mut rres_box = Vec::new();
    let secrets = (&proxy_secret, &client_secret);
    proxy_layers::seal_response(
        secrets.0,
        &m,
        secrets.1,
        &n,
        &response_content,
        &mut rres_box,
    )
    .unwrap();
    let rres = Response::Rres(rres_box.clone().into());
    let bytes = transmission(&m, b"", &|out| rres.encode(Version(18), out));
    vectors::assert_large(field(&v, "rres_transmission"), &bytes);
    let opened = proxy_layers::open_relay_response(&proxy_secret, &m, &mut rres_box).unwrap();
    let pres = Response::Pres(opened.encrypted.into());
    let bytes = transmission(&n, &session_id, &|out| pres.encode(Version(18), out));
    vectors::assert_large(field(&v, "pres_transmission"), &bytes);
}

#[test]
fn receiving_services() {
    let v = vectors::get("v19_ids_hash");
    let mut ids_hash = [0; 16];
    for md5 in v["md5"].as_array().unwrap() {
        for (sum, byte) in ids_hash.iter_mut().zip(vectors::hex(md5)) {
            *sum ^= byte;
        }
    }
    assert_eq!(ids_hash, vectors::array(&v["ids_hash"]));
    let queues = ServiceQueues { count: 2, ids_hash };
    let nsubs = vectors::hex(&v["nsubs_command"]);
    for version in 19..=20 {
        assert_command(version, &nsubs, &Command::NSubs(queues));
        assert_command(version, &nsubs[1..], &Command::Subs(queues));
        let soks = vectors::hex(&v["soks"]);
        assert_response(version, &soks, &Response::Soks(queues));
        let ends = [b"ENDS ", &soks[5..]].concat();
        assert_response(version, &ends, &Response::Ends(queues));
        assert_response(version, b"ALLS", &Response::Alls);
    }
    // Before, clients say nothing and servers send no hash.
    assert_eq!(
        Command::decode(&nsubs, Version(18)),
        Err(CommandError::Syntax)
    );
    assert_command(18, b"NSUBS", &Command::NSubs(ServiceQueues::UNKNOWN));
    assert_command(18, b"SUBS", &Command::Subs(ServiceQueues::UNKNOWN));
}
