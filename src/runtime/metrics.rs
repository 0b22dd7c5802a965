//! Metrics for those who ask over HTTP, and in a file.

use super::control::port::process;
use super::control::{Control, Stop};
use super::http::HttpServer;
use super::statistics::METRICS_FILE;
use crate::config::Settings;
use crate::control::metrics::{About, Stamps, render};
use crate::transport::listener::{Listener, Reservation};
use crate::web::{Request, Response, reading, text};
use bytes::Bytes;
use futures_lite::future::or;
use glommio::spawn_local;
use glommio::sync::Semaphore;
use glommio::timer::sleep;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};
use std::{fs, io};

/// Where metrics are, on their port.
const PATH: &str = "/metrics";
/// The text format of Prometheus.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Where an operator tells of the runtime's options; the reference has the same.
const OPTIONS_VARIABLE: &str = "SMP_RTS_OPTIONS";
/// Ending of the file while it is written.
const UNFINISHED: &str = ".unfinished";

/// Reserves the port, for this machine only. One that cannot be had is logged and left out:
/// messages do without metrics.
pub fn reserve(settings: &Settings) -> Option<Reservation> {
    let port = settings.relay.metrics_port?;
    Reservation::new(Some(Ipv4Addr::LOCALHOST.into()), port)
        .inspect_err(|error| tracing::error!("metrics are not served: {error}"))
        .ok()
}

/// What metrics are made of.
struct Metrics {
    control: Rc<Control>,
    stop: Rc<Stop>,
    about: About,
    started: Instant,
    /// Held while metrics are made, so that those who ask at once take no more memory than one.
    turn: Semaphore,
}

/// Listens at an address and serves metrics from then on, and writes their file in the state
/// directory at the interval of the settings; what of it fails is logged.
pub async fn start(
    control: &Rc<Control>,
    stop: &Rc<Stop>,
    settings: &Settings,
    address: Option<SocketAddr>,
    state: &Path,
) {
    let metrics = Rc::new(Metrics {
        control: Rc::clone(control),
        stop: Rc::clone(stop),
        about: About {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            rts_options: std::env::var(OPTIONS_VARIABLE).ok(),
        },
        started: Instant::now(),
        turn: Semaphore::new(1),
    });
    if let Some(address) = address {
        match Listener::bind(address).await {
            Ok(listener) => {
                tracing::info!("Serving metrics on port {}", address.port());
                spawn_local(serve(Rc::clone(&metrics), listener)).detach();
            }
            Err(error) => tracing::error!("metrics are not served: {error}"),
        }
    }
    if let Some(interval) = settings.storage.prometheus_interval {
        let file = state.join(METRICS_FILE);
        spawn_local(keep_file(metrics, interval, file)).detach();
    }
}

impl Metrics {
    /// All of them; nothing once the shards stop.
    async fn render(&self, stamps: Stamps) -> Option<String> {
        let _turn = self.turn.acquire_permit(1).await.ok()?;
        let overview = or(async { Some(self.control.overview().await) }, async {
            self.stop.requested().await;
            None
        });
        let process = process::facts(self.started);
        Some(render(&overview.await?, &self.about, &process, stamps))
    }

    async fn answer(&self, request: &Request) -> Response {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let found = match request.uri().path() {
            PATH if is_read => match self.render(Stamps::Omitted).await {
                Some(metrics) => page(metrics),
                None => text(StatusCode::SERVICE_UNAVAILABLE, "The relay stops"),
            },
            _ => text(StatusCode::NOT_FOUND, "Metrics are at /metrics"),
        };
        reading(request, |_| found)
    }
}

fn page(metrics: String) -> Response {
    let length = metrics.len();
    let mut response = Response::new(Bytes::from(metrics));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORMAT));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

async fn serve(metrics: Rc<Metrics>, listener: Listener) {
    let server = HttpServer::new(async move |request: &Request| metrics.answer(request).await);
    let error = server.listen(listener).await;
    tracing::error!("metrics are not served: {error}");
}

/// Replaces the file from time to time, first after one interval, as the reference does.
async fn keep_file(metrics: Rc<Metrics>, interval: Duration, file: PathBuf) {
    let mut failing = false;
    loop {
        sleep(interval).await;
        let Some(text) = metrics.render(Stamps::Written).await else {
            return;
        };
        let path = file.clone();
        let replaced = glommio::executor()
            .spawn_blocking(move || replace(&path, &text))
            .await;
        if let (Err(error), false) = (&replaced, failing) {
            tracing::warn!("cannot write {}: {error}", file.display());
        }
        failing = replaced.is_err();
    }
}

/// Whoever reads the file sees one or the other. It need not survive a loss of power.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(UNFINISHED);
    fs::write(&unfinished, text)?;
    fs::rename(&unfinished, file)
}
