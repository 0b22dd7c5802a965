//! Padding to a fixed size: length, content, filler (spec: protocol §4.1).

use thiserror::Error;

/// Bytes of the length in front of the content.
pub const LEN_SIZE: usize = 2;
/// Longest content that may be padded.
pub const MAX_CONTENT_LEN: usize = 65533;
/// Byte that fills the rest; readers ignore it.
pub const FILLER: u8 = b'#';

/// Content that cannot be padded, or bytes that are not padded content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PadError {
    /// The content exceeds the limit or the padded size.
    #[error("content too large for its padded size")]
    TooLarge,
    /// The length in front exceeds what follows.
    #[error("padded content shorter than its length")]
    Truncated,
}

/// The length prefix of content of `len` bytes to be padded to `padded_len` bytes in all.
pub fn prefix(len: usize, padded_len: usize) -> Result<[u8; LEN_SIZE], PadError> {
    if len > MAX_CONTENT_LEN || len + LEN_SIZE > padded_len {
        return Err(PadError::TooLarge);
    }
    u16::try_from(len)
        .map(u16::to_be_bytes)
        .map_err(|_| PadError::TooLarge)
}

/// Pads in place: `buf[2..2 + content_len]` is the content, the rest of `buf` becomes the length
/// and the filler.
pub fn pad_into(content_len: usize, buf: &mut [u8]) -> Result<(), PadError> {
    let length = prefix(content_len, buf.len())?;
    let (head, rest) = buf
        .split_first_chunk_mut::<LEN_SIZE>()
        .ok_or(PadError::TooLarge)?;
    *head = length;
    rest.get_mut(content_len..)
        .ok_or(PadError::TooLarge)?
        .fill(FILLER);
    Ok(())
}

/// The content of padded bytes.
pub fn unpad(padded: &[u8]) -> Result<&[u8], PadError> {
    let (head, rest) = padded
        .split_first_chunk::<LEN_SIZE>()
        .ok_or(PadError::Truncated)?;
    rest.get(..usize::from(u16::from_be_bytes(*head)))
        .ok_or(PadError::Truncated)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::vectors;
    use super::*;

    fn pad(content: &[u8], padded_len: usize) -> Result<Vec<u8>, PadError> {
        let mut buf = vec![0; padded_len.max(content.len() + LEN_SIZE)];
        buf[LEN_SIZE..LEN_SIZE + content.len()].copy_from_slice(content);
        buf.truncate(padded_len);
        pad_into(content.len(), &mut buf).map(|()| buf)
    }

    #[test]
    fn known_answers() {
        let v = vectors::get("primitives");
        let cases = v["cases"].as_array().unwrap();
        let hex = |name: &str| {
            let case = cases.iter().find(|c| c["type"] == name).unwrap();
            vectors::hex(&case["hex"])
        };
        assert_eq!(pad(b"abc", 10), Ok(hex("pad \"abc\" to 10")));
        assert_eq!(pad(b"abc", 5), Ok(hex("pad \"abc\" to 5")));
        assert_eq!(pad(b"abc", 4), Err(PadError::TooLarge));
    }

    #[test]
    fn limits() {
        assert!(pad(&vec![7; MAX_CONTENT_LEN], MAX_CONTENT_LEN + 2).is_ok());
        let over = vec![7; MAX_CONTENT_LEN + 1];
        assert_eq!(pad(&over, 70_000), Err(PadError::TooLarge));
        assert_eq!(pad(b"", 1), Err(PadError::TooLarge));
        assert_eq!(pad(b"", 2), Ok(vec![0, 0]));
        assert_eq!(pad_into(usize::MAX, &mut [0; 4]), Err(PadError::TooLarge));
        assert_eq!(unpad(&[]), Err(PadError::Truncated));
        assert_eq!(unpad(&[0]), Err(PadError::Truncated));
        assert_eq!(unpad(&[0, 2, 1]), Err(PadError::Truncated));
        assert_eq!(unpad(&[0, 1, 1, 9]), Ok(&[1][..]));
    }

    proptest! {
        #[test]
        fn round_trip(content in proptest::collection::vec(any::<u8>(), 0..300), extra in 0..50usize) {
            let padded = pad(&content, content.len() + LEN_SIZE + extra).unwrap();
            prop_assert_eq!(unpad(&padded), Ok(&content[..]));
        }

        #[test]
        fn any_bytes_unpad_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = unpad(&bytes);
        }
    }
}
