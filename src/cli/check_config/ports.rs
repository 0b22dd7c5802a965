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

impl Use {
    /// Whether both are about the same port of an address. All addresses of IPv6 are those of IPv4
    /// as well.
    fn overlaps(&self, other: &Self) -> bool {
        let covers = |all: IpAddr, one: IpAddr| {
            all.is_unspecified() && (all.is_ipv6() || one.is_ipv4()) || all == one
        };
        let all = IpAddr::from(Ipv6Addr::UNSPECIFIED);
        let (this, that) = (self.ip.unwrap_or(all), other.ip.unwrap_or(all));
        self.port == other.port && (covers(this, that) || covers(that, this))
    }
}

/// Checks that every port is free, or taken by the server that runs, and permitted.
pub(super) fn check(settings: &Settings, running: bool, report: &mut Report) {
    let uses = uses(settings);
    for (index, this) in uses.iter().enumerate() {
        let earlier = uses.get(..index).unwrap_or_default();
        let twice = earlier.iter().find(|other| this.overlaps(other));
        let told = match twice {
            Some(other) => Err(format!(
                "port {} is set for {} and for {}",
                this.port, this.what, other.what
            )),
            None => judge(this, probe(this), running),
        };
        match told {
            Ok(text) => report.ok(text),
            Err(problem) if this.optional => report.warning(problem),
            Err(problem) => report.error(problem),
        }
    }
}

/// What an attempt to take a port means, with or without a server that runs.
fn judge(this: &Use, probe: Probe, running: bool) -> Result<String, String> {
    let Use { port, what, .. } = this;
    match probe {
        Probe::Free => Ok(format!("port {port} is free for {what}")),
        Probe::Taken if running => Ok(format!(
            "port {port} for {what} is in use, as a server is running"
        )),
        // Connections of a server that has stopped may hold it for a while.
        Probe::Taken => match Reservation::new(this.ip, *port) {
            Ok(_) => Ok(format!("port {port} for {what} is about to become free")),
            Err(error) => Err(format!("{error} ({what})")),
        },
        Probe::Forbidden if running => Ok(format!(
            "port {port} for {what} may not be tried by this user, but a server is running"
        )),
        Probe::Forbidden => Err(format!(
            "no permission to listen on port {port} ({what}): give the server \
             CAP_NET_BIND_SERVICE (AmbientCapabilities= in the systemd unit), or run this \
             check as the server runs"
        )),
        Probe::Failed(error) => Err(format!("cannot listen on port {port} ({what}): {error}")),
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
            ip: relay.address.or(Some(Ipv4Addr::UNSPECIFIED.into())),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_may_not_be_tried_says_nothing_about_a_server_that_runs() {
        let this = Use {
            port: 443,
            ip: None,
            what: "messages",
            optional: false,
        };
        assert!(judge(&this, Probe::Forbidden, true).is_ok());
        let error = judge(&this, Probe::Forbidden, false).unwrap_err();
        assert!(error.starts_with("no permission to listen on port 443 (messages): "));
    }
}
