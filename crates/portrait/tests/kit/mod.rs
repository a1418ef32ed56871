//! The one place of these tests that knows how a project is made, read and profiled, and where other data are.
#![allow(dead_code, reason = "every test file compiles this module and uses a part of it")]

use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use lookalike_portrait::{Catalogue, Error, Profile};
use lookalike_store::{Project, Store};
use tempfile::TempDir;

/// A project in a folder that goes away with the test.
pub struct Folder(TempDir);

impl Folder {
    pub fn new(toml: &str) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.write("lookalike.toml", toml);
        folder
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn write(&self, name: impl AsRef<Path>, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn project(&self) -> Project {
        Project::open(self.path()).unwrap()
    }

    /// The store, brought up to date.
    pub fn store(&self) -> Store {
        lookalike_store::ingest(&self.project(), &mut |_| {}).unwrap();
        Store::open(&self.project()).unwrap()
    }

    pub fn build(&self, day: Date) -> Result<Profile, Error> {
        let (project, store) = (self.project(), self.store());
        Profile::build(&project, &store, &Catalogue::open(&project)?, day, None)
    }
}

/// The folder of a data set that may not be copied into a repository, where `LOOKALIKE_DATA` names the folder of such
/// data; without it the test says that it saw nothing.
pub fn elsewhere(set: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("LOOKALIKE_DATA").map(|folder| Path::new(&folder).join(set));
    if folder.is_none() {
        // Unlike what is printed, this is shown although the test passes.
        let told = format!("SKIPPED: `{set}` was not looked at, because LOOKALIKE_DATA names no folder of data\n");
        std::io::stderr().write_all(told.as_bytes()).unwrap();
    }
    folder
}
