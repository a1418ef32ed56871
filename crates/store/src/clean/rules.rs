//! What a source declares beyond its columns: what is written in their place, what is done about gaps, which lines are
//! returns, and which are refused.
//!
//! Expressions see the canonical columns with their canonical types and, beside them, the columns of the source;
//! where both have a name, the canonical one is meant. Columns of csv and JSON lines are text there. All of `set` see
//! the lines as they were; `returns.when` and the conditions of the contract see what it made of them.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
};
use arrow::compute::kernels::cmp::distinct;
use arrow::datatypes::{DataType, Float64Type, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::{Raw, Verdicts, convert};
use crate::error::{Error, Result};
use crate::expression::Expression;
use crate::schema::Role;
use crate::source::{Kind, Missing, Source};
use crate::sql::{Engine, Prepared};

/// The rules of one source.
pub(crate) struct Rules<'a> {
    source: &'a Source,
    /// All expressions, prepared for batches of this schema.
    prepared: Option<(SchemaRef, Program<'a>)>,
}

/// The expressions of a source, ready to be evaluated.
struct Program<'a> {
    set: Vec<(&'a str, &'a Expression, Prepared)>,
    when: Option<(&'a Expression, Prepared)>,
    quarantine: Vec<(&'a Expression, Prepared)>,
}

impl<'a> Program<'a> {
    fn new(source: &'a Source, schema: &Schema) -> Result<Self> {
        let when = source.returns.iter().map(|returns| &returns.when);
        if source.set.values().chain(when.clone()).chain(&source.quarantine).next().is_none() {
            return Ok(Program { set: Vec::new(), when: None, quarantine: Vec::new() });
        }
        // Setting up an engine costs more than all else here, so all expressions share one.
        let engine = Engine::new();
        let condition = |typed: &'a Expression| -> Result<_> {
            Ok((typed, engine.condition(&typed.text, schema).map_err(|error| typed.error(error))?))
        };
        let value = |(name, typed): (&'a String, &'a Expression)| -> Result<_> {
            Ok((name.as_str(), typed, engine.value(&typed.text, schema).map_err(|error| typed.error(error))?))
        };
        Ok(Program {
            set: source.set.iter().map(value).collect::<Result<_>>()?,
            when: when.map(condition).next().transpose()?,
            quarantine: source.quarantine.iter().map(condition).collect::<Result<_>>()?,
        })
    }
}

impl<'a> Rules<'a> {
    pub(crate) fn new(source: &'a Source) -> Self {
        Rules { source, prepared: None }
    }

    /// Applies all rules to the rows that the columns of `raw` were mapped to.
    pub(crate) fn apply(
        &mut self,
        file: &Path,
        mut rows: RecordBatch,
        raw: &RecordBatch,
        verdicts: &mut Verdicts,
    ) -> Result<RecordBatch> {
        let unreadable =
            |error: ArrowError| Error::Read { path: file.to_owned(), source: std::io::Error::other(error) };
        let both = beside(&rows, raw).map_err(unreadable)?;
        if self.prepared.as_ref().is_none_or(|(schema, _)| *schema != both.schema()) {
            self.prepared = Some((both.schema(), Program::new(self.source, &both.schema())?));
        }
        let Some((_, program)) = &self.prepared else { return Ok(rows) };
        let mut columns = rows.columns().to_vec();
        for (name, typed, prepared) in &program.set {
            let Ok(index) = rows.schema_ref().index_of(name) else { continue };
            let value = prepared.evaluate(&both).map_err(|error| typed.error(error))?;
            let value = self.written(file, name, &value, verdicts)?;
            if self.corrects(name) {
                let rule = format!("`{name}` set by `{}`", typed.text);
                changed(&columns[index], &value, |row| verdicts.fix(row, &rule)).map_err(unreadable)?;
            }
            columns[index] = value;
        }
        if let Some((typed, prepared)) = &program.when
            && let Some(returns) = &self.source.returns
        {
            let set = RecordBatch::try_new(rows.schema(), columns.clone()).map_err(unreadable)?;
            let hits = prepared.evaluate(&beside(&set, raw).map_err(unreadable)?);
            let hits = hits.map_err(|error| typed.error(error))?;
            let rule = format!("`{}` makes it a {}", typed.text, returns.kind);
            if let Ok(index) = rows.schema_ref().index_of("kind") {
                columns[index] = renamed(&columns[index], hits.as_boolean(), &returns.kind, |row| {
                    verdicts.fix(row, &rule);
                });
            }
        }
        for (name, missing) in &self.source.missing {
            let Ok(index) = rows.schema_ref().index_of(name) else { continue };
            if columns[index].null_count() > 0 {
                columns[index] = self.filled(name, &columns[index], missing, verdicts);
            }
        }
        rows = RecordBatch::try_new(rows.schema(), columns).map_err(unreadable)?;
        for name in &self.source.not_null {
            let Some(column) = rows.column_by_name(name) else { continue };
            let rule = format!("`{}` is empty", self.source.origin(name));
            (0..column.len()).filter(|row| column.is_null(*row)).for_each(|row| verdicts.reject(row, &rule, ""));
        }
        if !program.quarantine.is_empty() {
            let both = beside(&rows, raw).map_err(unreadable)?;
            for (typed, prepared) in &program.quarantine {
                let hits = prepared.evaluate(&both).map_err(|error| typed.error(error))?;
                let rule = format!("`{}`", typed.text);
                true_rows(hits.as_boolean()).for_each(|row| verdicts.reject(row, &rule, ""));
            }
        }
        Ok(rows)
    }

    /// A computed column as its canonical type; what does not fit is refused like anything else in a file.
    fn written(&self, file: &Path, name: &str, value: &ArrayRef, verdicts: &mut Verdicts) -> Result<ArrayRef> {
        let role = self.source.table.role(name).unwrap_or(Role::Text);
        let raw = Raw { file, name, array: value };
        convert(role, &[raw], None, verdicts)
    }

    /// Whether writing a column replaces what the source says. If not, it is made up from other columns, which repairs
    /// nothing.
    fn corrects(&self, name: &str) -> bool {
        let literal = name == "kind" && matches!(self.source.kind, Some(Kind::Literal(_)));
        literal || !self.source.origins(name).is_empty()
    }

    fn filled(&self, name: &str, column: &ArrayRef, missing: &Missing, verdicts: &mut Verdicts) -> ArrayRef {
        let origin = self.source.origin(name);
        let gaps = (0..column.len()).filter(|row| column.is_null(*row));
        match missing {
            Missing::Keep => column.clone(),
            Missing::Drop => {
                let rule = format!("`{origin}` is empty");
                gaps.for_each(|row| verdicts.reject(row, &rule, ""));
                column.clone()
            }
            Missing::Number(number) => {
                let rule = format!("`{origin}` is empty: set to {number}");
                gaps.for_each(|row| verdicts.fix(row, &rule));
                let numbers = column.as_primitive::<Float64Type>().iter();
                Arc::new(numbers.map(|value| value.or(Some(*number))).collect::<Float64Array>())
            }
            Missing::Text(text) => {
                let rule = format!("`{origin}` is empty: set to `{text}`");
                gaps.for_each(|row| verdicts.fix(row, &rule));
                match column.as_list_opt::<i32>() {
                    Some(paths) => {
                        let mut builder = ListBuilder::new(StringBuilder::new());
                        for path in paths.iter() {
                            match path {
                                Some(path) => {
                                    path.as_string::<i32>().iter().for_each(|s| builder.values().append_option(s))
                                }
                                None => builder.values().append_value(text),
                            }
                            builder.append(true);
                        }
                        Arc::new(builder.finish())
                    }
                    None => {
                        let texts = column.as_string::<i32>().iter();
                        Arc::new(texts.map(|value| value.or(Some(text.as_str()))).collect::<StringArray>())
                    }
                }
            }
        }
    }
}

fn true_rows(hits: &BooleanArray) -> impl Iterator<Item = usize> {
    (0..hits.len()).filter(|row| hits.is_valid(*row) && hits.value(*row))
}

/// Calls `tell` for every row in which two columns of one type differ.
fn changed(old: &ArrayRef, new: &ArrayRef, mut tell: impl FnMut(usize)) -> Result<(), ArrowError> {
    if matches!(old.data_type(), DataType::List(_)) {
        (0..old.len()).filter(|&row| old.slice(row, 1) != new.slice(row, 1)).for_each(tell);
        return Ok(());
    }
    true_rows(&distinct(old, new)?).for_each(&mut tell);
    Ok(())
}

/// The kinds with those of some rows replaced.
fn renamed(kinds: &ArrayRef, hits: &BooleanArray, kind: &str, mut tell: impl FnMut(usize)) -> ArrayRef {
    let hit = |row: usize| hits.is_valid(row) && hits.value(row);
    let renamed = kinds.as_string::<i32>().iter().enumerate().map(|(row, old)| {
        if !hit(row) {
            return old;
        }
        if old != Some(kind) {
            tell(row);
        }
        Some(kind)
    });
    Arc::new(renamed.collect::<StringArray>())
}

/// Both batches as one, without the columns of `raw` whose name `rows` has too.
fn beside(rows: &RecordBatch, raw: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut fields: Vec<_> = rows.schema_ref().fields().iter().cloned().collect();
    let mut columns = rows.columns().to_vec();
    for (field, column) in raw.schema_ref().fields().iter().zip(raw.columns()) {
        if rows.column_by_name(field.name()).is_none() {
            fields.push(field.clone());
            columns.push(column.clone());
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}
