//! Where steps of softmax matrix factorization are computed: the CPU or a GPU.

use std::borrow::Cow;

use crate::device::{Device, DeviceError};
use crate::preset::SoftmaxMf as Knobs;
use crate::read::read;

use super::gpu::OnGpu;
use super::host::Host;
use super::rows::{Pace, Rows};
use super::step::{Largest, Step};

pub(super) enum Engine {
    Host(Box<Host>),
    Gpu(Box<OnGpu>),
}

impl Engine {
    /// Starts from these rows. Fails if the device cannot hold them, or the largest step beside them.
    pub(super) fn open(device: &Device, users: Rows, items: Rows, largest: &Largest) -> Result<Self, DeviceError> {
        Ok(match OnGpu::open(device, &users, &items, largest)? {
            Some(gpu) => Self::Gpu(Box::new(gpu)),
            None => Self::Host(Box::new(Host::new(users, items))),
        })
    }

    /// Learns from one step, and draws the next one meanwhile. Returns the loss summed over the pairs' weights, and what
    /// was drawn.
    pub(super) fn step<T: Send>(
        &mut self,
        step: &Step,
        knobs: &Knobs,
        paces: [Pace; 2],
        draw: impl FnOnce() -> T + Send,
    ) -> Result<(f64, T), DeviceError> {
        match self {
            Self::Host(host) => {
                let (drawn, loss) = rayon::join(draw, || host.step(step, knobs, paces));
                Ok((loss, drawn))
            }
            // Everything is launched from this one thread: the order between the queues of two threads is not promised.
            Self::Gpu(gpu) => {
                let loss = gpu.step(step, knobs, paces)?;
                let drawn = draw();
                Ok((read(loss)?.into_iter().map(f64::from).sum(), drawn))
            }
        }
    }

    /// Users and items as they are now.
    pub(super) fn rows(&self, knobs: &Knobs) -> Result<[Cow<'_, Rows>; 2], DeviceError> {
        Ok(match self {
            Self::Host(host) => [Cow::Borrowed(&host.users), Cow::Borrowed(&host.items)],
            Self::Gpu(gpu) => gpu.read(knobs.optimizer)?.map(Cow::Owned),
        })
    }
}
