//! The SQL engine: how an expression is read, made ready for batches of rows, and evaluated over them. There is one way for
//! what is typed in project files and for what is typed in tags.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::{SessionConfig, SessionContext};

/// What reads expressions.
pub struct Engine {
    context: SessionContext,
}

/// An expression that is ready for batches of one schema.
#[derive(Debug, Clone)]
pub struct Prepared {
    physical: Arc<dyn PhysicalExpr>,
    /// Columns that it uses.
    pub columns: BTreeSet<String>,
    /// What it gives.
    pub data_type: DataType,
}

impl Default for Engine {
    fn default() -> Self {
        Engine::new()
    }
}

impl Engine {
    /// An engine for which column names mean what they say, capitals included.
    pub fn new() -> Self {
        Engine { context: session() }
    }

    /// An expression of any type, ready for batches of `schema`.
    pub fn value(&self, text: &str, schema: &Schema) -> Result<Prepared, DataFusionError> {
        self.prepare(self.parse(text, schema)?, schema)
    }

    /// An expression that is true or false.
    pub fn condition(&self, text: &str, schema: &Schema) -> Result<Prepared, DataFusionError> {
        let prepared = self.value(text, schema)?;
        match prepared.data_type {
            DataType::Boolean => Ok(prepared),
            other => Err(DataFusionError::Plan(format!("it gives {other}, not true or false"))),
        }
    }

    /// Reads an expression over the columns of `schema`.
    pub fn parse(&self, text: &str, schema: &Schema) -> Result<Expr, DataFusionError> {
        self.context.parse_sql_expr(text, &DFSchema::try_from(schema.clone())?)
    }

    /// Makes an expression ready for batches of `schema`.
    pub fn prepare(&self, expression: Expr, schema: &Schema) -> Result<Prepared, DataFusionError> {
        let schema = DFSchema::try_from(schema.clone())?;
        sensible(&expression, &schema)?;
        let columns = expression.column_refs().into_iter().map(|column| column.name.clone()).collect();
        // Some functions are only there to be rewritten into others, which the planner of a whole query would do.
        let context = SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build();
        let simplifier = ExprSimplifier::new(context);
        let simple = simplifier.simplify(simplifier.coerce(expression, &schema)?)?;
        let physical = self.context.create_physical_expr(simple, &schema)?;
        let data_type = physical.data_type(schema.as_arrow())?;
        Ok(Prepared { physical, columns, data_type })
    }
}

/// What runs expressions and queries: column names mean what they say, capitals included.
pub fn session() -> SessionContext {
    let mut config = SessionConfig::new();
    config.options_mut().sql_parser.enable_ident_normalization = false;
    SessionContext::new_with_config(config)
}

impl Prepared {
    /// What it gives for every row of a batch.
    pub fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, DataFusionError> {
        self.physical.evaluate(rows)?.into_array(rows.num_rows())
    }
}

/// What is said of a comparison that has a meaning for the engine alone.
pub(crate) const TIME_AND_NUMBER: &str = "a time is compared with a number";

/// Refuses to compare a day or a time with a number: the engine takes the number for days or moments since 1970, so that
/// `day = 20240115` would compile and never be true. Text is read as a day or a time, which is what it says.
fn sensible(expression: &Expr, schema: &DFSchema) -> Result<(), DataFusionError> {
    let kind = |side: &Expr| side.get_type(schema).ok();
    let mixed = |a: &Expr, b: &Expr| match (kind(a), kind(b)) {
        (Some(a), Some(b)) => {
            let (time, number) = (is_time(&a) || is_time(&b), a.is_numeric() || b.is_numeric());
            time && number
        }
        _ => false,
    };
    let mut found = None;
    expression.apply(|part| {
        let wrong = match part {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => compares(*op) && mixed(left, right),
            Expr::Between(between) => mixed(&between.expr, &between.low) || mixed(&between.expr, &between.high),
            Expr::InList(list) => list.list.iter().any(|value| mixed(&list.expr, value)),
            _ => false,
        };
        if wrong {
            found = Some(part.to_string());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    match found {
        Some(part) => Err(DataFusionError::Plan(format!("{TIME_AND_NUMBER} in {part}; a day is written '2024-01-15'"))),
        None => Ok(()),
    }
}

/// Whether it is one of `=`, `<>`, `<`, `<=`, `>` and `>=`.
pub fn compares(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

fn is_time(kind: &DataType) -> bool {
    matches!(kind, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use arrow::array::{AsArray, Date32Array, Float64Array, Int32Array, StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::{Field, TimeUnit};

    use super::*;

    /// One row: a moment and its day, 2024-01-15, the same day as text, and the number 5 in three ways.
    fn row() -> RecordBatch {
        let at = TimestampMicrosecondArray::from(vec![1_705_276_800_000_000]).with_timezone("UTC");
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("at", Arc::new(at)),
            ("day", Arc::new(Date32Array::from(vec![19_737]))),
            ("text", Arc::new(StringArray::from(vec!["2024-01-15"]))),
            ("n", Arc::new(Float64Array::from(vec![5.0]))),
            ("i", Arc::new(Int32Array::from(vec![5]))),
            ("five", Arc::new(StringArray::from(vec!["5"]))),
        ];
        let field = |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), true);
        let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
        assert!(matches!(schema.field(0).data_type(), DataType::Timestamp(TimeUnit::Microsecond, Some(_))));
        RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, column)| column).collect()).unwrap()
    }

    #[test]
    fn a_time_and_a_text_are_compared_as_times() {
        let (row, engine) = (row(), Engine::new());
        for (text, expected) in [
            ("day = '2024-01-15'", true),
            ("day = '2024-1-15'", true),
            ("day >= '2024-01-16'", false),
            ("text = DATE '2024-01-15'", true),
            ("day = text", true),
            ("text < day", false),
            ("day in ('2024-01-14', '2024-01-15')", true),
            ("day between '2024-01-01' and '2024-02-01'", true),
            ("at >= '2024-01-15'", true),
            ("at < '2024-01-15'", false),
            ("at = text", true),
            ("case day when '2024-01-15' then true else false end", true),
            ("n = '5' and i = '5' and n = i and five = 5", true),
        ] {
            let prepared = engine.condition(text, &row.schema()).unwrap();
            assert_eq!(prepared.evaluate(&row).unwrap().as_boolean().value(0), expected, "{text}");
        }
    }

    #[test]
    fn what_would_never_be_true_is_refused() {
        let (row, engine) = (row(), Engine::new());
        for text in ["day = 20240115", "20240115 <= day", "not (i > day)", "day in (5, 6)", "day between 1 and n"] {
            let error = engine.condition(text, &row.schema()).map(drop).unwrap_err().to_string();
            assert!(error.contains(TIME_AND_NUMBER) && error.contains("'2024-01-15'"), "{text}: {error}");
        }
        // Text that is no day is an error, not an answer.
        for text in ["day = 'Monday'", "at < 'soon'", "n = 'five'", "day like '2024%'"] {
            engine.condition(text, &row.schema()).map(drop).unwrap_err();
        }
        // Days can be counted on.
        for text in ["day - interval '5 days' < DATE '2024-01-15'", "i - 5 < n"] {
            assert!(engine.condition(text, &row.schema()).is_ok(), "{text}");
        }
    }
}
