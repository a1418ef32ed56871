//! Search through a graph of items: built, audited against exact search, written, read and asked.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use lookalike_bundle::{ItemRow, Matrix, Meta, decode_tensors, encode_tensors};
use rand::SeedableRng;
use rand::seq::index;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use crate::beam::Beam;
use crate::build;
use crate::error::RetrieveError;
use crate::exact::{Exact, Search};
use crate::graph::Graph;
use crate::head::Head;
use crate::topk::Hit;

/// Name of the index in a bundle.
pub const INDEX: &str = "index.safetensors";
/// The newest format version known; it is what is written.
const FORMAT: u32 = 1;
/// How many nearest items the audit asks for.
const NEAREST: usize = 10;
/// Recall the search width is chosen for, and recall below which there is no index.
const AIM: f64 = 0.99;
const NEEDED: f64 = 0.95;
/// Widths tried, ascending.
const WIDTHS: [usize; 8] = [24, 32, 48, 64, 96, 128, 256, 512];

/// A search that would follow more than one item in this many looks at all of them instead: that is no slower.
const EXHAUSTIVE: usize = 16;

/// How an index is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexSettings {
    /// Links per item, twice as many in the lowest layer; 2 to 128.
    pub m: usize,
    /// Candidates followed while building; `m` to 4096.
    pub ef_construction: usize,
    /// Seed of the order of insertion and of the sample of the audit.
    pub seed: u64,
    /// Queries in the audit, at least 1.
    pub sample: usize,
}

impl Default for IndexSettings {
    fn default() -> Self {
        Self { m: 12, ef_construction: 40, seed: 0, sample: 1000 }
    }
}

impl IndexSettings {
    /// `hnsw_rs` exits or panics on bad parameters, so they are checked here.
    fn check(self) -> Result<(), RetrieveError> {
        let allowed = [
            ("m", self.m, 2, 128),
            ("ef_construction", self.ef_construction, self.m, 4096),
            ("sample", self.sample, 1, usize::MAX),
        ];
        match allowed.into_iter().find(|&(_, value, min, max)| !(min..=max).contains(&value)) {
            Some((name, value, min, max)) => Err(RetrieveError::Setting { name, value, min, max }),
            None => Ok(()),
        }
    }
}

/// What an index is worth, measured against exact search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// Share of the 10 nearest items that are found, averaged over the sample. An item counts as found if its score
    /// reaches that of the tenth.
    pub recall_at_10: f64,
    /// Queries asked.
    pub sample: usize,
    /// Items that no walk from the entry point reaches.
    pub unreachable: usize,
    /// Links per item.
    pub m: usize,
    /// Candidates followed while building.
    pub ef_construction: usize,
    /// Candidates followed by a search: the least of a few that finds 99 of 100, or the most that is tried.
    pub ef_search: usize,
}

/// Approximate search through a graph.
pub struct Hnsw<'a> {
    items: &'a Matrix,
    graph: Graph,
    head: Head,
    audit: Audit,
    beams: Mutex<Vec<Beam>>,
}

impl std::fmt::Debug for Hnsw<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hnsw").field("items", &self.items.rows()).field("audit", &self.audit).finish_non_exhaustive()
    }
}

impl<'a> Hnsw<'a> {
    /// Builds an index over a table of items and audits it with a sample of `queries` (of the items themselves if
    /// there are none). The same input gives the same index. One that finds less than 95 of 100 is an error.
    pub fn build(items: &'a Matrix, queries: &Matrix, settings: IndexSettings) -> Result<Self, RetrieveError> {
        settings.check()?;
        let IndexSettings { m, ef_construction, seed, sample } = settings;
        if items.rows() == 0 || items.cols() == 0 {
            return Err(RetrieveError::Empty { rows: items.rows(), cols: items.cols() });
        }
        let queries = if queries.rows() == 0 { items } else { queries };
        if queries.cols() != items.cols() {
            return Err(RetrieveError::Dim { found: queries.cols(), expected: items.cols() });
        }
        let queries = take_sample(queries, sample, seed)?;
        let graph = build::build(items, m, ef_construction, seed)?;
        let unreachable = graph.reached().iter().filter(|reached| !**reached).count();
        let audit = Audit { recall_at_10: 0.0, sample: queries.rows(), unreachable, m, ef_construction, ef_search: 0 };
        let mut index = Self { items, graph, head: Head::new(items), audit, beams: Mutex::default() };
        let bars = tenth_best(items, &queries);
        for width in WIDTHS {
            index.audit.ef_search = width;
            index.audit.recall_at_10 = index.recall(&queries, &bars);
            if index.audit.recall_at_10 >= AIM {
                break;
            }
        }
        let found = index.audit.recall_at_10;
        if found < NEEDED { Err(RetrieveError::Recall { found, needed: NEEDED }) } else { Ok(index) }
    }

    /// What the index is worth.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// The index as the bytes of a file, to be kept as [`INDEX`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, RetrieveError> {
        let Audit { recall_at_10, sample, unreachable, m, ef_construction, ef_search } = &self.audit;
        let texts = [
            ("format", FORMAT.to_string()),
            ("vectors", fingerprint(self.items)),
            ("items", self.items.rows().to_string()),
            ("dim", self.items.cols().to_string()),
            ("entry", self.graph.entry.to_string()),
            ("layers", self.graph.layers.len().to_string()),
            ("recall_at_10", recall_at_10.to_string()),
            ("sample", sample.to_string()),
            ("unreachable", unreachable.to_string()),
            ("m", m.to_string()),
            ("ef_construction", ef_construction.to_string()),
            ("ef_search", ef_search.to_string()),
        ];
        let meta = texts.into_iter().map(|(key, text)| (key.to_owned(), text)).collect();
        encode_tensors(&self.graph.to_tensors(), &meta, Path::new(INDEX))
            .map_err(|source| RetrieveError::File { source })
    }

    /// An index over the table it was built for. All of it is checked before use.
    pub fn from_bytes(bytes: &[u8], items: &'a Matrix) -> Result<Self, RetrieveError> {
        let (tensors, meta) =
            decode_tensors(bytes, Path::new(INDEX)).map_err(|source| RetrieveError::File { source })?;
        let found: u32 = parse(&meta, "format")?;
        if found > FORMAT {
            return Err(RetrieveError::Newer { found, known: FORMAT });
        }
        if parse::<String>(&meta, "vectors")? != fingerprint(items) {
            return Err(RetrieveError::Stale);
        }
        let graph = Graph::from_tensors(tensors, parse(&meta, "entry")?, parse(&meta, "layers")?, items.rows())?;
        let audit = Audit {
            recall_at_10: parse(&meta, "recall_at_10")?,
            sample: parse(&meta, "sample")?,
            unreachable: parse(&meta, "unreachable")?,
            m: parse(&meta, "m")?,
            ef_construction: parse(&meta, "ef_construction")?,
            ef_search: parse(&meta, "ef_search")?,
        };
        Ok(Self { items, graph, head: Head::new(items), audit, beams: Mutex::default() })
    }

    /// Share of the nearest items found, given the scores they must reach.
    fn recall(&self, queries: &Matrix, bars: &[f32]) -> f64 {
        let nearest = NEAREST.min(self.items.rows());
        let lists = self.search_all(queries, nearest, &|_| &[]);
        let found = |(hits, bar): (&Vec<Hit<ItemRow>>, &f32)| hits.iter().filter(|hit| hit.score >= *bar).count();
        lists.iter().zip(bars).map(found).sum::<usize>() as f64 / (nearest * queries.rows()) as f64
    }
}

impl Search for Hnsw<'_> {
    fn search(&self, query: &[f32], k: usize, exclude: &[u32]) -> Vec<Hit<ItemRow>> {
        // The audit speaks of 10 items and none left out; longer lists and left-out items get a wider search.
        let width = self.audit.ef_search.max(k.saturating_mul(2)).saturating_add(exclude.len());
        if width > self.items.rows() / EXHAUSTIVE {
            return Exact::new(self.items).search(query, k, exclude);
        }
        let beams = || self.beams.lock().unwrap_or_else(PoisonError::into_inner);
        let mut beam = beams().pop().unwrap_or_default();
        let hits = beam.search((&self.graph, &self.head), self.items, query, (k, width), exclude);
        beams().push(beam);
        hits
    }
}

fn take_sample(queries: &Matrix, sample: usize, seed: u64) -> Result<Matrix, RetrieveError> {
    if let Some(at) = queries.data().iter().position(|number| !number.is_finite()) {
        return Err(RetrieveError::NotFinite { table: "query", row: at / queries.cols() });
    }
    let sample = sample.min(queries.rows());
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut rows = index::sample(&mut rng, queries.rows(), sample).into_vec();
    rows.sort_unstable();
    let mut taken = Matrix::zeros(sample, queries.cols());
    for (at, row) in rows.into_iter().enumerate() {
        taken.row_mut(at).copy_from_slice(queries.row(row));
    }
    Ok(taken)
}

/// Per query the score of its tenth nearest item, less what rounding may differ by.
fn tenth_best(items: &Matrix, queries: &Matrix) -> Vec<f32> {
    let lists = Exact::new(items).search_all(queries, NEAREST.min(items.rows()), &|_| &[]);
    let bar = |hits: &Vec<Hit<ItemRow>>| match (hits.first(), hits.last()) {
        (Some(first), Some(last)) => last.score - 1e-5 * first.score.abs().max(last.score.abs()),
        _ => f32::NEG_INFINITY,
    };
    lists.iter().map(bar).collect()
}

/// BLAKE3 of a table's shape and numbers.
fn fingerprint(table: &Matrix) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(table.rows() as u64).to_le_bytes()).update(&(table.cols() as u64).to_le_bytes());
    let mut bytes = Vec::new();
    for row in 0..table.rows() {
        bytes.clear();
        table.row(row).iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        hasher.update(&bytes);
    }
    hasher.finalize().to_hex().to_string()
}

fn parse<T: std::str::FromStr>(meta: &Meta, key: &str) -> Result<T, RetrieveError> {
    let text = meta.get(key).and_then(|text| text.parse().ok());
    text.ok_or_else(|| RetrieveError::Part { part: key.into() })
}
