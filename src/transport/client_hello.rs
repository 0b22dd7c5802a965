//! Looks at the hello of a client without taking it: on a port shared with HTTPS, who names a
//! server wants pages (spec: operations §4.3).

use glommio::net::TcpStream;
use glommio::timer::sleep;
use rustls::server::Acceptor;
use std::io;
use std::time::Duration;

/// Longest hello that is looked at, in bytes with its record headers; longer ones count as unnamed.
const MAX_HELLO: usize = 17 << 10;
/// Room for most hellos.
const USUAL_HELLO: usize = 2 << 10;
/// Time between looks at a hello that comes in parts.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(128);
/// Looks at a hello, over ten seconds, after which it counts as unnamed.
const MAX_LOOKS: usize = 90;

/// What the first bytes of a connection tell.
#[derive(Debug, PartialEq, Eq)]
enum Hello {
    /// More of it is needed.
    Incomplete,
    /// It names a server.
    Named,
    /// It names none, or is no hello.
    Unnamed,
}

fn look_at(mut bytes: &[u8]) -> Hello {
    let mut acceptor = Acceptor::default();
    while !bytes.is_empty() {
        if acceptor.read_tls(&mut bytes).is_err() {
            return Hello::Unnamed;
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) if accepted.client_hello().server_name().is_some() => {
                return Hello::Named;
            }
            Ok(Some(_)) | Err(_) => return Hello::Unnamed,
        }
    }
    Hello::Incomplete
}

/// Whether the client names a server. Waits for its hello, which stays to be read.
pub async fn names_server(tcp: &TcpStream) -> io::Result<bool> {
    // Connections that say nothing yet need no buffer.
    let mut buffer = vec![0; 1];
    let mut len = tcp.peek(&mut buffer).await?;
    if len == 0 {
        return Ok(false);
    }
    let mut pause = FIRST_PAUSE;
    for _ in 0..MAX_LOOKS {
        if len == buffer.len() {
            // There may be more than the buffer holds.
            let room = (2 * len).clamp(USUAL_HELLO, MAX_HELLO);
            buffer.resize(room, 0);
            len = tcp.peek(&mut buffer).await?;
        }
        match look_at(buffer.get(..len).unwrap_or_default()) {
            Hello::Named => return Ok(true),
            Hello::Unnamed => return Ok(false),
            Hello::Incomplete if len == MAX_HELLO => return Ok(false),
            Hello::Incomplete if len == buffer.len() => {}
            Hello::Incomplete => {
                // Asking again gives the same bytes at once, so there is nothing to wait for.
                sleep(pause).await;
                pause = LONGEST_PAUSE.min(2 * pause);
                len = tcp.peek(&mut buffer).await?;
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::AsyncWriteExt;
    use glommio::net::TcpListener;
    use glommio::{LocalExecutorBuilder, Placement, spawn_local};
    use proptest::prelude::*;
    use rustls::crypto::aws_lc_rs;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use rustls_pki_types::ServerName;
    use std::sync::Arc;

    /// The first bytes of a client that names a server, or connects to an address.
    fn hello(name: &'static str, protocols: usize) -> Vec<u8> {
        let mut config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = (0..protocols).map(|_| vec![b'x'; 200]).collect();
        let name = ServerName::try_from(name).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    #[test]
    fn a_name_is_found_once_the_hello_is_complete() {
        for (name, expected) in [("example.org", Hello::Named), ("127.0.0.1", Hello::Unnamed)] {
            // The longest needs more than one record.
            for protocols in [0, 20, 90] {
                let hello = hello(name, protocols);
                assert_eq!(look_at(&hello), expected);
                for len in [0, 1, 5, 100, hello.len() - 1] {
                    assert_eq!(look_at(&hello[..len]), Hello::Incomplete, "{len}");
                }
            }
        }
        assert_eq!(look_at(b"GET / HTTP/1.1\r\n\r\n"), Hello::Unnamed);
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at(bytes in proptest::collection::vec(any::<u8>(), 0..600), at in 0..300_usize) {
            look_at(&bytes);
            let mut hello = hello("example.org", 1);
            let count = bytes.len().min(hello.len() - at.min(hello.len()));
            let at = at.min(hello.len());
            hello[at..at + count].copy_from_slice(&bytes[..count]);
            look_at(&hello);
        }
    }

    fn looked_at(parts: &[&[u8]]) -> (bool, usize) {
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(64 << 10)
            .make()
            .unwrap();
        executor.run(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap())
                .await
                .unwrap();
            let mut server = listener.accept().await.unwrap();
            let looking = spawn_local(async move {
                let named = names_server(&server).await.unwrap();
                let mut all = Vec::new();
                futures_lite::AsyncReadExt::read_to_end(&mut server, &mut all)
                    .await
                    .unwrap();
                (named, all.len())
            });
            for part in parts {
                client.write_all(part).await.unwrap();
                sleep(FIRST_PAUSE).await;
            }
            client.close().await.unwrap();
            looking.await
        })
    }

    #[test]
    fn nothing_is_consumed() {
        let hello = hello("example.org", 20);
        let (one, rest) = hello.split_at(3);
        let (two, three) = rest.split_at(2000);
        assert_eq!(looked_at(&[&hello]), (true, hello.len()));
        assert_eq!(looked_at(&[one, two, three]), (true, hello.len()));
        assert_eq!(looked_at(&[b"hello"]), (false, 5));
        assert_eq!(looked_at(&[]), (false, 0));
    }
}
