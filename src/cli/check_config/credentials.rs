//! Identity and TLS credentials of the server.

use super::report::Report;
use crate::cli::{CliError, address, credentials, renewal};
use crate::config::Settings;
use crate::crypto::certificate::{Fingerprint, Summary};
use crate::transport::credential::{self, Credential};
use crate::transport::path::{self, PathError};
use rustls_pki_types::UnixTime;
use std::path::Path;
use std::time::Duration;
use time::OffsetDateTime;

/// Checks the files of the identity and of the online credentials; gives the identity.
pub(super) fn check(
    folder: &Path,
    now: OffsetDateTime,
    report: &mut Report,
) -> Option<Fingerprint> {
    let fingerprint = match credential::check_stored_fingerprint(folder) {
        Ok(fingerprint) => {
            report.ok(format!("the identity is {fingerprint}"));
            Some(fingerprint)
        }
        Err(error) => {
            report.error(error);
            None
        }
    };
    if renewal::find(folder).is_some() {
        report.warning("`smp-server cert` was interrupted: the next start completes it");
        return fingerprint;
    }
    match Credential::load(folder) {
        Ok(credential) => check_chain(&credential, now, report),
        Err(error) => report.error(error),
    }
    if let Some(warning) = credentials::ca_key_warning(folder) {
        report.warning(warning);
    }
    fingerprint
}

/// What clients see of the credentials.
fn check_chain(credential: &Credential, now: OffsetDateTime, report: &mut Report) {
    let chain = credential.chain();
    if let Some(advice) = credentials::expiry_advice(chain, now) {
        report.warning(advice);
    } else if let Some(Ok(leaf)) = chain.first().map(|leaf| Summary::of(leaf)) {
        let days = leaf.days_left(now);
        report.ok(format!(
            "the online certificate is valid for {days} more days"
        ));
    }
    let seconds = u64::try_from(now.unix_timestamp()).unwrap_or(0);
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let Some((leaf, issuers)) = chain.split_first() else {
        return;
    };
    match path::validate(leaf, issuers, now) {
        Ok(()) | Err(PathError::Expired) => {}
        Err(error) => report.warning(format!("clients refuse the online certificate: {error}")),
    }
}

/// Whether the configuration makes an address that users can enter.
pub(super) fn check_address(settings: &Settings, fingerprint: &Fingerprint, report: &mut Report) {
    match address::addresses(settings, fingerprint) {
        Ok(_) => report.ok("`smp-server address` shows the address"),
        Err(CliError::Refused(text)) => report.warning(text),
        Err(CliError::Failed(error)) => report.warning(format!("{error:#}")),
    }
}
