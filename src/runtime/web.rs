//! The site: who gets its pages and from where (spec: operations §4.1, §4.3).
//!
//! Pages are served by the control executor. On a port shared with SMP the shards accept, and hand
//! over connections of clients that name a server.

mod handover;
mod pages;
mod serve;

pub use serve::start;

use crate::config::Settings;
use crate::transport::listener::Reservation;
use crate::transport::web_credential::WebCredential;
use glommio::net::TcpStream;
use handover::Handover;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What all executors know of the site.
#[derive(Debug)]
pub struct Web {
    /// Folder of the pages.
    root: PathBuf,
    /// Where pages are served without TLS.
    http: Option<SocketAddr>,
    /// Where and how they are served with TLS.
    https: Option<Https>,
    tls_setup_timeout: Duration,
}

#[derive(Debug)]
struct Https {
    credential: WebCredential,
    place: Place,
    /// Connections that came to a shared port.
    handover: Handover,
}

#[derive(Debug)]
enum Place {
    /// On the SMP port of this number.
    Shared(usize),
    /// On a port of its own.
    Own(SocketAddr),
    /// Nowhere: the port cannot be had.
    Nowhere,
}

impl Web {
    /// Reads what is to be served and reserves ports for it. A port that cannot be had is logged
    /// and left out.
    pub fn prepare(settings: &Settings) -> Option<(Arc<Self>, Vec<Reservation>)> {
        let web = &settings.web;
        let root = web.static_path.clone()?;
        let ip = settings.relay.address;
        let ip = ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let mut reservations = Vec::new();
        let mut reserve = |name, port| match Reservation::new(Some(ip), port) {
            Ok(reservation) => {
                let address = reservation.address();
                reservations.push(reservation);
                Some(address)
            }
            Err(error) => {
                tracing::error!("{name} server crashed: {error}");
                None
            }
        };
        let http = web.http.and_then(|port| reserve("HTTP", port));
        let https = web.https.as_ref().map(|https| {
            let credential = WebCredential::new(&https.cert, &https.key);
            let mut ports = settings.transport.port.ports.iter();
            let place = match ports.position(|port| *port == https.port) {
                Some(index) => Place::Shared(index),
                None => reserve("HTTPS", https.port).map_or(Place::Nowhere, Place::Own),
            };
            Https {
                credential,
                place,
                handover: Handover::default(),
            }
        });
        let this = Self {
            root,
            http,
            https,
            tls_setup_timeout: settings.relay.tls_setup_timeout,
        };
        this.reload();
        Some((Arc::new(this), reservations))
    }

    /// Whether pages may be served on the SMP port of this number.
    pub fn shares(&self, index: usize) -> bool {
        let place = self.https.as_ref().map(|https| &https.place);
        matches!(place, Some(Place::Shared(shared)) if *shared == index)
    }

    /// Whether there is a certificate to serve pages with.
    pub fn has_credential(&self) -> bool {
        let https = self.https.as_ref();
        https.is_some_and(|https| https.credential.is_loaded())
    }

    /// Loads certificate and key, for connections from now on. What is wrong with them is
    /// logged, and those before stay in use.
    pub fn reload(&self) {
        if let Some(https) = &self.https {
            match https.credential.reload() {
                Ok(()) => tracing::info!("HTTPS credentials are loaded"),
                Err(error) => tracing::error!("{error}"),
            }
        }
    }

    /// Gives a connection of a shared port to the control executor. Nothing of it may be read yet.
    pub fn hand_over(&self, tcp: &TcpStream) {
        if let Some(https) = &self.https {
            https.handover.give(tcp);
        }
    }
}
