//! Replacing a store as a whole, so that a kill at any moment leaves the old one or the new one.
//!
//! A new store is built in `store.tmp`. When it is complete, `store` becomes `store.old`, the new folder
//! becomes `store`, and `store.old` is removed. Whoever finds `store.old` without `store` puts it back.
//! All of this happens under a lock on `store.lock`, so what lies around unlocked is of a run that died.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

const STORE: &str = "store";
const OLD: &str = "store.old";
const LOCK: &str = "store.lock";
const TEMPORARY: &str = "store.tmp";

/// The store's folder in a project.
pub(crate) fn folder(root: &Path) -> PathBuf {
    root.join(STORE)
}

/// Holds the project's lock as long as it lives; waits while another process ingests.
pub(crate) fn lock(root: &Path) -> Result<File> {
    let path = root.join(LOCK);
    let lock = File::create(&path).map_err(Error::write(&path))?;
    lock.lock().map_err(Error::write(&path))?;
    Ok(lock)
}

/// A store in the making; dropped without [`Builder::publish`], it leaves nothing behind.
pub(crate) struct Builder {
    root: PathBuf,
    path: PathBuf,
    _lock: File,
}

impl Builder {
    /// Takes the project's lock, tidies up after runs that died, and opens an empty folder.
    pub(crate) fn new(root: &Path) -> Result<Self> {
        let path = root.join(LOCK);
        let lock = File::create(&path).map_err(Error::write(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Busy { dir: root.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(Error::Write { path, source }),
        }
        restore(root)?;
        remove(&root.join(OLD))?;
        let path = root.join(TEMPORARY);
        remove(&path)?;
        fs::create_dir(&path).map_err(Error::write(&path))?;
        Ok(Builder { root: root.to_owned(), path, _lock: lock })
    }

    /// Where the new store's files go.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder the project's store. Its files must be on the disk already.
    pub(crate) fn publish(self) -> Result<()> {
        sync(&self.path)?;
        let (store, old) = (folder(&self.root), self.root.join(OLD));
        if store.exists() {
            fs::rename(&store, &old).map_err(Error::write(&store))?;
        }
        fs::rename(&self.path, &store).map_err(Error::write(&store))?;
        sync(&self.root)?;
        remove(&old)
    }
}

impl Drop for Builder {
    fn drop(&mut self) {
        // After publishing there is nothing left to remove; after a failure the next run would do it.
        drop(remove(&self.path));
    }
}

/// Puts the old store back if a run died between taking it away and putting the new one in its place.
pub(crate) fn recover(root: &Path) -> Result<()> {
    if folder(root).exists() || !root.join(OLD).exists() {
        return Ok(());
    }
    // A run that is alive holds the lock and is about to finish the step itself.
    let _lock = lock(root)?;
    restore(root)
}

fn restore(root: &Path) -> Result<()> {
    let (store, old) = (folder(root), root.join(OLD));
    if !store.exists() && old.exists() {
        fs::rename(&old, &store).map_err(Error::write(&old))?;
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() { fs::remove_dir_all(folder).map_err(Error::write(folder)) } else { Ok(()) }
}

/// Makes the names in a folder last; where folders cannot be opened as files there is nothing to do.
pub(crate) fn sync(folder: &Path) -> Result<()> {
    if cfg!(unix) { File::open(folder).and_then(|file| file.sync_all()).map_err(Error::write(folder)) } else { Ok(()) }
}
