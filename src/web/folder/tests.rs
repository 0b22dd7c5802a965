use super::*;
use flate2::read::GzDecoder;
use http::Method;
use http::header::ALLOW;
use std::io::Read as _;
use tempfile::TempDir;

fn site() -> (TempDir, Folder) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("www");
    for (path, content) in [
        ("index.html", "<p>start</p>"),
        ("contact/index.html", "<p>link</p>"),
        ("media/style.css", "a{}"),
        ("media/link.js", "1"),
        ("media/icon.svg", "<svg/>"),
        ("media/icon.png", "png"),
        ("media/favicon.ico", "0123456789"),
        ("media/font.woff2", "font"),
        ("media/readme", "text"),
        ("well-known/apple-app-site-association", "{}"),
        ("well-known/assetlinks.json", "[]"),
        (".hidden/x.html", "hidden"),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    fs::write(dir.path().join("secret.html"), "secret").unwrap();
    let folder = Folder::open(&root).unwrap();
    (dir, folder)
}

fn request(method: Method, path: &str, headers: &[(HeaderName, &str)]) -> Request {
    let mut request = http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    request.body(()).unwrap()
}

fn get(folder: &Folder, path: &str) -> Response {
    folder.answer(&request(Method::GET, path, &[]))
}

fn get_with(folder: &Folder, path: &str, headers: &[(HeaderName, &str)]) -> Response {
    folder.answer(&request(Method::GET, path, headers))
}

fn of(response: &Response, name: HeaderName) -> &str {
    header(response.headers(), name).unwrap_or("")
}

#[test]
fn paths_lead_to_files_and_pages_of_folders() {
    let (_dir, folder) = site();
    for (path, content, kind) in [
        ("/", "<p>start</p>", "text/html"),
        ("/index.html", "<p>start</p>", "text/html"),
        ("/contact", "<p>link</p>", "text/html"),
        ("/contact/", "<p>link</p>", "text/html"),
        ("/contact?x=1", "<p>link</p>", "text/html"),
        ("/media/style.css", "a{}", "text/css"),
        ("/media/link.js", "1", "application/javascript"),
        ("/media/icon.svg", "<svg/>", "image/svg+xml"),
        ("/media/icon.png", "png", "image/png"),
        ("/media/favicon.ico", "0123456789", "image/x-icon"),
        ("/media/font.woff2", "font", "font/woff2"),
        ("/media/readme", "text", "application/octet-stream"),
        ("/.well-known/assetlinks.json", "[]", "application/json"),
        ("/well-known/assetlinks.json", "[]", "application/json"),
        (
            "/.well-known/apple-app-site-association",
            "{}",
            "application/json",
        ),
    ] {
        let response = get(&folder, path);
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.body(), content, "{path}");
        assert_eq!(of(&response, CONTENT_TYPE), kind, "{path}");
        assert_eq!(of(&response, CONTENT_LENGTH), content.len().to_string());
        assert_eq!(of(&response, ACCEPT_RANGES), "bytes");
        assert!(httpdate::parse_http_date(of(&response, LAST_MODIFIED)).is_ok());
    }
}

#[test]
fn what_is_not_there_or_not_public_is_refused() {
    let (dir, folder) = site();
    let outside = dir.path().join("secret.html");
    std::os::unix::fs::symlink(&outside, dir.path().join("www/leak.html")).unwrap();
    std::os::unix::fs::symlink(dir.path(), dir.path().join("www/up")).unwrap();
    for (path, status, content) in [
        ("/nothing", 404, "File not found"),
        ("/index.html/", 404, "File not found"),
        ("/index.html/x", 404, "File not found"),
        ("/media/", 403, "Directory listings disabled"),
        ("/media", 403, "Directory listings disabled"),
        ("/.well-known/", 403, "Directory listings disabled"),
        ("/.hidden/x.html", 403, "Forbidden"),
        ("/../secret.html", 403, "Forbidden"),
        ("/media/%2e%2e/%2E%2E/secret.html", 403, "Forbidden"),
        ("/..%2fsecret.html", 403, "Forbidden"),
        ("/leak.html", 403, "Forbidden"),
        ("/up/secret.html", 403, "Forbidden"),
        ("/up", 403, "Forbidden"),
        ("/%ff", 400, "Bad path"),
    ] {
        let response = get(&folder, path);
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert_eq!(response.body(), content, "{path}");
        assert_eq!(of(&response, CONTENT_TYPE), "text/plain");
    }
    let long = format!("/{}", "x".repeat(5000));
    assert_eq!(get(&folder, &long).status(), StatusCode::NOT_FOUND);
}

#[test]
fn repeated_slashes_redirect() {
    let (_dir, folder) = site();
    let response = get(&folder, "//media//style.css?x");
    assert_eq!(response.status(), StatusCode::FOUND);
    assert_eq!(of(&response, LOCATION), "/media/style.css");
}

#[test]
fn only_reading_is_supported() {
    let (_dir, folder) = site();
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let response = folder.answer(&request(method, "/", &[]));
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.body(), "Only GET or HEAD is supported");
        assert_eq!(of(&response, ALLOW), "GET, HEAD");
    }
    let response = folder.answer(&request(Method::HEAD, "/", &[]));
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(of(&response, CONTENT_LENGTH), "12");
    assert!(response.body().is_empty());
}

#[test]
fn text_is_compressed_for_those_who_take_it() {
    let (_dir, folder) = site();
    let with = |path: &str, accepted: &str| get_with(&folder, path, &[(ACCEPT_ENCODING, accepted)]);
    for path in [
        "/",
        "/media/style.css",
        "/.well-known/apple-app-site-association",
    ] {
        let plain = get(&folder, path);
        for _ in 0..2 {
            let response = with(path, "br;q=1.0, GZIP;q=0.8, *;q=0.1");
            assert_eq!(of(&response, CONTENT_ENCODING), "gzip");
            assert_eq!(of(&response, VARY), "Accept-Encoding");
            assert_eq!(of(&response, LAST_MODIFIED), "");
            let length = response.body().len().to_string();
            assert_eq!(of(&response, CONTENT_LENGTH), length);
            let mut unpacked = Vec::new();
            let mut decoder = GzDecoder::new(&response.body()[..]);
            decoder.read_to_end(&mut unpacked).unwrap();
            assert_eq!(unpacked, plain.body().to_vec());
        }
    }
    for (path, accepted) in [
        ("/", "identity"),
        ("/", "gzip;q=0"),
        ("/", "br"),
        ("/media/icon.png", "gzip"),
    ] {
        let response = with(path, accepted);
        assert_eq!(of(&response, CONTENT_ENCODING), "", "{path} {accepted}");
    }
}

#[test]
fn unchanged_files_are_not_sent_again() {
    let (dir, folder) = site();
    let modified = of(&get(&folder, "/"), LAST_MODIFIED).to_owned();
    let response = get_with(&folder, "/", &[(IF_MODIFIED_SINCE, &modified)]);
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    assert!(response.body().is_empty());
    let old = [(IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:37 GMT")];
    assert_eq!(get_with(&folder, "/", &old).status(), StatusCode::OK);

    fs::write(dir.path().join("www/index.html"), "<p>other content</p>").unwrap();
    assert_eq!(get(&folder, "/").body(), "<p>other content</p>");
}

#[test]
fn parts_of_files() {
    let (_dir, folder) = site();
    let path = "/media/favicon.ico";
    let response = get_with(&folder, path, &[(RANGE, "bytes=2-4")]);
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(response.body(), "234");
    assert_eq!(of(&response, CONTENT_RANGE), "bytes 2-4/10");
    assert_eq!(of(&response, CONTENT_LENGTH), "3");
    let response = get_with(&folder, path, &[(RANGE, "bytes=99-")]);
    assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(of(&response, CONTENT_RANGE), "bytes */10");
    let other = [(RANGE, "bytes=2-4"), (IF_RANGE, "\"tag\"")];
    assert_eq!(get_with(&folder, path, &other).status(), StatusCode::OK);
}

#[test]
fn every_response_is_guarded() {
    let (_dir, folder) = site();
    for path in ["/", "/nothing", "/../x", "//", "/media/"] {
        let asked = request(Method::GET, path, &[]);
        let response = folder.answer(&asked);
        let policy = of(&response, CONTENT_SECURITY_POLICY);
        assert!(policy.starts_with("default-src 'none'; "));
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
        assert_eq!(of(&response, X_CONTENT_TYPE_OPTIONS), "nosniff");
        assert_eq!(of(&response, REFERRER_POLICY), "no-referrer");
        assert!(!response.headers().contains_key("strict-transport-security"));
    }
}

#[test]
fn large_files_are_refused_and_what_is_kept_is_bounded() {
    let (dir, folder) = site();
    let root = dir.path().join("www");
    let large = fs::File::create(root.join("large.bin")).unwrap();
    large.set_len(MAX_FILE + 1).unwrap();
    assert_eq!(get(&folder, "/large.bin").body(), "File too large");
    for index in 0..5 {
        let name = format!("file-{index}.bin");
        let file = fs::File::create(root.join(&name)).unwrap();
        file.set_len(MAX_FILE - 1).unwrap();
        let response = get(&folder, &format!("/{name}"));
        assert_eq!(response.body().len() as u64, MAX_FILE - 1);
    }
    for index in 0..MAX_KEPT_FILES + 5 {
        let name = format!("small-{index}.bin");
        fs::write(root.join(&name), "x").unwrap();
        get(&folder, &format!("/{name}"));
    }
    let kept = folder.kept.borrow();
    assert!(kept.bytes <= MAX_KEPT_BYTES && kept.files.len() <= MAX_KEPT_FILES);
    let bytes: usize = kept.files.values().map(File::size).sum();
    assert_eq!(kept.bytes, bytes);
}
