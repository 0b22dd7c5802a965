//! The control executor's part: listeners, connections handed over, and a watch on the files.

use super::{Https, Place, Web};
use crate::runtime::http::HttpServer;
use crate::transport::listener::{ListenError, Listener};
use crate::web::{Folder, Request};
use glommio::net::TcpStream;
use glommio::spawn_local;
use glommio::timer::sleep;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// Time between looks at the files of certificate and key.
const WATCH_INTERVAL: Duration = Duration::from_secs(60);

/// Serves the pages from now on; what fails is logged.
pub fn spawn(web: &Arc<Web>) {
    let folder = match Folder::open(&web.root) {
        Ok(folder) => Rc::new(folder),
        Err(error) => {
            tracing::error!("cannot serve {}: {error}", web.root.display());
            return;
        }
    };
    if let Some(address) = web.http {
        spawn_local(serve_plain(address, Rc::clone(&folder))).detach();
    }
    if web.https.is_some() {
        spawn_local(watch(Arc::clone(web))).detach();
        spawn_local(serve_tls(Arc::clone(web), folder)).detach();
    }
}

async fn serve_plain(address: SocketAddr, folder: Rc<Folder>) {
    let server = HttpServer::new(async move |request: &Request| folder.answer(request, false));
    let error = match Listener::bind(address).await {
        Ok(listener) => {
            tracing::info!("Serving static site on port {}", address.port());
            server.listen(listener).await
        }
        Err(error) => error,
    };
    tracing::error!("HTTP server crashed: {error}");
}

async fn serve_tls(web: Arc<Web>, folder: Rc<Folder>) {
    let Some(https) = &web.https else { return };
    let Https {
        credential,
        place,
        handover,
    } = https;
    let server = HttpServer::new(async move |request: &Request| folder.answer(request, true));
    let start = |tcp: TcpStream| {
        // Without a certificate there is nothing to say.
        if let Some(config) = credential.config() {
            server.start_tls(tcp, config, web.tls_setup_timeout);
        }
    };
    match place {
        Place::Shared(_) => loop {
            start(handover.take().await);
        },
        Place::Own(address) => {
            let error = accept(*address, start).await;
            tracing::error!("HTTPS server crashed: {error}");
        }
        Place::Nowhere => {}
    }
}

/// Starts every connection to an address until its listener fails.
async fn accept(address: SocketAddr, start: impl Fn(TcpStream)) -> ListenError {
    let listener = match Listener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => return error,
    };
    tracing::info!("Serving static site on port {} (TLS)", address.port());
    loop {
        match listener.accept().await {
            Ok(tcp) => start(tcp),
            Err(error) => return error,
        }
    }
}

/// Loads certificate and key again when their files have changed, and tells once a day that a
/// certificate is near its end.
async fn watch(web: Arc<Web>) {
    let Some(Https { credential, .. }) = &web.https else {
        return;
    };
    // The start has told these.
    let mut told = credential.notices(OffsetDateTime::now_utc());
    loop {
        sleep(WATCH_INTERVAL).await;
        match credential.reload_if_changed() {
            Ok(false) => {}
            Ok(true) => tracing::info!("HTTPS credentials have changed and are in use"),
            Err(error) => tracing::error!("{error}"),
        }
        let notices = credential.notices(OffsetDateTime::now_utc());
        if told != notices {
            notices.iter().for_each(|notice| tracing::warn!("{notice}"));
            told = notices;
        }
    }
}
