//! Sorting files of any size in bounded memory: the engine spills to disk what does not fit.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::{Column, Expr, SessionConfig, SessionContext};
use futures::StreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::error::{Error, Result};
use crate::schema::Table;

/// Bytes that all sorting together may hold in memory before it spills.
const MEMORY: usize = 384 << 20;
/// Bytes kept back for merging what was spilled.
const MERGE: usize = 8 << 20;
/// Sorts that run side by side; more would only divide the memory into smaller pieces.
const PARTS: usize = 2;

/// The engine that sorts.
pub(crate) struct Sorter {
    runtime: tokio::runtime::Runtime,
    context: SessionContext,
}

impl Sorter {
    /// An engine that spills into `folder`.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(PARTS).build().map_err(Error::write(folder))?;
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(MEMORY)))
            .with_temp_file_path(folder)
            .build_arc()
            .map_err(|error| Error::Write { path: folder.to_owned(), source: std::io::Error::other(error) })?;
        let config = SessionConfig::new().with_target_partitions(PARTS).with_sort_spill_reservation_bytes(MERGE);
        Ok(Sorter { runtime, context: SessionContext::new_with_config_rt(config, environment) })
    }

    /// The rows of the Parquet file `path` by ascending `columns`; the last of them must settle every tie.
    pub(crate) fn sorted(&self, table: Table, path: &Path, columns: &[&str]) -> Result<Sorted<'_>> {
        let fail = move |source| Error::Sort { table: table.name(), source: Box::new(source) };
        let open = || -> Result<_, DataFusionError> {
            let file = std::fs::File::open(path)?;
            let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
            let (schema, groups) = (builder.schema().clone(), builder.metadata().num_row_groups());
            let part = |part: usize| -> Arc<dyn PartitionStream> {
                let groups = (part..groups).step_by(PARTS).collect();
                Arc::new(Part { path: path.to_owned(), schema: schema.clone(), groups })
            };
            let rows = StreamingTable::try_new(schema.clone(), (0..PARTS).map(part).collect())?;
            let order = columns.iter().map(|name| Expr::Column(Column::new_unqualified(*name)).sort(true, true));
            let frame = self.context.read_table(Arc::new(rows))?.sort(order.collect())?;
            self.runtime.block_on(frame.execute_stream())
        };
        Ok(Sorted { sorter: self, stream: open().map_err(fail)?, table })
    }
}

/// Sorted rows, batch by batch.
pub(crate) struct Sorted<'a> {
    sorter: &'a Sorter,
    stream: SendableRecordBatchStream,
    table: Table,
}

impl Iterator for Sorted<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.sorter.runtime.block_on(self.stream.next());
        next.map(|batch| batch.map_err(|source| Error::Sort { table: self.table.name(), source: Box::new(source) }))
    }
}

/// Some of the row groups of a Parquet file.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    schema: SchemaRef,
    groups: Vec<usize>,
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let open = || -> Result<_, DataFusionError> {
            let builder = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&self.path)?)?;
            Ok(builder.with_row_groups(self.groups.clone()).with_batch_size(8192).build()?)
        };
        let batches: Box<dyn Iterator<Item = Result<RecordBatch, DataFusionError>> + Send> = match open() {
            Ok(reader) => Box::new(reader.map(|batch| batch.map_err(DataFusionError::from))),
            Err(error) => Box::new(std::iter::once(Err(error))),
        };
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), futures::stream::iter(batches)))
    }
}
