//! Answers requests from the files of a folder (spec: operations §4.4).
//!
//! Files are small and read as a whole; those asked for are kept, also compressed, until they
//! change.

use super::path::{BadPath, Target, target};
use super::range::{Part, part};
use super::{Request, Response, reading, text};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, IF_MODIFIED_SINCE, IF_RANGE,
    LAST_MODIFIED, LOCATION, RANGE, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, StatusCode};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The page of a folder.
pub const INDEX: &str = "index.html";

/// Largest file that is served.
const MAX_FILE: u64 = 8 << 20;
/// Largest file that is compressed.
const MAX_COMPRESSED: usize = 1 << 20;
/// Most bytes and files kept.
const MAX_KEPT_BYTES: usize = 16 << 20;
const MAX_KEPT_FILES: usize = 256;

/// The pages need nothing from elsewhere and nothing inline.
const SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
                               img-src 'self'; base-uri 'none'; form-action 'none'; \
                               frame-ancestors 'none'";
/// A folder that is served.
#[derive(Debug)]
pub struct Folder {
    /// Without symbolic links.
    root: PathBuf,
    kept: RefCell<Kept>,
}

/// Files as they were read last.
#[derive(Debug, Default)]
struct Kept {
    files: HashMap<PathBuf, File>,
    bytes: usize,
}

/// A file as it was read.
#[derive(Debug, Clone)]
struct File {
    modified: SystemTime,
    content: Bytes,
    /// Compressed, once somebody has asked for it.
    compressed: Option<Bytes>,
}

impl Folder {
    /// Serves what is in `root`, which must exist.
    pub fn open(root: &Path) -> io::Result<Self> {
        Ok(Self {
            root: root.canonicalize()?,
            kept: RefCell::default(),
        })
    }

    /// The response to a request. The same with and without TLS: to insist on TLS would be for
    /// every port of this host, whoever serves it.
    pub fn answer(&self, request: &Request) -> Response {
        let mut response = reading(request, |request| {
            self.find(request).unwrap_or_else(Refusal::response)
        });
        let headers = response.headers_mut();
        let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
        set(CONTENT_SECURITY_POLICY, SECURITY_POLICY);
        set(X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(REFERRER_POLICY, "no-referrer");
        response
    }

    fn find(&self, request: &Request) -> Result<Response, Refusal> {
        let (path, folder) = match target(request.uri().path()) {
            Ok(Target::Below { path, folder }) => (self.root.join(path), folder),
            Ok(Target::Elsewhere(path)) => return moved(&path),
            Err(BadPath::Malformed) => return Err(Refusal::BadPath),
            Err(BadPath::Forbidden) => return Err(Refusal::Forbidden),
        };
        let mut path = path.canonicalize().map_err(|_| Refusal::NotFound)?;
        let mut metadata = path.metadata().map_err(|_| Refusal::NotFound)?;
        if metadata.is_dir() && path.starts_with(&self.root) {
            let index = path.join(INDEX).canonicalize();
            path = index.map_err(|_| Refusal::NoListing)?;
            metadata = path.metadata().map_err(|_| Refusal::NoListing)?;
        } else if folder {
            return Err(Refusal::NotFound);
        }
        // A symbolic link may lead anywhere.
        if !path.starts_with(&self.root) || !metadata.is_file() {
            return Err(Refusal::Forbidden);
        }
        if metadata.len() > MAX_FILE {
            return Err(Refusal::TooLarge);
        }
        let file = self.read(&path, &metadata);
        let file = file.map_err(|_| Refusal::NotFound)?;
        Ok(self.respond(request.headers(), &path, file))
    }

    fn respond(&self, asked: &HeaderMap, path: &Path, file: File) -> Response {
        let mut response = Response::default();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(content_type(&name(path))),
        );
        if is_compressible(&name(path)) && file.content.len() <= MAX_COMPRESSED {
            headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
            if accepts_gzip(asked) {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                let compressed = self.compress(path, file);
                headers.insert(CONTENT_LENGTH, HeaderValue::from(compressed.len()));
                return response.map(|_| compressed);
            }
        }
        let modified = httpdate::fmt_http_date(file.modified);
        if let Ok(modified) = HeaderValue::from_str(&modified) {
            headers.insert(LAST_MODIFIED, modified);
        }
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if is_unchanged(asked, file.modified) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        let len = file.content.len();
        let content = match asked_part(asked, &modified, len) {
            Part::Whole => file.content,
            Part::Of(range) => {
                let (first, last) = (range.start, range.end - 1);
                set_range(headers, &format!("bytes {first}-{last}/{len}"));
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                file.content.slice(range)
            }
            Part::Unsatisfiable => {
                set_range(headers, &format!("bytes */{len}"));
                *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
                Bytes::new()
            }
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(content.len()));
        response.map(|_| content)
    }

    /// The file as it is now.
    fn read(&self, path: &Path, metadata: &Metadata) -> io::Result<File> {
        let modified = metadata.modified()?;
        let mut kept = self.kept.borrow_mut();
        if let Some(file) = kept.files.get(path)
            && file.modified == modified
            && file.content.len() as u64 == metadata.len()
        {
            return Ok(file.clone());
        }
        let file = File {
            modified,
            content: fs::read(path)?.into(),
            compressed: None,
        };
        kept.put(path, file.clone());
        Ok(file)
    }

    fn compress(&self, path: &Path, mut file: File) -> Bytes {
        if let Some(compressed) = file.compressed {
            return compressed;
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Writing to memory does not fail.
        let written = encoder.write_all(&file.content);
        let compressed = Bytes::from(written.and_then(|()| encoder.finish()).unwrap_or_default());
        file.compressed = Some(compressed.clone());
        self.kept.borrow_mut().put(path, file);
        compressed
    }
}

impl Kept {
    fn put(&mut self, path: &Path, file: File) {
        if let Some(old) = self.files.remove(path) {
            self.bytes -= old.size();
        }
        if self.bytes + file.size() > MAX_KEPT_BYTES || self.files.len() >= MAX_KEPT_FILES {
            *self = Self::default();
        }
        self.bytes += file.size();
        self.files.insert(path.to_owned(), file);
    }
}

impl File {
    fn size(&self) -> usize {
        self.content.len() + self.compressed.as_ref().map_or(0, Bytes::len)
    }
}

/// Why there is no file to be had.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    BadPath,
    NotFound,
    Forbidden,
    NoListing,
    TooLarge,
}

impl Refusal {
    fn response(self) -> Response {
        match self {
            Self::BadPath => text(StatusCode::BAD_REQUEST, "Bad path"),
            Self::NotFound => text(StatusCode::NOT_FOUND, "File not found"),
            Self::Forbidden => text(StatusCode::FORBIDDEN, "Forbidden"),
            Self::NoListing => text(StatusCode::FORBIDDEN, "Directory listings disabled"),
            Self::TooLarge => text(StatusCode::FORBIDDEN, "File too large"),
        }
    }
}

fn moved(path: &str) -> Result<Response, Refusal> {
    let location = HeaderValue::from_str(path).map_err(|_| Refusal::BadPath)?;
    let mut response = text(StatusCode::FOUND, "");
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

fn set_range(headers: &mut HeaderMap, range: &str) {
    if let Ok(range) = HeaderValue::from_str(range) {
        headers.insert(CONTENT_RANGE, range);
    }
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The association file has no extension.
const ASSOCIATION: &str = "apple-app-site-association";

fn extension(name: &str) -> &str {
    match name.rsplit_once('.') {
        _ if name.ends_with(ASSOCIATION) => "json",
        Some((_, extension)) => extension,
        None => "",
    }
}

fn is_compressible(name: &str) -> bool {
    matches!(extension(name), "html" | "css" | "js" | "svg" | "json")
}

fn content_type(name: &str) -> &'static str {
    match extension(name) {
        "html" => "text/html",
        "css" => "text/css",
        "js" => "application/javascript",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "json" => "application/json",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        _ => "application/octet-stream",
    }
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn accepts_gzip(asked: &HeaderMap) -> bool {
    let accepted = header(asked, ACCEPT_ENCODING).unwrap_or_default();
    accepted.split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=");
        let refused = weight.and_then(|weight| weight.parse().ok()) == Some(0.0);
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

fn is_unchanged(asked: &HeaderMap, modified: SystemTime) -> bool {
    let since =
        header(asked, IF_MODIFIED_SINCE).and_then(|date| httpdate::parse_http_date(date).ok());
    // Dates of HTTP have whole seconds.
    since.is_some_and(|since| since + Duration::from_secs(1) > modified)
}

fn asked_part(asked: &HeaderMap, modified: &str, len: usize) -> Part {
    let current = header(asked, IF_RANGE).is_none_or(|date| date == modified);
    match header(asked, RANGE) {
        Some(range) if current => part(range, len),
        _ => Part::Whole,
    }
}

#[cfg(test)]
mod tests;
