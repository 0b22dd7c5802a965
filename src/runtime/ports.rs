//! The ports of a server, taken before anything else is done: whoever has them is told, and a
//! server that still runs there keeps what it has.

use super::metrics;
use super::server::RunError;
use super::web::Web;
use crate::config::settings::Settings;
use crate::transport::listener::Reservation;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Ports that no other process listens on, kept free until the executors listen.
#[derive(Debug)]
pub struct Ports {
    /// Where SMP is served, in the order of the configuration.
    pub(super) addresses: Vec<SocketAddr>,
    /// Where operators are served, if they are.
    pub(super) control: Option<SocketAddr>,
    /// Where metrics are served, if they are.
    pub(super) metrics: Option<SocketAddr>,
    /// The site, if there is one, with its ports.
    pub(super) web: Option<Arc<Web>>,
    /// What keeps other processes away.
    pub(super) reservations: Vec<Reservation>,
}

impl Ports {
    /// Takes the ports of a configuration.
    pub fn reserve(settings: &Settings) -> Result<Self, RunError> {
        let ports = settings.transport.port.ports.iter();
        let mut reservations = ports
            .map(|port| Reservation::new(settings.relay.address, *port))
            .collect::<Result<Vec<_>, _>>()?;
        let addresses = reservations.iter().map(Reservation::address).collect();
        let control = settings.transport.control_port;
        let control = control
            .map(|port| Reservation::new(Some(Ipv4Addr::LOCALHOST.into()), port))
            .transpose()?;
        let control_address = control.as_ref().map(Reservation::address);
        reservations.extend(control);
        let metrics = metrics::reserve(settings);
        let metrics_address = metrics.as_ref().map(Reservation::address);
        reservations.extend(metrics);
        let (web, of_web) = Web::prepare(settings).unzip();
        reservations.extend(of_web.into_iter().flatten());
        Ok(Self {
            addresses,
            control: control_address,
            metrics: metrics_address,
            web,
            reservations,
        })
    }
}
