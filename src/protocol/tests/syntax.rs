//! Tags, parameters and the rules on what must be present (spec: protocol §6.2, §6.4, §9).

use super::super::command::{NewQueue, QueueRequest, ServiceQueues};
use super::super::error::CommandError::{self, HasAuth, NoAuth, NoEntity, Syntax, Unknown};
use super::super::response::QueueMode;
use super::super::transmission::Transmission;
use super::super::{Command, Response, Version};
use super::{assert_command, assert_encodes, assert_response};
use crate::crypto::keys::{PublicAuthKey, X25519PublicKey};

const ED25519: PublicAuthKey = PublicAuthKey::Ed25519([1; 32]);
const DH: X25519PublicKey = X25519PublicKey([2; 32]);

fn wire(key: PublicAuthKey) -> Vec<u8> {
    let spki = key.to_spki();
    [&[u8::try_from(spki.len()).unwrap()], &spki[..]].concat()
}

fn new_with(parameters: &[u8]) -> Vec<u8> {
    let keys = [wire(ED25519), wire(PublicAuthKey::X25519(DH.0))].concat();
    [b"NEW ", &keys[..], parameters].concat()
}

#[track_caller]
fn assert_refused(bytes: &[u8], error: CommandError) {
    for version in 6..=20 {
        assert_eq!(
            Command::decode(bytes, Version(version)),
            Err(error),
            "{:?} at version {version}",
            bytes.escape_ascii().to_string()
        );
    }
}

#[test]
fn unknown_tags() {
    for bytes in [
        &b""[..],
        b" ",
        b" SUB",
        b"OK",
        b"PONG",
        b"MSG ",
        b"SUB=",
        b"SUBX",
        b"sub",
        b"SU",
        b"HELLO",
        b"SENDT hello",
        b"NEW\0",
        b"\xff\xfe",
    ] {
        assert_refused(bytes, Unknown);
    }
    // Names came with version 20.
    for version in 6..20 {
        let decoded = Command::decode(b"RSLV a.simplex", Version(version));
        assert_eq!(decoded, Err(Unknown));
    }
}

#[test]
fn commands_without_parameters() {
    let commands = [
        Command::Sub,
        Command::LDel,
        Command::NDel,
        Command::Get,
        Command::Off,
        Command::Del,
        Command::Que,
        Command::Ping,
        Command::LGet,
        Command::NSub,
    ];
    for command in commands {
        let tag = command.tag().as_bytes();
        for version in 6..=20 {
            assert_command(version, tag, &command);
        }
        assert_refused(&[tag, b" "].concat(), Syntax);
        assert_refused(&[tag, b" 1"].concat(), Syntax);
    }
    for tag in [&b"SUBS"[..], b"NSUBS"] {
        for version in 6..19 {
            assert!(Command::decode(tag, Version(version)).is_ok());
            let spaced = [tag, b" "].concat();
            assert_eq!(Command::decode(&spaced, Version(version)), Err(Syntax));
        }
        assert_eq!(Command::decode(tag, Version(19)), Err(Syntax));
    }
    // A hash of another length.
    let short = b"SUBS \0\0\0\0\0\0\0\x01\x0f123456789012345";
    assert_eq!(Command::decode(short, Version(19)), Err(Syntax));
    assert_eq!(ServiceQueues::UNKNOWN.count, -1);
}

#[test]
fn parameters_are_required_and_complete() {
    for tag in [
        "NEW", "KEY", "RKEY", "LSET", "NKEY", "ACK", "SKEY", "SEND", "LKEY", "PRXY", "PFWD", "RFWD",
    ] {
        assert_refused(tag.as_bytes(), Syntax);
    }
    let key = wire(ED25519);
    assert_refused(b"KEY ", Syntax);
    assert_refused(&[b"KEY ", &key[..], b"x"].concat(), Syntax);
    assert_refused(&[b"KEY ", &key[..20]].concat(), Syntax);
    assert_refused(b"RKEY \0", Syntax);
    assert_refused(&[b"RKEY \x02", &key[..]].concat(), Syntax);
    assert_refused(b"ACK \x18short", Syntax);
    assert_refused(b"ACK \x03abcd", Syntax);
    assert_refused(b"LSET \x01a\x00\x01b", Syntax);
    assert_refused(b"PFWD \x00", Syntax);
    for version in 6..=20 {
        assert_command(version, b"ACK \0", &Command::Ack { msg_id: b"" });
        assert_command(version, b"RFWD ", &Command::Rfwd { encrypted: b"" });
    }
}

#[test]
fn keys_of_a_wrong_class() {
    let x448 = hex::decode("443042300506032b656f033900").unwrap();
    let x448 = [x448, vec![1; 56]].concat();
    let dh = wire(PublicAuthKey::X25519(DH.0));
    assert_refused(&[b"KEY ", &x448[..]].concat(), Syntax);
    assert_refused(&[b"SKEY ", &x448[..]].concat(), Syntax);
    // A signing key where a key agreement happens.
    let ed = wire(ED25519);
    assert_refused(&[b"NKEY ", &ed[..], &ed].concat(), Syntax);
    assert_refused(&[b"PFWD \x00\x11", &ed[..], b"box"].concat(), Syntax);
    for version in 6..=20 {
        let new = [b"NEW ", &ed[..], &ed, b"0S00"].concat();
        assert_eq!(Command::decode(&new, Version(version)), Err(Syntax));
        let key = PublicAuthKey::X25519(DH.0);
        assert_command(version, &[b"KEY ", &dh[..]].concat(), &Command::Key(key));
        let ed448 = PublicAuthKey::Ed448([3; 57]);
        let bytes = [b"LKEY ", &wire(ed448)[..]].concat();
        assert_command(version, &bytes, &Command::LKey(ed448));
    }
}

#[test]
fn messages() {
    let send = |notify, body| Command::Send { notify, body };
    for version in 6..=20 {
        assert_command(version, b"SEND T hello", &send(true, b"hello"));
        assert_command(version, b"SEND F ", &send(false, b""));
        assert_command(version, b"SEND F  two", &send(false, b" two"));
        // Reserved flags are ignored.
        let decoded = Command::decode(b"SEND Tabc hello", Version(version));
        assert_eq!(decoded, Ok(send(true, b"hello")));
    }
    assert_refused(b"SEND ", Syntax);
    assert_refused(b"SEND T", Syntax);
    assert_refused(b"SEND Thello", Syntax);
    assert_refused(b"SEND X hello", Syntax);
    assert_refused(b"SEND hello", Syntax);
}

#[test]
fn new_queue_at_the_edges_of_versions() {
    let new = NewQueue {
        auth_key: ED25519,
        dh_key: DH,
        password: None,
        subscribe: true,
        queue: None,
        notifier: None,
    };
    let accepted = |version, parameters: &[u8], new: &NewQueue<'_>| {
        assert_command(version, &new_with(parameters), &Command::New(new.clone()));
    };
    let created = NewQueue {
        subscribe: false,
        ..new.clone()
    };
    let password = NewQueue {
        password: Some(b"p:"),
        ..new.clone()
    };
    let contact = NewQueue {
        queue: Some(QueueRequest::Contact(None)),
        ..new.clone()
    };
    let messaging = NewQueue {
        queue: Some(QueueRequest::Messaging(None)),
        ..new.clone()
    };
    accepted(6, b"S", &new);
    accepted(8, b"C", &created);
    accepted(9, b"0SF", &contact);
    accepted(14, b"0ST", &messaging);
    accepted(15, b"0S0", &new);
    accepted(16, b"0S1C0", &contact);
    accepted(17, b"0S1M00", &messaging);
    accepted(20, b"0S00", &new);
    // No mode has no form between.
    let mut out = Vec::new();
    Command::New(new).encode(Version(9), &mut out);
    assert_eq!(out, new_with(b"0SF"));
    // Forms of other versions.
    let refused = |version, parameters: &[u8]| {
        let bytes = new_with(parameters);
        let decoded = Command::decode(&bytes, Version(version));
        assert_eq!(
            decoded,
            Err(Syntax),
            "{version} {}",
            parameters.escape_ascii()
        );
    };
    refused(8, b"0S");
    refused(9, b"S");
    refused(9, b"A\x01pSF");
    refused(14, b"0S0");
    refused(15, b"0SF");
    refused(15, b"0S00");
    refused(17, b"0S0");
    refused(17, b"0S1X00");
    refused(18, b"0S001");
    refused(18, b"2S00");
    // Passwords that no server has, but that are well-formed.
    for unusual in [&b""[..], b"\xe9", b"\xc3\xa9"] {
        let new = NewQueue {
            password: Some(unusual),
            ..created.clone()
        };
        let length = [unusual.len() as u8];
        accepted(6, &[b"A", &length[..], unusual, b"C"].concat(), &new);
        accepted(18, &[b"1", &length[..], unusual, b"C00"].concat(), &new);
    }
    // A password with a character it cannot have.
    out.clear();
    Command::New(password).encode(Version(18), &mut out);
    assert_eq!(Command::decode(&out, Version(18)), Err(Syntax));
    for bad in [
        &b"\x03a b"[..],
        b"\x01@",
        b"\x01/",
        b"\x01:",
        b"\x01\x7f",
        b"\x01\xa0",
        b"\x01\xad",
        b"\x01\n",
    ] {
        refused(18, &[b"1", bad, b"S00"].concat());
        refused(6, &[b"A", bad, b"S"].concat());
    }
}

#[test]
fn proxied_servers() {
    let hash = [9; 32];
    let address = [&b"\x01\x0fsmp.example.org\x045223\x20"[..], &hash].concat();
    let prxy = |rest: &[u8]| [b"PRXY ", &address[..], rest].concat();
    for version in 6..=20 {
        assert!(Command::decode(&prxy(b"0"), Version(version)).is_ok());
        assert!(Command::decode(&prxy(b"1\x04pass"), Version(version)).is_ok());
        assert!(Command::decode(&prxy(b"1\x00"), Version(version)).is_ok());
        assert!(Command::decode(&prxy(b"1\x01\xe9"), Version(version)).is_ok());
    }
    assert_refused(&prxy(b""), Syntax);
    assert_refused(&prxy(b"1\x04p@ss"), Syntax);
    assert_refused(&prxy(b"1\x01\xad"), Syntax);
    assert_refused(&prxy(b"0x"), Syntax);
    assert_refused(b"PRXY \0\x00\x000", Syntax);
    assert_refused(b"PRXY \x01\x01:\x00\x000", Syntax);
    assert_refused(b"PRXY \x01\x01a\x02xx\x000", Syntax);
}

#[test]
fn names() {
    let accepted = |text: &str, domain: &str| {
        let decoded = Command::decode(text.as_bytes(), Version(20));
        let expected = Command::Rslv {
            domain: domain.to_owned(),
        };
        assert_eq!(decoded, Ok(expected), "{text}");
    };
    accepted("RSLV alice.simplex", "alice.simplex");
    accepted("RSLV Alice-2.Example.COM", "alice-2.example.com");
    accepted("RSLV a.b ignored", "a.b");
    accepted("RSLV a.b\nignored", "a.b");
    let label = "a".repeat(63);
    accepted(&format!("RSLV {label}.b"), &format!("{label}.b"));
    for bad in [
        "", "simplex", "a..b", ".a", "a.", "-a.b", "a-.b", "a--b.c", "a_b.c", "\u{e9}.b", " a.b",
    ] {
        let bytes = format!("RSLV {bad}");
        assert_eq!(
            Command::decode(bytes.as_bytes(), Version(20)),
            Err(Syntax),
            "{bad}"
        );
    }
    for long in [format!("{label}a.b"), [&label[..]; 4].join(".") + ".b"] {
        let bytes = format!("RSLV {long}");
        assert_eq!(Command::decode(bytes.as_bytes(), Version(20)), Err(Syntax));
    }
}

#[test]
fn credentials() {
    let key = ED25519;
    let new = Command::New(NewQueue {
        auth_key: key,
        dh_key: DH,
        password: None,
        subscribe: true,
        queue: None,
        notifier: None,
    });
    // (neither, entity only, authorization only, both)
    let rules = |command: &Command<'_>| {
        [(false, false), (false, true), (true, false), (true, true)]
            .map(|(auth, entity)| command.check_credentials(auth, entity))
    };
    let ok = Ok(());
    assert_eq!(rules(&new), [Err(NoAuth), Err(NoAuth), ok, Err(HasAuth)]);
    let send = Command::Send {
        notify: false,
        body: b"",
    };
    assert_eq!(rules(&send), [Err(NoEntity), ok, Err(NoEntity), ok]);
    let pfwd = Command::Pfwd {
        version: Version(8),
        key: DH,
        encrypted: b"",
    };
    for command in [Command::LGet, pfwd] {
        let expected = [Err(NoEntity), ok, Err(NoEntity), Err(HasAuth)];
        assert_eq!(rules(&command), expected);
    }
    let rslv = Command::Rslv {
        domain: "a.b".to_owned(),
    };
    for command in [Command::Ping, Command::Rfwd { encrypted: b"" }, rslv] {
        let expected = [ok, Err(HasAuth), Err(HasAuth), Err(HasAuth)];
        assert_eq!(rules(&command), expected);
    }
    for command in [
        Command::Sub,
        Command::Subs(ServiceQueues::UNKNOWN),
        Command::Key(key),
        Command::RKey(vec![key]),
        Command::LDel,
        Command::Get,
        Command::Ack { msg_id: b"" },
        Command::Off,
        Command::Del,
        Command::Que,
        Command::SKey(key),
        Command::LKey(key),
        Command::NSub,
        Command::NSubs(ServiceQueues::UNKNOWN),
    ] {
        let expected = [Err(NoAuth), Err(NoAuth), Err(NoAuth), ok];
        assert_eq!(rules(&command), expected, "{}", command.tag());
    }
}

#[test]
fn responses_without_parameters() {
    for version in 6..=20 {
        assert_response(version, b"PONG", &Response::Pong);
        assert_response(version, b"END", &Response::End);
        assert_response(version, b"INFO ", &Response::Info(b""[..].into()));
    }
    for version in 10..=20 {
        assert_response(version, b"DELD", &Response::Deld);
    }
    assert_encodes(9, &Response::Deld, b"END");
    for bad in [
        &b""[..],
        b"OK ",
        b"PONG x",
        b"END ",
        b"ERR",
        b"ERR ",
        b"INFO",
        b"SOK",
        b"SOK 2",
        b"SOK 0x",
        b"MSG \x18id",
        b"NMSG short",
        b"IDS \x01a\x01b",
        b"SUB",
    ] {
        for version in 6..=20 {
            let decoded = Response::decode(bad, Version(version));
            assert!(decoded.is_err(), "{} {decoded:?}", bad.escape_ascii());
        }
    }
    assert_eq!(
        [QueueMode::Messaging, QueueMode::Contact].map(QueueMode::letter),
        *b"MC"
    );
}

#[test]
fn transmissions() {
    let v6 = b"\0\x03sid\x01c\x02idPING";
    let t = Transmission::decode(v6, Version(6)).unwrap();
    assert_eq!(t.session_id, Some(&b"sid"[..]));
    assert_eq!((t.corr_id, t.entity_id), (&b"c"[..], &b"id"[..]));
    assert_eq!((t.command, t.sent), (&b"PING"[..], &v6[1..]));

    let v7 = b"\x02au\x01c\0PING";
    let t = Transmission::decode(v7, Version(15)).unwrap();
    assert_eq!((t.authorization, t.session_id), (&b"au"[..], None));
    assert_eq!((t.entity_id, t.sent), (&b""[..], &v7[3..]));

    // From 16 the slot of the service signature follows an authorization, and only one.
    let t = Transmission::decode(b"\x02au0\x01c\0PING", Version(16)).unwrap();
    assert_eq!((t.service_signature, t.command), (None, &b"PING"[..]));
    let t = Transmission::decode(b"\0\x01c\0PING", Version(16)).unwrap();
    assert_eq!((t.authorization, t.command), (&b""[..], &b"PING"[..]));
    let signed = [b"\x02au1\x40", &[5; 64][..], b"\x01c\0PING"].concat();
    let t = Transmission::decode(&signed, Version(16)).unwrap();
    assert_eq!(
        (t.service_signature, t.corr_id),
        (Some(&[5; 64]), &b"c"[..])
    );

    let short_signature = [b"\x02au1\x3f", &[5; 63][..], b"\x01c\0PING"].concat();
    for (bad, version) in [
        (&b""[..], 18),
        (b"\x05au", 18),
        (b"\0\x02c", 18),
        (b"\0\x01c", 18),
        (b"\0\x01c\0", 6),
        (b"\x02au\x01c\0PING", 16),
        (&short_signature, 16),
    ] {
        assert!(Transmission::decode(bad, Version(version)).is_err());
    }
    // An empty command is for the command decoder to refuse.
    let t = Transmission::decode(b"\0\x01c\0", Version(18)).unwrap();
    assert_eq!(Command::decode(t.command, Version(18)), Err(Unknown));
}
