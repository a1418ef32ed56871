//! Where steps of the two-tower model are computed: the CPU or a GPU.

use lookalike_bundle::{Data, Matrix, Tensor as Stored, Tensors};

use super::attention::Attention;
use super::base::Scale;
use super::gpu::{self, GpuSide};
use super::host::{self, HostSide};
use super::inputs::Inputs;
use super::layers::Layers;
use super::step::Step;
use crate::device::{Device, DeviceError};
use crate::gpu::GpuTable;
use crate::host_table::HostTable;
use crate::preset::TwoTower as Knobs;
use crate::read::read;

/// A side wherever it is: rows `[table rows, dim]`, their accumulators, and the layers above.
#[derive(Clone)]
pub(super) struct SideState {
    pub(super) rows: Matrix,
    pub(super) accumulator: Vec<f32>,
    pub(super) layers: Layers,
}

/// What a step told.
pub(super) struct Told {
    /// The loss summed over the examples.
    pub(super) loss: f64,
    /// Where there is attention, the gradient by the weight of each entry of the users' bags.
    pub(super) by_weight: Vec<f32>,
}

/// Both sides: users, then items.
pub(super) enum Engine {
    Host(Box<[HostSide; 2]>),
    Gpu(Box<[GpuSide; 2]>),
}

impl Engine {
    /// Starts from these sides. Fails if the device cannot hold them.
    pub(super) fn open(device: &Device, sides: [SideState; 2]) -> Result<Self, DeviceError> {
        let Some(gpu) = device.gpu() else {
            let side =
                |SideState { rows, accumulator, layers }| HostSide::new(HostTable::new(&rows, &accumulator), layers);
            return Ok(Self::Host(Box::new(sides.map(side))));
        };
        let side = |SideState { rows, accumulator, layers }: SideState| {
            Ok::<_, DeviceError>(GpuSide::new(device, GpuTable::new(gpu, &rows, &accumulator, 1)?, &layers))
        };
        let [users, items] = sides;
        Ok(Self::Gpu(Box::new([side(users)?, side(items)?])))
    }

    /// Learns from one step, and draws the next one meanwhile. Returns what it told, and what was
    /// drawn. `rate` scales the step sizes.
    pub(super) fn step<T: Send>(
        &mut self,
        device: &Device,
        scale: &mut Scale,
        step: &Step,
        knobs: &Knobs,
        rate: f32,
        draw: impl FnOnce() -> T + Send,
    ) -> Result<(Told, T), DeviceError> {
        match self {
            Self::Host(sides) => {
                let (drawn, told) = rayon::join(draw, || host::learn(sides.each_mut(), scale, step, knobs, rate));
                Ok((told, drawn))
            }
            // Everything is launched from this one thread: the order between the queues of two threads is not promised.
            Self::Gpu(sides) => {
                let told = gpu::learn(device, sides.each_mut(), scale, step, knobs, rate)?;
                let drawn = draw();
                let mut told = read(told)?;
                let by_weight = told.split_off(if step.base.is_some() { 2 } else { 1 });
                if step.base.is_some() {
                    scale.step(told[1], rate);
                }
                Ok((Told { loss: f64::from(told[0]), by_weight }, drawn))
            }
        }
    }

    /// The vectors of all users and all items.
    pub(super) fn embeddings(
        &self,
        [users, items]: [&Inputs<'_>; 2],
        attention: Option<&Attention>,
    ) -> Result<[Matrix; 2], DeviceError> {
        Ok(match self {
            Self::Host(sides) => [sides[0].embeddings(users, attention)?, sides[1].embeddings(items, None)?],
            Self::Gpu(sides) => [sides[0].embeddings(users, attention)?, sides[1].embeddings(items, None)?],
        })
    }

    /// Both sides as they are now.
    pub(super) fn sides(&self) -> Result<[SideState; 2], DeviceError> {
        match self {
            Self::Host(sides) => Ok(sides.each_ref().map(|side| SideState {
                rows: side.table.read(),
                accumulator: side.table.read_accumulator(),
                layers: side.layers.clone(),
            })),
            Self::Gpu(sides) => {
                let side = |side: &GpuSide| {
                    Ok::<_, DeviceError>(SideState {
                        rows: side.table.read()?,
                        accumulator: side.table.read_memory()?,
                        layers: side.layers()?,
                    })
                };
                Ok([side(&sides[0])?, side(&sides[1])?])
            }
        }
    }
}

impl SideState {
    /// Everything by name.
    pub(super) fn tensors(&self, name: &str) -> Tensors {
        let mut state = self.layers.state();
        state.insert(format!("{name}.table"), self.rows.clone().into());
        state.insert(format!("{name}.accumulator"), Stored::f32s(self.accumulator.clone()));
        state
    }

    /// Takes a state of the same shape back; the name of what is missing or has another shape, if anything is.
    pub(super) fn restore(&mut self, name: &str, state: &mut Tensors) -> Result<(), String> {
        let (table, accumulator) = (format!("{name}.table"), format!("{name}.accumulator"));
        let shape = (self.rows.rows(), self.rows.cols());
        let rows = state.remove(&table).and_then(Stored::into_matrix);
        self.rows = rows.filter(|rows| (rows.rows(), rows.cols()) == shape).ok_or(table)?;
        self.accumulator = match state.remove(&accumulator).map(|stored| stored.data) {
            Some(Data::F32(sums)) if sums.len() == shape.0 => sums,
            _ => return Err(accumulator),
        };
        self.layers.restore(state)
    }
}
