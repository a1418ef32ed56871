//! The files of a source: found by path or glob, and known again by length, time and hash.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::project::Project;
use crate::source::{Format, Source};

/// One file of one source.
pub(crate) struct Input {
    /// Place of the source in the project.
    pub(crate) source: usize,
    pub(crate) path: PathBuf,
    /// The path as reports show it: relative to the project folder.
    pub(crate) shown: String,
    pub(crate) format: Format,
    pub(crate) print: Fingerprint,
}

/// What a file was when it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fingerprint {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// Nanoseconds since 1970; if these and the length are the same, the content is taken to be the same.
    pub(crate) modified: u64,
    pub(crate) blake3: String,
}

/// All files of all sources, each source's in the order of their names.
pub(crate) fn inputs(project: &Project) -> Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for (index, source) in project.sources.iter().enumerate() {
        let paths = paths(project, source)?;
        if paths.is_empty() {
            return Err(Error::NoFile {
                name: source.name.clone(),
                config: project.config(),
                line: source.line,
                pattern: source.path.clone(),
            });
        }
        for path in paths {
            let shown = shown(project, &path);
            let print = Fingerprint::take(&path, shown.clone())?;
            // The pattern's own extension was checked with the project file.
            let format = source.format.or_else(|| Format::of(&path)).unwrap_or(Format::Csv);
            inputs.push(Input { source: index, path, shown, format, print });
        }
    }
    Ok(inputs)
}

/// The files that a source matches now, sorted.
pub(crate) fn paths(project: &Project, source: &Source) -> Result<Vec<PathBuf>> {
    let plain = project.root.join(&source.path);
    if plain.is_file() {
        return Ok(vec![plain]);
    }
    // Only what was typed is a pattern: the project's own folder may well be called `data[1]`.
    let root = glob::Pattern::escape(&project.root.to_string_lossy());
    let pattern = Path::new(&root).join(&source.path);
    let Ok(found) = glob::glob(&pattern.to_string_lossy()) else { return Ok(Vec::new()) };
    let mut paths = Vec::new();
    for path in found {
        let path = path.map_err(|error| Error::Read { path: error.path().to_owned(), source: error.into() })?;
        if path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

pub(crate) fn shown(project: &Project, path: &Path) -> String {
    path.strip_prefix(&project.root).unwrap_or(path).to_string_lossy().into_owned()
}

impl Fingerprint {
    fn take(path: &Path, shown: String) -> Result<Self> {
        let meta = path.metadata().map_err(Error::read(path))?;
        Ok(Fingerprint { path: shown, bytes: meta.len(), modified: modified(&meta), blake3: hash_file(path)? })
    }

    /// Whether length and time still are what they were; it costs no reading.
    pub(crate) fn untouched(&self, path: &Path) -> bool {
        path.metadata().is_ok_and(|meta| meta.len() == self.bytes && modified(&meta) == self.modified)
    }

    /// Whether the content still is what it was; it reads the file only if its time is another.
    pub(crate) fn unchanged(&self, path: &Path) -> Result<bool> {
        if self.untouched(path) {
            return Ok(true);
        }
        let meta = path.metadata().map_err(Error::read(path))?;
        Ok(meta.len() == self.bytes && hash_file(path)? == self.blake3)
    }
}

/// The time of the last change, in nanoseconds since 1970, or 0 where there is none.
pub(crate) fn modified(meta: &Metadata) -> u64 {
    let since = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0)
}

/// The BLAKE3 hash of a file's bytes, in hexadecimal.
pub fn hash_file(path: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let file = std::fs::File::open(path).map_err(Error::read(path))?;
    hasher.update_reader(file).map_err(Error::read(path))?;
    Ok(hasher.finalize().to_hex().to_string())
}
