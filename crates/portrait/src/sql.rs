//! Expressions in SQL, compiled against a schema and evaluated batch by batch.

use std::collections::BTreeSet;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNode;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use lookalike_store::sql::{Engine, Prepared};

use crate::error::Error;
use crate::tag::Tag;

/// Functions that give something else every day or every time, which a view as of a day must not.
const UNSTEADY: [&str; 7] = ["now", "current_date", "current_time", "current_timestamp", "random", "uuid", "today"];

/// What compiles expressions.
pub(crate) struct Sql(Engine);

/// A compiled expression.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    prepared: Prepared,
    /// Columns that it uses.
    pub columns: BTreeSet<String>,
    /// What it gives.
    pub data_type: DataType,
}

impl Sql {
    pub(crate) fn new() -> Sql {
        Sql(Engine::new())
    }

    /// Reads `text` over the columns of `schema`.
    pub(crate) fn parse(&self, text: &str, schema: &SchemaRef) -> Result<Expr, DataFusionError> {
        let expression = self.0.parse(text, schema)?;
        steady(&expression)?;
        Ok(expression)
    }

    /// Makes what was read ready for batches of `schema`.
    pub(crate) fn prepare(&self, expression: Expr, schema: &SchemaRef) -> Result<Expression, DataFusionError> {
        let prepared = self.0.prepare(expression, schema)?;
        Ok(Expression { columns: prepared.columns.clone(), data_type: prepared.data_type.clone(), prepared })
    }

    /// Compiles `text` for batches of `schema`.
    pub(crate) fn compile(&self, text: &str, schema: &SchemaRef) -> Result<Expression, DataFusionError> {
        self.prepare(self.parse(text, schema)?, schema)
    }
}

fn steady(expression: &Expr) -> Result<(), DataFusionError> {
    let mut found = None;
    let holds = |part: &Expr| {
        if let Expr::ScalarFunction(call) = part
            && UNSTEADY.contains(&call.func.name())
        {
            found = Some(call.func.name().to_owned());
        }
        Ok(found.is_some())
    };
    expression.exists(holds)?;
    match found {
        Some(name) => Err(DataFusionError::Plan(format!(
            "{name}() does not give the same every time; `days_ago` counts the days up to the day of the profile"
        ))),
        None => Ok(()),
    }
}

impl Expression {
    fn array(&self, batch: &RecordBatch) -> Result<ArrayRef, DataFusionError> {
        self.prepared.evaluate(batch)
    }

    /// Where it is true.
    pub(crate) fn mask(&self, batch: &RecordBatch) -> Result<Vec<bool>, DataFusionError> {
        let array = self.array(batch)?;
        let array = array.as_boolean();
        Ok((0..array.len()).map(|row| array.is_valid(row) && array.value(row)).collect())
    }

    /// Its values, NaN where there is none or it is not finite; true is 1.
    pub(crate) fn numbers(&self, batch: &RecordBatch) -> Result<Vec<f64>, DataFusionError> {
        let array = cast(&self.array(batch)?, &DataType::Float64)?;
        let array = array.as_primitive::<Float64Type>();
        let value = |row: usize| if array.is_valid(row) { array.value(row) } else { f64::NAN };
        Ok((0..array.len()).map(value).map(|value| if value.is_finite() { value } else { f64::NAN }).collect())
    }

    /// Its values as text.
    pub(crate) fn texts(&self, batch: &RecordBatch) -> Result<ArrayRef, DataFusionError> {
        Ok(cast(&self.array(batch)?, &DataType::Utf8)?)
    }

    /// Whether it gives numbers (times and truths not among them).
    pub(crate) fn is_number(&self) -> bool {
        self.data_type.is_numeric()
    }

    /// Whether it gives true or false.
    pub(crate) fn is_condition(&self) -> bool {
        self.data_type == DataType::Boolean
    }
}

/// The error of an expression that is no SQL, or names what there is not.
pub(crate) fn unreadable(tag: &Tag, text: &str, error: &DataFusionError, schema: &Schema) -> Error {
    let said = error.strip_backtrace();
    // The engine lists all columns after its first sentence.
    let first = said.lines().next().unwrap_or_default();
    let first =
        first.split(". Valid fields are").next().unwrap_or_default().split(".\nValid").next().unwrap_or_default();
    let word = first.split("No field named ").nth(1).map(|rest| {
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && !"_\"".contains(letter)).unwrap_or(rest.len());
        rest[..end].trim_matches('"').to_owned()
    });
    let names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
    let hint = word.map(|word| match lookalike_store::nearest(&word, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the columns are {}", lookalike_store::listed(&names)),
    });
    tag.error(format!("`{text}`: {}", first.trim_end_matches('.')), hint)
}
