//! `cert`: new online credentials, while the identity stays (spec: operations §1.11).

use super::credentials::{self, CA_KEY_FILE};
use super::files::{self, PUBLIC_MODE, Replacement, SECRET_MODE};
use super::init::sign_algorithm;
use super::{CliError, Console, Directories, renewal, start};
use crate::crypto::certificate::{
    CertificateProfile, Fingerprint, KeyAlgorithm, Summary, certificate_to_pem,
    certificates_from_pem, certified_key, private_key_from_pem, private_key_to_pem,
};
use crate::transport::credential::{
    self, CA_CERTIFICATE_FILE, FINGERPRINT_FILE, SERVER_CERTIFICATE_FILE, SERVER_KEY_FILE,
};
use crate::transport::path;
use anyhow::{Context, anyhow};
use clap::Args;
use rand::{CryptoRng, RngCore};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::path::{Path, PathBuf};
use std::time::Duration;
use time::OffsetDateTime;

/// Options of `cert`.
#[derive(Debug, Default, Args)]
pub struct CertOptions {
    /// Algorithm of the new key, ED25519 or ED448; by default that which signed the present
    /// certificate
    #[arg(short = 'a', long, value_name = "ALG", value_parser = sign_algorithm)]
    pub sign_algorithm: Option<KeyAlgorithm>,
    /// Name in the new certificate; by default that in the present one
    #[arg(long, value_name = "FQDN")]
    pub cn: Option<String>,
    /// Use DIR/etc and DIR/var instead of the system's directories
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Runs `cert`.
pub fn run(
    options: &CertOptions,
    directories: &Directories,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    start::require_initialized(directories)?;
    let now = OffsetDateTime::now_utc();
    renew(options, &directories.config, now, &mut rand::rng())?;
    console.line("Generated new server credentials")?;
    console.line(&credentials::ca_key_advice(&directories.config))?;
    console.line(
        "A running server uses them for new connections once it gets SIGHUP \
         (`systemctl reload smp-server`), or is started again.",
    )?;
    Ok(())
}

/// Replaces key and certificate of the server in `folder`, both or none.
fn renew<R: RngCore + CryptoRng>(
    options: &CertOptions,
    folder: &Path,
    now: OffsetDateTime,
    rng: &mut R,
) -> Result<(), CliError> {
    // What it left behind goes with the next one.
    renewal::complete(folder)?;
    let (algorithm, host) = wanted(options, &folder.join(SERVER_CERTIFICATE_FILE))?;
    let ca_key_file = folder.join(CA_KEY_FILE);
    if !ca_key_file.exists() {
        return Err(anyhow!(
            "{} does not exist: bring the private key of the CA back for this command, or run it \
             on a copy of this folder where the key is (SMP_SERVER_CFG_PATH)",
            ca_key_file.display()
        )
        .into());
    }
    let ca_key = private_key_from_pem(&files::read(&ca_key_file)?)
        .with_context(|| ca_key_file.display().to_string())?;
    let ca_file = folder.join(CA_CERTIFICATE_FILE);
    let authorities = certificates_from_pem(&files::read(&ca_file)?)
        .with_context(|| ca_file.display().to_string())?;
    let identity = authorities.first().context("no certificate")?;
    let is_its_key = certified_key(identity).is_ok_and(|key| key == ca_key.verifying_key());
    if !is_its_key {
        let (key, certificate) = (ca_key_file.display(), ca_file.display());
        return Err(anyhow!("{key} is not the key of {certificate}").into());
    }
    let fingerprint_file = folder.join(FINGERPRINT_FILE);
    let fingerprint = if fingerprint_file.exists() {
        credential::check_stored_fingerprint(folder)
            .map_err(|error| start::unusable(error, folder))?
    } else {
        Fingerprint::of(identity)
    };

    let issuer = Summary::of(identity)
        .ok()
        .and_then(|ca| ca.issuer_name())
        .with_context(|| format!("{}: no name of an issuer", ca_file.display()))?;
    let key = algorithm.generate(rng).map_err(anyhow::Error::from)?;
    let profile = CertificateProfile::server(&host, issuer, now, rng);
    let leaf = profile
        .issue(&key.verifying_key(), &ca_key)
        .map_err(anyhow::Error::from)?;
    check(&leaf, &authorities, now)?;

    let key = private_key_to_pem(&key).map_err(anyhow::Error::from)?;
    let leaf = certificate_to_pem(&leaf).map_err(anyhow::Error::from)?;
    let replacement = Replacement::prepare(
        folder,
        &[
            (SERVER_KEY_FILE, &key, SECRET_MODE),
            (SERVER_CERTIFICATE_FILE, &leaf, PUBLIC_MODE),
            (FINGERPRINT_FILE, &format!("{fingerprint}\n"), PUBLIC_MODE),
        ],
    )?;
    Ok(replacement.commit()?)
}

/// Clients must accept what is about to be used: for example, the name of a CA that was made
/// elsewhere may be encoded in another way than ours.
fn check(
    leaf: &CertificateDer<'_>,
    authorities: &[CertificateDer<'_>],
    now: OffsetDateTime,
) -> anyhow::Result<()> {
    let now = u64::try_from(now.unix_timestamp()).unwrap_or(0);
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    path::validate(leaf, authorities, now)
        .with_context(|| format!("{CA_CERTIFICATE_FILE} cannot issue a new certificate"))
}

/// Algorithm and name of the new certificate; what is not told is as in the present one.
fn wanted(options: &CertOptions, file: &Path) -> Result<(KeyAlgorithm, String), CliError> {
    let present = match options {
        CertOptions {
            sign_algorithm: Some(algorithm),
            cn: Some(cn),
            ..
        } => return Ok((*algorithm, cn.clone())),
        _ => present(file)?,
    };
    let refused = |text: String| CliError::Refused(text);
    let algorithm = match options.sign_algorithm {
        Some(algorithm) => algorithm,
        None => present
            .signed_with
            .map_err(|oid| refused(format!("Unexpected signature algorithm {oid}")))?,
    };
    let cn = match (&options.cn, present.common_name) {
        (Some(cn), _) => cn.clone(),
        (None, Some(Ok(name))) => name,
        (None, None) => {
            let text = "Certificate subject has no CN element";
            return Err(refused(text.to_owned()));
        }
        (None, Some(Err(_))) => {
            let text = "Certificate subject CN decoding failed";
            return Err(refused(text.to_owned()));
        }
    };
    Ok((algorithm, cn))
}

fn present(file: &Path) -> Result<Summary, CliError> {
    let chain = certificates_from_pem(&files::read(file)?).unwrap_or_default();
    let none = || CliError::Refused(format!("No certificate found at {}", file.display()));
    match chain.as_slice() {
        [] => Err(none()),
        [leaf] => Summary::of(leaf).map_err(|_| none()),
        _ => Err(CliError::Refused(format!(
            "Too many certificates at {}",
            file.display()
        ))),
    }
}

#[cfg(test)]
mod tests;
