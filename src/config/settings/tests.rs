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
    assert!(warnings(&settings).is_empty());
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

/// A file of the hosting guide's time: colons, no blank after a comment's mark, no key of later
/// versions, and what says the same in today's spelling and in a mixture (spec: operations §2.3).
#[test]
fn an_old_file() {
    const OLD: &str = "\
[STORE_LOG]
# The server uses STM memory for persistence.
enable: on

restore_messages: on
expire_messages_days: 21

log_stats: on

[AUTH]
new_queues: on
create_password: secret=
#control_port_admin_password:
# control_port_user_password:

[TRANSPORT]
host: smp.example.org,abc.onion
port: 443,5223
log_tls_errors: off
websockets: off
control_port: 5224

[PROXY]
host_mode: public
required_host_mode: off
own_server_domains: a.org b.org
socks_proxy: 127.0.0.1:9050
socks_mode: onion
client_concurrency: 32

[INACTIVE_CLIENTS]
disconnect: off
# ttl: 43200
# check_interval: 3600

[WEB]
static_path: /var/opt/simplex/www
#http: 8000
#https: 443
#cert: /etc/opt/simplex/web.crt
#key: /etc/opt/simplex/web.key
";
    let settings = load(OLD).unwrap();
    let is_pending = |warning: &Warning| matches!(warning, Warning::Pending { .. });
    assert!(settings.warnings.iter().all(is_pending), "{settings:?}");
    assert_eq!(settings.inactive_clients, None);
    assert!(settings.storage.enable && settings.storage.restore_messages);
    assert!(settings.storage.expire_messages_on_send && settings.storage.log_stats);
    assert!(
        settings
            .auth
            .create_password
            .as_ref()
            .unwrap()
            .matches(b"secret=")
    );
    assert_eq!(
        settings.transport.address_host(),
        "smp.example.org,abc.onion"
    );
    assert_eq!(settings.transport.address_port(), None);
    assert_eq!(settings.transport.control_port, Some(5224));
    assert_eq!(settings.proxy.own_server_domains, ["a.org", "b.org"]);
    assert_eq!(settings.web.https, None);

    let expected = format!("{settings:?}");
    let spelled = |spell: &dyn Fn(usize, &str) -> String| -> String {
        let lines = OLD.lines().enumerate();
        lines.map(|(i, line)| spell(i, line) + "\n").collect()
    };
    let new = spelled(&|_, line| line.replacen(": ", " = ", 1));
    let tight = spelled(&|_, line| line.replacen(": ", "=", 1));
    let mixed = spelled(&|i, line| match i % 3 {
        0 => line.to_owned(),
        1 => line.replacen(": ", " = ", 1),
        _ => line.replacen(": ", ":", 1),
    });
    for text in [new, tight, mixed] {
        assert_ne!(text, OLD);
        assert_eq!(format!("{:?}", load(&text).unwrap()), expected, "{text}");
    }
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
fn errors_tell_where_and_what() {
    let error = with("STORE_LOG", "enable: yes").unwrap_err().to_string();
    assert_eq!(
        error,
        "invalid INI setting enable: yes (section [STORE_LOG], accepted: on or off)"
    );
    let error = with("AUTH", "create_password = my secret").unwrap_err();
    assert!(!error.to_string().contains("my secret"), "{error}");
    let error = with("PROXY", "socks_proxy = user:my-secret@proxy").unwrap_err();
    assert!(!error.to_string().contains("my-secret"), "{error}");
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
        "section [AUTH] is repeated, the last one is used",
        "key prometheus_interval in [STORE_LOG] is ignored: invalid INI setting",
        "key https in [WEB] is ignored: https needs `cert` and `key`",
        "key http in [WEB] is ignored: invalid INI setting",
    ]) {
        assert!(warning.starts_with(start), "{warning}\nis not\n{start}");
    }
    assert_eq!(warnings.len(), 10, "{warnings:?}");
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
    assert!(matches!(error, SettingsError::Conflict { .. }));
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
