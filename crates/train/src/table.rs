//! An embedding table on whichever device was opened: the CPU twin or the one in GPU buffers.

use burn::Tensor;
use lookalike_bundle::Matrix;

use crate::bags::{Bags, Segments};
use crate::device::{Device, DeviceError};
use crate::gpu::GpuTable;
use crate::host_table::HostTable;
use crate::read::read;

/// A table of embeddings with a row-wise Adagrad accumulator.
///
/// A step gathers the rows of a batch, and later updates those rows alone; no step looks at the
/// rest of the table. Row-wise Adagrad keeps one number per row: with `g` the gradients of a row
/// summed over its examples in order, `acc += mean_j g_j²`, `row -= lr · g / (√acc + eps)`
/// (Duchi et al. 2011; one accumulator per row as in Mudigere et al. 2022, "Software-Hardware
/// Co-design for Fast and Scalable Training of Deep Learning Recommendation Models").
#[derive(Debug)]
pub enum Table {
    /// In memory of the host.
    Host(HostTable),
    /// In buffers of a GPU.
    Gpu(GpuTable),
}

impl Table {
    /// A table that starts with these rows `[rows, dim]` and an accumulator of zeros.
    pub fn new(device: &Device, table: &Matrix) -> Result<Self, DeviceError> {
        Self::with_accumulator(device, table, &vec![0.0; table.rows()])
    }

    /// A table that goes on from these rows `[rows, dim]` and this accumulator `[rows]`.
    pub fn with_accumulator(device: &Device, table: &Matrix, accumulator: &[f32]) -> Result<Self, DeviceError> {
        if accumulator.len() != table.rows() {
            let problem = format!("has {} numbers for a table of {} rows", accumulator.len(), table.rows());
            return Err(DeviceError::Input { what: "accumulator", problem });
        }
        Ok(match device.gpu() {
            Some(gpu) => Self::Gpu(GpuTable::new(gpu, table, accumulator, 1)?),
            None => Self::Host(HostTable::new(table, accumulator)),
        })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::Host(table) => table.rows(),
            Self::Gpu(table) => table.rows(),
        }
    }

    /// Numbers per row.
    pub fn dim(&self) -> usize {
        match self {
            Self::Host(table) => table.dim(),
            Self::Gpu(table) => table.dim(),
        }
    }

    /// The sum of each bag's rows, `[batch, dim]`, on the table's device and without autodiff.
    pub fn gather(&self, bags: &Bags) -> Result<Tensor<2>, DeviceError> {
        bags.check_rows(self.rows())?;
        match self {
            Self::Host(table) => Ok(table.gather(bags)),
            Self::Gpu(table) => table.gather(bags),
        }
    }

    /// The gradient by the weight of each of the bags' rows, bag after bag: the inner product of the row and the gradient
    /// `grad` of what [`Self::gather`] returned, `[batch, dim]`; an autodiff association is dropped. Waits for the device.
    pub fn by_weight(&self, bags: &Bags, grad: Tensor<2>) -> Result<Vec<f32>, DeviceError> {
        bags.check_rows(self.rows())?;
        check_shape(&grad, [bags.batch(), self.dim()])?;
        let grad = grad.inner();
        match self {
            Self::Host(table) => Ok(table.by_weight(bags, &read(grad)?)),
            Self::Gpu(table) => read(table.by_weight(bags, grad)?),
        }
    }

    /// One step of row-wise Adagrad. `grad` is the gradient of what [`Self::gather`] returned,
    /// `[batch, dim]`; an autodiff association is dropped.
    pub fn update(&mut self, segments: &Segments, grad: Tensor<2>, lr: f32, eps: f32) -> Result<(), DeviceError> {
        segments.check_rows(self.rows())?;
        check_shape(&grad, [segments.batch(), self.dim()])?;
        let grad = grad.inner();
        match self {
            Self::Host(table) => table.update(segments, grad, lr, eps),
            Self::Gpu(table) => table.update(segments, grad, lr, eps),
        }
    }

    /// All rows, `[rows, dim]`. On a GPU this waits for the device and reports what went wrong on the way.
    pub fn read(&self) -> Result<Matrix, DeviceError> {
        match self {
            Self::Host(table) => Ok(table.read()),
            Self::Gpu(table) => table.read(),
        }
    }

    /// The accumulator, `[rows]`.
    pub fn read_accumulator(&self) -> Result<Vec<f32>, DeviceError> {
        match self {
            Self::Host(table) => Ok(table.read_accumulator()),
            Self::Gpu(table) => table.read_memory(),
        }
    }
}

fn check_shape(grad: &Tensor<2>, expected: [usize; 2]) -> Result<(), DeviceError> {
    let found = grad.dims();
    if found != expected {
        let problem = format!("has shape {found:?} where {expected:?} is due");
        return Err(DeviceError::Input { what: "gradient", problem });
    }
    Ok(())
}
