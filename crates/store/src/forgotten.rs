//! Those who asked to be forgotten: a list of keyed hashes beside the project file, so that no ingest brings them back.
//!
//! The list does not say who they are; it only tells whether an id that is shown to it is one of theirs. The key keeps
//! hashes of two projects from being compared. Whoever has the file can still test an id that they know.

use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Name of the file in the project.
pub(crate) const FILE: &str = "forgotten.json";
const FORMAT: u32 = 1;

/// The list of a project; empty if nobody asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Forgotten {
    key: [u8; 32],
    people: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u32,
    key: String,
    people: BTreeSet<String>,
}

impl Forgotten {
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let path = root.join(FILE);
        if !path.exists() {
            return Ok(Forgotten::default());
        }
        let text = std::fs::read(&path).map_err(Error::read(&path))?;
        let damaged = |what: String| Error::DamagedList { path: path.clone(), what };
        let written: Written = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if written.format > FORMAT {
            return Err(damaged(format!("it has format {}, and this version reads {FORMAT}", written.format)));
        }
        let key = blake3::Hash::from_hex(&written.key).map_err(|_| damaged("its key is no key".to_owned()))?;
        if let Some(entry) = written.people.iter().find(|entry| blake3::Hash::from_hex(entry).is_err()) {
            return Err(damaged(format!("`{entry}` is no hash")));
        }
        Ok(Forgotten { key: *key.as_bytes(), people: written.people })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.people.is_empty()
    }

    pub(crate) fn holds(&self, id: &str) -> bool {
        !self.people.is_empty() && self.people.contains(&self.entry(id))
    }

    fn entry(&self, id: &str) -> String {
        blake3::keyed_hash(&self.key, id.trim().as_bytes()).to_hex().to_string()
    }

    /// A hash of the list; `None` if it is empty.
    pub(crate) fn hash(&self) -> Option<String> {
        let mut hasher = blake3::Hasher::new();
        for entry in &self.people {
            hasher.update(entry.as_bytes());
        }
        (!self.people.is_empty()).then(|| hasher.finalize().to_hex().to_string())
    }

    /// Adds these ids, on disk first: whatever happens next, they do not come back.
    pub(crate) fn add<'a>(&mut self, root: &Path, ids: impl Iterator<Item = &'a str>) -> Result<()> {
        if self.people.is_empty() {
            self.key = key();
        }
        let added: Vec<String> = ids.map(|id| self.entry(id)).collect();
        self.people.extend(added);
        let key = blake3::Hash::from_bytes(self.key).to_hex().to_string();
        let written = Written { format: FORMAT, key, people: self.people.clone() };
        let (path, temporary) = (root.join(FILE), root.join(format!("{FILE}.tmp")));
        let text = serde_json::to_string_pretty(&written).map_err(std::io::Error::from).map_err(Error::write(&path))?;
        let mut file = std::fs::File::create(&temporary).map_err(Error::write(&temporary))?;
        let all = file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n")).and_then(|()| file.sync_all());
        all.map_err(Error::write(&temporary))?;
        std::fs::rename(&temporary, &path).map_err(Error::write(&path))?;
        crate::swap::sync(root)
    }
}

/// A key that nobody can guess: the standard library seeds its hash maps from the system's source of randomness.
fn key() -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for turn in 0..4_u64 {
        let mut random = RandomState::new().build_hasher();
        random.write_u64(turn);
        hasher.update(&random.finish().to_le_bytes());
    }
    *hasher.finalize().as_bytes()
}
