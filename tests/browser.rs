//! Pages as Chromium shows them, while messages go through the same port.
//!
//! Without Chromium it says `SKIPPED`.

mod support;

use loadtest::Auth;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use support::{Recipient, Server, Site, expect_ok, run, send};

const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// The name that the browser finds on the loopback interface.
const HOST: &str = "site.example";

const LINKS: [(&str, &str); 3] = [
    ("/a#key", "SimpleX address"),
    ("/i#key?p=1&h=other.example", "One-time link"),
    (
        "/contact#/?v=2-7&smp=smp%3A%2F%2FPQUV2eL0t7OStZOoAsPEV2QYWt4-xilbakvGUGOItUo%3D%40smp6.simplex.im%2FbKlEwwb0mTPMYGkwCU7kCTKaAQQNKTfA",
        "SimpleX address",
    ),
];

fn browser() -> Option<&'static str> {
    let found = PROGRAMS.into_iter().find(|program| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    });
    if found.is_none() {
        // Not `eprintln!`, which the test runner hides when a test passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED pages in a browser: no chromium");
    }
    found
}

/// The page at an address as it is after its scripts ran.
fn rendered(program: &str, profile: &Path, address: &str) -> String {
    let Output { status, stdout, .. } = Command::new(program)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .args(["--no-first-run", "--disable-background-networking"])
        // The authority of the site is made for the test.
        .arg("--ignore-certificate-errors")
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!(
            "--host-resolver-rules=MAP {HOST} 127.0.0.1, MAP * ~NOTFOUND"
        ))
        .arg(address)
        .stderr(Stdio::null())
        .output()
        .unwrap();
    assert!(status.success(), "{status}");
    String::from_utf8(stdout).unwrap()
}

/// What stands between two texts.
fn between<'a>(page: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = page.split_once(start).expect(start);
    rest.split_once(end).expect(end).0
}

/// The text of a QR code, given as it is drawn: a path of squares with a margin of four.
fn decoded(page: &str) -> String {
    let size: usize = between(page, "viewBox=\"0 0 ", " ").parse().unwrap();
    let size = size - 8;
    let mut dark = vec![false; size * size];
    let path = between(page, "<path d=\"M", "\"");
    for square in path.split('M') {
        let corner = square.strip_suffix("h1v1h-1z").unwrap();
        let (x, y) = corner.split_once(' ').unwrap();
        let [x, y] = [x, y].map(|number| number.parse::<usize>().unwrap() - 4);
        dark[y * size + x] = true;
    }
    let grid = rqrr::SimpleGrid::from_func(size, |x, y| dark[y * size + x]);
    rqrr::Grid::new(grid).decode().unwrap().1
}

/// Messages go through until told to stop; how many.
async fn exchange(server: &Server, stop: &AtomicBool) -> usize {
    let mut recipient = server.client().await;
    let mut sender = server.client().await;
    let queue = Recipient::create(&mut recipient, true).await;
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let body = format!("message {count}");
        let sent = send(&mut sender, queue.sender_id(), Auth::None, body.as_bytes()).await;
        expect_ok(sent);
        let (id, received) = queue.pushed(&mut recipient).await;
        assert_eq!(received, body.as_bytes());
        expect_ok(queue.ack(&mut recipient, &id).await);
        count += 1;
    }
    count
}

#[test]
fn pages_are_shown_while_messages_go_through_the_same_port() {
    let Some(program) = browser() else { return };
    let site = Site::ecdsa();
    let server = site
        .setup("0")
        .set("INFORMATION", "source_code", "https://example.org/code")
        .set("INFORMATION", "operator", "Anna & <i>Söhne</i>")
        .start();
    let origin = format!("https://{HOST}:{}", server.address.port());
    let profile = tempfile::tempdir().unwrap();
    let show = |path: &str| rendered(program, profile.path(), &format!("{origin}{path}"));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let messages = scope.spawn(|| run(exchange(&server, &stop)));

        let page = show("/");
        assert!(page.contains("<dt>Operator</dt><dd>Anna &amp; &lt;i&gt;Söhne&lt;/i&gt;</dd>"));
        for (path, title) in LINKS {
            let page = show(path);
            let title = format!("<h1 id=\"title\" tabindex=\"-1\">{title}</h1>");
            assert!(page.contains(&title), "{page}");
            let link = format!("{origin}{path}");
            assert_eq!(decoded(&page), link);
            let command = format!("/c {}", link.replace('&', "&amp;"));
            assert_eq!(between(&page, "<code id=\"command\">", "</code>"), command);
            let opened = between(&page, "class=\"button\" href=\"", "\"");
            assert!(opened.starts_with("simplex:/"), "{opened}");
        }
        // Without the part behind `#` there is nothing to open.
        let page = show("/a");
        assert!(page.contains("<section id=\"link\" aria-labelledby=\"connect\" hidden=\"\">"));
        assert!(!page.contains("<svg"));

        stop.store(true, Ordering::Relaxed);
        assert!(messages.join().unwrap() > 0);
    });
    server.stop();
}
