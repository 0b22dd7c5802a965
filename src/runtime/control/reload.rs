//! Certificates that are replaced while the relay runs, when the operator says so.

use super::executor::Stop;
use super::{Control, ControlRequest};
use crate::crypto::certificate::Fingerprint;
use crate::runtime::online_credential::OnlineCredential;
use crate::runtime::server::{Report, Shared};
use std::rc::Rc;
use std::sync::{Arc, mpsc};

/// Reads certificates again whenever asked, for new connections from then on.
pub async fn reload_on_request(
    control: Rc<Control>,
    shared: Arc<Shared>,
    stop: Rc<Stop>,
    report: mpsc::Sender<Report>,
) {
    let mut seen = 0;
    loop {
        seen = stop.reloads_beyond(seen).await;
        let files = Arc::clone(&shared);
        let read = move || {
            if let Some(web) = &files.web {
                web.reload();
            }
            OnlineCredential::load(&files.config_dir, &files.settings)
        };
        let read = glommio::executor().spawn_blocking(read).await;
        match read {
            Ok(online) if online.identity.key_hash == shared.online.identity.key_hash => {
                control
                    .ask_all(|| ControlRequest::Use(online.clone()))
                    .await;
                tracing::info!("TLS credentials are loaded and used for new connections");
            }
            Ok(online) => tracing::error!(
                "TLS credentials are not replaced: ca.crt has the fingerprint {}, but this server \
                 has the address of {}. Put the former ca.crt back, with a server.crt that \
                 `smp-server cert` made",
                Fingerprint(online.identity.key_hash),
                Fingerprint(shared.online.identity.key_hash),
            ),
            Err(error) => tracing::error!(
                "TLS credentials are not replaced, those loaded before stay in use: {error}. \
                 Correct the files and send SIGHUP again"
            ),
        }
        // The main thread may have given up already.
        let _ = report.send(Report::Reloaded);
    }
}
