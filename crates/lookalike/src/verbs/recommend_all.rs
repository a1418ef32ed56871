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
use lookalike_bundle::{Bundle, ItemRow, UserRow};
use lookalike_retrieve::{Hit, Recommender};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::cli::Recommend;
use crate::failure::{Failure, io};
use crate::say::{Say, grouped};

/// Users of a part.
const PART: usize = 1 << 16;
const NOTE: &str = "made-of.json";

/// Writes user, rank, item and score of every list.
pub fn run(
    bundle: &Bundle,
    exact: &Recommender<'_>,
    searched: Option<&Recommender<'_>>,
    args: &Recommend,
    out: &Path,
    say: &Say,
) -> Result<(), Failure> {
    let (count, k) = (bundle.users.len(), args.k);
    let parts = Parts::of(out)?;
    let made_of = |through: bool| {
        let text = json!({ "bundle": bundle.manifest, "k": k, "where": args.condition, "repeat": args.repeat,
            "through_index": through, "users_per_part": PART });
        text.to_string()
    };
    let noted = fs::read_to_string(parts.folder.join(NOTE)).ok();
    let known = [true, false].into_iter().find(|&through| noted.as_ref() == Some(&made_of(through)));
    let through = match (searched, known) {
        (None, _) => false,
        (Some(_), Some(through)) => through,
        (Some(searched), None) => {
            let rates = [exact.rate(k), searched.rate(k)];
            say.line(format!(
                "users a second: {} with every item compared, {} through the index; the faster one is taken",
                grouped(rates[0] as u64),
                grouped(rates[1] as u64)
            ));
            rates[1] > rates[0]
        }
    };
    let recommender = if through { searched.unwrap_or(exact) } else { exact };
    parts.begin(&made_of(through), known == Some(through))?;
    let bar = say.bar("recommending", count as u64);
    let (mut files, mut kept) = (Vec::new(), 0);
    // Without users there is still a table, an empty one.
    for start in (0..count.max(1)).step_by(PART) {
        let (rows, path) = (start..(start + PART).min(count), parts.folder.join(format!("{start:010}.parquet")));
        if path.exists() {
            kept += rows.len();
            bar.inc(rows.len() as u64);
        } else {
            let blocks = recommender.all(k, rows).inspect(|block| bar.inc(block.len() as u64));
            parts.write(&path, bundle, blocks)?;
        }
        files.push(path);
    }
    let rows = parts.join(&files)?;
    bar.finish_and_clear();
    if kept > 0 {
        say.line(format!("the lists of {} users were there from a run before", grouped(kept as u64)));
    }
    say.line(format!("{} rows for {} users in {}", grouped(rows), grouped(count as u64), out.display()));
    say.json(&json!({ "out": out, "rows": rows, "users": count, "through_index": through, "kept_users": kept }))
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
        // Only what this program wrote is removed.
        if self.folder.join(NOTE).exists() || self.folder.read_dir().is_ok_and(|mut inside| inside.next().is_none()) {
            fs::remove_dir_all(&self.folder).map_err(&failed)?;
        }
        fs::create_dir(&self.folder).map_err(&failed)?;
        let mut note = NamedTempFile::new_in(&self.folder).map_err(&failed)?;
        note.write_all(made_of.as_bytes()).and_then(|()| note.as_file().sync_all()).map_err(&failed)?;
        note.persist(self.folder.join(NOTE)).map_err(|error| failed(error.error))?;
        Ok(())
    }

    fn write(
        &self,
        path: &Path,
        bundle: &Bundle,
        blocks: impl Iterator<Item = Vec<(UserRow, Vec<Hit<ItemRow>>)>>,
    ) -> Result<(), Failure> {
        let out = &self.out;
        let failed = io("written", out);
        let mut file = NamedTempFile::new_in(&self.folder).map_err(&failed)?;
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
        let schema = batch(bundle, &[])?.schema();
        let mut writer =
            ArrowWriter::try_new(file.as_file_mut(), schema, Some(properties)).map_err(io("written", out))?;
        for block in blocks {
            writer.write(&batch(bundle, &block)?).map_err(io("written", out))?;
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
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = NamedTempFile::new_in(folder).map_err(&failed)?;
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

fn batch(bundle: &Bundle, block: &[(UserRow, Vec<Hit<ItemRow>>)]) -> Result<RecordBatch, Failure> {
    let ranked = |(user, hits): &(UserRow, Vec<Hit<ItemRow>>)| {
        (1u32..).zip(hits.clone()).map(|(rank, hit)| (*user, rank, hit)).collect::<Vec<_>>()
    };
    // Arrow arrays are made from iterators that know their length, which one of nested lists does not.
    let rows: Vec<(UserRow, u32, Hit<ItemRow>)> = block.iter().flat_map(ranked).collect();
    let columns: [(&str, ArrayRef); 4] = [
        ("user", Arc::new(StringArray::from_iter_values(rows.iter().map(|(user, _, _)| bundle.users.id(*user))))),
        ("rank", Arc::new(UInt32Array::from_iter_values(rows.iter().map(|(_, rank, _)| *rank)))),
        ("item", Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, _, hit)| bundle.items.id(hit.row))))),
        ("score", Arc::new(Float32Array::from_iter_values(rows.iter().map(|(_, _, hit)| hit.score)))),
    ];
    let columns = columns.map(|(name, column)| (name, column, false));
    RecordBatch::try_from_iter_with_nullable(columns)
        .map_err(|error| Failure::new(format!("a list is no table: {error}")))
}
