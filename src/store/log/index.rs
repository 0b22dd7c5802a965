//! From ids to slots: a hash table of 32-bit cells.
//!
//! A cell holds the slot, the kind of id and some bits of the hash; whether an id really is the
//! slot's is decided by the record in the log. The table consists of many small ones, so that
//! growing never takes long.

use super::codec::{kind_from_tag, kind_tag};
use crate::store::{Id, IdKind};
use aes::cipher::{BlockEncrypt, KeyInit};
use aes::{Aes128, Block};
use std::fmt;
use std::hint::black_box;

/// Bits of a hash that choose the table.
const TABLE_BITS: u32 = 12;
const TABLES: usize = 1 << TABLE_BITS;
/// Bits of a cell for the kind of id.
const KIND_BITS: u32 = 2;
/// Bits of a slot that a table begins with; fewer bits leave more for the hash.
const FIRST_SLOT_BITS: u32 = 14;
/// Slots are below this number.
pub const MAX_SLOTS: usize = 1 << (u32::BITS - KIND_BITS - 1);
const FREE: u32 = u32::MAX;
const REMOVED: u32 = u32::MAX - 1;
const FEWEST_CELLS: usize = 8;

/// The keyed hash of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hash(u64);

/// Hashes ids under a secret: clients choose some of them.
#[derive(Clone)]
pub struct IdHasher(Aes128);

impl fmt::Debug for IdHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdHasher(..)")
    }
}

impl IdHasher {
    /// A hasher with a secret.
    pub fn new(key: &[u8; 16]) -> Self {
        Self(Aes128::new(key.into()))
    }

    /// CBC-MAC of the kind and the id, which always are as long.
    pub fn hash(&self, kind: IdKind, id: &Id) -> Hash {
        let mut block = [0; 16];
        block.copy_from_slice(&id[..16]);
        self.0.encrypt_block((&mut block).into());
        for (byte, more) in block.iter_mut().zip(&id[16..]) {
            *byte ^= more;
        }
        block[15] ^= kind_tag(kind);
        self.0.encrypt_block((&mut block).into());
        Hash(first_eight(&block))
    }

    /// Hashes ids together, which takes little longer than one. At most four are hashed.
    pub fn hash_all(&self, ids: &[(IdKind, Id)]) -> impl Iterator<Item = Hash> {
        let ids = &ids[..ids.len().min(4)];
        let mut blocks = [Block::default(); 4];
        for (block, (_, id)) in blocks.iter_mut().zip(ids) {
            block.copy_from_slice(&id[..16]);
        }
        self.0.encrypt_blocks(&mut blocks);
        for (block, (kind, id)) in blocks.iter_mut().zip(ids) {
            for (byte, more) in block.iter_mut().zip(&id[16..]) {
                *byte ^= more;
            }
            block[15] ^= kind_tag(*kind);
        }
        self.0.encrypt_blocks(&mut blocks);
        let hashes = blocks.map(|block| Hash(first_eight(&block.into())));
        hashes.into_iter().take(ids.len())
    }
}

fn first_eight(block: &[u8; 16]) -> u64 {
    let mut head = [0; 8];
    head.copy_from_slice(&block[..8]);
    u64::from_le_bytes(head)
}

impl Hash {
    fn table(self) -> usize {
        (self.0 >> (u64::BITS - TABLE_BITS)) as usize
    }

    /// Where the search begins among `cells`.
    fn position(self, cells: usize) -> usize {
        let middle = (self.0 >> (32 - TABLE_BITS)) & u64::from(u32::MAX);
        ((middle * cells as u64) >> 32) as usize
    }
}

#[derive(Debug, Clone, Default)]
struct Table {
    cells: Vec<u32>,
    used: u32,
    removed: u32,
    slot_bits: u32,
}

/// What a cell leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    kind: IdKind,
    slot: u32,
}

impl Table {
    fn cell(&self, kind: IdKind, hash: Hash, slot: u32) -> u32 {
        let shift = self.slot_bits + KIND_BITS;
        let tag = hash.0 as u32 & (u32::MAX >> shift);
        tag << shift | slot << KIND_BITS | u32::from(kind_tag(kind))
    }

    fn content(&self, cell: u32) -> Option<Cell> {
        if cell >= REMOVED {
            return None;
        }
        let slot = (cell >> KIND_BITS) & (u32::MAX >> (u32::BITS - self.slot_bits));
        Some(Cell {
            kind: kind_from_tag((cell & 3) as u8)?,
            slot,
        })
    }

    /// Positions and contents of the cells an id could be in.
    fn candidates(&self, kind: IdKind, hash: Hash) -> impl Iterator<Item = (usize, u32)> {
        let len = self.cells.len();
        let start = if len == 0 { 0 } else { hash.position(len) };
        let slot_mask = (u32::MAX >> (u32::BITS - self.slot_bits.max(1))) << KIND_BITS;
        let wanted = self.cell(kind, hash, 0);
        (start..len)
            .chain(0..start)
            .map(|at| (at, self.cells[at]))
            .take_while(|(_, cell)| *cell != FREE)
            .filter(move |(_, cell)| *cell != REMOVED && *cell & !slot_mask == wanted)
            .map(move |(at, cell)| (at, (cell & slot_mask) >> KIND_BITS))
    }

    /// The cell where the search for a hash begins.
    fn first_cell(&self, hash: Hash) -> u32 {
        let at = hash.position(self.cells.len());
        self.cells.get(at).copied().unwrap_or(FREE)
    }

    fn put(&mut self, cell: u32, hash: Hash) {
        let len = self.cells.len();
        let start = hash.position(len);
        let place = (start..len)
            .chain(0..start)
            .find(|at| self.cells[*at] >= REMOVED);
        if let Some(at) = place {
            self.removed -= u32::from(self.cells[at] == REMOVED);
            self.cells[at] = cell;
            self.used += 1;
        }
    }

    fn is_crowded(&self) -> bool {
        (self.used + self.removed + 1) as usize * 8 > self.cells.len() * 7
    }

    /// Moves everything to a table with room for half as much again.
    fn rebuild(&mut self, slot_bits: u32, hash_of: &impl Fn(IdKind, u32) -> Option<Hash>) {
        let cells = (self.used as usize + self.used as usize / 2).max(FEWEST_CELLS);
        let mut next = Self {
            cells: vec![FREE; cells],
            slot_bits,
            ..Self::default()
        };
        for cell in &self.cells {
            if let Some(Cell { kind, slot }) = self.content(*cell)
                && let Some(hash) = hash_of(kind, slot)
            {
                next.put(next.cell(kind, hash, slot), hash);
            }
        }
        *self = next;
    }
}

/// Bits needed for slots up to `slot`, such that no cell looks like a free one.
fn slot_bits(slot: u32) -> u32 {
    (u32::BITS - (slot + 1).leading_zeros()).max(FIRST_SLOT_BITS)
}

/// An id that comes into the index.
#[derive(Debug, Clone, Copy)]
pub struct NewId {
    /// Its space.
    pub kind: IdKind,
    /// Its hash.
    pub hash: Hash,
    /// Where it leads.
    pub slot: u32,
}

/// All ids of a shard.
pub struct Index {
    tables: Vec<Table>,
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: usize = self.tables.iter().map(|table| table.used as usize).sum();
        f.debug_struct("Index")
            .field("ids", &ids)
            .finish_non_exhaustive()
    }
}

impl Index {
    /// An empty index with room for some ids of slots up to `last`.
    pub fn with_capacity(ids: usize, last: u32) -> Self {
        let each = ids.div_ceil(TABLES);
        // The fullest of many tables has a little more than the average.
        let cells = match ids {
            0 => 0,
            _ => (each + each / 3 + 4 * each.isqrt()).max(FEWEST_CELLS),
        };
        let table = Table {
            cells: vec![FREE; cells],
            slot_bits: slot_bits(last),
            ..Table::default()
        };
        Self {
            tables: vec![table; TABLES],
        }
    }

    /// The slot of an id, if `is_owner` knows one among those it could be.
    pub fn find(
        &self,
        kind: IdKind,
        hash: Hash,
        mut is_owner: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let mut candidates = self.tables[hash.table()].candidates(kind, hash);
        candidates
            .find(|(_, slot)| is_owner(*slot))
            .map(|(_, slot)| slot)
    }

    /// Adds an id that is not there. `hash_of` tells the hashes of those that are.
    pub fn insert(
        &mut self,
        kind: IdKind,
        hash: Hash,
        slot: u32,
        hash_of: impl Fn(IdKind, u32) -> Option<Hash>,
    ) {
        let table = &mut self.tables[hash.table()];
        let bits = slot_bits(slot).max(table.slot_bits);
        if table.is_crowded() || bits > table.slot_bits {
            table.rebuild(bits, &hash_of);
        }
        table.put(table.cell(kind, hash, slot), hash);
    }

    /// Adds many ids that are not there. Their cells are looked at first: the processor fetches them
    /// side by side then, which is most of the cost.
    pub fn insert_all(&mut self, ids: &[NewId], hash_of: impl Fn(IdKind, u32) -> Option<Hash>) {
        let cells = ids
            .iter()
            .map(|id| self.tables[id.hash.table()].first_cell(id.hash));
        black_box(cells.fold(0, |sum, cell| sum ^ cell));
        for NewId { kind, hash, slot } in ids {
            self.insert(*kind, *hash, *slot, &hash_of);
        }
    }

    /// Removes an id.
    pub fn remove(&mut self, kind: IdKind, hash: Hash, slot: u32) {
        let table = &mut self.tables[hash.table()];
        let found = table
            .candidates(kind, hash)
            .find(|(_, owner)| *owner == slot);
        if let Some((at, _)) = found {
            table.cells[at] = REMOVED;
            table.used -= 1;
            table.removed += 1;
        }
    }

    /// Bytes on the heap.
    pub fn heap_size(&self) -> usize {
        let cells = self.tables.iter().map(|table| table.cells.capacity());
        cells.sum::<usize>() * size_of::<u32>() + self.tables.capacity() * size_of::<Table>()
    }
}
