//! The files of a server's identity (spec: operations §0, §1.5).

use crate::crypto::certificate::{
    CertificateProfile, Fingerprint, KeyAlgorithm, certificate_to_pem, private_key_to_pem,
};
use crate::transport::credential::{
    CA_CERTIFICATE_FILE, FINGERPRINT_FILE, SERVER_CERTIFICATE_FILE, SERVER_KEY_FILE,
};
use anyhow::Context;
use rand::{CryptoRng, RngCore};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use time::OffsetDateTime;

/// The CA's private key; not needed to run the server.
pub(super) const CA_KEY_FILE: &str = "ca.key";

/// Mode of files with secrets.
pub(super) const SECRET_MODE: u32 = 0o600;
/// Mode of files without.
const PUBLIC_MODE: u32 = 0o644;

/// Makes a CA and a server certificate for `host` and writes them with their keys and the
/// fingerprint into `folder`; refuses to replace files.
pub(super) fn create<R: RngCore + CryptoRng>(
    folder: &Path,
    host: &str,
    algorithm: KeyAlgorithm,
    now: OffsetDateTime,
    rng: &mut R,
) -> anyhow::Result<Fingerprint> {
    let ca_key = algorithm.generate(rng)?;
    let server_key = algorithm.generate(rng)?;
    let ca = CertificateProfile::authority(now, rng);
    let server = CertificateProfile::server(host, ca.subject.clone(), now, rng);
    let ca_der = ca.issue(&ca_key.verifying_key(), &ca_key)?;
    let server_der = server.issue(&server_key.verifying_key(), &ca_key)?;
    let fingerprint = Fingerprint::of(&ca_der);

    let write = |name: &str, text: &str, mode| write_new(&folder.join(name), text, mode);
    write(CA_KEY_FILE, &private_key_to_pem(&ca_key)?, SECRET_MODE)?;
    write(
        CA_CERTIFICATE_FILE,
        &certificate_to_pem(&ca_der)?,
        PUBLIC_MODE,
    )?;
    write(
        SERVER_KEY_FILE,
        &private_key_to_pem(&server_key)?,
        SECRET_MODE,
    )?;
    let pem = certificate_to_pem(&server_der)?;
    write(SERVER_CERTIFICATE_FILE, &pem, PUBLIC_MODE)?;
    write(FINGERPRINT_FILE, &format!("{fingerprint}\n"), PUBLIC_MODE)?;
    Ok(fingerprint)
}

/// Writes a file that must not exist yet, to the disk; its name is durable after
/// [`sync_folder`].
pub(super) fn write_new(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })
    .with_context(|| path.display().to_string())
}

/// Makes the names of files in `folder` survive a loss of power.
pub(super) fn sync_folder(folder: &Path) -> anyhow::Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| folder.display().to_string())
}
