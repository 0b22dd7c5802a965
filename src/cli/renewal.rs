//! A renewal of the online credentials that was interrupted between its two files.
//!
//! Key and certificate cannot be replaced at once. What is about to replace them, and copies of
//! what is being replaced, lie beside them meanwhile ([`files`](super::files)): one of these
//! belongs to what is there.

use super::files::{self, NEW, OLD};
use crate::crypto::certificate::{certificates_from_pem, certified_key, private_key_from_pem};
use crate::transport::credential::{SERVER_CERTIFICATE_FILE, SERVER_KEY_FILE};
use anyhow::Context;
use std::fs;
use std::path::{Path, PathBuf};

/// Endings of key and certificate that may belong together; what completes the renewal comes first.
const PAIRS: [(&str, &str); 6] = [
    ("", NEW),
    (NEW, ""),
    (OLD, ""),
    ("", OLD),
    (NEW, NEW),
    (OLD, OLD),
];

/// Key and certificate that belong together while those in use do not: endings of their names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interrupted {
    key: &'static str,
    certificate: &'static str,
}

/// Whether a renewal was interrupted.
pub(super) fn find(folder: &Path) -> Option<Interrupted> {
    if belong_together(folder, "", "") {
        return None;
    }
    let mut pairs = PAIRS.into_iter();
    let (key, certificate) = pairs.find(|(key, cert)| belong_together(folder, key, cert))?;
    Some(Interrupted { key, certificate })
}

/// Completes a renewal that was interrupted, or undoes it; says whether there was one.
pub(super) fn complete(folder: &Path) -> anyhow::Result<bool> {
    let Some(Interrupted { key, certificate }) = find(folder) else {
        return Ok(false);
    };
    for (name, end) in [
        (SERVER_KEY_FILE, key),
        (SERVER_CERTIFICATE_FILE, certificate),
    ] {
        let from = path(folder, name, end);
        fs::rename(&from, folder.join(name)).with_context(|| {
            let from = from.display();
            format!(
                "`smp-server cert` was interrupted and cannot be completed from {from}: run it \
                 again as the owner of that file"
            )
        })?;
    }
    files::sync_folder(folder)?;
    Ok(true)
}

fn belong_together(folder: &Path, key_end: &str, certificate_end: &str) -> bool {
    let key = files::read(&path(folder, SERVER_KEY_FILE, key_end))
        .ok()
        .and_then(|pem| private_key_from_pem(&pem).ok());
    let chain = files::read(&path(folder, SERVER_CERTIFICATE_FILE, certificate_end))
        .ok()
        .and_then(|pem| certificates_from_pem(&pem).ok());
    let Some((key, chain)) = key.zip(chain) else {
        return false;
    };
    let leaf = chain.first().and_then(|leaf| certified_key(leaf).ok());
    leaf.is_some_and(|leaf| leaf == key.verifying_key())
}

fn path(folder: &Path, name: &str, end: &str) -> PathBuf {
    folder.join(format!("{name}{end}"))
}
