//! The files of a server's identity (spec: operations §0, §1.5).

use crate::cli::files::{PUBLIC_MODE, SECRET_MODE, write_new};
use crate::crypto::certificate::{
    CertificateProfile, Fingerprint, KeyAlgorithm, Summary, certificate_to_pem, private_key_to_pem,
};
use crate::transport::credential::{
    CA_CERTIFICATE_FILE, FINGERPRINT_FILE, SERVER_CERTIFICATE_FILE, SERVER_KEY_FILE,
};
use rand::{CryptoRng, RngCore};
use rustls_pki_types::CertificateDer;
use std::path::Path;
use time::OffsetDateTime;

/// The CA's private key; not needed to run the server.
pub(super) const CA_KEY_FILE: &str = "ca.key";

/// What to do with the key of the CA, and where it is, for people.
pub(super) fn ca_key_advice(folder: &Path) -> String {
    format!(
        "----------\n\
         Move the private key of the CA to a safe place away from this server, and delete it here.\n\
         With it the server's TLS credentials can be replaced without changing the address of the server.\n\
         CA private key location:\n\
         {}\n\
         ----------",
        folder.join(CA_KEY_FILE).display()
    )
}

/// Days before the end of the online certificate from which on an operator is told.
const EXPIRY_NOTICE_DAYS: i64 = 30;

/// What is wrong with certificates a server starts with, and what to do about it; none when they
/// are in order.
pub(super) fn expiry_advice(chain: &[CertificateDer<'_>], now: OffsetDateTime) -> Option<String> {
    let leaf = Summary::of(chain.first()?).ok()?;
    let days = leaf.days_left(now);
    let state = if days < 0 {
        format!("expired {} days ago", -days)
    } else if leaf.not_before > now {
        "is not valid yet".to_owned()
    } else if days <= EXPIRY_NOTICE_DAYS {
        format!("expires in {days} days")
    } else {
        return None;
    };
    Some(format!(
        "the online certificate {state}, and clients accept only a valid one: \
         `smp-server cert` makes a new one"
    ))
}

/// Asks to move the CA's key away, if it lies in `folder`.
pub(super) fn ca_key_warning(folder: &Path) -> Option<String> {
    let file = folder.join(CA_KEY_FILE);
    let text = "is not needed to run the server: whoever gets it can pose as the server for ever. \
                Move it to a safe place away from this machine";
    file.exists().then(|| format!("{} {text}", file.display()))
}

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
    write(CA_KEY_FILE, &*private_key_to_pem(&ca_key)?, SECRET_MODE)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::certificate::DistinguishedName;
    use time::Duration;

    #[test]
    fn certificates_near_their_end_are_told() {
        let now = OffsetDateTime::now_utc();
        let mut rng = rand::rng();
        let key = KeyAlgorithm::Ed25519.generate(&mut rng).unwrap();
        let advice = |before: Duration, left: Duration| {
            let name = DistinguishedName::authority();
            let mut profile = CertificateProfile::server("x", name, now, &mut rand::rng());
            (profile.not_before, profile.not_after) = (now + before, now + left);
            let der = profile.issue(&key.verifying_key(), &key).unwrap();
            // Certificates have no fractions of seconds.
            expiry_advice(&[der], now - Duration::SECOND)
        };
        let (day, hour) = (Duration::DAY, Duration::HOUR);
        assert_eq!(advice(-day, 31 * day + hour), None);
        for (before, left, state) in [
            (-day, 30 * day + hour, "expires in 30 days"),
            (-day, hour, "expires in 0 days"),
            (-2 * day, -hour, "expired 1 days ago"),
            (hour, 60 * day, "is not valid yet"),
        ] {
            let text = advice(before, left).unwrap();
            let start = format!("the online certificate {state}, ");
            assert!(text.starts_with(&start), "{text}");
        }
    }
}
