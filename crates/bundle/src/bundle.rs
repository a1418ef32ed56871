//! A bundle in memory and its folder on disk.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::disk;
use crate::error::BundleError;
use crate::history::History;
use crate::learned::Learned;
use crate::manifest::{Counts, MANIFEST, Manifest, Mark, Sealed};
use crate::rows::{ItemRow, UserRow, Vocab};
use crate::tables::{self, ItemInfo};
use crate::tensors::{self, Meta, Tensors};

const MODEL: &str = "model.safetensors";
const USERS: &str = "users.parquet";
const ITEMS: &str = "items.parquet";
const HISTORY: &str = "history.parquet";
const OWN: [&str; 4] = [MODEL, USERS, ITEMS, HISTORY];

/// What training leaves, complete: it answers offline, without the data it was made from.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// What it was made from and how.
    pub manifest: Manifest,
    /// Ids of the users in row order.
    pub users: Vocab<UserRow>,
    /// Ids of the items in row order.
    pub items: Vocab<ItemRow>,
    /// What is known of each item, in row order.
    pub item_info: Vec<ItemInfo>,
    /// What scores come from.
    pub learned: Learned,
    /// Further weights, such as `tower.*`.
    pub tensors: Tensors,
    /// What each user did in training.
    pub history: History,
    /// Further files by name, such as an index. They are written, checked and replaced together with the rest.
    pub extra: BTreeMap<String, Extra>,
}

/// A further file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extra {
    /// What it will hold once it is written.
    Bytes(Vec<u8>),
    /// One that was checked when its bundle was read, and stays where it lies: it may be large, and not all of it needed.
    /// Whoever opens it has to bear that the bundle was replaced since.
    File(PathBuf),
}

impl Extra {
    /// All it holds.
    fn bytes(&self) -> Result<Cow<'_, [u8]>, BundleError> {
        match self {
            Self::Bytes(bytes) => Ok(Cow::Borrowed(bytes)),
            Self::File(path) => Ok(Cow::Owned(std::fs::read(path).map_err(BundleError::io("read", path))?)),
        }
    }
}

impl Bundle {
    /// Writes the bundle as the folder `dir`. Whatever bundle is there is replaced in one step: a kill or a full disk
    /// leaves it usable. A folder with other content is left alone, and that is an error. Equal bundles give equal bytes.
    pub fn write(&self, dir: &Path) -> Result<(), BundleError> {
        self.check(dir)?;
        if dir.exists() && !dir.join(MANIFEST).exists() && !is_empty(dir)? {
            return Err(BundleError::NotOurs { path: dir.to_owned() });
        }
        let parquet = |name: &str| {
            let path = dir.join(name);
            move |source| BundleError::Parquet { path, source }
        };
        let further = self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.into()));
        let all = self.learned.lend().into_iter().chain(further);
        let model = tensors::encode(all, &Meta::new(), &dir.join(MODEL))?;
        let users = tables::encode_users(&self.users).map_err(parquet(USERS))?;
        let items = tables::encode_items(&self.items, &self.item_info).map_err(parquet(ITEMS))?;
        let history = tables::encode_history(&self.history).map_err(parquet(HISTORY))?;

        let further = self.extra.iter().map(|(name, extra)| Ok((name.as_str(), extra.bytes()?)));
        let further = further.collect::<Result<Vec<_>, BundleError>>()?;
        let mut files = BTreeMap::from([(MODEL, &model[..]), (USERS, &users), (ITEMS, &items), (HISTORY, &history)]);
        files.extend(further.iter().map(|(name, bytes)| (*name, &bytes[..])));
        let marks = files.iter().map(|(name, bytes)| ((*name).to_owned(), Mark::of(bytes))).collect();
        let manifest = Sealed::new(self.manifest.clone(), self.counts(), marks)
            .encode()
            .map_err(|source| BundleError::Json { path: dir.join(MANIFEST), source })?;
        files.insert(MANIFEST, &manifest);
        disk::replace_folder(dir, files.into_iter())
    }

    /// Reads the bundle in the folder `dir` and checks all of it before anything is used.
    pub fn read(dir: &Path) -> Result<Self, BundleError> {
        let dir = &disk::current(dir);
        let path = dir.join(MANIFEST);
        let text = std::fs::read(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => BundleError::NotABundle { path: dir.clone() },
            _ => BundleError::io("read", &path)(error),
        })?;
        let Sealed { manifest, counts, files, .. } = Sealed::decode(&text, &path)?;
        if let Some(name) = OWN.into_iter().find(|name| !files.contains_key(*name)) {
            return Err(BundleError::Unlisted { path, name: name.into() });
        }
        // The tables are read again by path; only the tensors are used from memory.
        let (mut model, mut extra) = (Vec::new(), BTreeMap::new());
        for (name, mark) in files {
            check_name(&name)?;
            let path = dir.join(&name);
            match name.as_str() {
                MODEL => model = read_checked(&path, &mark)?,
                _ => check_file(&path, &mark)?,
            }
            if !OWN.contains(&name.as_str()) {
                extra.insert(name, Extra::File(path));
            }
        }
        let (mut tensors, _) = tensors::decode_tensors(&model, &dir.join(MODEL))?;
        let users = tables::read_users(&dir.join(USERS))?;
        let (items, item_info) = tables::read_items(&dir.join(ITEMS))?;
        let history = tables::read_history(&dir.join(HISTORY), users.len(), items.len())?;
        let bundle = Self {
            manifest,
            learned: Learned::take(&mut tensors, &dir.join(MODEL))?,
            users,
            items,
            item_info,
            tensors,
            history,
            extra,
        };
        bundle.check(dir)?;
        for (name, found, expected) in [
            (USERS, bundle.users.len(), counts.users),
            (ITEMS, bundle.items.len(), counts.items),
            (HISTORY, bundle.history.len(), counts.history),
        ] {
            check_count(dir, name, found, expected)?;
        }
        if bundle.learned.dim() != counts.dim {
            let (found, expected) = (vec![counts.items, bundle.learned.dim()], vec![counts.items, counts.dim]);
            return Err(BundleError::Shape { path: dir.join(MODEL), name: "item.embedding".into(), found, expected });
        }
        Ok(bundle)
    }

    fn counts(&self) -> Counts {
        Counts {
            users: self.users.len(),
            items: self.items.len(),
            dim: self.learned.dim(),
            history: self.history.len(),
        }
    }

    /// That the parts fit each other; before writing as well as after reading.
    fn check(&self, dir: &Path) -> Result<(), BundleError> {
        self.learned.check(self.users.len(), self.items.len(), &dir.join(MODEL))?;
        check_count(dir, ITEMS, self.item_info.len(), self.items.len())?;
        check_count(dir, HISTORY, self.history.users(), self.users.len())?;
        for (name, tensor) in &self.tensors {
            if let Some(position) = tensor.not_finite() {
                return Err(BundleError::NotFinite { path: dir.join(MODEL), name: name.clone(), position });
            }
        }
        self.extra.keys().try_for_each(|name| check_name(name))?;
        match self.extra.keys().find(|name| OWN.contains(&name.as_str())) {
            Some(name) => Err(BundleError::Name { name: name.clone() }),
            None => Ok(()),
        }
    }
}

fn is_empty(dir: &Path) -> Result<bool, BundleError> {
    Ok(std::fs::read_dir(dir).map_err(BundleError::io("read", dir))?.next().is_none())
}

/// A name must stay inside the folder: one plain component, not the manifest's, nothing hidden.
fn check_name(name: &str) -> Result<(), BundleError> {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if plain && !name.starts_with('.') && !name.is_empty() && name != MANIFEST {
        return Ok(());
    }
    Err(BundleError::Name { name: name.into() })
}

fn read_checked(path: &Path, mark: &Mark) -> Result<Vec<u8>, BundleError> {
    let bytes = std::fs::read(path).map_err(BundleError::io("read", path))?;
    if bytes.len() as u64 != mark.bytes {
        return Err(BundleError::Size { path: path.to_owned(), found: bytes.len() as u64, expected: mark.bytes });
    }
    if Mark::of(&bytes) != *mark {
        return Err(BundleError::Damaged { path: path.to_owned() });
    }
    Ok(bytes)
}

/// The same, without holding all of it.
fn check_file(path: &Path, mark: &Mark) -> Result<(), BundleError> {
    let file = File::open(path).map_err(BundleError::io("read", path))?;
    let found = file.metadata().map_err(BundleError::io("read", path))?.len();
    if found != mark.bytes {
        return Err(BundleError::Size { path: path.to_owned(), found, expected: mark.bytes });
    }
    if Mark::of_file(file).map_err(BundleError::io("read", path))? != *mark {
        return Err(BundleError::Damaged { path: path.to_owned() });
    }
    Ok(())
}

fn check_count(dir: &Path, name: &str, found: usize, expected: usize) -> Result<(), BundleError> {
    if found == expected { Ok(()) } else { Err(BundleError::Count { path: dir.join(name), found, expected }) }
}
