//! The configuration directory of the reference server works as it is: same identity, same
//! address, and clients connect.

mod support;

use std::fs;
use std::path::Path;
use support::{Recipient, Server, expect_ok, run, send};

const FIXTURE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/reference-6.5.5/etc"
);

#[test]
fn the_directory_of_the_reference_server_works_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let etc = dir.path().join("etc");
    fs::create_dir(&etc).unwrap();
    for file in fs::read_dir(FIXTURE).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), etc.join(file.file_name())).unwrap();
    }
    // What running beside others without privileges needs, nothing else.
    let ini = fs::read_to_string(etc.join("smp-server.ini")).unwrap();
    let ini = ini.replace("\nport = 25223\n", "\nport = 0\n");
    let ini = ini.replace("\ncontrol_port = 25224\n", "\n# control_port = 25224\n");
    fs::write(
        etc.join("smp-server.ini"),
        ini + "\n[RELAY]\naddress = 127.0.0.1\n",
    )
    .unwrap();

    let server = Server::start_in(dir);
    let fingerprint = fs::read_to_string(Path::new(FIXTURE).join("fingerprint")).unwrap();
    assert_eq!(server.fingerprint, fingerprint.trim());
    let address = format!("Server address: smp://{}@<hostnames>", server.fingerprint);
    let printed = server.start_lines.iter().any(|l| l.starts_with(&address));
    assert!(printed, "{:?}", server.start_lines);
    run(async {
        let mut client = server.client().await;
        let queue = Recipient::create(&mut client, true).await;
        let none = loadtest::Auth::None;
        expect_ok(send(&mut client, queue.sender_id(), none, b"hello").await);
        assert_eq!(queue.pushed(&mut client).await.1, b"hello");
    });
    // Serving changes no credential.
    for file in fs::read_dir(FIXTURE).unwrap() {
        let file = file.unwrap();
        if file.file_name() != "smp-server.ini" {
            let ours = fs::read(server.config_file(file.file_name().to_str().unwrap())).unwrap();
            assert_eq!(ours, fs::read(file.path()).unwrap());
        }
    }
}
