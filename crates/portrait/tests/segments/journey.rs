//! The purchases of the bundled project by household, read from its files, and the figures they must give.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::OnceLock;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{ArrowPrimitiveType, Float64Type, Int32Type, Int64Type, TimestampMillisecondType};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

/// 2018-01-01, counted from 1970-01-01.
pub const END: i32 = 17532;

/// The numbers of a household.
#[derive(Default)]
pub struct Household {
    /// Days with a purchase in New York, ascending, repeats included.
    pub days: Vec<i32>,
    /// Baskets.
    pub trips: f64,
    /// Dollars.
    pub spend: f64,
    /// First and second half of the year, of lines whose product is known.
    pub halves: [Half; 2],
}

/// Sums over half a year.
#[derive(Default)]
pub struct Half {
    pub sales: f64,
    pub private: f64,
    pub discount: f64,
    pub gross: f64,
    pub lines: f64,
    pub with_coupon: f64,
    pub on_weekend: f64,
    pub baskets: Vec<i64>,
}

/// All households in ascending order of their ids.
pub fn households() -> &'static [Household] {
    static HOUSEHOLDS: OnceLock<Vec<Household>> = OnceLock::new();
    HOUSEHOLDS.get_or_init(read)
}

/// Days since the last purchase, baskets and dollars, one household after the other.
pub fn rfm() -> Vec<f64> {
    let row = |home: &Household| [f64::from(END - home.days[home.days.len() - 1]), home.trips, home.spend];
    households().iter().flat_map(row).collect()
}

/// A figure of `golden/segments.json`: what it is expected to be.
pub fn golden(id: &str) -> Value {
    let text = include_str!("../golden/segments.json");
    serde_json::from_str::<Value>(text).unwrap()[id]["expected"].clone()
}

/// How far a figure may be from the golden one.
pub fn tolerance(id: &str) -> Value {
    let text = include_str!("../golden/segments.json");
    serde_json::from_str::<Value>(text).unwrap()[id]["tolerance"].clone()
}

/// Batches of a file, its columns in the order asked for.
fn batches(name: &str, columns: &[&str]) -> impl Iterator<Item = RecordBatch> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/complete-journey");
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(folder.join(name)).unwrap()).unwrap();
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let columns: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
    builder.with_projection(mask).build().unwrap().map(move |batch| {
        let batch = batch.unwrap();
        let order: Vec<usize> = columns.iter().map(|column| batch.schema().index_of(column).unwrap()).collect();
        batch.project(&order).unwrap()
    })
}

fn values<T: ArrowPrimitiveType>(batch: &RecordBatch, column: usize) -> &[T::Native] {
    batch.column(column).as_primitive::<T>().values()
}

/// Whether a product is of the shop's own brand, by its id.
fn products() -> BTreeMap<i32, bool> {
    let mut products = BTreeMap::new();
    for batch in batches("products.parquet", &["product_id", "brand"]) {
        let brands = batch.column(1).as_string_opt::<i32>().unwrap();
        let brand = |row| brands.is_valid(row) && brands.value(row) == "Private";
        products.extend(values::<Int32Type>(&batch, 0).iter().enumerate().map(|(row, id)| (*id, brand(row))));
    }
    products
}

fn read() -> Vec<Household> {
    let (zone, products) = (TimeZone::get("America/New_York").unwrap(), products());
    let (mut homes, mut baskets) = (BTreeMap::<i32, Household>::new(), BTreeMap::<i32, Vec<i64>>::new());
    let columns = [
        "household_id",
        "basket_id",
        "product_id",
        "sales_value",
        "retail_disc",
        "coupon_disc",
        "coupon_match_disc",
        "week",
        "transaction_timestamp",
    ];
    for batch in batches("transactions.parquet", &columns) {
        let number = |column| values::<Float64Type>(&batch, column);
        let (sales, retail, coupon, matched) = (number(3), number(4), number(5), number(6));
        for row in 0..batch.num_rows() {
            let whole = |column| values::<Int32Type>(&batch, column)[row];
            let (id, basket) = (whole(0), values::<Int64Type>(&batch, 1)[row]);
            let stamp = values::<TimestampMillisecondType>(&batch, 8)[row];
            let local = zone.to_datetime(Timestamp::from_millisecond(stamp).unwrap()).date();
            let home = homes.entry(id).or_default();
            home.days.push(day(local));
            home.spend += sales[row];
            baskets.entry(id).or_default().push(basket);
            let (Some(private), week @ 1..=52) = (products.get(&whole(2)), whole(7)) else { continue };
            let half = &mut home.halves[usize::from(week > 26)];
            half.sales += sales[row];
            half.private += if *private { sales[row] } else { 0.0 };
            half.discount += retail[row] + coupon[row] + matched[row];
            half.gross += sales[row] + retail[row] + matched[row];
            half.lines += 1.0;
            half.with_coupon += f64::from(u8::from(coupon[row] > 0.0));
            half.on_weekend += f64::from(u8::from(local.weekday().to_monday_zero_offset() >= 5));
            half.baskets.push(basket);
        }
    }
    let count = |baskets: &mut Vec<i64>| {
        baskets.sort_unstable();
        baskets.dedup();
        baskets.len() as f64
    };
    for (id, home) in &mut homes {
        home.days.sort_unstable();
        home.trips = count(baskets.get_mut(id).unwrap());
        home.halves.iter_mut().for_each(|half| {
            count(&mut half.baskets);
        });
    }
    homes.into_values().collect()
}

/// The number of a day from 1970-01-01 on.
pub fn day(date: jiff::civil::Date) -> i32 {
    (date - jiff::civil::date(1970, 1, 1)).get_days()
}
