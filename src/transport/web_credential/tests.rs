use super::*;
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs::cipher_suite;

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a fresh certificate and key, made at another time than any before.
    fn write(&self, algorithm: &'static rcgen::SignatureAlgorithm, seconds: u64) {
        let key = KeyPair::generate_for(algorithm).unwrap();
        self.write_key(&key, seconds);
    }

    fn write_key(&self, key: &KeyPair, seconds: u64) {
        let names = vec!["example.org".to_owned()];
        let cert = CertificateParams::new(names).unwrap();
        let cert = cert.self_signed(key).unwrap();
        for (name, text) in [("web.crt", cert.pem()), ("web.key", key.serialize_pem())] {
            self.put(name, &text, seconds);
        }
    }

    fn put(&self, name: &str, text: &str, seconds: u64) {
        fs::write(self.path(name), text).unwrap();
        let file = fs::File::options().write(true).open(self.path(name));
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        file.unwrap().set_modified(time).unwrap();
    }

    fn credential(&self) -> WebCredential {
        WebCredential::new(&self.path("web.crt"), &self.path("web.key"))
    }
}

#[test]
fn keys_of_every_kind_are_taken() {
    let files = Files::new();
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
    ] {
        files.write(algorithm, 1);
        files.credential().reload().unwrap();
    }
    files.write_key(&rsa(), 1);
    let credential = files.credential();
    credential.reload().unwrap();
    let config = credential.config().unwrap();
    assert_eq!(config.alpn_protocols, [b"http/1.1"]);
    let suites = &config.crypto_provider().cipher_suites;
    assert!(suites.contains(&cipher_suite::TLS13_AES_128_GCM_SHA256));
    let old = cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256;
    assert!(suites.contains(&old));
}

fn rsa() -> KeyPair {
    use ::aws_lc_rs::encoding::AsDer;
    use ::aws_lc_rs::rsa::{KeyPair as RsaKey, KeySize};
    let key = RsaKey::generate(KeySize::Rsa2048).unwrap();
    let der = key.as_der().unwrap();
    let der = rustls_pki_types::PrivatePkcs8KeyDer::from(der.as_ref().to_vec());
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_RSA_SHA256).unwrap()
}

#[test]
fn what_is_wrong_is_said() {
    let files = Files::new();
    let (cert, key) = (files.path("web.crt"), files.path("web.key"));
    let (cert, key) = (cert.display(), key.display());
    let error = || files.credential().reload().unwrap_err().to_string();
    assert_eq!(error(), format!("no HTTPS credentials: {cert}, {key}"));
    files.write(&rcgen::PKCS_ED25519, 1);
    fs::remove_file(files.path("web.key")).unwrap();
    assert_eq!(error(), format!("no HTTPS credentials: {key}"));
    let other = KeyPair::generate().unwrap().serialize_pem();
    files.put("web.key", &other, 1);
    let mismatch = format!("unusable HTTPS credentials: {key} is not the key of {cert}");
    assert_eq!(error(), mismatch);
    files.put("web.key", "nothing", 1);
    assert!(error().starts_with(&format!("unusable HTTPS credentials: {key}: ")));
    files.put("web.crt", "", 1);
    assert!(error().starts_with(&format!("unusable HTTPS credentials: {cert}: ")));
}

#[test]
fn files_are_loaded_again_once_changed() {
    let files = Files::new();
    let credential = files.credential();
    assert!(credential.reload_if_changed().is_err());
    assert!(!credential.is_loaded() && credential.config().is_none());
    // It was said once.
    assert!(!credential.reload_if_changed().unwrap());

    files.write(&rcgen::PKCS_ED25519, 1);
    assert!(credential.reload_if_changed().unwrap());
    assert!(credential.is_loaded());
    assert!(!credential.reload_if_changed().unwrap());
    let first = credential.config().unwrap();

    // A certificate whose key is still on its way.
    files.put("web.key", "", 2);
    assert!(credential.reload_if_changed().is_err());
    assert!(Arc::ptr_eq(&first, &credential.config().unwrap()));
    files.write(&rcgen::PKCS_ECDSA_P256_SHA256, 3);
    assert!(credential.reload_if_changed().unwrap());
    assert!(!Arc::ptr_eq(&first, &credential.config().unwrap()));
}

#[test]
fn a_certificate_near_its_end_is_told() {
    let now = OffsetDateTime::now_utc();
    let notice = |days_before: i64, days_left: i64| {
        let leaf = Summary {
            common_name: None,
            organization: None,
            signed_with: Err(String::new()),
            not_before: now - Duration::days(days_before),
            not_after: now + Duration::days(days_left) + Duration::HOUR,
        };
        expiry_notice(&leaf, now)
    };
    for (before, left) in [(70, 20), (360, 20), (33, 12), (4, 2), (0, 6)] {
        assert_eq!(notice(before, left), None, "{before} {left}");
    }
    for (before, left, text) in [
        (70, 19, "expires in 19 days; "),
        (345, 19, "expires in 19 days; "),
        (35, 10, "expires in 10 days; "),
        (5, 1, "expires in 1 days; "),
        (90, 0, "expires in 0 days; "),
        (90, -1, "expired 1 days ago: "),
        (90, -9, "expired 9 days ago: "),
        (-2, 88, "is not valid yet: "),
    ] {
        let notice = notice(before, left).unwrap_or_default();
        assert!(notice.starts_with(text), "{before} {left}: {notice}");
    }
}

#[test]
fn the_notice_is_about_the_certificate_in_use() {
    let files = Files::new();
    let credential = files.credential();
    let now = OffsetDateTime::now_utc();
    assert!(credential.notices(now).is_empty());
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["example.org".to_owned()]).unwrap();
    params.not_before = now - Duration::days(80);
    params.not_after = now + Duration::days(10) + Duration::HOUR;
    let cert = params.self_signed(&key).unwrap();
    files.put("web.crt", &cert.pem(), 1);
    files.put("web.key", &key.serialize_pem(), 1);
    credential.reload().unwrap();
    let file = files.path("web.crt");
    let expected = format!(
        "the web certificate {} expires in 10 days; a new one is used within a minute",
        file.display()
    );
    assert_eq!(credential.notices(now), [expected]);
    assert_eq!(credential.days_left(now), Some(10));
    // What cannot be used changes nothing.
    files.put("web.crt", "", 2);
    assert!(credential.reload_if_changed().is_err());
    assert_eq!(credential.notices(now).len(), 1);
    for (seconds, algorithm, taken) in [
        (3, &rcgen::PKCS_ED25519, false),
        (4, &rcgen::PKCS_ECDSA_P384_SHA384, true),
        (5, &rcgen::PKCS_ECDSA_P521_SHA512, false),
        (6, &rcgen::PKCS_ECDSA_P256_SHA256, true),
    ] {
        files.write(algorithm, seconds);
        assert!(credential.reload_if_changed().unwrap());
        let notices = credential.notices(now);
        assert_eq!(notices.is_empty(), taken, "{notices:?}");
        assert!(taken || notices[0].contains("browsers refuse"));
    }
    files.write_key(&rsa(), 7);
    assert!(credential.reload_if_changed().unwrap());
    assert!(credential.notices(now).is_empty());
}
