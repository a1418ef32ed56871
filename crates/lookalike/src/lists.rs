//! Lists of neighbours into files that other tools read: `.ivecs` and `.npy` with row numbers alone, and Parquet with
//! scores too.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, RecordBatch, UInt32Array};
use lookalike_bundle::{ItemRow, Row};
use lookalike_retrieve::Hit;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::failure::{Failure, io};

type Lists = [Vec<Hit<ItemRow>>];

/// Writes lists to a file, whole or not at all.
pub type Writer = fn(&Path, &Lists) -> Result<(), Failure>;

/// How lists go into a file of this name.
pub fn writer(path: &Path) -> Result<Writer, Failure> {
    match path.extension().and_then(|ending| ending.to_str()).unwrap_or_default() {
        "ivecs" => Ok(|path, lists| whole(path, |file| ivecs(file, lists))),
        "npy" => Ok(|path, lists| whole(path, |file| npy(file, lists))),
        "parquet" => Ok(|path, lists| whole(path, |file| parquet(file, lists).map_err(io::Error::other))),
        _ => Err(Failure::wrong_use(format!("lists for `{}`: its name does not tell what it is", path.display()))
            .with_hint("the name must end in .ivecs, .npy or .parquet")),
    }
}

/// A temporary file beside it, synced, then renamed.
fn whole(path: &Path, write: impl Fn(&mut (dyn Write + Send)) -> io::Result<()>) -> Result<(), Failure> {
    let failed = io("written", path);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(folder).map_err(&failed)?;
    let mut writer = BufWriter::new(file.as_file());
    write(&mut writer).and_then(|()| writer.flush()).map_err(&failed)?;
    drop(writer);
    file.as_file().sync_all().map_err(&failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Per list its length and its rows, in 32 bits each (the TEXMEX format, Jégou et al. 2011).
fn ivecs(file: &mut dyn Write, lists: &Lists) -> io::Result<()> {
    for hits in lists {
        file.write_all(&(hits.len() as u32).to_le_bytes())?;
        hits.iter().try_for_each(|hit| file.write_all(&hit.row.get().to_le_bytes()))?;
    }
    Ok(())
}

/// A table in numpy's format; a list that is shorter than the others ends in rows of -1.
fn npy(file: &mut dyn Write, lists: &Lists) -> io::Result<()> {
    let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
    let header = format!("{{'descr': '<i8', 'fortran_order': False, 'shape': ({}, {longest}), }}", lists.len());
    // Magic, version, length and header fill a multiple of 64 bytes, and the header ends in a new line.
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    file.write_all(b"\x93NUMPY\x01\x00")?;
    file.write_all(&(length as u16).to_le_bytes())?;
    file.write_all(format!("{header:<width$}\n", width = length - 1).as_bytes())?;
    for hits in lists {
        let mut rows = hits.iter().map(|hit| i64::from(hit.row.get())).chain(std::iter::repeat(-1)).take(longest);
        rows.try_for_each(|row| file.write_all(&row.to_le_bytes()))?;
    }
    Ok(())
}

/// Query, rank, row and score, one line a neighbour.
fn parquet(file: &mut (dyn Write + Send), lists: &Lists) -> parquet::errors::Result<()> {
    let of_list = |(query, hits): (u32, &Vec<Hit<ItemRow>>)| {
        (1u32..).zip(hits.clone()).map(|(rank, hit)| (query, rank, hit)).collect::<Vec<_>>()
    };
    // Arrow arrays are made from iterators that know their length, which one of nested lists does not.
    let rows: Vec<(u32, u32, Hit<ItemRow>)> = (0u32..).zip(lists).flat_map(of_list).collect();
    let columns: [(&str, ArrayRef); 4] = [
        ("query", Arc::new(UInt32Array::from_iter_values(rows.iter().map(|(query, ..)| *query)))),
        ("rank", Arc::new(UInt32Array::from_iter_values(rows.iter().map(|(_, rank, _)| *rank)))),
        ("row", Arc::new(UInt32Array::from_iter_values(rows.iter().map(|(.., hit)| hit.row.get())))),
        ("score", Arc::new(Float32Array::from_iter_values(rows.iter().map(|(.., hit)| hit.score)))),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, false)))?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(())
}
