//! Which shard an id belongs to.
//!
//! An id's partition is a keyed pseudo-random function of its first 16 bytes, so ids look random
//! to everyone else, yet all ids the server makes for one queue share a partition, hence a shard,
//! whatever the number of shards.

use crate::store::Id;
use crate::store::log::Partitions;
use aes::Aes128;
use aes::cipher::{BlockDecrypt, BlockEncrypt, KeyInit};
use rand::{CryptoRng, Rng, RngCore};
use std::fmt;

/// Number of partitions, fixed for ever: ids in the field depend on it.
pub const PARTITIONS: u16 = 4096;
const PARTITION_BITS: u32 = PARTITIONS.trailing_zeros();
/// Bytes of an id that determine its partition.
const KEYED_LEN: usize = 16;

const _: () = assert!(PARTITIONS.is_power_of_two() && PARTITION_BITS <= 16);

/// One of [`PARTITIONS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(u16);

/// The per-server secret that maps ids to partitions, and the number of shards.
#[derive(Clone)]
pub struct Partitioner {
    cipher: Aes128,
    shards: u16,
}

impl fmt::Debug for Partitioner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partitioner")
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}

impl Partitioner {
    /// `shards` is clamped to 1..=[`PARTITIONS`].
    pub fn new(key: &[u8; 16], shards: u16) -> Self {
        Self {
            cipher: Aes128::new(key.into()),
            shards: shards.clamp(1, PARTITIONS),
        }
    }

    /// Number of shards.
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// Partition of an id.
    pub fn partition(&self, id: &Id) -> Partition {
        let mut block = [0; KEYED_LEN];
        block.copy_from_slice(&id[..KEYED_LEN]);
        self.cipher.encrypt_block((&mut block).into());
        Partition(u16::from_be_bytes([block[0], block[1]]) >> (16 - PARTITION_BITS))
    }

    /// Shard that owns a partition.
    pub fn shard(&self, partition: Partition) -> u16 {
        let shard = u32::from(partition.0) * u32::from(self.shards) / u32::from(PARTITIONS);
        u16::try_from(shard).unwrap_or(0)
    }

    /// Shard that owns an id.
    pub fn shard_of(&self, id: &Id) -> u16 {
        self.shard(self.partition(id))
    }

    /// A random partition of a shard.
    pub fn random_partition<R: RngCore>(&self, shard: u16, rng: &mut R) -> Partition {
        let first = |shard: u16| {
            (u32::from(shard) * u32::from(PARTITIONS)).div_ceil(u32::from(self.shards))
        };
        let partition = rng.random_range(first(shard)..first(shard + 1));
        Partition(u16::try_from(partition).unwrap_or(0))
    }

    /// A fresh random id of a partition.
    pub fn make_id<R: RngCore + CryptoRng>(&self, partition: Partition, rng: &mut R) -> Id {
        let mut id = Id::default();
        rng.fill_bytes(&mut id);
        let mut block = [0; KEYED_LEN];
        block.copy_from_slice(&id[..KEYED_LEN]);
        let head = u16::from_be_bytes([block[0], block[1]]);
        let low_mask = (1 << (16 - PARTITION_BITS)) - 1;
        let head = (partition.0 << (16 - PARTITION_BITS)) | (head & low_mask);
        block[..2].copy_from_slice(&head.to_be_bytes());
        self.cipher.decrypt_block((&mut block).into());
        id[..KEYED_LEN].copy_from_slice(&block);
        id
    }
}

impl Partitions for Partitioner {
    fn partition(&self, id: &Id) -> u16 {
        self.partition(id).0
    }

    fn shard(&self, partition: u16) -> u16 {
        self.shard(Partition(partition))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    proptest! {
        #[test]
        fn made_ids_have_the_wanted_partition(key: [u8; 16], seed: u64, p in 0..PARTITIONS) {
            let partitioner = Partitioner::new(&key, 7);
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let id = partitioner.make_id(Partition(p), &mut rng);
            prop_assert_eq!(partitioner.partition(&id), Partition(p));
        }

        #[test]
        fn random_partitions_belong_to_their_shard(seed: u64, shards in 1..=PARTITIONS, s: u16) {
            let partitioner = Partitioner::new(&[7; 16], shards);
            let shard = s % shards;
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let partition = partitioner.random_partition(shard, &mut rng);
            prop_assert_eq!(partitioner.shard(partition), shard);
        }
    }

    #[test]
    fn every_partition_has_a_shard_and_every_shard_a_partition() {
        for shards in [1, 2, 3, 4, 5, 63, 64, 100, 4095, 4096] {
            let partitioner = Partitioner::new(&[1; 16], shards);
            let mut owned = vec![0; usize::from(shards)];
            for p in 0..PARTITIONS {
                owned[usize::from(partitioner.shard(Partition(p)))] += 1;
            }
            let (min, max) = (owned.iter().min(), owned.iter().max());
            assert!(
                min >= Some(&1) && max.zip(min).is_some_and(|(a, b)| a - b <= 1),
                "{shards}"
            );
        }
    }

    #[test]
    fn ids_of_one_partition_share_no_visible_prefix() {
        let partitioner = Partitioner::new(&[9; 16], 4);
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let ids: Vec<Id> = (0..64)
            .map(|_| partitioner.make_id(Partition(5), &mut rng))
            .collect();
        let first_bytes: std::collections::HashSet<u8> = ids.iter().map(|id| id[0]).collect();
        assert!(first_bytes.len() > 32);
    }
}
