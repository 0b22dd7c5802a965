//! The bytes inside blocks, written and read by hand: an error that both sides of our codecs share
//! must not hide (spec: protocol §6).

/// `bytes8`: one byte of length, then the bytes.
pub fn bytes8(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

/// `bytes16`: two bytes of length, then the bytes.
pub fn bytes16(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&len, bytes].concat()
}

/// An X25519 key as on the wire.
pub fn x25519_key(raw: &[u8; 32]) -> Vec<u8> {
    bytes8(
        &[
            b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x6e\x03\x21\x00",
            &raw[..],
        ]
        .concat(),
    )
}

/// An Ed25519 key as on the wire.
pub fn ed25519_key(raw: &[u8; 32]) -> Vec<u8> {
    bytes8(
        &[
            b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00",
            &raw[..],
        ]
        .concat(),
    )
}

/// The content of a block.
pub fn batch(transmissions: &[Vec<u8>]) -> Vec<u8> {
    let mut content = vec![u8::try_from(transmissions.len()).unwrap()];
    for transmission in transmissions {
        content.extend(bytes16(transmission));
    }
    content
}

/// The part of a transmission that is authorised, as it is sent.
pub fn sent(
    version: u16,
    session_id: &[u8],
    corr: &[u8],
    entity: &[u8],
    command: &[u8],
) -> Vec<u8> {
    let session = if version < 7 {
        bytes8(session_id)
    } else {
        vec![]
    };
    [&session[..], &bytes8(corr), &bytes8(entity), command].concat()
}

/// A transmission with an authorization and no service signature.
pub fn transmission(version: u16, authorization: &[u8], sent: &[u8]) -> Vec<u8> {
    let slot: &[u8] = if version >= 16 && !authorization.is_empty() {
        b"0"
    } else {
        b""
    };
    [&bytes8(authorization), slot, sent].concat()
}

/// What is signed: the session id stands before what is sent, or in it.
pub fn authorized(version: u16, session_id: &[u8], sent: &[u8]) -> Vec<u8> {
    if version < 7 {
        sent.to_vec()
    } else {
        [&bytes8(session_id), sent].concat()
    }
}

/// A transmission of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Correlation id.
    pub corr_id: Vec<u8>,
    /// Entity id.
    pub entity_id: Vec<u8>,
    /// Tag and parameters.
    pub body: Vec<u8>,
}

impl Item {
    /// A transmission with these ids and body.
    pub fn new(corr_id: &[u8], entity_id: &[u8], body: &[u8]) -> Self {
        Self {
            corr_id: corr_id.to_vec(),
            entity_id: entity_id.to_vec(),
            body: body.to_vec(),
        }
    }
}

/// Splits the content of a block of the server.
pub fn items(version: u16, session_id: &[u8], content: &[u8]) -> Vec<Item> {
    let (count, mut rest) = content.split_first().unwrap();
    let mut items = Vec::new();
    for _ in 0..*count {
        let (mut item, after) = take16(rest);
        rest = after;
        let (authorization, after) = take8(item);
        assert_eq!(authorization, b"", "servers authorise nothing");
        item = after;
        if version < 7 {
            let (session, after) = take8(item);
            assert_eq!(session, session_id);
            item = after;
        }
        let (corr_id, after) = take8(item);
        let (entity_id, body) = take8(after);
        items.push(Item::new(corr_id, entity_id, body));
    }
    assert_eq!(rest, b"", "bytes after the last transmission");
    items
}

/// Takes a `bytes8` off the front.
pub fn take8(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (len, rest) = bytes.split_first().unwrap();
    rest.split_at(usize::from(*len))
}

/// Takes a `bytes16` off the front.
pub fn take16(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (len, rest) = bytes.split_first_chunk().unwrap();
    rest.split_at(usize::from(u16::from_be_bytes(*len)))
}
