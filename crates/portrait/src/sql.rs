//! Expressions in SQL, compiled against a schema and evaluated batch by batch.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::{SessionConfig, SessionContext};

/// Functions that give something else every day or every time, which a view as of a day must not.
const UNSTEADY: [&str; 7] = ["now", "current_date", "current_time", "current_timestamp", "random", "uuid", "today"];

/// What compiles expressions.
pub(crate) struct Sql {
    session: SessionContext,
}

/// A compiled expression.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    physical: Arc<dyn PhysicalExpr>,
    /// Columns that it uses.
    pub columns: BTreeSet<String>,
    /// What it gives.
    pub data_type: DataType,
}

impl Sql {
    pub(crate) fn new() -> Sql {
        let mut config = SessionConfig::new();
        // Column names mean what they say, capitals included.
        config.options_mut().sql_parser.enable_ident_normalization = false;
        Sql { session: SessionContext::new_with_config(config) }
    }

    /// Compiles `text` for batches of `schema`.
    pub(crate) fn compile(&self, text: &str, schema: &SchemaRef) -> Result<Expression, DataFusionError> {
        let schema = DFSchema::try_from(schema.as_ref().clone())?;
        let logical = self.session.parse_sql_expr(text, &schema)?;
        steady(&logical)?;
        let columns = logical.column_refs().into_iter().map(|column| column.name.clone()).collect();
        // Some functions are only there to be rewritten into others, which the planner of a whole query would do.
        let context = SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build();
        let simplifier = ExprSimplifier::new(context);
        let logical = simplifier.simplify(simplifier.coerce(logical, &schema)?)?;
        let physical = self.session.create_physical_expr(logical, &schema)?;
        let data_type = physical.data_type(schema.as_arrow())?;
        Ok(Expression { physical, columns, data_type })
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
        self.physical.evaluate(batch)?.into_array(batch.num_rows())
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
