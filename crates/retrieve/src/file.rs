//! The file of an index, format version 2: plain safetensors, laid out so that it can be searched where it lies.
//!
//! Every tensor begins at a multiple of 64 bytes and fills a multiple of 64. Numbers are little-endian.
//!
//! | tensor | type, shape | what |
//! |---|---|---|
//! | `layers` | u32, list | how many sparse layers; for each, the densest first: nodes, links; rows of the nodes (ascending), where the links of each begin (one more than nodes), links |
//! | `links` | u32, items × slots | rows that an item links to, then its own row; slots is twice `m`, rounded up to a multiple of 16 |
//! | `head` | u32, list | rows that every search looks at; as many as the audit says |
//! | `off` | f32, list | half the squared length of every vector; with metric `l2` only |
//! | `vectors.upper`, `vectors.lower` | u16, items × dim rounded up to a multiple of 32 | the vectors: a float's bits are `(upper << 16) + lower`, with `lower` taken as a signed number |
//!
//! The metadata has one key, `lookalike`, whose text is `xxh3=`, 16 digits, a space and a JSON object ([`Meta`]). The digits
//! are the XXH3 hash of everything before the tensors, with zeros in their place; the JSON has the hash of each tensor: that of the hashes of its pieces of 256 KiB. A
//! flipped bit is found before the first search, and at the speed of memory: BLAKE3, which keeps a bundle, would take most
//! of the time of opening. Version 1 had other contents; it is not read, since `lookalike index` makes an index anew from
//! the bundle beside it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rayon::prelude::*;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use twox_hash::XxHash3_64;

use crate::block::{BYTES, Block, map};
use crate::error::RetrieveError;
use crate::graph::{Graph, all_below};
use crate::index::{Audit, Index, IndexSettings};
use crate::metric::Metric;
use crate::vectors::{Line, Vectors, finite};

/// Name of the index in a bundle.
pub const INDEX: &str = "index.safetensors";
/// The newest format version known; it is what is written, and the oldest that is read.
const FORMAT: u32 = 2;
const KEY: &str = "lookalike";
const MARK: &str = "xxh3=";
const DIGITS: usize = 16;
/// A fuzzer makes up files, but no hashes: built for one, the reader does not compare them (`scripts/fuzz`).
const FUZZING: bool = cfg!(fuzzing);
/// Tensors are hashed in pieces of so many lines, side by side: 256 KiB, which a core's cache holds.
const PIECE: usize = 1 << 12;

/// What the file says of itself.
#[derive(Serialize, Deserialize)]
struct Meta {
    format: u32,
    metric: Metric,
    items: usize,
    dim: usize,
    entry: u32,
    /// BLAKE3 of the table that the index was built for.
    made_for: String,
    audit: Audit,
    /// XXH3 of each tensor.
    sums: BTreeMap<String, String>,
}

struct Part<'a> {
    name: &'static str,
    kind: &'static str,
    shape: [usize; 2],
    block: &'a Block,
}

impl Index {
    /// The index as the bytes of a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Writing to memory does not fail.
        let _ = self.write_to(&mut bytes);
        bytes
    }

    /// Writes the index to a temporary file, syncs it and gives it its name.
    pub fn write(&self, path: &Path) -> Result<(), RetrieveError> {
        let failed = |source| RetrieveError::Io { verb: "written", path: path.to_owned(), source };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        let mut writer = BufWriter::new(file.as_file());
        self.write_to(&mut writer).and_then(|()| writer.flush()).map_err(failed)?;
        drop(writer);
        file.as_file().sync_all().map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    fn write_to(&self, writer: &mut impl Write) -> io::Result<()> {
        let (layers, head) = (Block::from_words(&self.graph.layers_as_words()), Block::from_words(&self.head));
        let words = |block: &Block| [block.words().len(), 1];
        let (items, slots) = (self.items(), self.graph.links().slots());
        let halves = Vectors::lines(self.dim()) * BYTES / 2;
        let part = |name, kind, shape, block| Part { name, kind, shape, block };
        let mut parts = vec![
            part("layers", "U32", words(&layers), &layers),
            part("links", "U32", [items, slots], self.graph.block()),
            part("head", "U32", words(&head), &head),
        ];
        parts.extend(self.off.as_ref().map(|off| part("off", "F32", words(off), off)));
        parts.push(part("vectors.upper", "U16", [items, halves], &self.vectors.upper));
        parts.push(part("vectors.lower", "U16", [items, halves], &self.vectors.lower));
        let sum = |part: &Part<'_>| Some((part.name.to_owned(), sum(part.block.lines(), &|_| true)?));
        let sums = parts.iter().filter_map(sum).collect();
        let meta = Meta {
            format: FORMAT,
            metric: self.metric,
            items,
            dim: self.dim(),
            entry: self.graph.entry,
            made_for: self.made_for.clone(),
            audit: self.audit.clone(),
            sums,
        };
        let text = format!("{MARK}{:0DIGITS$} {}", 0, serde_json::to_string(&meta).map_err(io::Error::other)?);
        let mut header = serde_json::Map::from_iter([("__metadata__".to_owned(), json!({ KEY: text }))]);
        let mut end = 0;
        for part in &parts {
            let begin = end;
            end += part.block.bytes().len();
            // A list has one dimension.
            let shape = if part.shape[1] == 1 { &part.shape[..1] } else { &part.shape[..] };
            let value = json!({ "dtype": part.kind, "shape": shape, "data_offsets": [begin, end] });
            header.insert(part.name.to_owned(), value);
        }
        let mut start = vec![0; 8];
        start.extend(Value::Object(header).to_string().into_bytes());
        start.resize(start.len().next_multiple_of(BYTES), b' ');
        let length = (start.len() - 8) as u64;
        start[..8].copy_from_slice(&length.to_le_bytes());
        if let Some(at) = digits(&start) {
            let hash = format!("{:0DIGITS$x}", XxHash3_64::oneshot(&start));
            start[at..at + DIGITS].copy_from_slice(hash.as_bytes());
        }
        writer.write_all(&start)?;
        parts.iter().try_for_each(|part| writer.write_all(part.block.bytes()))
    }

    /// An index from the bytes of its file. All of it is checked, and copied.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RetrieveError> {
        read(bytes, |range| Block::copied(&bytes[range]))
    }

    /// Opens an index where it lies: the file is mapped and all of it checked, but nothing copied.
    pub fn open(path: &Path) -> Result<Self, RetrieveError> {
        let failed = |source| RetrieveError::Io { verb: "read", path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() == 0 {
            return Err(RetrieveError::Damaged { part: "header" });
        }
        let map = Arc::new(map(&file).map_err(failed)?);
        read(&map, |range| Block::mapped(&map, range))
    }
}

fn read(bytes: &[u8], block: impl Fn(std::ops::Range<usize>) -> Option<Block>) -> Result<Index, RetrieveError> {
    let damaged = |part| RetrieveError::Damaged { part };
    let (length, header) = SafeTensors::read_metadata(bytes).map_err(|_| damaged("header"))?;
    let text = header.metadata().as_ref().and_then(|texts| texts.get(KEY)).ok_or(damaged("header"))?;
    if text.starts_with("blake3=") {
        return Err(RetrieveError::Older);
    }
    let start = 8 + length;
    let mut head = bytes.get(..start).ok_or(damaged("header"))?.to_vec();
    let at = digits(&head).ok_or(damaged("header"))?;
    let stated = head[at..at + DIGITS].to_vec();
    head[at..at + DIGITS].fill(b'0');
    if !FUZZING && format!("{:0DIGITS$x}", XxHash3_64::oneshot(&head)).as_bytes() != stated {
        return Err(damaged("header"));
    }
    let text = text.get(MARK.len() + DIGITS..).ok_or(damaged("header"))?;
    let value: Value = serde_json::from_str(text).map_err(|_| damaged("header"))?;
    let found = value["format"].as_u64().ok_or(damaged("header"))?;
    if found > u64::from(FORMAT) {
        return Err(RetrieveError::Newer { found, known: FORMAT });
    }
    let meta: Meta = serde_json::from_value(value).map_err(|_| damaged("header"))?;
    // Numbers are checked piece by piece as they are hashed, while they are in the cache.
    let checked = |name: &'static str, holds: &(dyn Fn(&[u32]) -> bool + Sync)| {
        let info = header.info(name).ok_or(damaged(name))?;
        let (begin, end) = info.data_offsets;
        let block = bytes.get(start + begin..start + end).and_then(|_| block(start + begin..start + end));
        let block = block.ok_or(damaged(name))?;
        let (stated, found) = (meta.sums.get(name), sum(block.lines(), holds));
        match found.is_some() && (FUZZING || found.as_ref() == stated) {
            true => Ok(block),
            false => Err(damaged(name)),
        }
    };
    let take = |name| checked(name, &|_| true);
    let vectors =
        Vectors::from_planes(meta.items, meta.dim, checked("vectors.upper", &finite)?, take("vectors.lower")?);
    let vectors = vectors.ok_or(damaged("vectors"))?;
    let degree = meta.audit.m.checked_mul(2).ok_or(damaged("m"))?;
    let links = checked("links", &|rows| all_below(rows, meta.items))?;
    let graph = Graph::from_parts(meta.items, meta.entry, degree, links, take("layers")?.words());
    let graph = graph.map_err(damaged)?;
    let off = if meta.metric == Metric::L2 { Some(take("off")?) } else { None };
    if off.as_ref().is_some_and(|off| off.words().len() < meta.items) {
        return Err(damaged("off"));
    }
    let head = take("head")?.words().get(..meta.audit.head).ok_or(damaged("head"))?.to_vec();
    let Audit { m, ef_construction, sample, .. } = meta.audit;
    let settings = IndexSettings { metric: meta.metric, m, ef_construction, seed: 0, sample: sample.max(1) };
    if settings.check().is_err() || meta.dim == 0 || head.iter().any(|&row| row as usize >= meta.items) {
        return Err(damaged("settings"));
    }
    Ok(Index {
        metric: meta.metric,
        vectors,
        graph,
        off,
        head,
        made_for: meta.made_for,
        audit: meta.audit,
        beams: Mutex::default(),
    })
}

/// Where the digits of the seal begin.
fn digits(head: &[u8]) -> Option<usize> {
    let at = head.windows(MARK.len()).position(|window| window == MARK.as_bytes())? + MARK.len();
    (head.len() >= at + DIGITS).then_some(at)
}

/// XXH3 of the hashes of the pieces, if every piece holds what it should.
fn sum(lines: &[Line], holds: &(dyn Fn(&[u32]) -> bool + Sync)) -> Option<String> {
    let hash = |piece: &[Line]| {
        let bytes: &[u8] = bytemuck::cast_slice(piece);
        let hash = XxHash3_64::oneshot(bytes);
        holds(bytemuck::cast_slice(piece)).then_some(hash)
    };
    let hashes: Option<Vec<u64>> = lines.par_chunks(PIECE).map(hash).collect();
    let bytes: Vec<u8> = hashes?.into_iter().flat_map(u64::to_le_bytes).collect();
    Some(format!("{:0DIGITS$x}", XxHash3_64::oneshot(&bytes)))
}
