//! The half of training that runs on a GPU: buffers, and the kernels launched on them.
//!
//! Buffers are CubeCL's own and are updated in place. Burn shares their client, so a batch goes from
//! a table into burn's graph, and its gradient back into the table, without leaving the device.
//! A launch reports nothing; its failure sticks to the buffers that it should have written and comes
//! out as an error when they are read or synchronised.

mod ials;
mod kernels;
mod maxima;
mod optimizer;
mod pairs;
mod table;

use burn::Tensor;
use burn::backend::Cube;
use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::client::Client;
use cubecl::future::block_on;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::{CubeCount, CubeDim, CubeElement};
use cubecl::server::Handle;

use crate::device::{DeviceError, Limits, one_line};

pub use ials::{GpuIals, Rows};
pub use maxima::BlockMaxima;
pub(crate) use pairs::GpuPairs;
pub use table::GpuTable;

/// Units of the cubes that work together on one row, and of those where each unit works alone.
/// It is the most that every WebGPU adapter offers.
const UNITS: usize = 256;
/// What the kernels here take in storage buffers.
const BINDINGS: u32 = 7;
/// Numbers in one buffer are addressed with 32 bits, and a driver's own limit may be higher.
const MAX_BINDING: u64 = 1 << 31;

/// An opened adapter, seen from below burn.
#[derive(Clone)]
pub(crate) struct Gpu {
    pub(crate) device: cubecl::Device,
    pub(crate) limits: Limits,
    /// Whether shaders may compute in 16 bits.
    pub(crate) half: bool,
    client: Client,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpu").field("device", &self.device).field("limits", &self.limits).finish()
    }
}

impl Gpu {
    /// Takes an initialised device; says what it lacks if it cannot run the kernels.
    pub(crate) fn new(device: cubecl::Device) -> Result<Self, String> {
        let client = device.client();
        let hardware = &client.properties().hardware;
        if hardware.max_bindings < BINDINGS {
            return Err(format!("it binds {} buffers where {BINDINGS} are needed", hardware.max_bindings));
        }
        if (hardware.max_units_per_cube as usize) < UNITS {
            return Err(format!("it runs {} units in a cube where {UNITS} are needed", hardware.max_units_per_cube));
        }
        let limits = Limits {
            binding: client.properties().memory.max_page_size.min(MAX_BINDING),
            shared: hardware.max_shared_memory_size,
        };
        let half = client.properties().supports_type(ElemType::Float(FloatKind::F16));
        Ok(Self { device, limits, half, client })
    }

    /// Waits for the device; reports its faults and those of the given buffers.
    pub(crate) fn sync(&self, buffers: &[&CubeTensor]) -> Result<(), DeviceError> {
        let handles = buffers.iter().map(|buffer| &buffer.handle);
        block_on(self.client.sync_buffers(handles)).map_err(failed)
    }

    fn upload_f32(&self, what: &'static str, numbers: &[f32]) -> Result<CubeTensor, DeviceError> {
        self.upload(what, f32::as_bytes(numbers), numbers.len(), DType::F32)
    }

    fn upload_u32(&self, what: &'static str, numbers: &[u32]) -> Result<CubeTensor, DeviceError> {
        self.upload(what, u32::as_bytes(numbers), numbers.len(), DType::U32)
    }

    fn upload(&self, what: &'static str, bytes: &[u8], len: usize, dtype: DType) -> Result<CubeTensor, DeviceError> {
        self.bytes(what, len)?;
        // A buffer cannot be empty, while a table or a batch can.
        let handle = self.client.create_from_slice(if bytes.is_empty() { &[0; 4] } else { bytes });
        Ok(self.tensor(handle, [len], dtype))
    }

    /// A buffer of `len` numbers that hold anything.
    fn empty(&self, what: &'static str, len: usize) -> Result<CubeTensor, DeviceError> {
        let handle = self.client.empty(self.bytes(what, len)?.max(4));
        Ok(self.tensor(handle, [len], DType::F32))
    }

    /// Bytes of `len` numbers, if one buffer holds them.
    pub(crate) fn bytes(&self, what: &'static str, len: usize) -> Result<usize, DeviceError> {
        let (bytes, limit) = (len as u128 * 4, self.limits.binding);
        if bytes > u128::from(limit) {
            return Err(DeviceError::TooLarge { what, bytes, limit });
        }
        Ok(len * 4)
    }

    fn tensor<const D: usize>(&self, handle: Handle, shape: [usize; D], dtype: DType) -> CubeTensor {
        CubeTensor::new_contiguous(self.client.clone(), self.device.clone(), shape.into(), handle, dtype)
    }

    /// The numbers of a buffer. Waits for the device and reports what went wrong on the way.
    fn download(&self, buffer: &CubeTensor) -> Result<Vec<f32>, DeviceError> {
        let bytes = self.client.read_one(buffer.handle.clone()).map_err(failed)?;
        let len = buffer.meta.num_elements();
        Ok(f32::from_bytes(&bytes)[..len].to_vec())
    }

    /// A buffer as a burn tensor, in place.
    fn tensor_of<const D: usize>(&self, buffer: CubeTensor, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_primitive::<Cube>(self.tensor(buffer.handle, shape, DType::F32))
    }

    /// A burn tensor as a contiguous buffer; fails if it lives on another device.
    fn buffer_of<const D: usize>(&self, what: &'static str, tensor: Tensor<D>) -> Result<CubeTensor, DeviceError> {
        let elsewhere = || DeviceError::Input { what, problem: "lives on another device than the table".to_owned() };
        let tensor = tensor.try_into_primitive::<Cube>().map_err(|_| elsewhere())?;
        if tensor.device != self.device {
            return Err(elsewhere());
        }
        if tensor.dtype != DType::F32 {
            return Err(DeviceError::Input { what, problem: format!("holds {:?} where F32 is due", tensor.dtype) });
        }
        Ok(into_contiguous(tensor))
    }

    /// `cubes` cubes over two axes, since one axis has a limit that panics when passed. There may
    /// be more cubes than asked for, so kernels guard the tail.
    fn grid(&self, cubes: usize) -> CubeCount {
        let widest = self.client.properties().hardware.max_cube_count.0.max(1) as usize;
        let height = cubes.div_ceil(widest).max(1);
        CubeCount::Static(cubes.div_ceil(height) as u32, height as u32, 1)
    }

    /// The launch of `units` units, each of which works alone.
    fn units(&self, units: usize) -> (CubeCount, CubeDim) {
        (self.grid(units.div_ceil(UNITS)), CubeDim::new_1d(UNITS as u32))
    }
}

fn failed(error: impl std::fmt::Display) -> DeviceError {
    DeviceError::Failed { reason: one_line(&error) }
}
