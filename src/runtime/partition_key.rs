//! The secret that maps ids to shards, kept with the state: ids in the field depend on it.

use crate::crypto::hash;
use crate::store::hand_over;
use crate::store::log::StoreDirectory;
use rand::TryRngCore;
use rand::rngs::OsRng;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use thiserror::Error;
use zeroize::Zeroizing;

/// File in the state directory.
pub const FILE: &str = "smp-server-partition.key";
/// Bytes of the secret.
const LEN: usize = 16;

/// Bytes of a check value.
const CHECK_LEN: usize = 8;

/// The secret.
pub type PartitionKey = Zeroizing<[u8; LEN]>;

/// Why there is no secret to go on with.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is a store, but no secret.
    #[error(
        "{} is missing, without which the queues of this server cannot be found. Bring it back \
         from a backup; if there is none, `smp-server start --repair` writes the store anew under \
         a new key",
        .0.display()
    )]
    Missing(PathBuf),
    /// The store was written under another secret.
    #[error(
        "{} is not the key that the store of this server was written under. Bring that one back \
         from a backup; if there is none, `smp-server start --repair` writes the store anew under \
         this key",
        .0.display()
    )]
    Other(PathBuf),
}

impl From<(PathBuf, io::Error)> for KeyError {
    fn from((file, source): (PathBuf, io::Error)) -> Self {
        Self::Io { file, source }
    }
}

/// Reads the secret that a store was written under; makes one when there is no store yet.
pub fn of_store(
    state_dir: &Path,
    store: Option<&StoreDirectory>,
) -> Result<PartitionKey, KeyError> {
    let Some(store) = store else {
        return Ok(load_or_create(state_dir)?);
    };
    let file = state_dir.join(FILE);
    let key = find(&file).map_err(|source| (file.clone(), source))?;
    let key = key.ok_or_else(|| KeyError::Missing(file.clone()))?;
    match &store.origin().key_check {
        Some(check) if *check != check_value(&key) => Err(KeyError::Other(file)),
        // Early releases did not note it.
        _ => Ok(key),
    }
}

/// Tells a secret from others, without giving it away.
pub fn check_value(key: &[u8; LEN]) -> String {
    let input = Zeroizing::new([&b"check of a partition key"[..], key].concat());
    let hash = hash::sha256(&input);
    let bytes = hash.iter().take(CHECK_LEN);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// The secret of a file, if there is one.
fn find(file: &Path) -> io::Result<Option<PartitionKey>> {
    match File::open(file) {
        Ok(opened) => read(opened).map(Some),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Reads the secret of a state directory, or makes it when there is none.
///
/// A new secret is complete under its name or not there at all. Errors name the file.
pub fn load_or_create(state_dir: &Path) -> Result<PartitionKey, (PathBuf, io::Error)> {
    let file = state_dir.join(FILE);
    match find(&file) {
        Ok(None) => create(state_dir, &file),
        Ok(Some(key)) => Ok(key),
        Err(e) => Err(e),
    }
    .map_err(|e| (file, e))
}

fn read(mut file: File) -> io::Result<PartitionKey> {
    let mut key = Zeroizing::new([0; LEN]);
    file.read_exact(&mut key[..])?;
    if file.read(&mut [0])? != 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "longer than a partition key",
        ));
    }
    Ok(key)
}

fn create(state_dir: &Path, file: &Path) -> io::Result<PartitionKey> {
    let mut key = Zeroizing::new([0; LEN]);
    OsRng
        .try_fill_bytes(&mut key[..])
        .map_err(io::Error::other)?;
    let unfinished = state_dir.join(format!("{FILE}.new"));
    let mut options = OpenOptions::new();
    let mut out = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    out.write_all(&key[..])?;
    out.sync_all()?;
    hand_over(state_dir, &unfinished);
    std::fs::rename(&unfinished, file)?;
    File::open(state_dir)?.sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = load_or_create(dir.path()).unwrap();
        let second = load_or_create(dir.path()).unwrap();
        assert_eq!(first, second);
        assert_ne!(*first, [0; LEN]);
    }

    #[test]
    fn a_key_is_told_from_another_without_showing_it() {
        let check = check_value(&[1; LEN]);
        assert_eq!(check.len(), 2 * CHECK_LEN);
        assert_eq!(check, check_value(&[1; LEN]));
        assert_ne!(check, check_value(&[2; LEN]));
        assert_ne!(check, "0101010101010101");
    }

    #[test]
    fn a_store_needs_the_key_it_was_written_under() {
        let dir = tempfile::tempdir().unwrap();
        let key = of_store(dir.path(), None).unwrap();
        let mut store = StoreDirectory::open(dir.path(), 1).unwrap();
        // One of an early release.
        assert_eq!(of_store(dir.path(), Some(&store)).unwrap(), key);
        let mut origin = store.origin().clone();
        origin.key_check = Some(check_value(&key));
        store.set_origin(origin).unwrap();
        assert_eq!(of_store(dir.path(), Some(&store)).unwrap(), key);
        std::fs::write(dir.path().join(FILE), [9; LEN]).unwrap();
        let error = of_store(dir.path(), Some(&store)).unwrap_err();
        assert!(matches!(error, KeyError::Other(_)), "{error}");
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        let error = of_store(dir.path(), Some(&store)).unwrap_err();
        assert!(matches!(error, KeyError::Missing(_)), "{error}");
        assert!(error.to_string().contains(FILE), "{error}");
        assert!(!dir.path().join(FILE).exists());
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for len in [0, LEN - 1, LEN + 1] {
            std::fs::write(dir.path().join(FILE), vec![1; len]).unwrap();
            assert!(load_or_create(dir.path()).is_err(), "{len}");
        }
    }
}
