//! All pages of the site and their files (spec: operations §4.2).

use super::folder::INDEX;
use super::information::{self, Build};
use super::path::WELL_KNOWN;
use crate::config::Settings;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// First parts of the paths of links: each shows the same page.
pub const LINK_KINDS: [&str; 7] = ["contact", "invitation", "a", "c", "g", "r", "i"];

const LINK_PAGE: &str = include_str!("assets/link.html");

/// What the pages refer to.
const MEDIA: [(&str, &[u8]); 5] = [
    ("favicon.ico", include_bytes!("assets/favicon.ico")),
    ("favicon.svg", include_bytes!("assets/favicon.svg")),
    ("link.js", include_bytes!("assets/link.js")),
    ("qr.js", include_bytes!("assets/qr.js")),
    ("style.css", include_bytes!("assets/style.css")),
];

/// What makes links of this server open in the apps. The values are those of the published apps.
const ASSOCIATIONS: [(&str, &[u8]); 2] = [
    (
        "apple-app-site-association",
        include_bytes!("assets/apple-app-site-association"),
    ),
    ("assetlinks.json", include_bytes!("assets/assetlinks.json")),
];

/// A file or folder of the site cannot be written.
#[derive(Debug, Error)]
#[error("cannot write {}: {source}", path.display())]
pub struct SiteError {
    path: PathBuf,
    source: io::Error,
}

/// Writes the site into `root`: makes folders, replaces files, leaves others alone.
pub fn generate(root: &Path, settings: &Settings, build: Build) -> Result<(), SiteError> {
    let index = information::page(settings, build);
    write(&root.join(INDEX), index.as_bytes())?;
    for (name, content) in MEDIA {
        write(&root.join("media").join(name), content)?;
    }
    for (name, content) in ASSOCIATIONS {
        write(&root.join(WELL_KNOWN).join(name), content)?;
    }
    for kind in LINK_KINDS {
        write(&root.join(kind).join(INDEX), LINK_PAGE.as_bytes())?;
    }
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> Result<(), SiteError> {
    let failed = |source| SiteError {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(path, content).map_err(failed)
}

#[cfg(test)]
mod tests;
