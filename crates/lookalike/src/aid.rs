//! A GPU as the helper of exact search. What `retrieve` asks for, `train` can tell; neither knows the other.

use std::error::Error;

use lookalike_bundle::Matrix;
use lookalike_retrieve::{BlockMaxima, block_starts};
use lookalike_train::device::Device;
use lookalike_train::gpu;

use crate::failure::Failure;

/// A table of items on a GPU.
pub struct Aid(gpu::BlockMaxima);

impl Aid {
    /// Uploads a table; `None` where the device is the CPU, or there is nothing to upload.
    pub fn new(device: &Device, items: &Matrix) -> Result<Option<Self>, Failure> {
        if !device.is_gpu() || items.rows() == 0 || items.cols() == 0 {
            return Ok(None);
        }
        Ok(Some(Self(gpu::BlockMaxima::new(device, items, &block_starts(items.rows()))?)))
    }
}

impl BlockMaxima for Aid {
    fn maxima(&self, queries: &Matrix, left_out: &[&[u32]]) -> Result<Matrix, Box<dyn Error + Send + Sync>> {
        Ok(self.0.maxima(queries, left_out)?)
    }
}
