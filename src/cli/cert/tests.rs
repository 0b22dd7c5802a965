use super::*;
use crate::cli::init::{InitOptions, initialize};
use crate::crypto::certificate::DistinguishedName;
use crate::transport::credential::Credential;
use std::fs;
use tempfile::TempDir;

struct Server {
    _root: TempDir,
    directories: Directories,
}

impl Server {
    fn new(sign_algorithm: KeyAlgorithm) -> Self {
        let root = tempfile::tempdir().unwrap();
        let directories = Directories::new(Some(root.path()), |_| None);
        let options = InitOptions {
            fqdn: Some("smp.example.org".to_owned()),
            sign_algorithm,
            yes: true,
            ..InitOptions::default()
        };
        let mut console = Console {
            input: &mut std::io::empty(),
            output: &mut std::io::sink(),
        };
        let now = OffsetDateTime::now_utc();
        initialize(&options, &directories, now, &mut rand::rng(), &mut console).unwrap();
        Self {
            _root: root,
            directories,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directories.config.join(name)
    }

    /// Every file but the configuration, with its content.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(&self.directories.config).unwrap();
        let mut files: Vec<_> = entries
            .map(|entry| {
                let path = entry.unwrap().path();
                let bytes = fs::read(&path).unwrap();
                (path, bytes)
            })
            .collect();
        files.sort();
        files
    }

    fn leaf(&self) -> Summary {
        present(&self.file("server.crt")).unwrap()
    }

    fn cert(&self, options: &CertOptions) -> (Result<(), CliError>, String) {
        let mut output = Vec::new();
        let mut console = Console {
            input: &mut std::io::empty(),
            output: &mut output,
        };
        let result = run(options, &self.directories, &mut console);
        (result, String::from_utf8(output).unwrap())
    }

    /// What `cert` refuses or fails with; it must not have changed anything.
    fn error(&self, options: &CertOptions) -> CliError {
        let before = self.files();
        let error = self.cert(options).0.unwrap_err();
        assert!(before == self.files(), "{error}");
        error
    }

    fn refusal(&self) -> String {
        match self.error(&CertOptions::default()) {
            CliError::Refused(text) => text,
            other => panic!("{other:?}"),
        }
    }

    fn failure(&self) -> String {
        match self.error(&CertOptions::default()) {
            CliError::Failed(error) => format!("{error:#}"),
            other => panic!("{other:?}"),
        }
    }

    fn make_certificate(&self, profile: &CertificateProfile) {
        let key = private_key_from_pem(&fs::read(self.file("ca.key")).unwrap()).unwrap();
        let der = profile.issue(&key.verifying_key(), &key).unwrap();
        let pem = certificate_to_pem(&der).unwrap();
        fs::write(self.file("server.crt"), pem).unwrap();
    }
}

#[test]
fn new_credentials_keep_name_and_identity() {
    for algorithm in [KeyAlgorithm::Ed25519, KeyAlgorithm::Ed448] {
        let server = Server::new(algorithm);
        let before = Credential::load(&server.directories.config).unwrap();
        let (result, output) = server.cert(&CertOptions::default());
        result.unwrap();
        let ca_key = server.file("ca.key");
        let lines: Vec<_> = output.lines().collect();
        assert_eq!(lines[0], "Generated new server credentials");
        assert_eq!((lines[1], lines[6]), ("----------", "----------"));
        assert_eq!(lines[4], "CA private key location:");
        assert_eq!(lines[5], ca_key.to_str().unwrap());
        let after = Credential::load(&server.directories.config).unwrap();
        assert_eq!(before.identity(), after.identity());
        assert_eq!(before.chain()[1], after.chain()[1]);
        assert_ne!(before.chain()[0], after.chain()[0]);
        assert_ne!(
            before.signing_key().verifying_key(),
            after.signing_key().verifying_key()
        );
        assert_eq!(server.leaf().signed_with, Ok(algorithm));
        assert_eq!(
            server.leaf().common_name,
            Some(Ok("smp.example.org".to_owned()))
        );
        let stored = credential::check_stored_fingerprint(&server.directories.config).unwrap();
        assert_eq!(stored.0, after.identity());
        assert_eq!(server.files().len(), 6, "{:?}", server.files());
    }
}

#[test]
fn options_choose_name_and_algorithm() {
    for (algorithm, other) in [
        (KeyAlgorithm::Ed25519, KeyAlgorithm::Ed448),
        (KeyAlgorithm::Ed448, KeyAlgorithm::Ed25519),
    ] {
        let server = Server::new(algorithm);
        let options = CertOptions {
            sign_algorithm: Some(other),
            cn: Some("other.example.org".to_owned()),
            dir: None,
        };
        // With both told, the present certificate is not needed.
        fs::remove_file(server.file("server.crt")).unwrap();
        fs::remove_file(server.file("fingerprint")).unwrap();
        server.cert(&options).0.unwrap();
        let credential = Credential::load(&server.directories.config).unwrap();
        let is_ed448 = matches!(
            credential.signing_key().verifying_key(),
            crate::crypto::keys::VerifyingKey::Ed448(_)
        );
        assert_eq!(is_ed448, other == KeyAlgorithm::Ed448);
        // The signature is that of the CA.
        assert_eq!(server.leaf().signed_with, Ok(algorithm));
        assert_eq!(
            server.leaf().common_name,
            Some(Ok("other.example.org".to_owned()))
        );
        assert!(server.file("fingerprint").exists());
    }
}

#[test]
fn the_directory_of_the_reference() {
    let server = Server::new(KeyAlgorithm::Ed25519);
    let fixture = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/reference-6.5.5/etc"
    );
    for name in ["ca.key", "ca.crt", "server.crt", "smp-server.ini"] {
        fs::copy(Path::new(fixture).join(name), server.file(name)).unwrap();
    }
    fs::remove_file(server.file("fingerprint")).unwrap();
    server.cert(&CertOptions::default()).0.unwrap();
    let fingerprint = fs::read_to_string(Path::new(fixture).join("fingerprint")).unwrap();
    assert_eq!(
        fs::read_to_string(server.file("fingerprint")).unwrap(),
        fingerprint
    );
    Credential::load(&server.directories.config).unwrap();
}

#[test]
fn what_cannot_be_taken_from_the_present_certificate() {
    let server = Server::new(KeyAlgorithm::Ed25519);
    let file = server.file("server.crt");
    let good = fs::read_to_string(&file).unwrap();
    let path = file.display();
    for text in ["", "rubbish", "-----BEGIN CERTIFICATE-----\n?"] {
        fs::write(&file, text).unwrap();
        assert_eq!(server.refusal(), format!("No certificate found at {path}"));
    }
    fs::write(&file, format!("{good}{good}")).unwrap();
    assert_eq!(server.refusal(), format!("Too many certificates at {path}"));

    let name = DistinguishedName::authority();
    let now = OffsetDateTime::now_utc();
    let profile = CertificateProfile::server("x", name, now, &mut rand::rng());
    server.make_certificate(&profile);
    assert!(server.cert(&CertOptions::default()).0.is_ok());
    // An RSA certificate from elsewhere.
    fs::write(&file, RSA).unwrap();
    assert_eq!(
        server.refusal(),
        "Unexpected signature algorithm 1.2.840.113549.1.1.11"
    );
    let options = CertOptions {
        sign_algorithm: Some(KeyAlgorithm::Ed25519),
        ..CertOptions::default()
    };
    match server.error(&options) {
        CliError::Refused(text) => assert_eq!(text, "Certificate subject has no CN element"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_lost_when_it_fails() {
    for name in ["ca.key", "ca.crt", "server.crt"] {
        let server = Server::new(KeyAlgorithm::Ed25519);
        fs::remove_file(server.file(name)).unwrap();
        let path = server.file(name);
        assert!(server.failure().starts_with(path.to_str().unwrap()));
    }
    let server = Server::new(KeyAlgorithm::Ed25519);
    fs::remove_file(server.file("ca.key")).unwrap();
    assert!(
        server
            .failure()
            .contains("bring the private key of the CA back")
    );
    let server = Server::new(KeyAlgorithm::Ed25519);
    let other = Server::new(KeyAlgorithm::Ed25519);
    fs::copy(other.file("ca.key"), server.file("ca.key")).unwrap();
    assert!(server.failure().contains("is not the key of"));
    fs::write(server.file("ca.key"), "rubbish").unwrap();
    assert!(server.failure().contains("ca.key"));

    // Another identity is not taken for this one.
    let server = Server::new(KeyAlgorithm::Ed25519);
    fs::copy(other.file("fingerprint"), server.file("fingerprint")).unwrap();
    assert_eq!(server.refusal(), "Stored fingerprint is invalid.");

    fs::remove_file(server.directories.ini_file()).unwrap();
    assert!(
        server
            .refusal()
            .starts_with("Error: server is not initialized (")
    );
}

/// `openssl req -x509 -newkey rsa:1024 -nodes -days 36500 -subj /O=Nobody`.
const RSA: &str = "\
-----BEGIN CERTIFICATE-----
MIICADCCAWmgAwIBAgIUXVdBE/I8xlTDP8uKnRaQ/P8u/LMwDQYJKoZIhvcNAQEL
BQAwETEPMA0GA1UECgwGTm9ib2R5MCAXDTI2MTEyODAzNDQyOFoYDzIxMjYxMTA0
MDM0NDI4WjARMQ8wDQYDVQQKDAZOb2JvZHkwgZ8wDQYJKoZIhvcNAQEBBQADgY0A
MIGJAoGBAMVf1JpNpORf9hEV8fXA6jc6kzeuNd1eh2YnV/iMI3DFgBLTPTWooPpb
NBRryvHDQGwAbx90sr42tvmLZIVyP9U71BQkGjLwSm2eDZhH2tUb3NBGD4pVclFK
+qaXp6rTtvTRruVczEyqTI9NfhqvXQJ+AF8o+71yryfqyOkagz3dAgMBAAGjUzBR
MB0GA1UdDgQWBBRa9H6eugfc0kVtTd/C7Jz/ur3WuzAfBgNVHSMEGDAWgBRa9H6e
ugfc0kVtTd/C7Jz/ur3WuzAPBgNVHRMBAf8EBTADAQH/MA0GCSqGSIb3DQEBCwUA
A4GBAJBnYhuNduq+9Jczc0NXW7EGtc1c5S7HZr60DAHk2agGAB2oBgKbESFttkig
mHddZVjmWqa4/VGjJm8Lvng0Mee98FgpeT/2U4fN6hQEBT7cltPvMbVpK1qIfGmo
9S5XjU3mKBABajVilGN4Xn/pJQCoSXNyE71712+ekp7OWwbb
-----END CERTIFICATE-----
";

#[test]
fn a_renewal_that_was_interrupted_is_completed_or_undone() {
    let server = Server::new(KeyAlgorithm::Ed25519);
    let other = Server::new(KeyAlgorithm::Ed25519);
    let folder = &server.directories.config;
    let (key, leaf) = ("server.key", "server.crt");
    let mut states = Vec::new();
    // What is in use, and what lies beside it, after a kill at any point.
    for (beside_key, beside_leaf) in [(".new", ".new"), (".old", ".old")] {
        states.push((beside_key, ""));
        states.push(("", beside_leaf));
        states.push((beside_key, beside_leaf));
    }
    let good = [key, leaf].map(|name| fs::read(server.file(name)).unwrap());
    let bad = [key, leaf].map(|name| fs::read(other.file(name)).unwrap());
    for (key_end, leaf_end) in states {
        for (n, (name, end)) in [(key, key_end), (leaf, leaf_end)].into_iter().enumerate() {
            // The one that is to be found, and a wrong one in its place.
            fs::write(server.file(name), &bad[n]).unwrap();
            fs::write(server.file(&format!("{name}{end}")), &good[n]).unwrap();
        }
        if (key_end, leaf_end) == (".new", ".new") || (key_end, leaf_end) == (".old", ".old") {
            // The pair in use does not belong together either.
            fs::write(server.file(leaf), "nonsense").unwrap();
        }
        assert!(Credential::load(folder).is_err(), "{key_end} {leaf_end}");
        assert!(renewal::find(folder).is_some(), "{key_end} {leaf_end}");
        assert!(renewal::complete(folder).unwrap(), "{key_end} {leaf_end}");
        Credential::load(folder).unwrap();
        assert_eq!(
            [key, leaf].map(|name| fs::read(server.file(name)).unwrap()),
            good
        );
        assert!(!renewal::complete(folder).unwrap());
        for name in [key, leaf]
            .iter()
            .flat_map(|n| [format!("{n}.new"), format!("{n}.old")])
        {
            let _ = fs::remove_file(server.file(&name));
        }
    }
}

#[test]
fn a_renewal_after_an_interrupted_one_works() {
    let server = Server::new(KeyAlgorithm::Ed25519);
    let key = server.file("server.key");
    let old = fs::read(&key).unwrap();
    // Killed when the key was replaced, and the new certificate lost.
    fs::write(server.file("server.key.old"), old).unwrap();
    let other = Server::new(KeyAlgorithm::Ed25519);
    fs::copy(other.file("server.key"), &key).unwrap();
    server.cert(&CertOptions::default()).0.unwrap();
    Credential::load(&server.directories.config).unwrap();
    assert!(!server.file("server.key.old").exists());
}
