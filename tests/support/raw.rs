//! A connection whose hellos and blocks are written by hand.

use super::wire::{Item, bytes8, items, take8, x25519_key};
use futures_lite::future::poll_fn;
use glommio::net::TcpStream;
use loadtest::Target;
use smp_server::crypto::chain::BlockChain;
use smp_server::crypto::keys::{X25519PublicKey, X25519SecretKey};
use smp_server::transport::{TlsError, TlsStream};
use std::sync::Arc;

const BLOCK: usize = 16384;

/// The client hello to send.
#[derive(Debug, Clone, Copy)]
pub struct Hello {
    /// Version chosen.
    pub version: u16,
    /// Whether a session key is sent (from version 7).
    pub key: bool,
    /// The proxy flag (from version 14).
    pub proxy: bool,
}

impl Hello {
    /// That of an ordinary client.
    pub fn of(version: u16) -> Self {
        Self {
            version,
            key: true,
            proxy: false,
        }
    }
}

/// A connection with everything in reach.
pub struct RawSession {
    /// TLS.
    pub tls: TlsStream,
    /// Version chosen.
    pub version: u16,
    /// Session id, as the server sent it.
    pub session_id: Vec<u8>,
    /// Versions offered.
    pub offered: (u16, u16),
    /// The server hello after the session id.
    pub hello_rest: Vec<u8>,
    /// Keys of received and sent blocks.
    chains: Option<(BlockChain, BlockChain)>,
}

impl RawSession {
    /// TLS and the server hello; the client hello is left to the caller.
    pub async fn greet(target: &Target) -> Result<Self, TlsError> {
        let tcp = TcpStream::connect(target.socket).await.unwrap();
        let mut tls = TlsStream::connect(tcp, Arc::clone(&target.tls)).await?;
        let hello = read_plain(&mut tls).await?.expect("a server hello");
        let version = |at: usize| u16::from_be_bytes([hello[at], hello[at + 1]]);
        let (session_id, rest) = take8(&hello[4..]);
        assert_eq!(session_id, tls.session_id().as_bytes());
        Ok(Self {
            version: 0,
            session_id: session_id.to_vec(),
            offered: (version(0), version(2)),
            hello_rest: rest.to_vec(),
            chains: None,
            tls,
        })
    }

    /// The whole handshake.
    pub async fn connect(target: &Target, hello: Hello) -> Self {
        let mut this = Self::greet(target).await.unwrap();
        this.answer(&target.identity, hello).await;
        this
    }

    /// Sends the client hello and derives the keys of blocks.
    pub async fn answer(&mut self, key_hash: &[u8], hello: Hello) {
        let secret = X25519SecretKey::generate(&mut rand::rng());
        let mut content = hello.version.to_be_bytes().to_vec();
        content.extend(bytes8(key_hash));
        if hello.version >= 7 && hello.key {
            content.extend(x25519_key(&secret.public_key().0));
        }
        if hello.version >= 14 {
            content.push(if hello.proxy { b'T' } else { b'F' });
        }
        if hello.version >= 16 {
            content.push(b'0');
        }
        self.send_plain(&content).await;
        self.version = hello.version;
        if hello.version >= 11 && hello.key && !hello.proxy {
            let shared = secret.agree(&self.server_key());
            self.chains = Some(BlockChain::init(&self.session_id, &shared).unwrap());
        }
    }

    /// The server's session key: the last 32 bytes of the signed key's TBS part, which is followed
    /// by the algorithm and the signature (spec: protocol §1.3).
    fn server_key(&self) -> X25519PublicKey {
        let prefix = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x6e\x03\x21\x00";
        let mut found = self
            .hello_rest
            .windows(prefix.len() + 32)
            .filter_map(|window| window.strip_prefix(prefix));
        X25519PublicKey(found.next_back().unwrap().try_into().unwrap())
    }

    /// Whether blocks are encrypted inside TLS.
    pub fn encrypts_blocks(&self) -> bool {
        self.chains.is_some()
    }

    /// Pads and sends without encryption.
    pub async fn send_plain(&mut self, content: &[u8]) {
        let mut block = [b'#'; BLOCK];
        put(content, &mut block);
        self.tls.write_block(&block).await.unwrap();
    }

    /// Pads, encrypts if agreed, and sends.
    pub async fn send(&mut self, content: &[u8]) {
        let block = self.seal(content);
        self.tls.write_block(&block).await.unwrap();
    }

    /// Sends a block that does not decrypt, or, when blocks are not encrypted, whose length goes
    /// beyond its end.
    pub async fn send_damaged(&mut self) {
        let mut block = self.seal(b"anything");
        if self.encrypts_blocks() {
            block[100] ^= 1;
        } else {
            block[..2].copy_from_slice(&[0xff, 0xff]);
        }
        self.tls.write_block(&block).await.unwrap();
    }

    /// Sends bytes that are no whole block.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        poll_fn(|cx| self.tls.poll_write(cx, bytes)).await.unwrap();
        self.tls.flush().await.unwrap();
    }

    fn seal(&mut self, content: &[u8]) -> Box<[u8; BLOCK]> {
        let mut block = Box::new([b'#'; BLOCK]);
        match &mut self.chains {
            None => put(content, &mut block[..]),
            Some((_, chain)) => {
                put(content, &mut block[16..]);
                chain.seal_block(&mut block).unwrap();
            }
        }
        block
    }

    /// Content of the next block; `None` when the server closed the connection.
    pub async fn recv(&mut self) -> Option<Vec<u8>> {
        let Self { tls, chains, .. } = self;
        let read = tls.read_block(|block| match chains {
            None => unpadded(&block[..]),
            Some((chain, _)) => chain.open_block(block).unwrap().to_vec(),
        });
        match read.await {
            Ok(content) => content,
            // Data that the server did not read turns its close into a reset.
            Err(TlsError::Io(_)) => None,
            Err(e) => panic!("{e}"),
        }
    }

    /// Transmissions of the next block.
    pub async fn recv_items(&mut self) -> Vec<Item> {
        let content = self.recv().await.expect("a block");
        items(self.version, &self.session_id, &content)
    }

    /// At least `count` transmissions, as many as come with the last block.
    pub async fn recv_at_least(&mut self, count: usize) -> Vec<Item> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(self.recv_items().await);
        }
        all
    }

    /// Asserts that the server closes without sending another block.
    pub async fn assert_closed(&mut self) {
        assert_eq!(self.recv().await, None);
    }
}

async fn read_plain(tls: &mut TlsStream) -> Result<Option<Vec<u8>>, TlsError> {
    tls.read_block(|block| unpadded(&block[..])).await
}

fn put(content: &[u8], padded: &mut [u8]) {
    let len = u16::try_from(content.len()).unwrap().to_be_bytes();
    padded[..2].copy_from_slice(&len);
    padded[2..2 + content.len()].copy_from_slice(content);
}

fn unpadded(block: &[u8]) -> Vec<u8> {
    let len = usize::from(u16::from_be_bytes([block[0], block[1]]));
    block[2..2 + len].to_vec()
}
