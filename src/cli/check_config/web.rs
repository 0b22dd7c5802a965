//! Credentials of the pages with TLS. Messages are served without them.

use super::report::Report;
use crate::config::settings::{Https, Web};
use crate::crypto::certificate::Summary;
use anyhow::Context;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;

/// Days before the end of a web certificate from which on it should have been renewed: those of
/// Let's Encrypt are renewed 30 days before their end.
const RENEWAL_DAYS: i64 = 20;

/// Checks what pages with TLS need, if there are to be any.
pub(super) fn check(web: &Web, now: OffsetDateTime, report: &mut Report) {
    let Some(https) = &web.https else {
        return;
    };
    match days_left(https, now) {
        Err(error) => report.warning(format!("no pages with TLS: {error:#}")),
        Ok(days) if days < 0 => report.warning(format!(
            "the web certificate {} expired {} days ago",
            https.cert.display(),
            -days
        )),
        Ok(days) if days < RENEWAL_DAYS => report.warning(format!(
            "the web certificate {} expires in {days} days; a new one is used from the next start on",
            https.cert.display()
        )),
        Ok(days) => report.ok(format!("the web certificate is valid for {days} more days")),
    }
}

/// Loads chain and key, checks that they belong together, and gives the days they are valid.
fn days_left(https: &Https, now: OffsetDateTime) -> anyhow::Result<i64> {
    let (cert, key) = (https.cert.display(), https.key.display());
    let chain = CertificateDer::pem_file_iter(&https.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| cert.to_string())?;
    let private_key = PrivateKeyDer::from_pem_file(&https.key).with_context(|| key.to_string())?;
    let leaf = chain
        .first()
        .with_context(|| format!("{cert}: no certificate"))?;
    let summary = Summary::of(leaf).with_context(|| cert.to_string())?;
    CertifiedKey::from_der(chain, private_key, &aws_lc_rs::default_provider())
        .with_context(|| format!("{key} is not the key of {cert}"))?;
    Ok(summary.days_left(now))
}
