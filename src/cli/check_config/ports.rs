//! Ports, tried without listening on them.

use super::report::Report;
use crate::config::Settings;
use crate::config::settings::Https;
use crate::transport::listener::Reservation;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A port that is listened on.
struct Use {
    port: u16,
    /// None for all addresses.
    ip: Option<IpAddr>,
    what: &'static str,
    /// Whether the server starts without.
    optional: bool,
}

/// Checks that every port is free, or taken by the server that runs, and permitted.
pub(super) fn check(settings: &Settings, running: bool, report: &mut Report) {
    let uses = uses(settings);
    for (index, this) in uses.iter().enumerate() {
        let Use { port, what, .. } = this;
        let earlier = uses.get(..index).unwrap_or_default();
        let twice = earlier.iter().find(|other| other.port == *port);
        let problem = match (twice, probe(this)) {
            (Some(other), _) => format!("port {port} is set for {what} and for {}", other.what),
            (None, Probe::Free) => {
                report.ok(format!("port {port} is free for {what}"));
                continue;
            }
            (None, Probe::Taken) if running => {
                report.ok(format!(
                    "port {port} for {what} is in use, as a server is running"
                ));
                continue;
            }
            // Connections of a server that has stopped may hold it for a while.
            (None, Probe::Taken) => match Reservation::new(this.ip, *port) {
                Ok(_) => {
                    report.ok(format!("port {port} for {what} is about to become free"));
                    continue;
                }
                Err(error) => format!("{error} ({what})"),
            },
            (None, Probe::Forbidden) => format!(
                "no permission to listen on port {port} ({what}): give the server \
                 CAP_NET_BIND_SERVICE (AmbientCapabilities= in the systemd unit), or run this \
                 check as the server runs"
            ),
            (None, Probe::Failed(error)) => {
                format!("cannot listen on port {port} ({what}): {error}")
            }
        };
        if this.optional {
            report.warning(problem);
        } else {
            report.error(problem);
        }
    }
}

/// Every port of the configuration, without those that the system chooses.
fn uses(settings: &Settings) -> Vec<Use> {
    let (transport, relay, web) = (&settings.transport, &settings.relay, &settings.web);
    let messages = transport.port.ports.iter().map(|port| Use {
        port: *port,
        ip: relay.address,
        what: "messages",
        optional: false,
    });
    let loopback = |port: Option<u16>, what, optional| {
        port.map(|port| Use {
            port,
            ip: Some(Ipv4Addr::LOCALHOST.into()),
            what,
            optional,
        })
    };
    let pages = |port: Option<u16>, what| {
        port.map(|port| Use {
            port,
            ip: Some(Ipv4Addr::UNSPECIFIED.into()),
            what,
            optional: true,
        })
    };
    let has_pages = web.static_path.is_some();
    let https = web.https.as_ref().map(|Https { port, .. }| *port);
    // One of the ports for messages serves pages as well.
    let separate = https.filter(|port| has_pages && !transport.port.ports.contains(port));
    messages
        .chain(loopback(transport.control_port, "the control port", false))
        .chain(loopback(relay.metrics_port, "metrics", true))
        .chain(pages(web.http.filter(|_| has_pages), "pages without TLS"))
        .chain(pages(separate, "pages with TLS"))
        .filter(|this| this.port != 0)
        .collect()
}

enum Probe {
    Free,
    Taken,
    Forbidden,
    Failed(Errno),
}

/// Binds the port without listening: it gets no connections, nor does anybody lose one.
fn probe(this: &Use) -> Probe {
    let ip = this.ip.unwrap_or(Ipv6Addr::UNSPECIFIED.into());
    let bound = try_bind(SocketAddr::new(ip, this.port));
    let bound = match bound {
        // A machine without IPv6.
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if this.ip.is_none() => {
            try_bind((Ipv4Addr::UNSPECIFIED, this.port).into())
        }
        bound => bound,
    };
    match bound {
        Ok(()) => Probe::Free,
        Err(Errno::ADDRINUSE) => Probe::Taken,
        Err(Errno::ACCESS) => Probe::Forbidden,
        Err(error) => Probe::Failed(error),
    }
}

fn try_bind(address: SocketAddr) -> Result<(), Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket(family, SocketType::STREAM, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)
}
