//! From lines as they stand in a file to rows of a canonical table, with a verdict on every line.

mod columns;
mod rules;
mod verdicts;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};

pub(crate) use self::columns::{Raw, id, number, text, time};
pub(crate) use self::rules::Rules;
pub(crate) use self::verdicts::{FORGOTTEN, Verdicts, sentence};
use crate::error::{Error, Result};
use crate::read::RawBatch;
use crate::schema::Role;
use crate::source::{At, Kind, Source};

/// Turns the lines of one source into rows of its table.
pub(crate) struct Cleaner<'a> {
    source: &'a Source,
    attributes: &'a [String],
    rules: Rules<'a>,
}

impl<'a> Cleaner<'a> {
    /// A cleaner for `source`, whose table has these attributes over all its sources.
    pub(crate) fn new(source: &'a Source, attributes: &'a [String]) -> Self {
        Cleaner { source, attributes, rules: Rules::new(source) }
    }

    /// Rows for all lines of `raw`, bad ones included (with gaps where they are bad), and the verdicts.
    pub(crate) fn clean(&mut self, file: &Path, raw: &RawBatch) -> Result<(RecordBatch, Verdicts)> {
        let mut verdicts = Verdicts::new(raw.lines.len());
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        let canonical = self.source.table.canonical().iter().map(|(name, role, _)| (*name, *role));
        let attributes = self.attributes.iter().map(|name| (name.as_str(), Role::Text));
        for (name, role) in canonical.chain(attributes) {
            // What is set anew is judged by what it is set to.
            let mut scratch = self.source.set.contains_key(name).then(|| Verdicts::new(raw.lines.len()));
            let verdicts = scratch.as_mut().unwrap_or(&mut verdicts);
            columns.push(self.column(name, role, file, &raw.columns, verdicts)?);
            fields.push(Field::new(name, role.data_type(), true));
        }
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|error| Error::Read { path: file.to_owned(), source: std::io::Error::other(error) })?;
        let rows = self.rules.apply(file, rows, &raw.columns, &mut verdicts)?;
        Ok((rows, verdicts))
    }

    fn column(
        &self,
        name: &str,
        role: Role,
        file: &Path,
        raw: &RecordBatch,
        verdicts: &mut Verdicts,
    ) -> Result<ArrayRef> {
        let rows = raw.num_rows();
        let constant =
            |word: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(std::iter::repeat_n(word, rows))) };
        match (name, &self.source.kind) {
            ("source", _) if !self.source.table.takes_attributes() => return Ok(constant(&self.source.name)),
            ("kind", Some(Kind::Literal(word))) => return Ok(constant(word)),
            _ => {}
        }
        let names = self.source.origins(name);
        let mut sources = Vec::with_capacity(names.len());
        for name in &names {
            match raw.column_by_name(name) {
                Some(array) => sources.push(Raw { file, name, array }),
                None => return Err(missing(file, name, raw)),
            }
        }
        if sources.is_empty() {
            return Ok(new_null_array(&role.data_type(), rows));
        }
        convert(role, &sources, self.source.at.as_ref(), verdicts)
    }
}

/// Columns of a file, or one that was computed, as a canonical column.
fn convert(role: Role, raws: &[Raw<'_>], at: Option<&At>, verdicts: &mut Verdicts) -> Result<ArrayRef> {
    Ok(match (role, raws, at) {
        (Role::Time, [stamp, ..], Some(at)) => Arc::new(time(stamp, at, verdicts)?),
        // Only the declared `at` says how a time is read; without it, and without a column, there is none.
        (Role::Time, ..) | (_, [], _) => {
            new_null_array(&role.data_type(), raws.first().map_or(0, |raw| raw.array.len()))
        }
        (Role::Id, [one, ..], _) => Arc::new(id(one, verdicts)?),
        (Role::Number, [one, ..], _) => Arc::new(number(one, verdicts)?),
        (Role::Path, [one], _) if matches!(one.array.data_type(), DataType::List(_)) => {
            cast(one.array, &role.data_type()).map_err(|_| one.wrong_type("path"))?
        }
        (Role::Path, many, _) => Arc::new(columns::path(many)?),
        (Role::Text, [one], _) => Arc::new(text(one)?),
        (Role::Text, many, _) => Arc::new(columns::joined(many)?),
    })
}

impl Source {
    /// What a canonical column is called in the source.
    pub(crate) fn origin(&self, name: &str) -> String {
        self.origins(name).into_iter().next().unwrap_or_else(|| name.to_owned())
    }

    /// The columns of the source that a canonical column or attribute is made from.
    pub(crate) fn origins(&self, name: &str) -> Vec<String> {
        match (name, &self.at, &self.kind) {
            ("at", Some(at), _) => vec![at.column.clone()],
            ("kind", _, Some(Kind::Column(column))) => vec![column.clone()],
            _ => self.map.get(name).cloned().unwrap_or_default(),
        }
    }

    /// All columns that must be in every file of this source.
    pub(crate) fn needed(&self) -> Vec<String> {
        let mut names = self.origins("at");
        names.extend(self.origins("kind"));
        names.extend(self.map.values().flatten().cloned());
        names.extend(self.key.iter().cloned());
        let mut unique = Vec::with_capacity(names.len());
        for name in names {
            if !unique.contains(&name) {
                unique.push(name);
            }
        }
        unique
    }
}

fn missing(file: &Path, column: &str, raw: &RecordBatch) -> Error {
    let found = raw.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
    Error::MissingColumn { file: file.to_owned(), column: column.to_owned(), found }
}

/// Whether values of this type are text that somebody may have typed.
fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_text(values),
        other => other.is_string(),
    }
}
