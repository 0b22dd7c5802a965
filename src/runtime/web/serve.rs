//! The control executor's part: listeners, connections handed over, and a watch on the files.

use super::pages::{Pages, Read};
use super::{Https, Place, Web};
use crate::runtime::http::HttpServer;
use crate::transport::listener::Listener;
use crate::web::{Folder, Request};
use glommio::timer::sleep;
use glommio::{executor, spawn_local};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// Time between looks at the files of certificate and key.
const WATCH_INTERVAL: Duration = Duration::from_secs(60);

/// Listens and serves the pages from then on; what fails is logged.
pub async fn start(web: &Arc<Web>) {
    let pages = match Folder::open(&web.root) {
        Ok(folder) => Pages::new(move |request: &Request| folder.answer(request)),
        Err(error) => {
            tracing::error!("cannot serve {}: {error}", web.root.display());
            return;
        }
    };
    if let Some(address) = web.http {
        match Listener::bind(address).await {
            Ok(listener) => {
                tracing::info!("Serving static site on port {}", address.port());
                spawn_local(serve_plain(listener, Rc::clone(&pages))).detach();
            }
            Err(error) => tracing::error!("HTTP server crashed: {error}"),
        }
    }
    let Some(https) = &web.https else { return };
    spawn_local(watch(Arc::clone(web))).detach();
    let listener = match https.place {
        Place::Nowhere => return,
        Place::Shared(_) => None,
        Place::Own(address) => match Listener::bind(address).await {
            Ok(listener) => {
                tracing::info!("Serving static site on port {} (TLS)", address.port());
                Some(listener)
            }
            Err(error) => {
                tracing::error!("HTTPS server crashed: {error}");
                return;
            }
        },
    };
    spawn_local(serve_tls(Arc::clone(web), listener, pages)).detach();
}

async fn serve_plain(listener: Listener, pages: Rc<Pages<impl Read>>) {
    let server = HttpServer::new(async move |request: &Request| pages.answer(request).await);
    let error = server.listen(listener).await;
    tracing::error!("HTTP server crashed: {error}");
}

/// Serves what a listener accepts, or without one the connections that shards hand over.
async fn serve_tls(web: Arc<Web>, listener: Option<Listener>, pages: Rc<Pages<impl Read>>) {
    let Some(https) = &web.https else { return };
    let server = HttpServer::new(async move |request: &Request| pages.answer(request).await);
    loop {
        let tcp = match &listener {
            None => https.handover.take().await,
            Some(listener) => match listener.accept().await {
                Ok(tcp) => tcp,
                Err(error) => {
                    tracing::error!("HTTPS server crashed: {error}");
                    return;
                }
            },
        };
        // Without a certificate there is nothing to say.
        if let Some(config) = https.credential.config() {
            server.start_tls(tcp, config, web.tls_setup_timeout);
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
        let looking = Arc::clone(&web);
        let changed = executor().spawn_blocking(move || {
            let https = looking.https.as_ref();
            https.map_or(Ok(false), |https| https.credential.reload_if_changed())
        });
        match changed.await {
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
