//! `store.json`: what a store was made from and what is in it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::Fingerprint;
use crate::report::Report;

/// Name of the file in the store.
pub(crate) const FILE: &str = "store.json";
/// The format that this version writes, and the newest it reads.
pub(crate) const FORMAT: u32 = 2;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// Version of the format of the whole folder.
    pub(crate) format: u32,
    /// Hash of the sources as the project file declared them.
    pub(crate) declared: String,
    /// Hash of the list of those who asked to be forgotten, if anybody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) forgotten: Option<String>,
    /// Every file that was read.
    pub(crate) files: Vec<Fingerprint>,
    /// What was done.
    pub(crate) report: Report,
    /// Every Parquet file of the store, by its name.
    pub(crate) tables: BTreeMap<String, TableEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TableEntry {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) blake3: String,
}

/// Enough of any manifest to tell whether this version can read it.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

impl Manifest {
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        let mut text = serde_json::to_vec_pretty(self).map_err(std::io::Error::from).map_err(Error::write(&path))?;
        text.push(b'\n');
        let mut file = std::fs::File::create(&path).map_err(Error::write(&path))?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(Error::write(&path))
    }

    pub(crate) fn read(folder: &Path) -> Result<Manifest> {
        let path = folder.join(FILE);
        let text = std::fs::read(&path).map_err(Error::read(&path))?;
        let damaged = |error: serde_json::Error| Error::Damaged { path: path.clone(), what: error.to_string() };
        let Version { format } = serde_json::from_slice(&text).map_err(damaged)?;
        if format > FORMAT {
            return Err(Error::NewerFormat { dir: folder.to_owned(), found: format, known: FORMAT });
        }
        serde_json::from_slice(&text).map_err(damaged)
    }
}
