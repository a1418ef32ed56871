//! What can be wrong with a preset.

use std::path::PathBuf;

/// Why a preset cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PresetError {
    /// Neither a built-in name nor a file.
    #[error("there is no model `{name}`; there are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The file cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or a value has the wrong type.
    #[error("`{file}`, line {line}: {message}")]
    Parse {
        /// The file or the preset's name.
        file: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A preset that TOML cannot say.
    #[error("preset `{name}` cannot be written as TOML")]
    Text {
        /// The preset's name.
        name: String,
        /// Why.
        source: toml::ser::Error,
    },
    /// A key that this kind of model does not have.
    #[error("`{file}`, line {line}: unknown key `{key}`")]
    Key {
        /// The file or the preset's name.
        file: String,
        /// Line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// The nearest known key.
        nearest: Option<String>,
    },
    /// A number outside its range.
    #[error("`{file}`: `{key}` is {value}, it must be {allowed}")]
    Value {
        /// The file or the preset's name.
        file: String,
        /// The key.
        key: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        allowed: &'static str,
    },
}

impl PresetError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { .. } => {
                Some("give one of these names, or the path of a preset that ends in `.toml`".into())
            }
            Self::Key { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            _ => None,
        }
    }
}
