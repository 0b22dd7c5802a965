use super::*;
use crate::config::ini::IniFile;
use crate::config::settings::{Settings, SettingsError};
use std::collections::HashSet;

#[test]
fn sections_are_in_the_documented_order_and_keys_unique() {
    assert_eq!(
        sections(),
        [
            "INFORMATION",
            "STORE_LOG",
            "AUTH",
            "TRANSPORT",
            "PROXY",
            "INACTIVE_CLIENTS",
            "WEB",
            "RELAY"
        ]
    );
    let names: HashSet<_> = KEYS.iter().map(|key| (key.section, key.name)).collect();
    assert_eq!(names.len(), KEYS.len());
    assert!(find("WEB", "https").is_some());
    assert!(find("WEB", "port").is_none());
}

type Texts = &'static [&'static str];

const ON_OFF: (Texts, Texts) = (&["on", "off"], &["", "On", "yes", "true", "1", "on # x"]);
const ANY: (Texts, Texts) = (&["", "x", "a = b: c", "имя"], &[]);
const COUNTRY: (Texts, Texts) = (&["", "GB", "de"], &["GBR", "1", "é"]);
const LINK: (Texts, Texts) = (
    &["", "simplex:/contact#/?v=2", "https://a.org/a#x"],
    &["SimpleX address", "simplex:/ x", "http://a.org"],
);
const PASSWORD: (Texts, Texts) = (
    &["p4ss#w=rd", "a", "é"],
    &["", "a b", "a@b", "a:b", "a/b", "ключ"],
);
const PORT: (Texts, Texts) = (&["0", "443", "65535"], &["", "https", "65536", "-1", "1.5"]);
const PATH: (Texts, Texts) = (&["/srv/www", "a folder"], &[""]);
const SECONDS: (Texts, Texts) = (
    &["1", "21600", "4294967295"],
    &["", "0", "-1", "1.5", "1h", "4294967296"],
);

/// Texts that are accepted and refused, for every key of the table.
const TEXTS: &[(&str, &str, (Texts, Texts))] = &[
    ("INFORMATION", "source_code", ANY),
    ("INFORMATION", "usage_conditions", ANY),
    ("INFORMATION", "condition_amendments", ANY),
    ("INFORMATION", "server_country", COUNTRY),
    ("INFORMATION", "operator", ANY),
    ("INFORMATION", "operator_country", COUNTRY),
    ("INFORMATION", "website", ANY),
    ("INFORMATION", "admin_simplex", LINK),
    ("INFORMATION", "admin_email", ANY),
    ("INFORMATION", "admin_pgp", ANY),
    ("INFORMATION", "admin_pgp_fingerprint", ANY),
    ("INFORMATION", "complaints_simplex", LINK),
    ("INFORMATION", "complaints_email", ANY),
    ("INFORMATION", "complaints_pgp", ANY),
    ("INFORMATION", "complaints_pgp_fingerprint", ANY),
    ("INFORMATION", "hosting", ANY),
    ("INFORMATION", "hosting_country", COUNTRY),
    (
        "INFORMATION",
        "hosting_type",
        (
            &["virtual", "dedicated", "colocation", "owned"],
            &["", "cloud", "Owned"],
        ),
    ),
    ("STORE_LOG", "enable", ON_OFF),
    (
        "STORE_LOG",
        "store_queues",
        (&["memory", "database"], &["", "journal", "disk"]),
    ),
    ("STORE_LOG", "db_connection", ANY),
    ("STORE_LOG", "db_schema", ANY),
    ("STORE_LOG", "db_pool_size", ANY),
    ("STORE_LOG", "db_store_log", ANY),
    ("STORE_LOG", "db_deleted_ttl", ANY),
    (
        "STORE_LOG",
        "store_messages",
        (&["memory", "journal", "database"], &["", "disk", "Memory"]),
    ),
    ("STORE_LOG", "restore_messages", ON_OFF),
    (
        "STORE_LOG",
        "expire_messages_days",
        (&["0", "21", "4294967295"], &["", "-1", "3 weeks", "1.5"]),
    ),
    ("STORE_LOG", "expire_messages_on_start", ON_OFF),
    ("STORE_LOG", "expire_messages_on_send", ON_OFF),
    (
        "STORE_LOG",
        "expire_ntfs_hours",
        (&["0", "24", "4294967295"], &["", "-1", "1d"]),
    ),
    ("STORE_LOG", "log_stats", ON_OFF),
    ("STORE_LOG", "prometheus_interval", SECONDS),
    ("AUTH", "new_queues", ON_OFF),
    ("AUTH", "create_password", PASSWORD),
    ("AUTH", "control_port_admin_password", PASSWORD),
    ("AUTH", "control_port_user_password", PASSWORD),
    (
        "AUTH",
        "daily_block_queue_quota",
        (&["0", "-1", "20"], &["", "many", "1.5"]),
    ),
    ("TRANSPORT", "host", ANY),
    (
        "TRANSPORT",
        "port",
        (
            &["5223", "5223,443", "5223, 443", "0,0"],
            &["", ",", "5223,", "5223,5223", "65536", "https"],
        ),
    ),
    ("TRANSPORT", "log_tls_errors", ON_OFF),
    ("TRANSPORT", "websockets", ANY),
    ("TRANSPORT", "control_port", PORT),
    ("TRANSPORT", "accept_service_credentials", ON_OFF),
    (
        "PROXY",
        "host_mode",
        (&["public", "onion"], &["", "private", "Onion"]),
    ),
    ("PROXY", "required_host_mode", ON_OFF),
    (
        "PROXY",
        "own_server_domains",
        (&["", "a.org", "a.org,b.org", "a.org b.org"], &[]),
    ),
    (
        "PROXY",
        "socks_proxy",
        (
            &[
                "",
                "localhost:9050",
                ":9050",
                "10.0.0.1",
                "[::1]:9",
                "@",
                "u:p@[::1]:9",
            ],
            &["tor:9050", "u@10.0.0.1", "10.0.0.1:0", "[::1"],
        ),
    ),
    (
        "PROXY",
        "socks_mode",
        (&["onion", "always"], &["", "never", "Always"]),
    ),
    (
        "PROXY",
        "client_concurrency",
        (&["1", "32", "65535"], &["", "0", "-1", "65536"]),
    ),
    ("INACTIVE_CLIENTS", "disconnect", ON_OFF),
    ("INACTIVE_CLIENTS", "ttl", SECONDS),
    ("INACTIVE_CLIENTS", "check_interval", SECONDS),
    ("WEB", "static_path", PATH),
    ("WEB", "http", PORT),
    ("WEB", "https", PORT),
    ("WEB", "cert", PATH),
    ("WEB", "key", PATH),
    (
        "RELAY",
        "shards",
        (&["1", "64", "1024"], &["", "0", "1025", "auto"]),
    ),
    (
        "RELAY",
        "durability",
        (&["disk", "process"], &["", "ram", "Disk"]),
    ),
    (
        "RELAY",
        "segment_mb",
        (&["1", "16", "1024"], &["", "0", "1025"]),
    ),
    (
        "RELAY",
        "queue_placement",
        (&["local", "spread", "remote"], &["", "near"]),
    ),
    (
        "RELAY",
        "address",
        (
            &["127.0.0.1", "::1", "0.0.0.0"],
            &["", "localhost", "[::1]"],
        ),
    ),
    (
        "RELAY",
        "msg_queue_quota",
        (&["1", "128", "65535"], &["", "0", "65536"]),
    ),
    ("RELAY", "message_ttl", SECONDS),
    ("RELAY", "message_check_interval", SECONDS),
    ("RELAY", "ntf_ttl", SECONDS),
    ("RELAY", "ntf_check_interval", SECONDS),
    (
        "RELAY",
        "ntf_delivery_interval_ms",
        (&["1", "1500"], &["", "0", "-1", "1s"]),
    ),
    (
        "RELAY",
        "pending_end_interval_ms",
        (&["0", "15000"], &["", "-1", "1s"]),
    ),
    (
        "RELAY",
        "min_version",
        (&["6", "17"], &["", "5", "19", "v6"]),
    ),
    (
        "RELAY",
        "max_version",
        (&["6", "17"], &["", "5", "19", "v6"]),
    ),
    ("RELAY", "alpn", ON_OFF),
    ("RELAY", "smp_proxy", ON_OFF),
    ("RELAY", "proxy_error_interval", SECONDS),
    ("RELAY", "x448", ON_OFF),
    (
        "RELAY",
        "max_connections",
        (&["1", "4294967295"], &["", "0", "4294967296"]),
    ),
    ("RELAY", "tls_setup_timeout", SECONDS),
    ("RELAY", "handshake_timeout", SECONDS),
    ("RELAY", "metrics_port", PORT),
    ("RELAY", "stats_header", ON_OFF),
    (
        "RELAY",
        "stats_day_starts",
        (&["00:00", "23:59"], &["", "24:00", "12:60", "1:00", "noon"]),
    ),
    ("RELAY", "control_idle_timeout", SECONDS),
];

/// Keys whose bad values switch off what they are for, as in the reference.
const LENIENT: [&str; 3] = ["prometheus_interval", "http", "https"];

/// A file with this line, and what makes its key be read; the first of a key counts.
fn with(section: &str, line: &str) -> Result<Settings, SettingsError> {
    let others = match section {
        "INFORMATION" => "source_code = x\noperator = x\nhosting = x\nusage_conditions = x",
        "INACTIVE_CLIENTS" => "disconnect = on\nttl = 1\ncheck_interval = 1",
        "TRANSPORT" => "port = 5223",
        "WEB" => "https = 443\ncert = x\nkey = x",
        _ => "",
    };
    let mut text = format!("[{section}]\n{line}\n{others}\n");
    if section != "TRANSPORT" {
        text.push_str("[TRANSPORT]\nport = 5223\n");
    }
    Settings::from_ini(&IniFile::parse(&text).unwrap())
}

#[test]
fn every_key_has_a_row() {
    let rows: Vec<_> = TEXTS
        .iter()
        .map(|(section, key, _)| (*section, *key))
        .collect();
    let keys: Vec<_> = KEYS.iter().map(|key| (key.section, key.name)).collect();
    assert_eq!(rows, keys);
    for (section, key, (accepted, refused)) in TEXTS {
        assert!(!accepted.is_empty(), "[{section}] {key}");
        let takes_anything = (find(section, key).unwrap().check)("\0\n").is_ok();
        let is_path = *refused == PATH.1;
        assert!(
            takes_anything == refused.is_empty() || is_path,
            "[{section}] {key}"
        );
    }
}

#[test]
fn accepted_texts() {
    for (section, key, (accepted, _)) in TEXTS {
        for text in *accepted {
            for separator in [" = ", ": ", "="] {
                let result = with(section, &format!("{key}{separator}{text}"));
                assert!(
                    !matches!(result, Err(SettingsError::Invalid { .. })),
                    "{key}: {text}: {result:?}"
                );
                let is_ignored = |settings: &Settings| {
                    let warnings = settings.warnings.iter().map(ToString::to_string);
                    warnings
                        .filter(|warning| warning.contains("invalid INI setting"))
                        .count()
                        > 0
                };
                assert!(
                    !result.is_ok_and(|settings| is_ignored(&settings)),
                    "{key}: {text}"
                );
            }
        }
    }
}

/// Errors name the section, the key, the value and what would be accepted.
#[test]
fn refused_texts() {
    for (section, key, (_, refused)) in TEXTS {
        let info = find(section, key).unwrap();
        for text in *refused {
            let result = with(section, &format!("{key} = {text}"));
            let accepted = (info.check)(text).unwrap_err();
            assert!(!accepted.is_empty());
            let value = if info.secret { "<hidden>" } else { text };
            let expected = format!(
                "invalid INI setting {key}: {value} (section [{section}], accepted: {accepted})"
            );
            match result {
                Err(error @ SettingsError::Invalid { .. }) => {
                    assert_eq!(error.to_string(), expected);
                }
                Ok(settings) if LENIENT.contains(key) => {
                    let warnings = settings.warnings.iter().map(ToString::to_string);
                    let ignored = format!("key {key} in [{section}] is ignored: {expected}");
                    assert_eq!(warnings.filter(|warning| *warning == ignored).count(), 1);
                }
                other => panic!("{key} = {text}: {other:?}"),
            }
        }
    }
}
