//! Replacing a file or a whole folder so that a kill at any moment leaves the old or the new one, whole.
//!
//! A folder `name` is written as `.name.next` beside it; then `name` is renamed to `.name.last`, `.name.next` to
//! `name`, and `.name.last` is removed. A kill between the two renames leaves `.name.last` and a whole `.name.next`:
//! a reader uses the former ([`current`]) and the next writer puts it back before it begins.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::BundleError;

/// Writes `bytes` beside `path`, waits until they are on the disk, and renames them into place.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), BundleError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let next = path.with_file_name(name);
    let done = write_file(&next, bytes).and_then(|()| fs::rename(&next, path).map_err(BundleError::io("write", path)));
    if done.is_err() {
        let _ = fs::remove_file(&next);
    }
    done.and_then(|()| sync_parent(path))
}

/// Puts a folder with these files where `folder` is, in one step as seen by readers.
pub(crate) fn replace_folder<'a>(
    folder: &Path,
    files: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> Result<(), BundleError> {
    let (next, last) = (beside(folder, "next"), beside(folder, "last"));
    if let Some(parent) = parent(folder) {
        fs::create_dir_all(parent).map_err(BundleError::io("create", parent))?;
    }
    if !folder.exists() && last.exists() {
        fs::rename(&last, folder).map_err(BundleError::io("restore", folder))?;
    }
    remove(&next)?;
    remove(&last)?;
    let written = fill(&next, files);
    if written.is_err() {
        let _ = remove(&next);
    }
    written?;
    if folder.exists() {
        fs::rename(folder, &last).map_err(BundleError::io("set aside", folder))?;
    }
    fs::rename(&next, folder).map_err(BundleError::io("write", folder))?;
    sync_parent(folder)?;
    remove(&last)
}

/// Where the content of `folder` is now: there, or aside if a writer was killed between its two renames.
pub(crate) fn current(folder: &Path) -> PathBuf {
    let last = beside(folder, "last");
    if !folder.exists() && last.exists() { last } else { folder.to_owned() }
}

fn fill<'a>(folder: &Path, files: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<(), BundleError> {
    fs::create_dir(folder).map_err(BundleError::io("create", folder))?;
    for (name, bytes) in files {
        write_file(&folder.join(name), bytes)?;
    }
    sync_folder(folder)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), BundleError> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(BundleError::io("write", path))
}

fn remove(folder: &Path) -> Result<(), BundleError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(BundleError::io("remove", folder)(error)),
        _ => Ok(()),
    }
}

/// `.name.role` beside `name`.
fn beside(folder: &Path, role: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(folder.file_name().unwrap_or_default());
    name.push(".");
    name.push(role);
    folder.with_file_name(name)
}

fn parent(path: &Path) -> Option<&Path> {
    path.parent().filter(|parent| !parent.as_os_str().is_empty())
}

fn sync_parent(path: &Path) -> Result<(), BundleError> {
    sync_folder(parent(path).unwrap_or(Path::new(".")))
}

/// A rename is durable once the folder that holds the name is on the disk.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> Result<(), BundleError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(BundleError::io("write", folder))
}

/// Elsewhere folders cannot be opened as files; the rename itself is all there is.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> Result<(), BundleError> {
    Ok(())
}
