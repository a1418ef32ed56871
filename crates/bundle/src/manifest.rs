//! `manifest.json`: what a bundle was made from and how, and what its files must be.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::disk;
use crate::error::BundleError;
use crate::seal;

/// The newest format version known; it is what is written.
pub const FORMAT: u32 = 2;
pub(crate) const MANIFEST: &str = "manifest.json";

/// What a bundle was made from and how. Holds no time and no path, so that equal runs leave equal bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the program that trained it.
    pub product: String,
    /// Name of the project whose history it was trained on.
    pub project: String,
    /// Name of the model.
    pub model: String,
    /// The model's settings, as read.
    pub preset: Value,
    /// Seed of every random choice.
    pub seed: u64,
    /// The device it was trained on, in words.
    pub device: String,
    /// Hash of the training data.
    pub data: String,
    /// How the history was split, in words.
    pub split: String,
    /// The day, as `2017-11-27`, whose events and later ones nothing was learned from; none where the split is not by time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned_before: Option<String>,
    /// How the metrics were computed, in words.
    pub protocol: String,
    /// Epochs trained.
    pub epochs: u32,
    /// The epoch whose tables these are.
    pub best_epoch: u32,
    /// How repeat history is blended into scores, if it is.
    pub repeat: Option<Repeat>,
    /// How the scores of users with few items are blended with what users like them had, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub few: Option<Few>,
    /// How candidates of the model are ranked once more, and what that is worth on the validation part; none where it was
    /// not tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranker: Option<Value>,
    /// Metrics on the test part.
    pub metrics: Value,
    /// The audit of the index, if there is one.
    pub index: Option<Value>,
}

impl Manifest {
    /// That of the bundle in the folder `dir` alone: its files are not looked at.
    pub fn read(dir: &Path) -> Result<Self, BundleError> {
        let path = disk::current(dir).join(MANIFEST);
        let text = std::fs::read(&path).map_err(BundleError::io("read", &path))?;
        Ok(Sealed::decode(&text, &path)?.manifest)
    }
}

/// How what a user already did is blended into the scores of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Repeat {
    /// Weight of the history term.
    pub weight: f64,
    /// What the blended score is made of, in words.
    pub made_of: String,
}

/// How the scores of users with few items are blended: with n of them the model's counts n / (n + k).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Few {
    /// k, above 0.
    pub k: f64,
    /// What the blended score is made of, in words.
    pub made_of: String,
}

/// What a file must be.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) bytes: u64,
    pub(crate) blake3: String,
}

impl Mark {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, blake3: blake3::hash(bytes).to_hex().to_string() }
    }

    /// Of a file, piece by piece.
    pub(crate) fn of_file(file: File) -> io::Result<Self> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file)?;
        Ok(Self { bytes: hasher.count(), blake3: hasher.finalize().to_hex().to_string() })
    }
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) users: usize,
    pub(crate) items: usize,
    pub(crate) dim: usize,
    pub(crate) history: usize,
}

/// The file itself: a manifest with what is derived when it is written.
#[derive(Serialize, Deserialize)]
pub(crate) struct Sealed {
    format: u32,
    seal: String,
    #[serde(flatten)]
    pub(crate) manifest: Manifest,
    pub(crate) counts: Counts,
    pub(crate) files: BTreeMap<String, Mark>,
}

#[derive(Deserialize)]
struct Version {
    format: u64,
}

impl Sealed {
    pub(crate) fn new(manifest: Manifest, counts: Counts, files: BTreeMap<String, Mark>) -> Self {
        Self { format: FORMAT, seal: seal::BLANK.into(), manifest, counts, files }
    }

    pub(crate) fn encode(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        seal::seal(&mut bytes);
        Ok(bytes)
    }

    /// The version comes first: what a newer program writes may look different in every other respect.
    pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Self, BundleError> {
        let json = |source| BundleError::Json { path: path.to_owned(), source };
        let Version { format } = serde_json::from_slice(bytes).map_err(json)?;
        if format > u64::from(FORMAT) {
            return Err(BundleError::Newer { path: path.to_owned(), found: format, known: FORMAT });
        }
        if !seal::holds(bytes) {
            return Err(BundleError::Damaged { path: path.to_owned() });
        }
        serde_json::from_slice(bytes).map_err(json)
    }
}
