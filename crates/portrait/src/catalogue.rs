//! All tags of a project: those that ship with the program and those of its own files, in the order in which they
//! can be computed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lookalike_store::settings::{Document, Section};
use lookalike_store::{Project, nearest};

use crate::error::{Error, Result};
use crate::tag::Tag;

/// The folder of a project's own tags.
pub const FOLDER: &str = "tags";

/// How values are computed; another number makes every version another.
const ENGINE: u32 = 1;

/// The tags that ship with the program, for an online shop.
const SHIPPED: [(&str, &str); 10] = [
    ("basic/registration", include_str!("../catalogue/basic/registration.toml")),
    ("consumption/activity", include_str!("../catalogue/consumption/activity.toml")),
    ("consumption/future", include_str!("../catalogue/consumption/future.toml")),
    ("consumption/preference", include_str!("../catalogue/consumption/preference.toml")),
    ("consumption/price", include_str!("../catalogue/consumption/price.toml")),
    ("consumption/stage", include_str!("../catalogue/consumption/stage.toml")),
    ("consumption/time", include_str!("../catalogue/consumption/time.toml")),
    ("consumption/value", include_str!("../catalogue/consumption/value.toml")),
    ("psychological/interest", include_str!("../catalogue/psychological/interest.toml")),
    ("social/voice", include_str!("../catalogue/social/voice.toml")),
];

/// Checked tags.
#[derive(Debug, Clone)]
pub struct Catalogue {
    /// Parents before children.
    tags: Vec<Tag>,
    versions: BTreeMap<String, String>,
}

impl Catalogue {
    /// Reads the tags of a project: the shipped ones, replaced or switched off by those of its own with their names,
    /// and its own.
    pub fn open(project: &Project) -> Result<Catalogue> {
        let mut tags = BTreeMap::new();
        for (path, text) in SHIPPED {
            let file = PathBuf::from(format!("catalogue:{path}.toml"));
            for (name, tag) in read(path, &file, &Document::of(&file, text))? {
                tags.extend(tag.map(|tag| (name, tag)));
            }
        }
        let mut own: BTreeMap<String, Option<Tag>> = BTreeMap::new();
        for (path, file) in own_files(&project.root)? {
            let shown = file.strip_prefix(&project.root).unwrap_or(&file).to_owned();
            for (name, tag) in read(&path, &shown, &Document::read(&file)?)? {
                if let (Some(Some(first)), Some(tag)) = (own.get(&name), &tag) {
                    let message = format!("a tag of this name stands in {} already", first.place);
                    return Err(tag.error(message, Some("the path of the file is a part of the name".to_owned())));
                }
                own.insert(name, tag);
            }
        }
        for (name, tag) in own {
            match tag {
                Some(tag) => drop(tags.insert(name, tag)),
                None if tags.remove(&name).is_none() => return Err(no_such(name, &tags)),
                None => {}
            }
        }
        Self::of(tags.into_values().collect())
    }

    /// Brings tags into an order in which parents come first.
    pub fn of(tags: Vec<Tag>) -> Result<Catalogue> {
        let by_name: BTreeMap<String, Tag> = tags.into_iter().map(|tag| (tag.name.clone(), tag)).collect();
        let (mut order, mut path) = (Vec::new(), Vec::new());
        let mut done = BTreeMap::new();
        for name in by_name.keys() {
            visit(name, &by_name, &mut path, &mut done, &mut order)?;
        }
        let mut versions = BTreeMap::new();
        for tag in &order {
            versions.insert(tag.name.clone(), version(tag, &versions));
        }
        Ok(Catalogue { tags: order, versions })
    }

    /// All tags, parents before children.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// The tag of this name.
    pub fn get(&self, name: &str) -> Result<&Tag> {
        let known = || self.tags.iter().map(|tag| tag.name.clone()).collect();
        let found = self.tags.iter().find(|tag| tag.name == name);
        found.ok_or_else(|| Error::NoTag { name: name.to_owned(), known: known() })
    }

    /// A hash of what the tag computes, its parents included.
    pub fn version(&self, name: &str) -> &str {
        self.versions.get(name).map_or("", String::as_str)
    }

    /// The tags that are made from this one.
    pub fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Tag> {
        self.tags.iter().filter(move |tag| tag.parents().any(|parent| parent == name))
    }

    /// Leaves out tags, and with them what is made from them; gives back the names of the latter.
    pub(crate) fn without(&mut self, mut names: Vec<String>) -> Vec<String> {
        let first = names.len();
        for tag in &self.tags {
            if tag.parents().any(|parent| names.iter().any(|name| name == parent)) {
                names.push(tag.name.clone());
            }
        }
        self.tags.retain(|tag| !names.contains(&tag.name));
        names.split_off(first)
    }
}

/// The error of switching off a tag that there is not.
fn no_such(name: String, tags: &BTreeMap<String, Tag>) -> Error {
    Error::NoTag { name, known: tags.keys().cloned().collect() }
}

/// The tag files of a project, each with the part of a name that its path is.
fn own_files(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let (mut files, mut folders) = (Vec::new(), vec![(String::new(), root.join(FOLDER))]);
    while let Some((prefix, folder)) = folders.pop() {
        if !folder.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(&folder).map_err(Error::reading(&folder))? {
            let path = entry.map_err(Error::reading(&folder))?.path();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let name = if prefix.is_empty() { stem } else { format!("{prefix}/{stem}") };
            if path.is_dir() {
                folders.push((name, path));
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                files.push((name, path));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The tags of a file by name, `None` for one that is switched off.
fn read(path: &str, file: &Path, document: &Document) -> Result<Vec<(String, Option<Tag>)>> {
    let table = document.parse()?;
    let mut tags = Vec::new();
    for (section, entry) in Section::root(document, &table).rest() {
        let allowed = |letter: char| letter.is_alphanumeric() || "_-/".contains(letter);
        if !section.chars().all(allowed) || section.split('/').any(str::is_empty) {
            return Err(entry
                .error("is no name of a tag: letters, digits, `_` and `-`, with `/` between levels")
                .into());
        }
        let name = format!("{path}/{section}");
        let mut typed = entry.section()?;
        let off = typed.take("kind").is_some_and(|kind| kind.text().is_ok_and(|kind| kind == "off"));
        let tag = if off { None } else { Some(Tag::read(name.clone(), file, &entry)?) };
        tags.push((name, tag));
    }
    Ok(tags)
}

/// Puts a tag behind its parents.
fn visit(
    name: &str,
    tags: &BTreeMap<String, Tag>,
    path: &mut Vec<String>,
    done: &mut BTreeMap<String, ()>,
    order: &mut Vec<Tag>,
) -> Result<()> {
    if done.contains_key(name) {
        return Ok(());
    }
    if let Some(start) = path.iter().position(|visited| visited == name) {
        let round = path[start..].iter().cloned().chain([name.to_owned()]);
        return Err(Error::Cycle { path: round.collect() });
    }
    path.push(name.to_owned());
    let tag = &tags[name];
    for parent in tag.parents() {
        if !tags.contains_key(parent) {
            let known: Vec<&String> = tags.keys().collect();
            let hint = nearest(parent, &known).map(|near| format!("did you mean `{near}`?"));
            return Err(tag.error(format!("there is no tag `{parent}` that it could be made from"), hint));
        }
        visit(parent, tags, path, done, order)?;
    }
    path.pop();
    done.insert(name.to_owned(), ());
    order.push(tag.clone());
    Ok(())
}

fn version(tag: &Tag, versions: &BTreeMap<String, String>) -> String {
    let parents: Vec<_> = tag.parents().map(|parent| versions.get(parent)).collect();
    let definition = (ENGINE, &tag.body, tag.prior, tag.expires, &tag.purpose, parents);
    let text = serde_json::to_string(&definition).unwrap_or_default();
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}
