//! `recommend --all`: lists for every user into a Parquet file, by the faster of two ways, and so that a run that was
//! killed goes on where it was.
//!
//! Users are answered in parts. Each part is a Parquet file of its own beside the result, in `OUT.parts`, which appears
//! when it is complete; a note there says what the parts are made of, and other parts are not used. In the end their row
//! groups are copied into one file, as they are, and the folder goes.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, RecordBatch, StringArray, UInt32Array};
use lookalike_bundle::{Bundle, ItemRow, Learned, Row, UserRow};
use lookalike_retrieve::{Aided, Among, Chain, Exact, Hit, Index, Recommender};
use lookalike_train::device::{self, DeviceChoice};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::recommend::{Answering, through};
use crate::aid::Aid;
use crate::cli::{Common, Recommend};
use crate::cold::counts;
use crate::failure::{Failure, io};
use crate::say::{Say, grouped};

/// Users of a part.
const PART: usize = 1 << 16;
const NOTE: &str = "made-of.json";
/// A part is called by the row of its first user, in so many digits.
const DIGITS: usize = 10;
const ENDING: &str = ".parquet";
const TEMPORARY: &str = ".tmp";
/// The index is taken where it answers so many times as many users a second as exact search. Lists are made once and
/// read often, so what the index misses needs a reason; and one rate differs by up to a half from one run to the next on a
/// machine that others use too, so that a ratio of two may be chance.
const CLEARLY: f64 = 3.0;

/// A way to the lists.
struct Way<'a> {
    what: String,
    recommender: Recommender<'a>,
    /// The share of the best items that the index finds, where it is asked.
    recall: Option<f64>,
}

impl Way<'_> {
    fn by_index(&self) -> bool {
        self.recall.is_some()
    }
}

/// Writes user, rank, item and score of every list, and which link of the chain it is by.
pub fn run(
    common: &Common,
    answering: &Answering<'_>,
    index: Option<&Index>,
    args: &Recommend,
    out: &Path,
    say: &Say,
) -> Result<(), Failure> {
    let &Answering { bundle, chain, only, .. } = answering;
    let Learned::Embeddings { users, items } = &bundle.learned else {
        let rule = if args.repeat { Recommender::with_repeats(bundle)? } else { Recommender::new(bundle) };
        return write(bundle, chain, vec![Way::cpu(answering.complete(rule))], args, out, say);
    };
    if args.repeat {
        let rule = answering.complete(Recommender::with_repeats(bundle)?);
        return write(bundle, chain, vec![Way::cpu(rule)], args, out, say);
    }
    let some = only.map(|only| Among::new(items, only));
    let exact = some.as_ref().map_or(Exact::new(items), Among::exact);
    let device = device::open(&common.device)?;
    let aid = match Aid::new(&device, some.as_ref().map_or(items, Among::items)) {
        Err(failure) if common.device == DeviceChoice::Auto => {
            say.remark(format!("{} is left alone: {}", device.name(), failure.message()));
            None
        }
        aid => aid?,
    };
    let aided = aid.as_ref().map(|aid| Aided::new(exact, aid));
    let search = index.map(|index| (through(index, only), index.audit().recall_at_10));
    let mut ways: Vec<Way<'_>> = Vec::new();
    let mut way = |what: String, search, recall| {
        let recommender = answering.complete(Recommender::through(bundle, users, search));
        ways.push(Way { what, recommender, recall });
    };
    // A GPU that was asked for is not left for the CPU.
    if aided.is_none() || common.device == DeviceChoice::Auto {
        way(EVERY.to_owned(), &exact, None);
    }
    if let Some(aided) = &aided {
        way(format!("{EVERY} on {}", device.name()), aided, None);
    }
    if let Some((search, recall)) = &search {
        let what = format!("through the index, which finds {:.2} % of the 10 best", recall * 100.0);
        way(what, &**search, Some(*recall));
    }
    let done = write(bundle, chain, ways, args, out, say);
    if let Some(failure) = aided.and_then(|aided| aided.failure()) {
        say.remark(format!("{} failed ({failure}), and the CPU went on", device.name()));
    }
    done
}

const EVERY: &str = "with every item compared";

impl<'a> Way<'a> {
    fn cpu(recommender: Recommender<'a>) -> Self {
        Self { what: EVERY.to_owned(), recommender, recall: None }
    }
}

/// Writes the lists by one of some ways, the last of which may be the index.
fn write(
    bundle: &Bundle,
    chain: &Chain<'_>,
    ways: Vec<Way<'_>>,
    args: &Recommend,
    out: &Path,
    say: &Say,
) -> Result<(), Failure> {
    let (count, k) = (bundle.users.len(), args.k);
    let parts = Parts::of(out)?;
    // Exact lists are the same wherever they are made, so parts made on one device serve another.
    let made_of = |through: bool| {
        let text = json!({ "bundle": bundle.manifest, "k": k, "where": args.condition, "repeat": args.repeat,
            "through_index": through, "users_per_part": PART, "columns": COLUMNS });
        text.to_string()
    };
    let noted = fs::read_to_string(parts.folder.join(NOTE)).ok();
    let known = [true, false].into_iter().find(|&through| noted.as_ref() == Some(&made_of(through)));
    let ways: Vec<Way<'_>> = match known.filter(|&through| ways.iter().any(|way| way.by_index() == through)) {
        Some(through) => ways.into_iter().filter(|way| way.by_index() == through).collect(),
        None => ways,
    };
    let (way, rates) = take(&ways, k, say)?;
    let through = way.by_index();
    parts.begin(&made_of(through), known == Some(through))?;
    let bar = say.bar("recommending", count as u64);
    let (mut files, mut kept) = (Vec::new(), 0);
    // Without users there is still a table, an empty one.
    for start in (0..count.max(1)).step_by(PART) {
        let (rows, path) = (start..(start + PART).min(count), parts.path(start));
        if path.exists() {
            kept += rows.len();
            bar.inc(rows.len() as u64);
        } else {
            let blocks = way.recommender.all(k, rows).inspect(|block| bar.inc(block.len() as u64));
            parts.write(&path, (bundle, chain), blocks)?;
        }
        files.push(path);
    }
    let rows = parts.join(&files)?;
    bar.finish_and_clear();
    if kept > 0 {
        say.line(format!("the lists of {} users were there from a run before", grouped(kept as u64)));
    }
    let (lines, people) = (grouped(rows), grouped(count as u64));
    say.line(format!("{lines} rows for {people} users in {}, made {}", out.display(), way.what));
    let ranked = way.recommender.ranker().is_some();
    if ranked {
        say.line("ranked: the lists of users with a history");
    }
    let by = counts(chain, (0..count as u32).map(UserRow::new));
    let told: Vec<_> = by
        .iter()
        .filter(|(_, users)| **users > 0)
        .map(|(by, users)| format!("{by} {}", grouped(*users as u64)))
        .collect();
    say.line(format!("answered by: {}", told.join(", ")));
    say.json(&json!({ "out": out, "rows": rows, "users": count, "way": way.what, "through_index": through,
        "measured": rates, "kept_users": kept, "ranked": ranked, "by": by }))
}

/// Measures some ways, if there are several, and takes the fastest exact one, or the index where it is clearly faster.
fn take<'w, 'a>(ways: &'w [Way<'a>], k: usize, say: &Say) -> Result<(&'w Way<'a>, Vec<Value>), Failure> {
    if let [way] = ways {
        return Ok((way, Vec::new()));
    }
    let rates: Vec<f64> = ways.iter().map(|way| way.recommender.rate(k)).collect();
    let fastest = |by_index: bool| {
        let mine = ways.iter().zip(&rates).filter(|(way, _)| way.by_index() == by_index);
        mine.max_by(|a, b| a.1.total_cmp(b.1))
    };
    let taken = match (fastest(false), fastest(true)) {
        (Some((_, exact)), Some((index, rate))) if *rate >= CLEARLY * exact => Some(index),
        (exact, index) => exact.or(index).map(|(way, _)| way),
    };
    let way = taken.ok_or_else(|| Failure::new("there is no way to the lists"))?;
    let told = ways.iter().zip(&rates).map(|(way, rate)| format!("{} {}", grouped(*rate as u64), way.what));
    let told = told.collect::<Vec<_>>().join("; ");
    let rule = match ways.iter().any(Way::by_index) {
        true => format!(" (the index is, where it is at least {CLEARLY} times as fast)"),
        false => String::new(),
    };
    say.line(format!("users a second: {told}\ntaken: {}{rule}", way.what));
    let one = |(way, rate): (&Way<'_>, &f64)| json!({ "way": way.what, "users_per_second": rate, "recall_at_10": way.recall });
    Ok((way, ways.iter().zip(&rates).map(one).collect()))
}

/// The folder of the parts of a result.
struct Parts {
    folder: PathBuf,
    out: PathBuf,
}

impl Parts {
    fn of(out: &Path) -> Result<Self, Failure> {
        let name = out.file_name().ok_or_else(|| Failure::wrong_use(format!("{} is no file name", out.display())))?;
        let mut name = name.to_owned();
        name.push(".parts");
        Ok(Self { folder: out.with_file_name(name), out: out.to_owned() })
    }

    /// An empty folder with the note, or the one that is there if its parts are made of the same.
    fn begin(&self, made_of: &str, same: bool) -> Result<(), Failure> {
        if same {
            return Ok(());
        }
        let failed = io("written", &self.out);
        // Only what this program wrote is removed, wherever it was killed.
        let ours = |entry: &fs::DirEntry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let digits = |start: &str| start.len() == DIGITS && start.bytes().all(|byte| byte.is_ascii_digit());
            name == NOTE || name.starts_with(TEMPORARY) || name.strip_suffix(ENDING).is_some_and(digits)
        };
        if self.folder.read_dir().is_ok_and(|mut inside| inside.all(|entry| entry.is_ok_and(|entry| ours(&entry)))) {
            fs::remove_dir_all(&self.folder).map_err(&failed)?;
        }
        fs::create_dir(&self.folder).map_err(&failed)?;
        let mut note = self.temporary()?;
        note.write_all(made_of.as_bytes()).and_then(|()| note.as_file().sync_all()).map_err(&failed)?;
        note.persist(self.folder.join(NOTE)).map_err(|error| failed(error.error))?;
        Ok(())
    }

    fn path(&self, start: usize) -> PathBuf {
        self.folder.join(format!("{start:0DIGITS$}{ENDING}"))
    }

    /// A file that goes with the folder, should the program be killed before it has its name.
    fn temporary(&self) -> Result<NamedTempFile, Failure> {
        tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(&self.folder).map_err(io("written", &self.out))
    }

    fn write(
        &self,
        path: &Path,
        (bundle, chain): (&Bundle, &Chain<'_>),
        blocks: impl Iterator<Item = Vec<(UserRow, Vec<Hit<ItemRow>>)>>,
    ) -> Result<(), Failure> {
        let out = &self.out;
        let failed = io("written", out);
        let mut file = self.temporary()?;
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
        let schema = batch(bundle, chain, &[])?.schema();
        let mut writer =
            ArrowWriter::try_new(file.as_file_mut(), schema, Some(properties)).map_err(io("written", out))?;
        for block in blocks {
            writer.write(&batch(bundle, chain, &block)?).map_err(io("written", out))?;
        }
        writer.close().map_err(io("written", out))?;
        file.as_file().sync_all().map_err(&failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// Makes one file of the parts, removes them, and says how many rows there are.
    fn join(&self, files: &[PathBuf]) -> Result<u64, Failure> {
        let out = &self.out;
        let failed = io("written", out);
        let mut file = self.temporary()?;
        let rows = copied(files, file.as_file_mut()).map_err(io("written", out))?;
        file.as_file().sync_all().map_err(&failed)?;
        file.persist(out).map_err(|error| failed(error.error))?;
        fs::remove_dir_all(&self.folder).map_err(&failed)?;
        Ok(rows)
    }
}

/// Copies the row groups of some files, of one schema, into one.
fn copied(files: &[PathBuf], out: &mut File) -> Result<u64, ParquetError> {
    let (mut writer, mut rows) = (None, 0);
    let mut out = Some(out);
    for path in files {
        let file = File::open(path)?;
        let reader = SerializedFileReader::new(file.try_clone()?)?;
        let of_file = reader.metadata().file_metadata();
        if let Some(out) = out.take() {
            let properties = WriterProperties::builder().set_key_value_metadata(of_file.key_value_metadata().cloned());
            let schema = of_file.schema_descr().root_schema_ptr();
            writer = Some(SerializedFileWriter::new(out, schema, Arc::new(properties.build()))?);
        }
        let Some(writer) = &mut writer else { continue };
        for group in reader.metadata().row_groups() {
            let mut copy = writer.next_row_group()?;
            for column in group.columns() {
                let close = ColumnCloseResult {
                    bytes_written: column.compressed_size() as u64,
                    rows_written: group.num_rows() as u64,
                    metadata: column.clone(),
                    bloom_filter: None,
                    column_index: None,
                    offset_index: None,
                };
                copy.append_column(&file, close)?;
            }
            copy.close()?;
            rows += group.num_rows() as u64;
        }
    }
    if let Some(writer) = writer {
        writer.close()?;
    }
    Ok(rows)
}

/// The columns of the result.
const COLUMNS: [&str; 5] = ["user", "rank", "item", "score", "by"];

fn batch(bundle: &Bundle, chain: &Chain<'_>, block: &[(UserRow, Vec<Hit<ItemRow>>)]) -> Result<RecordBatch, Failure> {
    let ranked = |(user, hits): &(UserRow, Vec<Hit<ItemRow>>)| {
        let by = chain.link(*user).name();
        (1u32..).zip(hits.clone()).map(|(rank, hit)| (*user, rank, hit, by)).collect::<Vec<_>>()
    };
    // Arrow arrays are made from iterators that know their length, which one of nested lists does not.
    let rows: Vec<(UserRow, u32, Hit<ItemRow>, &str)> = block.iter().flat_map(ranked).collect();
    let columns: [ArrayRef; 5] = [
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(user, ..)| bundle.users.id(*user)))),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|(_, rank, ..)| *rank))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, _, hit, _)| bundle.items.id(hit.row)))),
        Arc::new(Float32Array::from_iter_values(rows.iter().map(|(_, _, hit, _)| hit.score))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(.., by)| *by))),
    ];
    let columns = COLUMNS.into_iter().zip(columns).map(|(name, column)| (name, column, false));
    RecordBatch::try_from_iter_with_nullable(columns)
        .map_err(|error| Failure::new(format!("a list is no table: {error}")))
}
