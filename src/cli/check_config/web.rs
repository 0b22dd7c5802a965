//! Credentials of the pages with TLS. Messages are served without them.

use super::report::Report;
use crate::config::settings::{Https, Web};
use crate::crypto::certificate::Summary;
use crate::transport::web_credential;
use anyhow::Context;
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
            "the web certificate {} expires in {days} days; a new one is used within a minute",
            https.cert.display()
        )),
        Ok(days) => report.ok(format!("the web certificate is valid for {days} more days")),
    }
}

/// Loads chain and key, checks that they belong together, and gives the days they are valid.
fn days_left(https: &Https, now: OffsetDateTime) -> anyhow::Result<i64> {
    let certified = web_credential::load(&https.cert, &https.key)?;
    let summary = Summary::of(certified.end_entity_cert()?)
        .with_context(|| https.cert.display().to_string())?;
    Ok(summary.days_left(now))
}
