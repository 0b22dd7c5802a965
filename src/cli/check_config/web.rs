//! Credentials of the pages with TLS. Messages are served without them.

use super::report::Report;
use crate::config::settings::Web;
use crate::transport::web_credential::WebCredential;
use time::OffsetDateTime;

/// Checks what pages with TLS need, if there are to be any.
pub(super) fn check(web: &Web, now: OffsetDateTime, report: &mut Report) {
    let Some(https) = &web.https else {
        return;
    };
    let credential = WebCredential::new(&https.cert, &https.key);
    if let Err(error) = credential.reload() {
        report.warning(format!("no pages with TLS: {error}"));
        return;
    }
    let notices = credential.notices(now);
    if notices.is_empty()
        && let Some(days) = credential.days_left(now)
    {
        report.ok(format!("the web certificate is valid for {days} more days"));
    }
    for notice in notices {
        report.warning(notice);
    }
}
