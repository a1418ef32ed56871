//! Tags that are made from other tags, from attributes of users, or by a query of their own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::{col, lit};
use datafusion::scalar::ScalarValue;
use lookalike_store::{Store, Table};

use crate::clock::Clock;
use crate::column::{Column, NONE, Values};
use crate::error::{Error, Result};
use crate::segment::cluster::{Scaling, place};
use crate::segment::rfm::{Range, Thresholds, segment};
use crate::sql::{Sql, unreadable};
use crate::tag::{Scores, Tag};

/// What expressions over tags see: for each name the values of its tag, their percentiles (`…_pct`, from 0 to 1), and
/// the events behind them (`…_n`).
pub(crate) struct Parents {
    pub batch: RecordBatch,
    /// The least evidence of the parents that have a value.
    evidence: Vec<u32>,
}

impl Parents {
    pub(crate) fn new(
        from: &BTreeMap<String, String>,
        columns: &HashMap<String, Column>,
        users: usize,
    ) -> Result<Parents> {
        let (mut fields, mut arrays) = (Vec::new(), Vec::<ArrayRef>::new());
        let mut evidence = vec![u32::MAX; users];
        let mut push = |name: String, array: ArrayRef| {
            fields.push(Field::new(name, array.data_type().clone(), true));
            arrays.push(array);
        };
        for (name, tag) in from {
            let Some(column) = columns.get(tag) else { continue };
            match &column.values {
                Values::Number(numbers) => {
                    push(name.clone(), numbers_array(numbers));
                    push(format!("{name}_pct"), numbers_array(&percentiles(numbers)));
                }
                values => {
                    let texts: StringArray = (0..users).map(|row| values.text(row)).collect();
                    push(name.clone(), Arc::new(texts));
                }
            }
            push(format!("{name}_n"), Arc::new(column.evidence.iter().map(|n| i64::from(*n)).collect::<Int64Array>()));
            for (least, own) in evidence.iter_mut().zip(&column.evidence).filter(|(_, own)| **own > 0) {
                *least = (*least).min(*own);
            }
        }
        evidence.iter_mut().filter(|least| **least == u32::MAX).for_each(|least| *least = 0);
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(schema, arrays).map_err(Error::compute("the values of other tags"))?;
        Ok(Parents { batch, evidence })
    }
}

fn numbers_array(numbers: &[f64]) -> ArrayRef {
    Arc::new(numbers.iter().map(|number| Some(*number).filter(|number| !number.is_nan())).collect::<Float64Array>())
}

/// The share of users with a value who have a lower one, those with the same value counted half.
pub(crate) fn percentiles(numbers: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = numbers.iter().copied().filter(|number| !number.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let rank = |number: f64| {
        let below = sorted.partition_point(|other| *other < number);
        let not_above = sorted.partition_point(|other| *other <= number);
        (below + not_above) as f64 / (2 * sorted.len()) as f64
    };
    numbers.iter().map(|number| if number.is_nan() { f64::NAN } else { rank(*number) }).collect()
}

/// An expression over other tags.
pub(crate) fn expression(
    tag: &Tag,
    text: &str,
    from: &BTreeMap<String, String>,
    columns: &HashMap<String, Column>,
    users: usize,
) -> Result<Column> {
    let parents = Parents::new(from, columns, users)?;
    let schema = parents.batch.schema();
    let compiled = Sql::new().compile(text, &schema).map_err(|error| unreadable(tag, text, &error, &schema))?;
    let failed =
        |error: DataFusionError| Error::compute(format!("{}: `{text}` of tag `{}`", tag.place, tag.name))(error);
    let mut column = if compiled.is_number() {
        Column { values: Values::Number(compiled.numbers(&parents.batch).map_err(failed)?), evidence: parents.evidence }
    } else {
        let texts = compiled.texts(&parents.batch).map_err(failed)?;
        Column::texts(texts.as_string::<i32>().iter(), parents.evidence)
    };
    forget_where_empty(&mut column);
    Ok(column)
}

/// Values that divide the users, each with its condition.
pub(crate) fn rules(
    tag: &Tag,
    (rules, otherwise): (&[(String, String)], Option<&str>),
    from: &BTreeMap<String, String>,
    columns: &HashMap<String, Column>,
    users: &[String],
) -> Result<Column> {
    let parents = Parents::new(from, columns, users.len())?;
    let schema = parents.batch.schema();
    let (sql, mut codes) = (Sql::new(), vec![NONE; users.len()]);
    for (code, (value, when)) in rules.iter().enumerate() {
        let compiled = sql.compile(when, &schema).map_err(|error| unreadable(tag, when, &error, &schema))?;
        if !compiled.is_condition() {
            return Err(tag.error(format!("`{when}` gives {}, not true or false", compiled.data_type), None));
        }
        let failed = |error| Error::compute(format!("{}: `{when}` of tag `{}`", tag.place, tag.name))(error);
        let mask = compiled.mask(&parents.batch).map_err(failed)?;
        let both = |row: &usize| mask[*row] && codes[*row] != NONE;
        if let Some(row) = (0..users.len()).find(both) {
            let first = &rules[codes[row] as usize].0;
            let count = (0..users.len()).filter(|other| both(other) && codes[*other] == codes[row]).count();
            let message =
                format!("the values `{first}` and `{value}` overlap in {count} users, such as `{}`", users[row]);
            return Err(tag.error(message, Some("exclude one condition from the other, as in `… and not (…)`".into())));
        }
        codes.iter_mut().zip(&mask).filter(|(_, holds)| **holds).for_each(|(own, _)| *own = code as u32);
    }
    let mut names: Vec<String> = rules.iter().map(|(value, _)| value.clone()).collect();
    if let Some(otherwise) = otherwise {
        let code = names.len() as u32;
        names.push(otherwise.to_owned());
        codes.iter_mut().filter(|own| **own == NONE).for_each(|own| *own = code);
    }
    let mut column = Column { values: Values::Text { codes, names }, evidence: parents.evidence };
    forget_where_empty(&mut column);
    Ok(column)
}

/// Segments by scores of recency, frequency and money, over the users who have all three.
pub(crate) fn rfm(
    tag: &Tag,
    (from, scores): (&[String; 3], u8),
    (ranges, otherwise): (&[(String, Scores)], Option<&str>),
    columns: &HashMap<String, Column>,
    users: usize,
) -> Result<Column> {
    let inputs = numbers_of(tag, from.iter(), columns)?;
    let whole: Vec<usize> = (0..users).filter(|row| inputs.iter().all(|input| !input[*row].is_nan())).collect();
    let of = |input: usize| whole.iter().map(|row| inputs[input][*row]).collect::<Vec<f64>>();
    let named = |(name, [recency, frequency, money]): &(String, Scores)| Range {
        name: name.clone(),
        recency: *recency,
        frequency: *frequency,
        money: *money,
    };
    let ranges: Vec<Range> = ranges.iter().map(named).collect();
    let mut names: Vec<String> = ranges.iter().map(|range| range.name.clone()).collect();
    names.extend(otherwise.map(str::to_owned));
    let rest = if otherwise.is_some() { ranges.len() as u32 } else { NONE };
    let mut codes = vec![rest; users];
    if !whole.is_empty() {
        let cuts = Thresholds::of(&of(0), &of(1), &of(2), scores);
        let cuts = cuts.map_err(|error| tag.error(error.to_string(), None))?;
        for row in whole {
            let scores = cuts.scores(inputs[0][row], inputs[1][row], inputs[2][row]);
            codes[row] = segment(&ranges, scores).map_or(rest, |place| place as u32);
        }
    }
    let evidence =
        (0..users).map(|row| from.iter().map(|name| columns[name].evidence[row]).min().unwrap_or(0)).collect();
    let mut column = Column { values: Values::Text { codes, names }, evidence };
    forget_where_empty(&mut column);
    Ok(column)
}

/// The nearest centre of each user who has all columns.
pub(crate) fn cluster(
    tag: &Tag,
    from: &BTreeMap<String, String>,
    scaling: &Scaling,
    centres: &[(String, Vec<f64>)],
    columns: &HashMap<String, Column>,
    users: usize,
) -> Result<Column> {
    let inputs = numbers_of(tag, from.values(), columns)?;
    let whole: Vec<usize> = (0..users).filter(|row| inputs.iter().all(|input| !input[*row].is_nan())).collect();
    let table: Vec<f64> = whole.iter().flat_map(|row| inputs.iter().map(|input| input[*row])).collect();
    let flat: Vec<f64> = centres.iter().flat_map(|(_, centre)| centre.iter().copied()).collect();
    let mut codes = vec![NONE; users];
    if !whole.is_empty() {
        let labels = scaling.apply(&table).and_then(|features| place(&features, inputs.len(), &flat));
        let labels = labels.map_err(|error| tag.error(error.to_string(), None))?;
        whole.iter().zip(labels).for_each(|(row, label)| codes[*row] = label);
    }
    let least = |row: usize| from.values().map(|name| columns[name].evidence[row]).min().unwrap_or(0);
    let names = centres.iter().map(|(name, _)| name.clone()).collect();
    let mut column = Column { values: Values::Text { codes, names }, evidence: (0..users).map(least).collect() };
    forget_where_empty(&mut column);
    Ok(column)
}

/// The numbers of other tags.
fn numbers_of<'a>(
    tag: &Tag,
    names: impl Iterator<Item = &'a String>,
    columns: &'a HashMap<String, Column>,
) -> Result<Vec<&'a [f64]>> {
    let number = |name: &'a String| match columns.get(name).map(|column| &column.values) {
        Some(Values::Number(numbers)) => Ok(numbers.as_slice()),
        _ => Err(tag.error(format!("`{name}`, which it is made from, is no number"), None)),
    };
    names.map(number).collect()
}

/// Evidence of nothing is no evidence.
fn forget_where_empty(column: &mut Column) {
    for row in 0..column.values.len() {
        if !column.values.has(row) {
            column.evidence[row] = 0;
        }
    }
}

/// What users said: an attribute of their table. `None` if there is no such attribute.
pub(crate) fn declared(store: &Store, attribute: &str, number: bool, users: &[String]) -> Result<Option<Column>> {
    if attribute == "user" || !store.columns(Table::Users)?.iter().any(|column| column == attribute) {
        return Ok(None);
    }
    let mut values: Vec<Option<String>> = vec![None; users.len()];
    let mut place = 0;
    for batch in store.scan(Table::Users, &["user", attribute])? {
        let batch = batch?;
        let (ids, said) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
        for row in (0..batch.num_rows()).filter(|row| said.is_valid(*row)) {
            // Both are sorted by id.
            place += users[place..].partition_point(|user| user.as_str() < ids.value(row));
            if users.get(place).is_some_and(|user| user == ids.value(row)) {
                values[place] = Some(said.value(row).to_owned());
            }
        }
    }
    let read = |value: &Option<String>| value.as_deref().and_then(|text| text.trim().parse::<f64>().ok());
    let numbers: Vec<f64> =
        values.iter().map(read).map(|number| number.filter(|number| number.is_finite()).unwrap_or(f64::NAN)).collect();
    let column = match number {
        true => {
            let evidence = numbers.iter().map(|number| u32::from(!number.is_nan())).collect();
            Column { values: Values::Number(numbers), evidence }
        }
        false => {
            let evidence = values.iter().map(|value| u32::from(value.is_some())).collect();
            Column::texts(values.iter().map(Option::as_deref), evidence)
        }
    };
    Ok(Some(column))
}

/// A query over the four tables as of the day; `:as_of` in it is that day.
pub(crate) fn query(store: &Store, clock: &Clock, tag: &Tag, sql: &str, users: &[String]) -> Result<Column> {
    let failed = |error: DataFusionError| {
        let said = error.strip_backtrace();
        tag.error(format!("the query says: {}", said.lines().next().unwrap_or_default().trim_end_matches('.')), None)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| failed(DataFusionError::IoError(source)))?;
    let text = sql.replace(":as_of", &format!("DATE '{}'", clock.date));
    let batches = runtime.block_on(async {
        let context = lookalike_store::sql::session();
        for table in Table::ALL {
            let part = Part::new(store.reader(), table)?;
            let rows = StreamingTable::try_new(part.schema.clone(), vec![Arc::new(part)]).map_err(failed)?;
            let mut rows = context.read_table(Arc::new(rows)).map_err(failed)?;
            if matches!(table, Table::Events | Table::Edges) {
                let end = lit(ScalarValue::TimestampMicrosecond(Some(clock.end), Some("UTC".into())));
                rows = rows.filter(col("at").lt(end).or(col("at").is_null())).map_err(failed)?;
            }
            context.register_table(table.name(), rows.into_view()).map_err(failed)?;
        }
        context.sql(&text).await.map_err(failed)?.collect().await.map_err(failed)
    })?;
    let places: HashMap<&str, usize> = users.iter().enumerate().map(|(place, user)| (user.as_str(), place)).collect();
    let mut texts: Vec<Option<String>> = vec![None; users.len()];
    let (mut numbers, mut evidence, mut numeric) = (vec![f64::NAN; users.len()], vec![0; users.len()], true);
    for batch in batches {
        let column = |name: &str| batch.column_by_name(name);
        let missing = |name: &str| tag.error(format!("the query gives no column `{name}`"), None);
        let (ids, values) =
            (column("user").ok_or_else(|| missing("user"))?, column("value").ok_or_else(|| missing("value"))?);
        let cast_to = |array: &ArrayRef, to: DataType| cast(array, &to).map_err(|error| failed(error.into()));
        let ids = cast_to(ids, DataType::Utf8)?;
        numeric = values.data_type().is_numeric();
        let counts = column("evidence").map(|counts| cast_to(counts, DataType::Int64)).transpose()?;
        let value_texts = cast_to(values, DataType::Utf8)?;
        let value_numbers = if numeric { Some(cast_to(values, DataType::Float64)?) } else { None };
        for row in 0..batch.num_rows() {
            let place = ids.as_string::<i32>().is_valid(row).then(|| ids.as_string::<i32>().value(row));
            let Some(place) = place.and_then(|id| places.get(id).copied()) else { continue };
            if evidence[place] > 0 {
                let message = format!("the query gives more than one value of user `{}`", users[place]);
                return Err(tag.error(message, Some("group by user".to_owned())));
            }
            if values.is_null(row) {
                continue;
            }
            let count = counts.as_ref().map(|counts| counts.as_primitive::<Int64Type>());
            evidence[place] = count.map_or(1, |counts| counts.value(row).clamp(1, i64::from(u32::MAX)) as u32);
            match &value_numbers {
                Some(values) => numbers[place] = values.as_primitive::<Float64Type>().value(row),
                None => texts[place] = Some(value_texts.as_string::<i32>().value(row).to_owned()),
            }
        }
    }
    let mut column = match numeric {
        true => Column { values: Values::Number(numbers), evidence },
        false => Column::texts(texts.iter().map(Option::as_deref), evidence),
    };
    forget_where_empty(&mut column);
    Ok(column)
}

/// A table of a store for the engine, read through the store so that nothing is seen of people who do not allow it.
struct Part {
    store: Store,
    table: Table,
    columns: Vec<String>,
    schema: SchemaRef,
}

impl Part {
    fn new(store: Store, table: Table) -> Result<Part> {
        let columns = store.columns(table)?;
        let schema = store.schema(table)?;
        Ok(Part { store, table, columns, schema })
    }
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.table.name())
    }
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let wrong = |error: lookalike_store::Error| DataFusionError::External(Box::new(error));
        let columns: Vec<&str> = self.columns.iter().map(String::as_str).collect();
        let batches: Box<dyn Iterator<Item = Result<RecordBatch, DataFusionError>> + Send> =
            match self.store.scan(self.table, &columns) {
                Ok(rows) => Box::new(rows.map(move |batch| batch.map_err(wrong))),
                Err(error) => Box::new(std::iter::once(Err(wrong(error)))),
            };
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), futures::stream::iter(batches)))
    }
}
