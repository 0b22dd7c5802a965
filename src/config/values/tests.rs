use super::*;

#[test]
fn switches_are_exact() {
    assert_eq!(on_off("on"), Ok(true));
    assert_eq!(on_off("off"), Ok(false));
    for bad in ["", "On", "yes", "true", "1", "on # x"] {
        assert!(on_off(bad).is_err(), "{bad}");
    }
}

#[test]
fn times() {
    assert_eq!(seconds("60"), Ok(Duration::from_secs(60)));
    assert_eq!(milliseconds("1500"), Ok(Duration::from_millis(1500)));
    assert_eq!(milliseconds_or_none("0"), Ok(Duration::ZERO));
    assert!(milliseconds_or_none("-1").is_err());
    assert_eq!(hours("24"), Ok(Duration::from_secs(86400)));
    assert_eq!(days("21"), Ok(Duration::from_secs(21 * 86400)));
    assert_eq!(days("0"), Ok(Duration::ZERO));
    assert!(days(&u32::MAX.to_string()).is_ok());
    assert_eq!(time_of_day("00:00"), Ok(Duration::ZERO));
    assert_eq!(time_of_day("23:59"), Ok(Duration::from_secs(86340)));
    for bad in [
        "", "24:00", "12:60", "1:00", "12:0", "+1:00", "12", "12:00:00", "é:00",
    ] {
        assert!(time_of_day(bad).is_err(), "{bad}");
    }
    for bad in ["", "-1", "1.5", "1s", "0x10", "99999999999999999999"] {
        assert!(seconds(bad).is_err(), "{bad}");
        assert!(days(bad).is_err(), "{bad}");
    }
    assert!(seconds("0").is_err());
}

#[test]
fn ports() {
    let list = port_list(" 5223, 443 ").unwrap();
    assert_eq!(list.ports, [5223, 443]);
    assert_eq!(list.text, " 5223, 443 ");
    assert_eq!(port_list("0,0").unwrap().ports, [0, 0]);
    for bad in ["", ",", "5223,", "5223,5223", "65536", "-1", "https"] {
        assert!(port_list(bad).is_err(), "{bad}");
    }
}

#[test]
fn passwords() {
    for good in ["a", "p4ss!#%", r"back\slash", "[x]=y"] {
        assert_eq!(password(good).unwrap().expose(), good);
    }
    for bad in ["", "a b", "a@b", "a:b", "a/b", "ключ", "a\tb", "a\u{7f}"] {
        assert!(password(bad).is_err(), "{bad}");
    }
    let password = password("secret").unwrap();
    assert!(password.matches(b"secret"));
    assert!(!password.matches(b"secreT") && !password.matches(b"") && !password.matches(b"s"));
    assert!(!format!("{password:?}").contains("secret"));
}

#[test]
fn socks_proxies() {
    for (text, address) in [
        ("", "127.0.0.1:9050"),
        (":9150", "127.0.0.1:9150"),
        ("localhost:9050", "127.0.0.1:9050"),
        ("10.0.0.1", "10.0.0.1:9050"),
        ("10.0.0.1:1080", "10.0.0.1:1080"),
        ("::1", "[::1]:9050"),
        ("[::1]", "[::1]:9050"),
        ("[::1]:1080", "[::1]:1080"),
        ("@:1080", "127.0.0.1:1080"),
        ("user:pa@ss@10.0.0.1:1080", "10.0.0.1:1080"),
    ] {
        let proxy = socks_proxy(text).unwrap();
        assert_eq!(proxy.address.to_string(), address, "{text}");
    }
    assert!(matches!(socks_proxy("").unwrap().auth, SocksAuth::Isolate));
    assert!(matches!(
        socks_proxy("@").unwrap().auth,
        SocksAuth::Anonymous
    ));
    let proxy = socks_proxy("u:p4ss@[::1]").unwrap();
    assert!(
        matches!(&proxy.auth, SocksAuth::Credentials { user, password }
            if user == "u" && **password == "p4ss")
    );
    assert!(!format!("{proxy:?}").contains("p4ss"));
    for bad in [
        "tor.example:9050",
        "user@10.0.0.1",
        "1.2.3.4:",
        "1.2.3.4:0",
        "[::1]9",
        "[::1",
    ] {
        assert!(socks_proxy(bad).is_err(), "{bad}");
    }
}

#[test]
fn quotas() {
    assert_eq!(block_quota("20"), Ok(BlockQuota::PerDay(20)));
    assert_eq!(block_quota("0"), Ok(BlockQuota::Unlimited));
    assert_eq!(block_quota("-1"), Ok(BlockQuota::Never));
    assert!(block_quota("many").is_err());
}

#[test]
fn words_of_choices() {
    assert_eq!(message_storage("journal"), Ok(MessageStorage::Journal));
    assert_eq!(hosting_type("owned").map(HostingType::word), Ok("owned"));
    assert_eq!(queue_storage("disk"), Err("memory, database".to_owned()));
    assert!(durability("Disk").is_err());
}

#[test]
fn lists_countries_and_links() {
    assert_eq!(
        words("a.org,b.org  c.org,").unwrap(),
        ["a.org", "b.org", "c.org"]
    );
    assert_eq!(country("gb"), Ok(Some("GB".to_owned())));
    assert_eq!(country(""), Ok(None));
    assert!(country("GBR").is_err() && country("é").is_err() && country_code("").is_err());
    assert_eq!(contact_link(""), Ok(None));
    assert!(contact_link("simplex:/contact#/?v=2").unwrap().is_some());
    assert!(contact_link("SimpleX address").is_err());
    assert_eq!(optional_text(""), Ok(None));
    assert!(path("").is_err());
}
