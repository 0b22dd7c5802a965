//! `address`: what users enter in their apps (spec: operations §1.7, §6.8).

use super::{CliError, Console, Directories, start};
use crate::config::Settings;
use crate::config::settings::HOST_PLACEHOLDER;
use crate::crypto::certificate::Fingerprint;
use crate::protocol::address::{AddressWithPassword, ServerAddress, TransportHost};
use crate::transport::credential;
use anyhow::anyhow;
use clap::Args;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use std::io::{IsTerminal, stdout};
use std::path::PathBuf;

/// Black on white, whatever the colours of the terminal are.
const QR_COLOURS: &str = "\x1b[38;5;16;48;5;231m";
const NO_COLOURS: &str = "\x1b[0m";

/// Options of `address`.
#[derive(Debug, Default, Args)]
pub struct AddressOptions {
    /// Draw a QR code as well
    #[arg(long)]
    pub qr: bool,
    /// Use DIR/etc and DIR/var instead of the system's directories
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Runs `address`.
pub fn run(
    options: &AddressOptions,
    directories: &Directories,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let settings = start::load_settings(directories)?;
    let fingerprint = credential::check_stored_fingerprint(&directories.config)
        .map_err(|error| start::unusable(error, &directories.config))?;
    for address in addresses(&settings, &fingerprint)? {
        console.line(&address)?;
        if options.qr {
            let colours = stdout().is_terminal();
            console.line(&qr_code(&address, colours)?)?;
        }
    }
    Ok(())
}

/// The addresses of a server: one with all its hosts when clients find its port by themselves,
/// else one for every port.
pub(super) fn addresses(
    settings: &Settings,
    fingerprint: &Fingerprint,
) -> Result<Vec<String>, CliError> {
    let hosts = hosts(
        &settings
            .transport
            .address_host()
            .replace(HOST_PLACEHOLDER, ""),
    )?;
    let ports = match settings.transport.address_port() {
        None => vec![String::new()],
        Some(_) => {
            let ports = settings.transport.port.ports.iter();
            ports.map(ToString::to_string).collect()
        }
    };
    let password = settings.auth.create_password.as_ref();
    ports
        .into_iter()
        .map(|port| {
            let address = AddressWithPassword {
                server: ServerAddress {
                    hosts: hosts.clone(),
                    port,
                    key_hash: fingerprint.0.to_vec(),
                },
                password: password.map(|password| password.expose().to_owned()),
            };
            let text = address.to_string();
            if text
                .parse()
                .is_ok_and(|parsed: AddressWithPassword| parsed == address)
            {
                Ok(text)
            } else {
                Err(anyhow!("the hosts and the port make no address that clients can read").into())
            }
        })
        .collect()
}

fn hosts(text: &str) -> Result<Vec<TransportHost>, CliError> {
    let names: Vec<_> = text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    if names.is_empty() {
        let text =
            "Error: the address needs a host.\nSet `host` in section [TRANSPORT] of INI file.";
        return Err(CliError::Refused(text.to_owned()));
    }
    let host = |name: &&str| {
        name.parse().map_err(|_| {
            CliError::Refused(format!(
                "Error: {name} is not a host name.\nCheck `host` in section [TRANSPORT] of INI file."
            ))
        })
    };
    names.iter().map(host).collect()
}

fn qr_code(text: &str, colours: bool) -> anyhow::Result<String> {
    let code = QrCode::new(text)?.render::<Dense1x2>().build();
    if !colours {
        return Ok(code);
    }
    let lines = code
        .lines()
        .map(|line| format!("{QR_COLOURS}{line}{NO_COLOURS}"));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ini::IniFile;

    const FINGERPRINT: &str = "1V-Hlk3nlHbIKx1UuP8FRaalmdLgGd2sM2V00n_S1WM=";

    fn addresses_of(transport: &str, auth: &str) -> Result<Vec<String>, CliError> {
        let text = format!("[TRANSPORT]\n{transport}\n[AUTH]\n{auth}\n");
        let settings = Settings::from_ini(&IniFile::parse(&text).unwrap()).unwrap();
        addresses(&settings, &FINGERPRINT.parse().unwrap())
    }

    #[test]
    fn what_clients_accept() {
        for (transport, auth, tails) in [
            (
                "host = smp.example.org\nport = 5223,443",
                "",
                &["@smp.example.org"][..],
            ),
            (
                "host = smp.example.org, abc.onion\nport = 443",
                "create_password = pw",
                &[":pw@smp.example.org,abc.onion"],
            ),
            (
                "host = a.org\nport = 7001,7002",
                "",
                &["@a.org:7001", "@a.org:7002"],
            ),
            ("host = 2001:db8::1\nport = 5223", "", &["@2001:db8::1"]),
            (
                "host = [2001:db8::1]\nport = 15223",
                "",
                &["@[2001:db8::1]:15223"],
            ),
        ] {
            let expected: Vec<_> = tails
                .iter()
                .map(|tail| format!("smp://{FINGERPRINT}{tail}"))
                .collect();
            assert_eq!(addresses_of(transport, auth).unwrap(), expected);
        }
    }

    #[test]
    fn hosts_that_are_none() {
        for (host, text) in [
            ("", "needs a host"),
            ("host =\n", "needs a host"),
            ("host = <hostnames>\n", "needs a host"),
            ("host = https://a.org\n", "https://a.org is not a host name"),
        ] {
            match addresses_of(&format!("{host}port = 5223"), "") {
                Err(CliError::Refused(refusal)) => assert!(refusal.contains(text), "{refusal}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn qr_codes_are_square_and_quiet_around() {
        let code = qr_code(&format!("smp://{FINGERPRINT}:pw@smp.example.org"), false).unwrap();
        let lines: Vec<_> = code.lines().collect();
        let width = lines[0].chars().count();
        assert_eq!(width.div_ceil(2), lines.len());
        assert!(lines.iter().all(|line| line.chars().count() == width));
        assert!(lines[0].chars().all(|c| c == ' '));
        let coloured = qr_code("smp://x", true).unwrap();
        assert!(coloured.lines().all(|line| line.starts_with(QR_COLOURS)));
    }
}
