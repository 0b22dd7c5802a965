use super::*;
use crate::config::keys::{Fresh, KEYS, KeyInfo};
use crate::config::template::{Line, render};
use crate::config::values::{BlockQuota, Durability, HostMode, HostingType, QueuePlacement};
use std::time::Duration;

const REFERENCE: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/reference-6.5.5/etc/smp-server.ini"
));

const LEAST: &str = "[TRANSPORT]\nport = 5223\n";

fn load(text: &str) -> Result<Settings, SettingsError> {
    Settings::from_ini(&IniFile::parse(text).unwrap())
}

fn warnings(settings: &Settings) -> Vec<String> {
    settings.warnings.iter().map(ToString::to_string).collect()
}

/// The smallest file, with one key more.
fn with(section: &str, line: &str) -> Result<Settings, SettingsError> {
    if section == "TRANSPORT" {
        load(&format!("{LEAST}{line}\n"))
    } else {
        load(&format!("{LEAST}[{section}]\n{line}\n"))
    }
}

#[test]
fn the_file_of_the_reference() {
    let settings = load(REFERENCE).unwrap();
    assert_eq!(
        warnings(&settings),
        [
            "in [STORE_LOG] has no effect yet: log_stats",
            "in [TRANSPORT] has no effect yet: control_port",
        ]
    );
    assert!(settings.storage.enable && settings.storage.log_stats);
    assert_eq!(
        settings.storage.messages.ttl,
        Duration::from_secs(21 * 86400)
    );
    assert_eq!(settings.transport.port.ports, [25223]);
    assert_eq!(settings.transport.control_port, Some(25224));
    assert_eq!(settings.transport.address_host(), HOST_PLACEHOLDER);
    assert_eq!(settings.transport.address_port(), Some(25223));
    let admin = settings.auth.control_port_admin_password.unwrap();
    assert!(admin.matches(b"HNF7DWANkogjmxJdpv0gAbwZ"));
    assert_eq!(
        settings.web.static_path,
        Some(PathBuf::from("/opt/smp/var/www"))
    );
    assert_eq!(settings.web.https, None);
}

#[test]
fn both_separators_mean_the_same() {
    let expected = format!("{:?}", load(REFERENCE).unwrap());
    let convert = |every: usize, separator: &str| -> String {
        let lines = REFERENCE.lines().enumerate().map(|(i, line)| {
            if line.starts_with('#') || i % every != 0 {
                format!("{line}\n")
            } else {
                format!("{}\n", line.replacen(" = ", separator, 1))
            }
        });
        lines.collect()
    };
    for (every, separator) in [(1, ": "), (1, "="), (1, ":"), (2, ": "), (3, ":")] {
        let text = convert(every, separator);
        assert_eq!(format!("{:?}", load(&text).unwrap()), expected, "{text}");
    }
}

/// An old file: colons, almost nothing in it (spec: operations §2.3).
#[test]
fn an_old_file() {
    let text = "[STORE_LOG]\nenable: on\n[AUTH]\nnew_queues: on\n[TRANSPORT]\nhost: a,b.onion\n\
                port: 5223\nwebsockets: off\n[INACTIVE_CLIENTS]\ndisconnect: off\n# ttl: 43200\n\
                [WEB]\nstatic_path: /var/opt/simplex/www\n#http: 8000\n";
    let settings = load(text).unwrap();
    assert_eq!(settings.warnings, []);
    assert_eq!(settings.inactive_clients, None);
    assert!(settings.storage.enable && settings.storage.restore_messages);
    assert!(settings.storage.expire_messages_on_send);
    assert_eq!(settings.transport.address_host(), "a,b.onion");
}

#[test]
fn absent_keys() {
    let settings = load(LEAST).unwrap();
    let storage = &settings.storage;
    assert!(!storage.enable && !storage.restore_messages && !storage.log_stats);
    assert!(storage.expire_messages_on_start && storage.expire_messages_on_send);
    assert_eq!(storage.messages.check_interval, Duration::from_secs(7200));
    assert_eq!(storage.notifications.ttl, Duration::from_secs(86400));
    assert!(settings.auth.new_queues);
    assert_eq!(
        settings.auth.daily_block_queue_quota,
        BlockQuota::PerDay(20)
    );
    assert!(settings.transport.accept_service_credentials);
    assert_eq!(settings.proxy.host_mode, HostMode::Public);
    assert!(settings.proxy.socks_proxy.is_none());
    assert_eq!(settings.inactive_clients, None);
    assert_eq!(settings.web.static_path, None);
    let relay = &settings.relay;
    assert_eq!((relay.shards, relay.max_connections), (None, None));
    assert_eq!(relay.durability, Durability::Disk);
    assert_eq!(relay.segment_size, 16 << 20);
    assert_eq!(relay.queue_placement, QueuePlacement::Local);
    assert_eq!(relay.address, None);
    assert_eq!(relay.msg_queue_quota, 128);
    assert_eq!(relay.ntf_delivery_interval, Duration::from_millis(1500));
    assert_eq!(relay.pending_end_interval, Duration::from_secs(15));
    assert_eq!(relay.versions, 6..=18);
    assert!(relay.alpn && relay.smp_proxy && !relay.x448);
    assert_eq!(relay.proxy_error_interval, Duration::from_secs(30));
    assert_eq!(relay.tls_setup_timeout, Duration::from_secs(60));
    assert_eq!(relay.handshake_timeout, Duration::from_secs(120));
    assert_eq!(relay.metrics_port, None);
    assert!(!relay.stats_header);
    assert_eq!(relay.stats_day_starts, Duration::ZERO);
    assert_eq!(relay.control_idle_timeout, Duration::from_secs(600));
    assert!(matches!(
        load("[STORE_LOG]\nenable = on\n"),
        Err(SettingsError::Missing { key: "port", .. })
    ));
}

#[test]
fn accepted_and_refused_values() {
    for (section, key, accepted, refused) in [
        (
            "STORE_LOG",
            "enable",
            &["on", "off"][..],
            &["", "yes", "ON"][..],
        ),
        (
            "STORE_LOG",
            "expire_messages_days",
            &["0", "21"],
            &["-1", "3 weeks"],
        ),
        ("STORE_LOG", "restore_messages", &["on", "off"], &["maybe"]),
        (
            "AUTH",
            "create_password",
            &["p4ss#w=rd"],
            &["", "a b", "a/b", "a:b", "a@b"],
        ),
        (
            "AUTH",
            "daily_block_queue_quota",
            &["0", "-1", "20"],
            &["x"],
        ),
        (
            "TRANSPORT",
            "control_port",
            &["5224", "0"],
            &["", "http", "65536"],
        ),
        ("PROXY", "host_mode", &["public", "onion"], &["private"]),
        ("PROXY", "socks_mode", &["onion", "always"], &["never"]),
        (
            "PROXY",
            "socks_proxy",
            &["localhost:9050", "[::1]:9"],
            &["tor:9050"],
        ),
        ("PROXY", "client_concurrency", &["1", "32"], &["0", "-1"]),
        ("RELAY", "shards", &["1", "64"], &["0", "auto"]),
        ("RELAY", "durability", &["disk", "process"], &["ram"]),
        (
            "RELAY",
            "queue_placement",
            &["local", "spread", "remote"],
            &["near"],
        ),
        ("RELAY", "address", &["127.0.0.1", "::1"], &["localhost"]),
        ("RELAY", "min_version", &["6", "18"], &["5", "19"]),
        ("RELAY", "message_ttl", &["1"], &["0", "1d"]),
        ("RELAY", "x448", &["on", "off"], &["1"]),
    ] {
        for value in accepted {
            let result = with(section, &format!("{key} = {value}"));
            assert!(result.is_ok(), "{key} = {value}: {result:?}");
        }
        for value in refused {
            match with(section, &format!("{key} = {value}")) {
                Err(SettingsError::Invalid {
                    section: s, key: k, ..
                }) => {
                    assert_eq!((s, k), (section, key));
                }
                other => panic!("{key} = {value}: {other:?}"),
            }
        }
    }
}

#[test]
fn errors_tell_where_and_what() {
    let error = with("STORE_LOG", "enable: yes").unwrap_err().to_string();
    assert_eq!(
        error,
        "invalid INI setting enable: yes (section [STORE_LOG], accepted: on or off)"
    );
    let error = with("AUTH", "create_password = my secret").unwrap_err();
    assert!(!error.to_string().contains("my secret"), "{error}");
    let error = load("[AUTH]\n").unwrap_err().to_string();
    assert_eq!(error, "no key port in section TRANSPORT");
    let text = "[INACTIVE_CLIENTS]\ndisconnect = on\n";
    let error = load(&format!("{LEAST}{text}")).unwrap_err().to_string();
    assert_eq!(error, "no key ttl in section INACTIVE_CLIENTS");
}

#[test]
fn a_file_is_named_in_its_errors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("smp-server.ini");
    let error = Settings::load(&file).unwrap_err();
    assert!(matches!(error, SettingsError::Read { .. }));
    std::fs::write(&file, "[TRANSPORT]\nport 5223\n").unwrap();
    let error = Settings::load(&file).unwrap_err().to_string();
    assert!(error.starts_with(file.to_str().unwrap()), "{error}");
    assert!(error.contains("line 2"), "{error}");
    std::fs::write(&file, LEAST).unwrap();
    assert!(Settings::load(&file).is_ok());
}

#[test]
fn storage_modes() {
    let mode = |queues: &str, messages: &str| {
        with(
            "STORE_LOG",
            &format!("store_queues = {queues}\nstore_messages = {messages}"),
        )
    };
    assert_eq!(mode("memory", "memory").unwrap().warnings, []);
    assert_eq!(mode("memory", "journal").unwrap().warnings.len(), 1);
    for (queues, messages) in [("memory", "database"), ("database", "memory")] {
        let error = mode(queues, messages).unwrap_err().to_string();
        assert_eq!(error, "Database and memory storage are not compatible.");
    }
    for messages in ["journal", "database"] {
        let error = mode("database", messages).unwrap_err().to_string();
        let text = "Error: server binary is compiled without support for PostgreSQL database.\n";
        assert!(error.starts_with(text), "{error}");
    }
}

#[test]
fn what_has_no_effect_is_reported() {
    let text = format!(
        "stray = 1\n{LEAST}websockets = on\nports = 1\nport = 7\n[NAMES]\nenable: on\n\
         [STORE_LOG]\ndb_schema = mine\ndb_pool_size = 10\nprometheus_interval = often\n\
         [WEB]\nhttps = 443\nhttp = none\n[AUTH]\n[AUTH]\n"
    );
    let settings = load(&text).unwrap();
    let warnings = warnings(&settings);
    for (warning, start) in warnings.iter().zip([
        "key stray before the first section is ignored",
        "key websockets in [TRANSPORT] is ignored: this server does not serve WebSockets",
        "unknown key ports in [TRANSPORT]",
        "key port in [TRANSPORT] is repeated, the first is used",
        "unknown section [NAMES]",
        "key db_schema in [STORE_LOG] is ignored: this server has no PostgreSQL storage",
        "in [STORE_LOG] has no effect yet: prometheus_interval",
        "section [AUTH] is repeated, the last one is used",
        "key prometheus_interval in [STORE_LOG] is ignored: invalid INI setting",
        "key https in [WEB] is ignored: https needs `cert` and `key`",
        "key http in [WEB] is ignored: invalid INI setting",
    ]) {
        assert!(warning.starts_with(start), "{warning}\nis not\n{start}");
    }
    assert_eq!(warnings.len(), 11, "{warnings:?}");
    assert_eq!(settings.transport.port.ports, [5223]);
    assert_eq!(settings.storage.prometheus_interval, None);
}

#[test]
fn what_asks_for_nothing_is_not_reported() {
    let text = format!(
        "{LEAST}[STORE_LOG]\nenable = off\nrestore_messages = off\nexpire_messages_on_send = off\n\
         [PROXY]\nown_server_domains =\nrequired_host_mode = off\n\
         [INACTIVE_CLIENTS]\ndisconnect = off\n[RELAY]\nsmp_proxy = off\nshards = 1\n"
    );
    assert_eq!(load(&text).unwrap().warnings, []);
    let settings = load(&format!("{LEAST}[PROXY]\nsocks_proxy =\n")).unwrap();
    let expected = ["in [PROXY] has no effect yet: socks_proxy"];
    assert_eq!(
        warnings(&settings),
        expected,
        "a proxy at its default address"
    );
}

#[test]
fn ports_of_the_address() {
    for (port, shown) in [
        ("5223", None),
        ("5223,443", None),
        ("443", None),
        ("5224, 443", None),
        ("15223", Some(15223)),
        ("7001,7002", Some(7001)),
    ] {
        let settings = load(&format!("[TRANSPORT]\nport = {port}\n")).unwrap();
        assert_eq!(settings.transport.address_port(), shown, "{port}");
        assert_eq!(settings.transport.port.text, port);
    }
}

#[test]
fn relay_settings_override_and_restrict() {
    let settings = with("RELAY", "message_ttl = 5\nntf_ttl = 6\nsegment_mb = 1").unwrap();
    assert_eq!(settings.storage.messages.ttl, Duration::from_secs(5));
    assert_eq!(settings.storage.notifications.ttl, Duration::from_secs(6));
    assert_eq!(settings.relay.segment_size, 1 << 20);
    let error = with("RELAY", "min_version = 10\nmax_version = 9").unwrap_err();
    assert!(matches!(error, SettingsError::Conflict(_)));
    let settings = with("RELAY", "shards = 3\nmax_connections = 9").unwrap();
    assert_eq!(settings.relay.shards, Some(3));
    assert_eq!(settings.relay.max_connections, Some(9));
}

#[test]
fn information_needs_the_source_code() {
    let rest = "operator = Me\noperator_country = gb\nadmin_email =\nadmin_pgp = x\n\
                complaints_email = c@example.org\nhosting_country = FR\nhosting_type = owned\n\
                condition_amendments = y";
    assert_eq!(with("INFORMATION", rest).unwrap().information, None);
    let text = format!("source_code = https://example.org\n{rest}");
    let information = with("INFORMATION", &text).unwrap().information.unwrap();
    let operator = information.operator.unwrap();
    assert_eq!(operator.name, "Me");
    assert_eq!(operator.country.as_deref(), Some("GB"));
    assert_eq!(information.hosting, None);
    assert_eq!(information.admin, None);
    assert_eq!(information.conditions, None);
    let complaints = information.complaints.unwrap();
    assert_eq!(complaints.email.as_deref(), Some("c@example.org"));
    assert_eq!(information.hosting_type, Some(HostingType::Owned));
    let text = "source_code = x\nserver_country = GBR";
    let error = with("INFORMATION", text).unwrap_err().to_string();
    assert!(error.contains("ISO3166 2-letter code"), "{error}");
}

/// The table and the typed settings cannot drift apart: every key with an effect is read.
#[test]
fn every_key_of_the_table_has_its_effect() {
    let sample = |key: &KeyInfo| -> String {
        let fresh = match key.fresh {
            Fresh::Set(text) | Fresh::Commented(text) => text,
            Fresh::Unwritten => key.absent.unwrap_or(""),
        };
        match key.name {
            name if name.ends_with("_country") => "GB",
            name if name.ends_with("_simplex") => "simplex:/a",
            name if name.ends_with("password") => "secret",
            _ if fresh.is_empty() => "x",
            _ => fresh,
        }
        .to_owned()
    };
    let all = |changed: Option<&KeyInfo>| {
        let lines: Vec<_> = KEYS
            .iter()
            .map(|key| {
                let changes = changed.is_some_and(|changed| std::ptr::eq(*key, changed));
                let text = if changes {
                    "?! @".to_owned()
                } else {
                    sample(key)
                };
                (*key, Line::set(text))
            })
            .collect();
        load(&render(&lines)).map(|settings| format!("{settings:?}"))
    };
    let base = all(None).unwrap();
    for key in KEYS {
        let changed = all(Some(key));
        let is_read = changed.is_err() || changed.is_ok_and(|changed| changed != base);
        assert!(is_read, "[{}] {}", key.section, key.name);
    }
}
