//! A bundle in memory and its folder on disk.

use std::collections::BTreeMap;
use std::path::Path;

use crate::disk;
use crate::error::BundleError;
use crate::history::History;
use crate::manifest::{Counts, MANIFEST, Manifest, Mark, Sealed};
use crate::matrix::Matrix;
use crate::rows::{ItemRow, UserRow, Vocab};
use crate::tables::{self, ItemInfo};
use crate::tensors::{self, Lent, Meta, Tensor, Tensors};

const MODEL: &str = "model.safetensors";
const USERS: &str = "users.parquet";
const ITEMS: &str = "items.parquet";
const HISTORY: &str = "history.parquet";
const OWN: [&str; 4] = [MODEL, USERS, ITEMS, HISTORY];
const USER_TABLE: &str = "user.embedding";
const ITEM_TABLE: &str = "item.embedding";

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
    /// `users x dim`.
    pub user_embedding: Matrix,
    /// `items x dim`; the score of an item for a user is the inner product of their rows.
    pub item_embedding: Matrix,
    /// Further weights, such as `tower.*`.
    pub tensors: Tensors,
    /// What each user did in training.
    pub history: History,
    /// Further files by name, such as an index. They are written, checked and replaced together with the rest.
    pub extra: BTreeMap<String, Vec<u8>>,
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
        let (users, items) = (shape(&self.user_embedding), shape(&self.item_embedding));
        let own = [
            (USER_TABLE, Lent::floats(&users, self.user_embedding.data())),
            (ITEM_TABLE, Lent::floats(&items, self.item_embedding.data())),
        ];
        let further = self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.into()));
        let model = tensors::encode(own.into_iter().chain(further), &Meta::new(), &dir.join(MODEL))?;
        let users = tables::encode_users(&self.users).map_err(parquet(USERS))?;
        let items = tables::encode_items(&self.items, &self.item_info).map_err(parquet(ITEMS))?;
        let history = tables::encode_history(&self.history).map_err(parquet(HISTORY))?;

        let mut files = BTreeMap::from([(MODEL, &model[..]), (USERS, &users), (ITEMS, &items), (HISTORY, &history)]);
        files.extend(self.extra.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])));
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
        let mut contents = BTreeMap::new();
        for (name, mark) in files {
            check_name(&name)?;
            contents.insert(name.clone(), read_checked(&dir.join(&name), &mark)?);
        }
        // The tables are read again by path; only the tensors are used from memory.
        let model = contents.remove(MODEL).unwrap_or_default();
        contents.retain(|name, _| !OWN.contains(&name.as_str()));
        let (mut tensors, _) = tensors::decode_tensors(&model, &dir.join(MODEL))?;
        let users = tables::read_users(&dir.join(USERS))?;
        let (items, item_info) = tables::read_items(&dir.join(ITEMS))?;
        let history = tables::read_history(&dir.join(HISTORY), users.len(), items.len())?;
        let bundle = Self {
            manifest,
            user_embedding: take_matrix(&mut tensors, USER_TABLE, dir)?,
            item_embedding: take_matrix(&mut tensors, ITEM_TABLE, dir)?,
            users,
            items,
            item_info,
            tensors,
            history,
            extra: contents,
        };
        bundle.check(dir)?;
        for (name, found, expected) in [
            (USERS, bundle.users.len(), counts.users),
            (ITEMS, bundle.items.len(), counts.items),
            (HISTORY, bundle.history.len(), counts.history),
        ] {
            check_count(dir, name, found, expected)?;
        }
        check_shape(dir, ITEM_TABLE, &bundle.item_embedding, [counts.items, counts.dim])?;
        Ok(bundle)
    }

    fn counts(&self) -> Counts {
        Counts {
            users: self.users.len(),
            items: self.items.len(),
            dim: self.item_embedding.cols(),
            history: self.history.len(),
        }
    }

    /// That the parts fit each other; before writing as well as after reading.
    fn check(&self, dir: &Path) -> Result<(), BundleError> {
        let dim = self.item_embedding.cols();
        check_shape(dir, USER_TABLE, &self.user_embedding, [self.users.len(), dim])?;
        check_shape(dir, ITEM_TABLE, &self.item_embedding, [self.items.len(), dim])?;
        check_count(dir, ITEMS, self.item_info.len(), self.items.len())?;
        check_count(dir, HISTORY, self.history.users(), self.users.len())?;
        for (name, table) in [(USER_TABLE, &self.user_embedding), (ITEM_TABLE, &self.item_embedding)] {
            check_finite(dir, name, table.data().iter().position(|number| !number.is_finite()))?;
        }
        for (name, tensor) in &self.tensors {
            check_finite(dir, name, tensor.not_finite())?;
        }
        self.extra.keys().try_for_each(|name| check_name(name))?;
        match self.extra.keys().find(|name| OWN.contains(&name.as_str())) {
            Some(name) => Err(BundleError::Name { name: name.clone() }),
            None => Ok(()),
        }
    }
}

fn shape(table: &Matrix) -> [usize; 2] {
    [table.rows(), table.cols()]
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

fn take_matrix(tensors: &mut BTreeMap<String, Tensor>, name: &str, dir: &Path) -> Result<Matrix, BundleError> {
    tensors.remove(name).and_then(Tensor::into_matrix).ok_or_else(|| BundleError::Missing {
        path: dir.join(MODEL),
        name: name.into(),
        kind: "two-dimensional f32",
    })
}

fn check_shape(dir: &Path, name: &str, table: &Matrix, expected: [usize; 2]) -> Result<(), BundleError> {
    if shape(table) == expected {
        return Ok(());
    }
    let (path, name) = (dir.join(MODEL), name.into());
    Err(BundleError::Shape { path, name, found: shape(table).into(), expected: expected.into() })
}

fn check_count(dir: &Path, name: &str, found: usize, expected: usize) -> Result<(), BundleError> {
    if found == expected { Ok(()) } else { Err(BundleError::Count { path: dir.join(name), found, expected }) }
}

fn check_finite(dir: &Path, name: &str, position: Option<usize>) -> Result<(), BundleError> {
    match position {
        Some(position) => Err(BundleError::NotFinite { path: dir.join(MODEL), name: name.into(), position }),
        None => Ok(()),
    }
}
