//! SQL as it was typed in a project file, and where it stands there.

use std::path::PathBuf;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use serde::{Serialize, Serializer};

use crate::error::{Error, nearest};

/// An expression in SQL and the place where it was typed.
#[derive(Debug, Clone)]
pub struct Expression {
    /// The SQL.
    pub text: String,
    /// The project file.
    pub(crate) file: PathBuf,
    /// Line in it, from 1.
    pub(crate) line: usize,
    /// Dotted key in it.
    pub(crate) key: String,
}

/// Only the text decides what becomes of a line, so only the text is told apart.
impl Serialize for Expression {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text)
    }
}

impl Expression {
    /// What a user is told when it cannot be evaluated.
    pub(crate) fn error(&self, source: DataFusionError) -> Error {
        Error::Expression {
            file: self.file.clone(),
            line: self.line,
            key: self.key.clone(),
            expression: self.text.clone(),
            source: Box::new(source),
        }
    }
}

/// The column that was most likely meant where the engine found none.
pub(crate) fn meant(error: &DataFusionError) -> Option<String> {
    let DataFusionError::SchemaError(error, _) = error.find_root() else { return None };
    let SchemaError::FieldNotFound { field, valid_fields } = error.as_ref() else { return None };
    let names: Vec<&str> = valid_fields.iter().map(|column| column.name.as_str()).collect();
    nearest(&field.name, &names)
}
