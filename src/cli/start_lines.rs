//! The lines that `start` prints, one function each (spec: operations §1.7).
//!
//! Scripts and guides look for them, so their words are an interface.

use crate::config::settings::{Auth, InactiveClients};
use crate::config::values::Password;
use crate::crypto::certificate::Fingerprint;
use std::path::Path;
use std::time::Duration;

/// The port that clients will try first.
const CLIENT_PORT: u16 = 443;

/// `Fingerprint: …`.
pub fn fingerprint(fingerprint: &Fingerprint) -> String {
    format!("Fingerprint: {fingerprint}")
}

/// `Server address: smp://…`, with the password that lets its users create queues.
pub fn address(
    fingerprint: &Fingerprint,
    password: Option<&Password>,
    host: &str,
    port: Option<u16>,
) -> String {
    let (mark, password) = password.map_or(("", ""), |password| (":", password.expose()));
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("Server address: smp://{fingerprint}{mark}{password}@{host}{port}")
}

/// Where the source code is, or two lines that ask for it.
pub fn source_code(uri: Option<&str>) -> String {
    match uri {
        Some(uri) => format!("Server source code: {uri}"),
        None => "Warning: server source code is not specified.\n\
                 Add 'source_code' property to [INFORMATION] section of INI file."
            .to_owned(),
    }
}

/// Where queues are kept, if they are.
pub fn store_log(log: Option<&Path>) -> String {
    match log {
        Some(log) => format!("Store log: {}", log.display()),
        None => "Store log disabled.".to_owned(),
    }
}

/// Printed for each port when it is listened on.
pub fn serving(port: u16) -> String {
    format!("Serving SMP protocol on port {port} (TLS)...")
}

/// Printed after [`serving`] for the port that is shared with the pages.
pub fn serving_pages(port: u16) -> String {
    format!("Serving static site on port {port} (TLS)...")
}

/// Advice for servers that do not listen on the port clients will use by default.
pub fn port_advice(ports: &[u16]) -> Option<&'static str> {
    let advice = "\nWARNING: the clients will use port 443 by default soon.\n\
                  Set `port` in smp-server.ini section [TRANSPORT] to `5223,443`\n";
    (!ports.contains(&CLIENT_PORT)).then_some(advice)
}

/// When undelivered messages are dropped, in the largest unit that divides it.
pub fn expiring_messages(ttl: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [
        (86_400, "days"),
        (3_600, "hours"),
        (60, "minutes"),
        (1, "seconds"),
    ];
    let seconds = ttl.as_secs();
    let (size, unit) = UNITS
        .into_iter()
        .find(|(size, _)| seconds > 0 && seconds.is_multiple_of(*size))
        .unwrap_or((1, "seconds"));
    format!("expiring messages after {} {unit}", seconds / size)
}

/// Whether silent connections are closed.
pub fn inactive_clients(inactive: Option<&InactiveClients>) -> String {
    match inactive {
        Some(InactiveClients {
            ttl,
            check_interval,
        }) => format!(
            "expiring clients inactive for {} seconds every {} seconds",
            ttl.as_secs(),
            check_interval.as_secs()
        ),
        None => "not expiring inactive clients".to_owned(),
    }
}

/// Who may create queues.
pub fn new_queues(auth: &Auth) -> &'static str {
    match (auth.new_queues, &auth.create_password) {
        (false, _) => "creating new queues NOT allowed",
        (true, Some(_)) => "creating new queues requires password",
        (true, None) => "creating new queues allowed",
    }
}

/// Where rows of daily statistics are written.
pub fn daily_statistics(file: &Path) -> String {
    format!("server stats log enabled: {}", file.display())
}

/// Where metrics are written, and how often.
pub fn metrics(interval: Duration, file: &Path) -> String {
    format!(
        "Prometheus metrics saved every {} seconds to {}",
        interval.as_secs(),
        file.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::config::ini::IniFile;

    const FINGERPRINT: &str = "1V-Hlk3nlHbIKx1UuP8FRaalmdLgGd2sM2V00n_S1WM=";

    fn settings(text: &str) -> Settings {
        Settings::from_ini(&IniFile::parse(text).unwrap()).unwrap()
    }

    /// What the reference 6.5.5 prints for such a configuration, without its version line.
    #[test]
    fn lines_of_the_reference() {
        let settings = settings(
            "[INFORMATION]\nsource_code = https://github.com/simplex-chat/simplexmq\n\
             [TRANSPORT]\nhost = <hostnames>\nport = 15223\n\
             [INACTIVE_CLIENTS]\ndisconnect = off\n",
        );
        let id: Fingerprint = FINGERPRINT.parse().unwrap();
        let transport = &settings.transport;
        let lines = [
            fingerprint(&id),
            address(
                &id,
                None,
                transport.address_host(),
                transport.address_port(),
            ),
            source_code(
                settings
                    .information
                    .as_ref()
                    .map(|i| i.source_code.as_str()),
            ),
            store_log(Some(Path::new("/var/opt/simplex/smp-server-store.log"))),
            serving(15223),
            port_advice(&transport.port.ports).unwrap().to_owned(),
            expiring_messages(settings.storage.messages.ttl),
            inactive_clients(settings.inactive_clients.as_ref()),
            new_queues(&settings.auth).to_owned(),
            daily_statistics(Path::new("/var/opt/simplex/smp-server-stats.daily.log")),
            metrics(
                Duration::from_secs(60),
                Path::new("/var/opt/simplex/smp-server-metrics.txt"),
            ),
        ];
        let expected = "\
Fingerprint: 1V-Hlk3nlHbIKx1UuP8FRaalmdLgGd2sM2V00n_S1WM=
Server address: smp://1V-Hlk3nlHbIKx1UuP8FRaalmdLgGd2sM2V00n_S1WM=@<hostnames>:15223
Server source code: https://github.com/simplex-chat/simplexmq
Store log: /var/opt/simplex/smp-server-store.log
Serving SMP protocol on port 15223 (TLS)...

WARNING: the clients will use port 443 by default soon.
Set `port` in smp-server.ini section [TRANSPORT] to `5223,443`

expiring messages after 21 days
not expiring inactive clients
creating new queues allowed
server stats log enabled: /var/opt/simplex/smp-server-stats.daily.log
Prometheus metrics saved every 60 seconds to /var/opt/simplex/smp-server-metrics.txt";
        assert_eq!(lines.join("\n"), expected);
    }

    #[test]
    fn other_forms() {
        let id: Fingerprint = FINGERPRINT.parse().unwrap();
        let password = "pw".parse().unwrap();
        assert_eq!(
            address(&id, Some(&password), "a,b.onion", None),
            format!("Server address: smp://{FINGERPRINT}:pw@a,b.onion")
        );
        assert!(source_code(None).starts_with("Warning: server source code is not specified.\n"));
        assert_eq!(store_log(None), "Store log disabled.");
        assert_eq!(port_advice(&[5223, 443]), None);
        for (seconds, text) in [(7_200, "2 hours"), (90, "90 seconds"), (60, "1 minutes")] {
            let line = expiring_messages(Duration::from_secs(seconds));
            assert_eq!(line, format!("expiring messages after {text}"));
        }
        let inactive = InactiveClients {
            ttl: Duration::from_secs(21_600),
            check_interval: Duration::from_secs(3_600),
        };
        assert_eq!(
            inactive_clients(Some(&inactive)),
            "expiring clients inactive for 21600 seconds every 3600 seconds"
        );
        for (auth, text) in [
            (
                "new_queues = off\ncreate_password = x",
                "creating new queues NOT allowed",
            ),
            (
                "create_password = x",
                "creating new queues requires password",
            ),
        ] {
            let settings = settings(&format!("[TRANSPORT]\nport = 1\n[AUTH]\n{auth}\n"));
            assert_eq!(new_queues(&settings.auth), text);
        }
    }
}
