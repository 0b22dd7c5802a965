//! Reading recorded sessions: text files with one block or one value per line.

use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};

/// Which peer sent a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

/// One recorded block.
#[derive(Debug)]
pub struct Block {
    /// Position in the recording.
    pub number: usize,
    pub direction: Direction,
    /// Name of the connection.
    pub connection: String,
    pub handshake: bool,
    /// Whether the block was encrypted inside TLS; `content` is then what was inside.
    pub encrypted: bool,
    /// Content without length and filler.
    pub content: Vec<u8>,
}

/// One line.
#[derive(Debug)]
pub enum Entry {
    Block(Block),
    /// A key or a derived value, with what it is.
    Value {
        name: String,
        bytes: Vec<u8>,
    },
}

/// A recorded session.
#[derive(Debug)]
pub struct Capture {
    /// File name without extension.
    pub name: String,
    pub entries: Vec<Entry>,
    /// Folder with whole encrypted blocks, when they were kept.
    pub blocks: Option<PathBuf>,
}

/// The folder of recordings, or where it was looked for.
pub fn folder() -> Result<PathBuf, PathBuf> {
    let root = match std::env::var_os("SMP_CAPTURES") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures"),
    };
    let wire = root.join("wire");
    if wire.is_dir() { Ok(wire) } else { Err(wire) }
}

/// All recordings of a folder, by name.
pub fn read_all(folder: &Path) -> Result<Vec<Capture>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "hex") {
            files.push(path);
        }
    }
    files.sort();
    files.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<Capture> {
    let stem = path.file_stem().context("no file name")?;
    let blocks = path.with_extension("");
    let mut entries = Vec::new();
    for (i, line) in std::fs::read_to_string(path)?.lines().enumerate() {
        let entry = parse_line(line).with_context(|| format!("{}:{}", path.display(), i + 1))?;
        entries.extend(entry);
    }
    Ok(Capture {
        name: stem.to_string_lossy().into_owned(),
        entries,
        blocks: blocks.is_dir().then_some(blocks),
    })
}

fn parse_line(line: &str) -> Result<Option<Entry>> {
    if let Some(value) = line.strip_prefix('@') {
        let Some((name, bytes)) = value.trim().rsplit_once(' ') else {
            return Ok(None);
        };
        // Values that are no bytes ("Version 18") only help the reader.
        return Ok(match hex::decode(bytes) {
            Ok(bytes) if bytes.len() > 2 => Some(Entry::Value {
                name: name.to_owned(),
                bytes,
            }),
            _ => None,
        });
    }
    let is_block = line
        .strip_prefix('#')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if !is_block {
        ensure!(line.is_empty() || line.starts_with('#'), "unknown line");
        return Ok(None);
    }
    let words: Vec<&str> = line[1..].split(' ').collect();
    let [
        number,
        direction,
        connection,
        "block=16384",
        kind,
        protection,
        content,
    ] = words[..]
    else {
        bail!("a block has seven fields");
    };
    Ok(Some(Entry::Block(Block {
        number: number.parse()?,
        direction: match direction {
            "C>S" => Direction::ToServer,
            "S>C" => Direction::ToClient,
            other => bail!("direction {other}"),
        },
        connection: connection.to_owned(),
        handshake: match kind {
            "handshake" => true,
            "transmissions" => false,
            other => bail!("kind {other}"),
        },
        encrypted: match protection {
            "encrypted" => true,
            "plain" => false,
            other => bail!("protection {other}"),
        },
        content: hex::decode(content)?,
    })))
}

impl Capture {
    /// The whole encrypted or plain block `number`, when it was kept.
    pub fn whole_block(&self, number: usize) -> Result<Option<Vec<u8>>> {
        let Some(folder) = &self.blocks else {
            return Ok(None);
        };
        let prefix = format!("{number:03}-");
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                let text = std::fs::read_to_string(entry.path())?;
                return Ok(Some(hex::decode(text.trim())?));
            }
        }
        bail!("block {number} is missing in {}", folder.display())
    }
}
