//! The secret that maps ids to shards, kept with the state: ids in the field depend on it.

use crate::store::log::STORE_FOLDER;
use rand::TryRngCore;
use rand::rngs::OsRng;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// File in the state directory.
const FILE: &str = "smp-server-partition.key";
/// What to do about a store without its secret.
const MISSING: &str = "it is missing, and the queues of this store are found with it only: copy it \
                       from where the store comes from, the old machine or a backup";
/// Bytes of the secret.
const LEN: usize = 16;

/// Reads the secret of a state directory, or makes it when there is none.
///
/// A new secret is complete under its name or not there at all, and is not made for a store that
/// needs the old one. Errors name the file.
pub fn load_or_create(state_dir: &Path) -> Result<Zeroizing<[u8; LEN]>, (PathBuf, io::Error)> {
    let file = state_dir.join(FILE);
    match File::open(&file) {
        Ok(opened) => read(opened),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            if state_dir.join(STORE_FOLDER).exists() {
                Err(io::Error::other(MISSING))
            } else {
                create(state_dir, &file)
            }
        }
        Err(e) => Err(e),
    }
    .map_err(|e| (file, e))
}

fn read(mut file: File) -> io::Result<Zeroizing<[u8; LEN]>> {
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

fn create(state_dir: &Path, file: &Path) -> io::Result<Zeroizing<[u8; LEN]>> {
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
    fn no_key_is_made_for_a_store_that_has_lost_its_own() {
        let dir = tempfile::tempdir().unwrap();
        load_or_create(dir.path()).unwrap();
        let key = dir.path().join(FILE);
        std::fs::create_dir(dir.path().join(STORE_FOLDER)).unwrap();
        load_or_create(dir.path()).unwrap();
        std::fs::remove_file(&key).unwrap();
        let (file, error) = load_or_create(dir.path()).unwrap_err();
        assert_eq!((&file, error.to_string().as_str()), (&key, MISSING));
        assert!(!key.exists());
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
