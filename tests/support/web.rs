//! A site with certificates, and a browser.

use super::Setup;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair as RsaKey, KeySize};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// The name of the site.
const NAME: &str = "site.example";

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with a certificate, the key of it, and room for pages.
pub struct Site {
    dir: TempDir,
    authority: CertificateDer<'static>,
}

impl Site {
    /// A site with an ECDSA key.
    pub fn ecdsa() -> Self {
        Self::with_key(&KeyPair::generate().unwrap())
    }

    /// A site with an RSA key.
    pub fn rsa() -> Self {
        let key = RsaKey::generate(KeySize::Rsa4096).unwrap();
        let der = PrivatePkcs8KeyDer::from(key.as_der().unwrap().as_ref().to_vec());
        let algorithm = &rcgen::PKCS_RSA_SHA256;
        Self::with_key(&KeyPair::from_pkcs8_der_and_sign_algo(&der, algorithm).unwrap())
    }

    /// A site whose certificate has one between it and its authority.
    fn with_key(key: &KeyPair) -> Self {
        let (root, root_key) = (authority("root"), KeyPair::generate().unwrap());
        let (middle, middle_key) = (authority("middle"), KeyPair::generate().unwrap());
        let by_root = Issuer::from_params(&root, &root_key);
        let by_middle = Issuer::from_params(&middle, &middle_key);
        let leaf = CertificateParams::new([NAME.to_owned()]).unwrap();
        let chain = [
            leaf.signed_by(key, &by_middle).unwrap().pem(),
            middle.signed_by(&middle_key, &by_root).unwrap().pem(),
        ];
        let site = Self {
            dir: tempfile::tempdir().unwrap(),
            authority: root.self_signed(&root_key).unwrap().der().clone(),
        };
        fs::write(site.file("web.crt"), chain.concat()).unwrap();
        fs::write(site.file("web.key"), key.serialize_pem()).unwrap();
        site
    }

    /// A file beside the pages.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A server with this site on some port with TLS.
    pub fn setup(&self, https: &str) -> Setup {
        let path = |name| self.file(name).to_str().unwrap().to_owned();
        Setup::default()
            .set("WEB", "static_path", &path("www"))
            .set("WEB", "https", https)
            .set("WEB", "cert", &path("web.crt"))
            .set("WEB", "key", &path("web.key"))
    }

    /// A client that trusts the authority of the site.
    pub fn browser(&self) -> ClientConfig {
        self.browser_of(rustls::ALL_VERSIONS)
    }

    /// The same with some versions of TLS.
    pub fn browser_of(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let name = name.to_owned();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params
}

/// Connects without TLS.
pub fn tcp(address: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp
}

/// Connects with TLS.
pub fn tls(address: SocketAddr, browser: ClientConfig) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from(NAME).unwrap();
    let client = ClientConnection::new(Arc::new(browser), name).unwrap();
    StreamOwned::new(client, tcp(address))
}

/// A response.
pub struct Page {
    /// The line with the status.
    pub status: String,
    headers: Vec<(String, String)>,
    /// The content.
    pub body: Vec<u8>,
}

impl Page {
    /// A header, empty when absent.
    pub fn header(&self, name: &str) -> &str {
        let header = self.headers.iter().find(|(known, _)| known == name);
        header.map_or("", |(_, value)| value)
    }
}

/// Asks for a path on a connection that stays open, and reads the response.
pub fn get(stream: &mut (impl Read + Write), path: &str) -> Page {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    read_page(stream)
}

/// Reads a response, and nothing after it.
pub fn read_page(stream: &mut impl Read) -> Page {
    // One byte at a time, so that nothing of a later response is taken.
    let mut reader = BufReader::with_capacity(1, stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut lines = lines.into_iter();
    let status = lines.next().expect("the connection ended");
    let headers: Vec<_> = lines
        .filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_owned(), value.to_owned()))
        })
        .collect();
    let mut page = Page {
        status,
        headers,
        body: Vec::new(),
    };
    page.body = vec![0; page.header("content-length").parse().unwrap()];
    reader.read_exact(&mut page.body).unwrap();
    page
}
