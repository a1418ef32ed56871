//! What an expression of a tag can name: the columns of an event, of the day it happened on, and of its item.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Date32Array, Int32Array, RecordBatch, StringArray, UInt32Array, new_null_array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use lookalike_store::{Store, Table};

use crate::clock::{self, Clock};
use crate::error::{Error, Result};

/// Columns that are made from the time of an event: the local day, its hour and weekday (Monday is 1), and the days
/// from it to the day that is looked from.
const OF_TIME: [(&str, DataType); 4] =
    [("day", DataType::Date32), ("hour", DataType::Int32), ("weekday", DataType::Int32), ("days_ago", DataType::Int32)];

/// Levels of the category that are columns of their own, `category_1` the widest.
const LEVELS: usize = 6;

/// The columns of an event in the store, with their types.
fn of_events() -> Vec<(&'static str, DataType)> {
    let at = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let text = ["user", "kind", "item", "session", "channel", "campaign", "text", "source"];
    let numbers = ["value", "quantity", "discount"];
    let texts = text.map(|name| (name, DataType::Utf8)).into_iter();
    texts.chain([("at", at)]).chain(numbers.map(|name| (name, DataType::Float64))).collect()
}

/// Everything an expression can name, and which of it is of the item.
pub(crate) struct Vocabulary {
    pub schema: SchemaRef,
    of_items: BTreeSet<String>,
}

impl Vocabulary {
    pub(crate) fn of(store: &Store) -> Result<Vocabulary> {
        let mut fields: Vec<Field> =
            of_events().into_iter().chain(OF_TIME).map(|(name, kind)| Field::new(name, kind, true)).collect();
        let mut of_items = BTreeSet::new();
        let levels = (1..=LEVELS).map(|level| format!("category_{level}"));
        for name in store.columns(Table::Items)?.into_iter().chain(levels) {
            if fields.iter().all(|field| *field.name() != name) {
                let kind = if name == "price" { DataType::Float64 } else { DataType::Utf8 };
                fields.push(Field::new(&name, kind, true));
                of_items.insert(name);
            }
        }
        Ok(Vocabulary { schema: Arc::new(Schema::new(fields)), of_items })
    }

    /// Whether an expression over these columns is the same for every event of an item.
    pub(crate) fn is_of_item(&self, columns: &BTreeSet<String>) -> bool {
        !columns.is_empty() && columns.is_subset(&self.of_items)
    }

    /// The columns alone that are in use.
    pub(crate) fn narrowed(&self, used: &BTreeSet<String>) -> SchemaRef {
        let kept = self.schema.fields().iter().filter(|field| used.contains(field.name())).cloned();
        Arc::new(Schema::new(kept.collect::<Vec<_>>()))
    }
}

/// The items with the columns that are in use.
pub(crate) struct Items {
    /// One row an item.
    pub batch: RecordBatch,
    places: HashMap<String, u32>,
}

impl Items {
    /// Reads those columns of the items that `used` names.
    pub(crate) fn read(store: &Store, vocabulary: &Vocabulary, used: &BTreeSet<String>) -> Result<Items> {
        let wanted: BTreeSet<String> = used.intersection(&vocabulary.of_items).cloned().collect();
        let schema = vocabulary.narrowed(&wanted);
        if wanted.is_empty() {
            return Ok(Items { batch: RecordBatch::new_empty(schema), places: HashMap::new() });
        }
        let category = |name: &str| name == "category" || name.starts_with("category_");
        let stored = store.columns(Table::Items)?;
        let mut read = vec!["item"];
        read.extend(stored.iter().map(String::as_str).filter(|name| *name != "item" && wanted.contains(*name)));
        if wanted.iter().any(|name| category(name)) && !read.contains(&"category") {
            read.push("category");
        }
        let (mut batches, mut places) = (Vec::new(), HashMap::new());
        for batch in store.scan(Table::Items, &read)? {
            let batch = batch?;
            let ids = batch.column(0).as_string::<i32>();
            for id in ids.iter().flatten() {
                let place = places.len() as u32;
                places.insert(id.to_owned(), place);
            }
            let columns = schema.fields().iter().map(|field| item_column(&batch, field)).collect();
            batches.push(RecordBatch::try_new(schema.clone(), columns).map_err(Error::compute("the table of items"))?);
        }
        let batch = concat_batches(&schema, &batches).map_err(Error::compute("the table of items"))?;
        Ok(Items { batch, places })
    }

    /// The row of each event's item; none where the event has no item or the item is not known.
    pub(crate) fn rows(&self, items: &StringArray) -> UInt32Array {
        items.iter().map(|item| self.places.get(item?).copied()).collect()
    }
}

/// A column of the items: as it is stored, or the path of categories as text, or a level of it.
fn item_column(batch: &RecordBatch, field: &Field) -> ArrayRef {
    let level = field.name().strip_prefix("category_").and_then(|level| level.parse::<usize>().ok());
    let paths = batch.column_by_name("category").and_then(|paths| paths.as_list_opt::<i32>());
    match (batch.column_by_name(field.name()), paths) {
        (Some(column), _) if field.name() != "category" => column.clone(),
        (_, Some(paths)) => {
            let text = |path: Option<ArrayRef>| -> Option<String> {
                let path = path?;
                let steps: Vec<&str> = path.as_string::<i32>().iter().flatten().collect();
                match level {
                    Some(level) => steps.get(level.checked_sub(1)?).map(|step| (*step).to_owned()),
                    None => (!steps.is_empty()).then(|| steps.join(" > ")),
                }
            };
            Arc::new(paths.iter().map(text).collect::<StringArray>())
        }
        (_, None) => new_null_array(field.data_type(), batch.num_rows()),
    }
}

/// Makes the batches that expressions see from those of the store.
pub(crate) struct Rows {
    /// What the expressions see.
    pub schema: SchemaRef,
    /// What is read of the store: `user` and `at` first.
    pub read: Vec<&'static str>,
}

impl Rows {
    /// For expressions over the columns `used`; `items` says whether the row of the item is asked for.
    pub(crate) fn new(vocabulary: &Vocabulary, used: &BTreeSet<String>, items: bool) -> Rows {
        let mut read = vec!["user", "at"];
        for (name, _) in of_events() {
            if !read.contains(&name) && (used.contains(name) || name == "item" && items || name == "kind") {
                read.push(name);
            }
        }
        Rows { schema: vocabulary.narrowed(used), read }
    }

    /// Reads all columns of the events, whether an expression uses them or not.
    pub(crate) fn read_everything(&mut self) {
        let more = of_events().into_iter().map(|(name, _)| name).filter(|name| !self.read.contains(name));
        let more: Vec<_> = more.collect();
        self.read.extend(more);
    }

    /// The batch that expressions see; `at` is in microseconds since 1970.
    pub(crate) fn batch(
        &self,
        stored: &RecordBatch,
        clock: &Clock,
        items: &Items,
        of_items: Option<&UInt32Array>,
    ) -> Result<RecordBatch> {
        let failed = || Error::compute("the columns of the events");
        let at = stored.column(1).as_primitive::<TimestampMicrosecondType>().values();
        let local_day = || at.iter().map(|at| clock.local_day(*at));
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for field in self.schema.fields() {
            let column: ArrayRef = match field.name().as_str() {
                "day" => Arc::new(Date32Array::from_iter_values(local_day())),
                "days_ago" => Arc::new(local_day().map(|day| clock.day - day).collect::<Int32Array>()),
                "weekday" => Arc::new(local_day().map(clock::weekday).collect::<Int32Array>()),
                "hour" => Arc::new(at.iter().map(|at| clock::hour(clock.local(*at))).collect::<Int32Array>()),
                name => match (stored.column_by_name(name), items.batch.column_by_name(name), of_items) {
                    (Some(column), ..) => column.clone(),
                    (None, Some(column), Some(rows)) => take(column, rows, None).map_err(failed())?,
                    _ => new_null_array(field.data_type(), stored.num_rows()),
                },
            };
            columns.push(column);
        }
        let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(stored.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(failed())
    }
}
