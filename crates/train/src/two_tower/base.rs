//! What towers may add to: a matrix factorization, learned from what was known at several times. The towers learn
//! how its scores fall short of what users went on to until the next time; what they learned is added to those of the last.
//! The vector of a user is that of the factorization, scaled, followed by that of the tower; so is that of an item.

use lookalike_bundle::{ItemRow, Learned, Matrix, Row, Tensor, Tensors, UserRow};
use lookalike_dataset::Csr;

use super::SIDES;
use super::host::beside;
use super::layers::Parameter;
use super::step::Known;
use crate::bpr::BprModel;
use crate::device::Device;
use crate::fit::{FitError, Model};
use crate::ials::IalsModel;
use crate::preset::{Base as Knobs, Factorization};
use crate::softmax::SoftmaxModel;

/// Step size of the logarithm of the scale (Adam).
const SCALE_LR: f32 = 0.03;
/// What the scale starts with.
const SCALE: f32 = 4.0;

/// The factorization of what was known at one time: a vector for every user and every item; of those not met yet, what the
/// factorization says without data.
pub(super) struct Base {
    pub(super) tables: [Matrix; 2],
}

impl Base {
    /// Learns it. `tick` gets the epochs done.
    pub(super) fn fit(
        train: &Csr<UserRow, ItemRow>,
        knobs: &Knobs,
        device: &Device,
        seed: u64,
        tick: &mut dyn FnMut(u32) -> Result<(), FitError>,
    ) -> Result<Self, FitError> {
        let mut model: Box<dyn Model + '_> = match &knobs.knobs {
            Factorization::Ials(own) => Box::new(IalsModel::new(train, knobs.dim, own, device, seed)?),
            Factorization::SoftmaxMf(own) => Box::new(SoftmaxModel::new(train, knobs.dim, own, device, seed)?),
            Factorization::Bpr(own) => Box::new(BprModel::new(train, knobs.dim, own, device, seed)?),
        };
        for epoch in 1..=knobs.epochs {
            model.epoch(epoch, &mut |_, _| tick(epoch - 1))?;
            tick(epoch)?;
        }
        let Learned::Embeddings { mut users, mut items } = model.learned()? else {
            let what = "a factorization made no embeddings".to_owned();
            return Err(FitError::Diverged { epoch: 1, what, hint: "take another `base`" });
        };
        let mut met = vec![false; train.n_cols()];
        train.all_cols().iter().for_each(|&item| met[item as usize] = true);
        zero(&mut users, |row| !train.cols(UserRow::new(row as u32)).is_empty());
        match &knobs.knobs {
            // What a penalty on lengths makes of a vector without data.
            Factorization::Ials(_) | Factorization::Bpr(_) => zero(&mut items, |row| met[row]),
            // Cosines with what a user likes may all be below 0, where an unknown item would stand in front.
            Factorization::SoftmaxMf(_) => average(&mut items, |row| met[row]),
        }
        // How far apart the scores of a user's items lie would else depend on how much the user bought: what the towers add
        // would count for little with some, and for all with others.
        for row in users.data_mut().chunks_exact_mut(knobs.dim) {
            let length = row.iter().map(|number| number * number).sum::<f32>().sqrt();
            if length > 0.0 {
                row.iter_mut().for_each(|number| *number /= length);
            }
        }
        Ok(Self { tables: [users, items] })
    }

    /// The vectors of these rows of a side, row after row.
    pub(super) fn rows(&self, side: usize, rows: impl Iterator<Item = usize>) -> Vec<f32> {
        let (table, dim) = (&self.tables[side], self.dim());
        rows.flat_map(|row| &table.data()[row * dim..(row + 1) * dim]).copied().collect()
    }

    pub(super) fn dim(&self) -> usize {
        self.tables[0].cols()
    }

    /// The vectors of both sides, followed by those of the towers.
    pub(super) fn followed_by(&self, towers: [Matrix; 2], scale: &Scale) -> [Matrix; 2] {
        let mut nth = 0;
        towers.map(|tower| {
            let table = &self.tables[nth];
            let factor = if nth == 0 { scale.value() } else { 1.0 };
            nth += 1;
            let scaled: Vec<f32> = table.data().iter().map(|number| number * factor).collect();
            let both = beside(&scaled, table.cols(), tower.data(), tower.cols());
            let mut matrix = Matrix::zeros(table.rows(), table.cols() + tower.cols());
            matrix.data_mut().copy_from_slice(&both);
            matrix
        })
    }

    /// Both tables, as those of the `nth` time.
    pub(super) fn state(&self, nth: usize) -> Tensors {
        let tables = SIDES.iter().zip(&self.tables);
        tables.map(|(side, table)| (format!("base.{nth}.{side}"), table.clone().into())).collect()
    }

    /// Takes such tables of so many users and items back; the name of what is missing or has another shape, if anything is.
    pub(super) fn restored(nth: usize, rows: [usize; 2], state: &mut Tensors) -> Result<Self, String> {
        let mut take = |side: usize| {
            let name = format!("base.{nth}.{}", SIDES[side]);
            let table = state.remove(&name).and_then(Tensor::into_matrix);
            table.filter(|table| table.rows() == rows[side]).ok_or(name)
        };
        let tables = [take(0)?, take(1)?];
        match tables[0].cols() == tables[1].cols() {
            true => Ok(Self { tables }),
            false => Err(format!("base.{nth}.{}", SIDES[1])),
        }
    }
}

fn zero(table: &mut Matrix, keep: impl Fn(usize) -> bool) {
    let dim = table.cols().max(1);
    let rows = table.data_mut().chunks_exact_mut(dim).enumerate();
    rows.filter(|(row, _)| !keep(*row)).for_each(|(_, numbers)| numbers.fill(0.0));
}

/// Rows that are not kept become the mean of those that are.
fn average(table: &mut Matrix, keep: impl Fn(usize) -> bool) {
    let dim = table.cols().max(1);
    let (mut sums, mut count) = (vec![0.0f64; dim], 0.0f64);
    for (_, numbers) in table.data().chunks_exact(dim).enumerate().filter(|(row, _)| keep(*row)) {
        sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += f64::from(*number));
        count += 1.0;
    }
    let rows = table.data_mut().chunks_exact_mut(dim).enumerate();
    for (_, numbers) in rows.filter(|(row, _)| !keep(*row)) {
        numbers.iter_mut().zip(&sums).for_each(|(number, sum)| *number = (sum / count.max(1.0)) as f32);
    }
}

/// How much the scores of the base count, learned as a logarithm, so that it stays above 0.
#[derive(Clone)]
pub(super) struct Scale {
    log: Parameter,
    steps: u32,
}

impl Scale {
    pub(super) fn new() -> Self {
        Self { log: Parameter::new("tower.base.scale".into(), [1, 1], vec![SCALE.ln()]), steps: 0 }
    }

    pub(super) fn value(&self) -> f32 {
        self.log.value[0].exp()
    }

    /// What the users of a step have of the base, scaled.
    pub(super) fn of_users(&self, known: &Known) -> Vec<f32> {
        let factor = self.value();
        known.rows[0].iter().map(|number| number * factor).collect()
    }

    /// Steps against the gradient by the logarithm.
    pub(super) fn step(&mut self, gradient: f32, rate: f32) {
        self.steps += 1;
        self.log.step(&[gradient], SCALE_LR * rate, self.steps);
    }

    /// The logarithm, its moments and the number of steps, by name.
    pub(super) fn state(&self) -> Tensors {
        let Parameter { name, value, mean, square, .. } = &self.log;
        let numbers = vec![value[0], mean[0], square[0], self.steps as f32];
        Tensors::from([(name.clone(), Tensor::f32s(numbers))])
    }

    pub(super) fn restore(&mut self, state: &mut Tensors) -> Result<(), String> {
        let name = self.log.name.clone();
        match state.remove(&name).map(|stored| stored.data) {
            Some(lookalike_bundle::Data::F32(numbers)) if numbers.len() == 4 => {
                (self.log.value[0], self.log.mean[0], self.log.square[0]) = (numbers[0], numbers[1], numbers[2]);
                self.steps = numbers[3] as u32;
                Ok(())
            }
            _ => Err(name),
        }
    }
}
