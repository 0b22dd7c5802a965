//! Server addresses (spec: protocol §1.4).

use super::super::Command;
use super::super::address::{
    AddressWithPassword, DEFAULT_PORT, ServerAddress, TransportHost, is_valid_password,
    is_valid_wire_password,
};
use super::super::encoding::{Reader, base64url};
use super::assert_command;
use crate::crypto::hash::sha256;
use crate::crypto::vectors;

const HASH: &str = "1PfFd5ds36J05Yf3Ah6h8XC3ecQdY1eg5LlHnFJUk_8=";

fn address(rest: &str) -> Result<AddressWithPassword, super::super::address::AddressError> {
    format!("smp://{HASH}{rest}").parse()
}

#[test]
fn known_fingerprint_and_texts() {
    let v = vectors::get("cert_fingerprint");
    let key_hash = vectors::hex(&v["key_hash"]);
    assert_eq!(sha256(&vectors::hex(&v["ca_der"]))[..], key_hash);
    assert_eq!(
        Some(&*base64url::encode(&key_hash)),
        v["key_hash_base64url"].as_str()
    );
    assert_eq!(HASH, v["key_hash_base64url"]);

    let text = v["server_address"].as_str().unwrap();
    let plain: AddressWithPassword = text.parse().unwrap();
    assert_eq!(plain.server.key_hash, key_hash);
    assert_eq!(
        plain.server.hosts,
        [TransportHost::Domain("smp.example.org".into())]
    );
    assert_eq!(
        (plain.server.port_number(), &plain.password),
        (Some(DEFAULT_PORT), &None)
    );
    assert_eq!(plain.to_string(), text);

    let text = v["server_address_with_password"].as_str().unwrap();
    let full: AddressWithPassword = text.parse().unwrap();
    assert_eq!(full.password.as_deref(), Some("pass123"));
    assert_eq!(
        full.server.hosts,
        [
            TransportHost::Domain("smp.example.org".into()),
            TransportHost::Onion("abc.onion".into())
        ]
    );
    assert_eq!(full.server.port, "5223");
    assert_eq!(full.to_string(), text);
    // Passwords stay out of logs.
    assert!(!format!("{full:?}").contains("pass123"));
}

#[test]
fn known_binary_forms() {
    let v = vectors::get("smp_server_binary");
    let key_hash = vectors::hex(&vectors::get("cert_fingerprint")["key_hash"]);
    let cases = v["cases"].as_array().unwrap();
    let mut last = None;
    for case in cases {
        let hosts = case["hosts"].as_array().unwrap().iter();
        let server = ServerAddress {
            hosts: hosts
                .map(|h| h.as_str().unwrap().parse().unwrap())
                .collect(),
            port: case["port"].as_str().unwrap().to_owned(),
            key_hash: key_hash.clone(),
        };
        let bytes = vectors::hex(&case["hex"]);
        let mut r = Reader::new(&bytes);
        assert_eq!(ServerAddress::decode(&mut r).as_ref(), Ok(&server));
        r.finish().unwrap();
        let mut out = Vec::new();
        server.encode(&mut out);
        assert_eq!(out, bytes);
        last = Some(server);
    }
    let server = last.unwrap();
    for (name, password) in [
        ("prxy_no_auth", None),
        ("prxy_auth_pass123", Some(&b"pass123"[..])),
    ] {
        let prxy = Command::Prxy {
            server: server.clone(),
            password,
        };
        assert_command(18, &vectors::hex(&v[name]), &prxy);
    }
}

#[test]
fn hosts() {
    let host = |text: &str| text.parse::<TransportHost>();
    let domain = |text: &str| Ok(TransportHost::Domain(text.to_owned()));
    assert_eq!(
        host("192.168.0.1"),
        Ok(TransportHost::Ipv4([192, 168, 0, 1]))
    );
    assert_eq!(host("0.0.0.0"), Ok(TransportHost::Ipv4([0; 4])));
    for text in [
        "192.256.0.1",
        "192.168.1",
        "1.2.3.4.5",
        "localhost",
        "a-b.c",
        "x_y",
    ] {
        assert_eq!(host(text), domain(text), "{text}");
    }
    let loopback = TransportHost::Ipv6(std::net::Ipv6Addr::LOCALHOST);
    for text in ["::1", "[::1]", "0:0:0:0:0:0:0:1"] {
        assert_eq!(host(text), Ok(loopback.clone()));
    }
    assert_eq!(loopback.to_string(), "::1");
    let onion = "beccx4yfxxbvyhqypaavemqurytl6hozr47wfc7uuecacjqdvwpw2xid.onion";
    assert_eq!(host(onion), Ok(TransportHost::Onion(onion.to_owned())));
    assert_eq!(
        host(".onion"),
        Ok(TransportHost::Onion(".onion".to_owned()))
    );
    for bad in [
        "",
        "ABC.onion",
        "a.b.onion",
        "a:b",
        "a#b",
        "a,b",
        "a;b",
        "a/b",
        "a b",
        "a\nb",
        "a\rb",
        "a\tb",
        "[::1",
        "::g",
    ] {
        assert!(host(bad).is_err(), "{bad:?}");
    }
    assert!(host(&"a".repeat(255)).is_ok());
    assert!(host(&"a".repeat(256)).is_err());
    assert!(host(&format!("{}.onion", "a".repeat(250))).is_err());
    // In the binary form the text must be complete and decode.
    for bad in [
        &b"\x01\x00\x00\x00"[..],
        b"\x01\x03a:b\x00\x00",
        b"\x01\x02\xff\xfe\x00\x00",
    ] {
        assert!(ServerAddress::decode(&mut Reader::new(bad)).is_err());
    }
}

#[test]
fn ports_and_ipv6() {
    for (rest, hosts, port) in [
        ("@host", &["host"][..], None),
        ("@host:443", &["host"], Some(443)),
        ("@a,b.onion:5223", &["a", "b.onion"], Some(5223)),
        ("@[::1]:443", &["::1"], Some(443)),
        ("@[::1]", &["::1"], None),
        ("@::1", &["::1"], None),
        ("@2001:db8::2:443", &["2001:db8::2:443"], None),
        ("@a,::1", &["a", "::1"], None),
        ("@::1,a:443", &["::1", "a"], Some(443)),
        ("@[::1],a:443", &["::1", "a"], Some(443)),
        ("@::1,a", &["::1", "a"], None),
        ("@1.2.3.4:0443", &["1.2.3.4"], Some(443)),
    ] {
        let parsed = address(rest).unwrap_or_else(|e| panic!("{rest}: {e}"));
        let expected: Vec<TransportHost> = hosts.iter().map(|h| h.parse().unwrap()).collect();
        assert_eq!(parsed.server.hosts, expected, "{rest}");
        assert_eq!(parsed.server.port_number(), port.or(Some(5223)), "{rest}");
        assert_eq!(parsed.server.port.is_empty(), port.is_none(), "{rest}");
        let again: AddressWithPassword = parsed.to_string().parse().unwrap();
        assert!(again == parsed, "{rest}");
    }
    for bad in [
        "",
        "@",
        "@:5223",
        "@host:",
        "@host:x",
        "@host:65536",
        "@host:1:2",
        "@host:+1",
        "@a,,b",
        "@a,",
        "@host/path",
        "@a b",
        "@a:443,b",
        ":@host",
        ":p ss@host",
        ":p/s@host",
        ":a:b@host",
        "@a@b:c@d",
    ] {
        assert!(address(bad).is_err(), "{bad:?}");
    }
    let many = |n: usize| format!("@{}", vec!["a"; n].join(","));
    assert_eq!(address(&many(255)).unwrap().server.hosts.len(), 255);
    assert!(address(&many(256)).is_err());
    let no_number = ServerAddress {
        hosts: Vec::new(),
        port: "99999".to_owned(),
        key_hash: Vec::new(),
    };
    assert_eq!(no_number.port_number(), None);
}

#[test]
fn schemes_and_hashes() {
    let parse = |text: &str| text.parse::<AddressWithPassword>();
    let unpadded = format!("smp://{}@host", HASH.trim_end_matches('='));
    assert_eq!(
        parse(&unpadded).unwrap().to_string(),
        format!("smp://{HASH}@host")
    );
    for bad in [
        "",
        "host",
        "smp:host",
        "smp://host",
        "smp://@host",
        "smp://a+b/@host",
    ] {
        assert!(parse(bad).is_err(), "{bad:?}");
    }
    assert!(parse(&format!("xftp://{HASH}@host")).is_err());
    assert!(parse(&format!("SMP://{HASH}@host")).is_err());
    let hash = |n: usize| format!("smp://{}@host", base64url::encode(&vec![1; n]));
    assert!(parse(&hash(255)).is_ok());
    assert!(parse(&hash(256)).is_err());
}

#[test]
fn passwords() {
    for good in [
        &b"a"[..],
        b"pass123",
        "Mädchen é".replace(' ', "").as_bytes(),
        b"!\"#$%&'()*+,-.;<=>?[]^_`{|}~",
    ] {
        assert!(is_valid_password(good));
    }
    for bad in [
        &b""[..],
        b"a b",
        b"a@b",
        b"a:b",
        b"a/b",
        b"a\n",
        b"\x7f",
        // A byte of `à` is a blank in Latin-1.
        "à".as_bytes(),
        b"\0",
    ] {
        assert!(!is_valid_password(bad));
    }
}

#[test]
fn passwords_in_commands() {
    for b in 0..=u8::MAX {
        let printable = matches!(b, 0x21..=0x7e | 0xa1..=0xff) && b != 0xad;
        let allowed = printable && !b"@:/".contains(&b);
        assert_eq!(is_valid_wire_password(&[b]), allowed, "{b:#x}");
        assert_eq!(is_valid_password(&[b]), allowed, "{b:#x}");
        assert_eq!(is_valid_wire_password(&[b'a', b]), allowed, "{b:#x}");
    }
    assert!(is_valid_wire_password(b"") && !is_valid_password(b""));
}

#[test]
fn base64_texts() {
    assert_eq!(base64url::encode(&[0xfb, 0xff]), "-_8=");
    for text in ["-_8=", "-_8"] {
        assert_eq!(base64url::decode(text), Some(vec![0xfb, 0xff]));
    }
    for bad in ["", "+/8=", "a", "-_8==", "-_8=x", " -_8", "-_9"] {
        assert_eq!(base64url::decode(bad), None, "{bad}");
    }
}
