//! Bringing tensors back to the host without a panic.

use burn::tensor::Tensor;

use crate::device::DeviceError;

/// The numbers of a tensor, row-major. Waits for the device, so failures of earlier launches surface here.
pub(crate) fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, DeviceError> {
    let data = tensor.try_into_data().map_err(|error| DeviceError::Failed { reason: format!("{error:?}") })?;
    data.try_into_vec().map_err(|error| DeviceError::Failed { reason: format!("{error:?}") })
}
