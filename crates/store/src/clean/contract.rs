//! The SQL conditions of a source's contract, evaluated over its lines.
//!
//! A condition sees the canonical columns with their canonical types and, beside them, the columns of the
//! source; where both have a name, the canonical one is meant. Columns of csv and JSON lines are text there.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::Verdicts;
use crate::error::{Error, Result};
use crate::project::Source;

type Condition = (String, Arc<dyn PhysicalExpr>);

/// The conditions of one source.
pub(crate) struct Contract<'a> {
    source: &'a Source,
    /// The conditions, prepared for batches of this schema.
    prepared: Option<(SchemaRef, Vec<Condition>)>,
}

impl<'a> Contract<'a> {
    pub(crate) fn new(source: &'a Source) -> Self {
        Contract { source, prepared: None }
    }

    /// Refuses the lines for which a condition is true.
    pub(crate) fn judge(&mut self, rows: &RecordBatch, raw: &RecordBatch, verdicts: &mut Verdicts) -> Result<()> {
        if self.source.quarantine.is_empty() {
            return Ok(());
        }
        let both = beside(rows, raw).map_err(|error| self.error(&self.source.quarantine[0], error.into()))?;
        let fresh = self.prepared.as_ref().is_none_or(|(schema, _)| *schema != both.schema());
        if fresh {
            self.prepared = Some((both.schema(), self.prepare(&both.schema())?));
        }
        for (text, condition) in self.prepared.iter().flat_map(|(_, conditions)| conditions) {
            let value = condition.evaluate(&both).and_then(|value| value.into_array(both.num_rows()));
            let hits = value.map_err(|error| self.error(text, error))?;
            let hits = hits.as_boolean();
            let rule = format!("`{text}`");
            (0..hits.len()).filter(|row| hits.is_valid(*row) && hits.value(*row)).for_each(|row| {
                verdicts.reject(row, &rule, "");
            });
        }
        Ok(())
    }

    fn prepare(&self, schema: &SchemaRef) -> Result<Vec<Condition>> {
        let conditions = self.source.quarantine.iter().map(|text| {
            let compiled = compile(text, schema).map_err(|error| self.error(text, error))?;
            Ok((text.clone(), compiled))
        });
        conditions.collect()
    }

    fn error(&self, expression: &str, source: DataFusionError) -> Error {
        Error::Condition { name: self.source.name.clone(), expression: expression.to_owned(), source: Box::new(source) }
    }
}

/// A condition in SQL, ready for batches of a schema.
pub(crate) fn compile(text: &str, schema: &SchemaRef) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
    let mut config = SessionConfig::new();
    // Column names mean what they say, capitals included.
    config.options_mut().sql_parser.enable_ident_normalization = false;
    let context = SessionContext::new_with_config(config);
    let schema = DFSchema::try_from(schema.as_ref().clone())?;
    let condition = context.create_physical_expr(context.parse_sql_expr(text, &schema)?, &schema)?;
    match condition.data_type(schema.as_arrow())? {
        DataType::Boolean => Ok(condition),
        other => Err(DataFusionError::Plan(format!("it gives {other}, not true or false"))),
    }
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
