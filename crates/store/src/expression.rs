//! SQL as it was typed in a project file: where it stands there, and how it is made ready for batches of rows.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use datafusion::common::{DFSchema, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::{SessionConfig, SessionContext};
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

/// The SQL engine, set up for rows of one schema.
pub(crate) struct Engine {
    context: SessionContext,
    schema: DFSchema,
}

/// An expression that is ready for batches of the engine's schema.
pub(crate) type Prepared = Arc<dyn PhysicalExpr>;

impl Engine {
    pub(crate) fn new(schema: &Schema) -> Result<Self, DataFusionError> {
        let mut config = SessionConfig::new();
        // Column names mean what they say, capitals included.
        config.options_mut().sql_parser.enable_ident_normalization = false;
        Ok(Engine { context: SessionContext::new_with_config(config), schema: DFSchema::try_from(schema.clone())? })
    }

    /// An expression of any type.
    pub(crate) fn value(&self, text: &str) -> Result<Prepared, DataFusionError> {
        let parsed = self.context.parse_sql_expr(text, &self.schema)?;
        // Some functions are only there to be rewritten into others, which the planner of a whole query would do.
        let context = SimplifyContext::builder().with_schema(Arc::new(self.schema.clone())).build();
        let simplifier = ExprSimplifier::new(context);
        let simple = simplifier.simplify(simplifier.coerce(parsed, &self.schema)?)?;
        let prepared = self.context.create_physical_expr(simple, &self.schema)?;
        prepared.data_type(self.schema.as_arrow())?;
        Ok(prepared)
    }

    /// An expression that is true or false.
    pub(crate) fn condition(&self, text: &str) -> Result<Prepared, DataFusionError> {
        let prepared = self.value(text)?;
        match prepared.data_type(self.schema.as_arrow())? {
            DataType::Boolean => Ok(prepared),
            other => Err(DataFusionError::Plan(format!("it gives {other}, not true or false"))),
        }
    }
}

/// What an expression gives for every row of a batch.
pub(crate) fn evaluate(prepared: &Prepared, rows: &RecordBatch) -> Result<ArrayRef, DataFusionError> {
    prepared.evaluate(rows).and_then(|value| value.into_array(rows.num_rows()))
}

/// The column that was most likely meant where the engine found none.
pub(crate) fn meant(error: &DataFusionError) -> Option<String> {
    let DataFusionError::SchemaError(error, _) = error.find_root() else { return None };
    let SchemaError::FieldNotFound { field, valid_fields } = error.as_ref() else { return None };
    let names: Vec<&str> = valid_fields.iter().map(|column| column.name.as_str()).collect();
    nearest(&field.name, &names)
}
