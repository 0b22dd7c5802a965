use super::*;
use crate::cli::init::{InitOptions, initialize};
use crate::crypto::certificate::{
    CertificateProfile, DistinguishedName, certificate_to_pem, private_key_from_pem,
};
use crate::runtime::lock::StateLock;
use crate::store::log::{Origin, StoreDirectory};
use std::fs;
use std::net::TcpListener;
use tempfile::TempDir;
use time::Duration;

struct Sandbox {
    _root: TempDir,
    directories: Directories,
}

impl Sandbox {
    /// A server with these lines in its configuration, before which stand those of others.
    fn new(lines: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let directories = Directories::new(Some(root.path()), |_| None);
        let mut console = Console {
            input: &mut std::io::empty(),
            output: &mut std::io::sink(),
        };
        let now = OffsetDateTime::now_utc();
        let options = InitOptions::default();
        initialize(&options, &directories, now, &mut rand::rng(), &mut console).unwrap();
        let sandbox = Self {
            _root: root,
            directories,
        };
        let text = format!("{lines}\n[RELAY]\nshards = 1\naddress = 127.0.0.1\n");
        fs::write(sandbox.directories.ini_file(), text).unwrap();
        sandbox
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directories.config.join(name)
    }

    /// Whether a start is expected to succeed, and the findings.
    fn check(&self) -> (bool, Vec<String>) {
        let mut output = Vec::new();
        let mut console = Console {
            input: &mut std::io::empty(),
            output: &mut output,
        };
        let starts = match run(&self.directories, &mut console) {
            Ok(()) => true,
            Err(CliError::Refused(text)) => {
                assert!(text.starts_with("The server would not start: "), "{text}");
                false
            }
            Err(error) => panic!("{error}"),
        };
        let output = String::from_utf8(output).unwrap();
        (starts, output.lines().map(str::to_owned).collect())
    }

    /// Replaces the online certificate by one that ends after `left`.
    fn make_certificate(&self, left: Duration) {
        let ca_key = private_key_from_pem(&fs::read(self.file("ca.key")).unwrap()).unwrap();
        let key = private_key_from_pem(&fs::read(self.file("server.key")).unwrap()).unwrap();
        let now = OffsetDateTime::now_utc();
        let name = DistinguishedName::authority();
        let mut profile = CertificateProfile::server("x", name, now, &mut rand::rng());
        profile.not_before = now - Duration::days(400);
        profile.not_after = now + left;
        let der = profile.issue(&key.verifying_key(), &ca_key).unwrap();
        fs::write(self.file("server.crt"), certificate_to_pem(&der).unwrap()).unwrap();
    }
}

fn has(lines: &[String], start: &str) -> bool {
    lines.iter().any(|line| line.starts_with(start))
}

const GOOD: &str = "[TRANSPORT]\nhost = smp.example.org\nport = 0\n";

#[test]
fn a_good_configuration() {
    let sandbox = Sandbox::new(GOOD);
    fs::remove_file(sandbox.file("ca.key")).unwrap();
    let (starts, lines) = sandbox.check();
    assert!(starts, "{lines:?}");
    let others = lines.iter().filter(|line| !line.starts_with("ok: "));
    assert_eq!(others.collect::<Vec<_>>(), ["The server would start."]);
    for start in [
        &format!(
            "ok: {} can be read",
            sandbox.file("smp-server.ini").display()
        ),
        "ok: the identity is ",
        "ok: the online certificate is valid for 999998 more days",
        "ok: `smp-server address` shows the address",
        "ok: io_uring can be used by 1 shard",
        "ok: the state folder ",
    ] {
        assert!(has(&lines, start), "{start}: {lines:?}");
    }
}

#[test]
fn every_error_of_the_file_is_told() {
    let sandbox = Sandbox::new(
        "[STORE_LOG]\nenable = yes\nlog_tls = 1\nwhat\n[AUTH]\nnew_queues = 1\n\
         create_password = a@b\n[TRANSPORT]\nport = 0,x\nwebsockets = on\n[NAMES]\nenable: on",
    );
    let (starts, lines) = sandbox.check();
    assert!(!starts);
    for start in [
        &format!(
            "error: {}, line 4: ",
            sandbox.file("smp-server.ini").display()
        ),
        "error: invalid INI setting enable: yes",
        "error: invalid INI setting new_queues: 1",
        "error: invalid INI setting create_password: <hidden>",
        "error: invalid INI setting port: 0,x",
        "warning: unknown key log_tls in [STORE_LOG]",
        "warning: key websockets in [TRANSPORT] is ignored",
        "warning: unknown section [NAMES]",
        "warning: the address needs a host. Set `host` in",
        "warning: ",
    ] {
        assert!(has(&lines, start), "{start}: {lines:?}");
    }
    assert!(!lines.iter().any(|line| line.contains("port 5223")));
}

#[test]
fn credentials_are_checked() {
    let sandbox = Sandbox::new(GOOD);
    let (_, lines) = sandbox.check();
    let ca_key = sandbox.file("ca.key");
    let advice = format!(
        "warning: {} is not needed to run the server",
        ca_key.display()
    );
    assert!(has(&lines, &advice), "{lines:?}");

    let half = Duration::hours(12);
    for (left, state) in [
        (Duration::days(30) + half, "expires in 30 days"),
        (-half, "expired 1 days ago"),
    ] {
        sandbox.make_certificate(left);
        let (starts, lines) = sandbox.check();
        let warning = format!("warning: the online certificate {state}");
        assert!(starts && has(&lines, &warning), "{lines:?}");
    }
    sandbox.make_certificate(Duration::days(31) + half);
    assert!(has(
        &sandbox.check().1,
        "ok: the online certificate is valid for 31 more days"
    ));

    let other = Sandbox::new(GOOD);
    fs::copy(other.file("server.crt"), sandbox.file("server.crt")).unwrap();
    fs::copy(other.file("server.key"), sandbox.file("server.key")).unwrap();
    let (_, lines) = sandbox.check();
    assert!(
        has(&lines, "warning: clients refuse the online certificate: "),
        "{lines:?}"
    );

    fs::copy(other.file("fingerprint"), sandbox.file("fingerprint")).unwrap();
    fs::remove_file(sandbox.file("server.key")).unwrap();
    let (starts, lines) = sandbox.check();
    assert!(!starts);
    assert!(has(&lines, "error: Stored fingerprint is invalid."));
    assert!(has(&lines, "error: no SMP credentials: "), "{lines:?}");
}

#[test]
fn ports_are_tried() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let sandbox = Sandbox::new(&format!(
        "[TRANSPORT]\nport = {port}\ncontrol_port = {port}"
    ));
    let (starts, lines) = sandbox.check();
    assert!(!starts);
    let in_use = format!("error: port {port} is already in use by another process (messages)");
    assert!(has(&lines, &in_use), "{lines:?}");
    let twice = format!("error: port {port} is set for the control port and for messages");
    assert!(has(&lines, &twice), "{lines:?}");

    // Another address has ports of its own.
    let free = TcpListener::bind("127.0.0.2:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let on = |address: &str| {
        let sandbox = Sandbox::new("");
        let text = format!(
            "[TRANSPORT]\nport = {port}\ncontrol_port = {port}\n[RELAY]\naddress = {address}\n"
        );
        fs::write(sandbox.directories.ini_file(), text).unwrap();
        sandbox.check().1
    };
    let twice = format!("error: port {port} is set for the control port and for messages");
    assert!(!has(&on("127.0.0.2"), &twice));
    for all in ["127.0.0.1", "0.0.0.0", "::"] {
        assert!(has(&on(all), &twice), "{all}");
    }

    // The server that runs may have it.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let sandbox = Sandbox::new(&format!("[TRANSPORT]\nport = {port}"));
    let _lock = StateLock::acquire(&sandbox.directories.state).unwrap();
    let (starts, lines) = sandbox.check();
    assert!(starts, "{lines:?}");
    assert!(has(&lines, "ok: a server is running on this state folder"));
    let in_use = format!("ok: port {port} for messages is in use, as a server is running");
    assert!(has(&lines, &in_use), "{lines:?}");
    // Trying did not connect to it.
    taken.set_nonblocking(true).unwrap();
    assert!(taken.accept().is_err());
}

#[test]
fn web_credentials_are_checked() {
    let web = |sandbox: &Sandbox| {
        let (cert, key) = (sandbox.file("web.crt"), sandbox.file("web.key"));
        let lines = format!(
            "{GOOD}[WEB]\nhttps = 443\ncert = {}\nkey = {}\n[RELAY]\nshards = 1\n",
            cert.display(),
            key.display()
        );
        fs::write(sandbox.directories.ini_file(), lines).unwrap();
    };
    let sandbox = Sandbox::new(GOOD);
    web(&sandbox);
    let (starts, lines) = sandbox.check();
    assert!(starts, "pages are missing, messages need not be: {lines:?}");
    let file = sandbox.file("web.crt");
    let missing = format!(
        "warning: no pages with TLS: no HTTPS credentials: {}",
        file.display()
    );
    assert!(has(&lines, &missing), "{lines:?}");

    let now = OffsetDateTime::now_utc();
    let with_days_left = |days: i64, algorithm| {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let mut params = rcgen::CertificateParams::new(["a.org".to_owned()]).unwrap();
        params.not_after = now + Duration::days(days) + Duration::hours(12);
        fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(sandbox.file("web.key"), key.serialize_pem()).unwrap();
        sandbox.check().1
    };
    let lines = with_days_left(60, &rcgen::PKCS_ECDSA_P256_SHA256);
    assert!(
        has(&lines, "ok: the web certificate is valid for 60 more days"),
        "{lines:?}"
    );
    let lines = with_days_left(-3, &rcgen::PKCS_ED25519);
    let expired = format!(
        "warning: the web certificate {} expired 3 days ago",
        file.display()
    );
    assert!(has(&lines, &expired), "{lines:?}");
    let kind = format!(
        "warning: the web certificate {} has a key of a kind that browsers refuse",
        file.display()
    );
    assert!(has(&lines, &kind), "{lines:?}");

    fs::copy(sandbox.file("server.key"), sandbox.file("web.key")).unwrap();
    let lines = sandbox.check().1;
    let other = "web.key is not the key of";
    assert!(lines.iter().any(|line| line.contains(other)), "{lines:?}");
}

#[test]
fn the_state_folder_must_be_a_folder() {
    let sandbox = Sandbox::new(GOOD);
    fs::remove_dir_all(&sandbox.directories.state).unwrap();
    assert!(sandbox.check().0, "it is made at start");
    fs::write(&sandbox.directories.state, "").unwrap();
    let (starts, lines) = sandbox.check();
    assert!(!starts && has(&lines, "error: "), "{lines:?}");
}

#[test]
fn not_initialized() {
    let sandbox = Sandbox::new(GOOD);
    fs::remove_file(sandbox.directories.ini_file()).unwrap();
    let mut console = Console {
        input: &mut std::io::empty(),
        output: &mut std::io::sink(),
    };
    let error = run(&sandbox.directories, &mut console).unwrap_err();
    assert!(error.to_string().contains("server is not initialized"));
}

#[test]
fn a_store_that_would_be_refused_is_told() {
    let sandbox = Sandbox::new("[TRANSPORT]\nport = 0\n[STORE_LOG]\nenable = on");
    let state = &sandbox.directories.state;
    let mut store = StoreDirectory::open(state, 1).unwrap();
    let (starts, lines) = sandbox.check();
    let missing = "smp-server-partition.key is missing";
    assert!(
        !starts && lines.iter().any(|line| line.contains(missing)),
        "{lines:?}"
    );
    fs::write(state.join("smp-server-partition.key"), [1; 16]).unwrap();
    assert!(sandbox.check().0);

    fs::write(state.join("smp-server-store.log"), "").unwrap();
    store
        .set_origin(Origin {
            imported: Some(Vec::new()),
            ..Origin::default()
        })
        .unwrap();
    let (starts, lines) = sandbox.check();
    let stale = "error: smp-server-store.log of a reference server in ";
    assert!(!starts && has(&lines, stale), "{lines:?}");
    fs::remove_file(state.join("smp-server-store.log")).unwrap();
    assert!(sandbox.check().0);
}
