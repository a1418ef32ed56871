//! A run folder: what `train` leaves and every other verb reads.

use std::path::{Path, PathBuf};

use lookalike_bundle::{Bundle, ItemRow, UserRow};
use lookalike_retrieve::Hit;
use serde_json::{Value, json};

use crate::failure::Failure;

/// The places in a run folder.
pub struct Run(pub PathBuf);

impl Run {
    pub fn bundle(&self) -> PathBuf {
        self.0.join("bundle")
    }

    pub fn checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint.safetensors")
    }

    pub fn log(&self) -> PathBuf {
        self.0.join("log.jsonl")
    }

    /// Every trial of a search for knobs.
    pub fn trials(&self) -> PathBuf {
        self.0.join("tune.jsonl")
    }

    /// The preset that a search found best.
    pub fn preset(&self) -> PathBuf {
        self.0.join("preset.toml")
    }

    /// Reads the bundle of the run.
    pub fn read(&self) -> Result<Bundle, Failure> {
        Ok(Bundle::read(&self.bundle())?)
    }

    /// The folder as a user would type it.
    pub fn shown(&self) -> String {
        self.0.display().to_string()
    }
}

/// The row of a user's id.
pub fn user(bundle: &Bundle, id: &str) -> Result<UserRow, Failure> {
    bundle.users.row(id).ok_or_else(|| unknown("user", id, bundle.users.ids()))
}

/// The row of an item's id.
pub fn item(bundle: &Bundle, id: &str) -> Result<ItemRow, Failure> {
    bundle.items.row(id).ok_or_else(|| unknown("item", id, bundle.items.ids()))
}

fn unknown(noun: &str, id: &str, known: &[String]) -> Failure {
    let failure = Failure::new(format!("{noun} `{id}` does not occur in the history this run was trained on"));
    with_examples(failure, noun, known)
}

/// The failure with the advice what ids look like.
pub fn with_examples(failure: Failure, noun: &str, known: &[String]) -> Failure {
    match known.first() {
        Some(first) => {
            failure.with_hint(format!("{noun}s look like `{first}`; `bundle/{noun}s.parquet` lists all of them"))
        }
        None => failure,
    }
}

/// What an item is called, for people: its title, else its deepest category, else its id.
pub fn title(bundle: &Bundle, item: ItemRow) -> String {
    use lookalike_bundle::Row;
    let info = &bundle.item_info[item.index()];
    let text = info.title.as_ref().or(info.category.last());
    text.cloned().unwrap_or_else(|| format!("item {}", bundle.items.id(item)))
}

/// What the items of a list are called; those that share a name get their id behind it.
pub fn titles(bundle: &Bundle, items: &[ItemRow]) -> Vec<String> {
    let names: Vec<_> = items.iter().map(|&item| title(bundle, item)).collect();
    let shared = |name: &String| names.iter().filter(|other| *other == name).count() > 1;
    let full = |(name, &item): (&String, &ItemRow)| match shared(name) {
        true => format!("{name} #{}", bundle.items.id(item)),
        false => name.clone(),
    };
    names.iter().zip(items).map(full).collect()
}

/// A list of items as rows of a table: rank, id, title, score.
pub fn hit_rows(bundle: &Bundle, hits: &[Hit<ItemRow>]) -> Vec<Vec<String>> {
    let row = |(rank, hit): (usize, &Hit<ItemRow>)| {
        vec![
            format!("{}. {}", rank + 1, title(bundle, hit.row)),
            bundle.items.id(hit.row).to_owned(),
            format!("{:.4}", hit.score),
        ]
    };
    hits.iter().enumerate().map(row).collect()
}

/// A list of items as JSON; `measure` is what their score is called.
pub fn hits_json(bundle: &Bundle, hits: &[Hit<ItemRow>], measure: &str) -> Vec<Value> {
    let one = |hit: &Hit<ItemRow>| json!({ "item": bundle.items.id(hit.row), "title": title(bundle, hit.row), measure: hit.score });
    hits.iter().map(one).collect()
}

/// Writes a text file whole: to a temporary file beside it, synced, then renamed.
pub fn write_text(path: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let failed = crate::failure::io("written", path);
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(&failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(&failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
