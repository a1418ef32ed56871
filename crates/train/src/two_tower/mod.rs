//! The two-tower model: a user's and an item's bag of embeddings each pass a tower; their cosine, divided by a
//! temperature, is the score. Trained by softmax over the items of the batch.
//!
//! Sampled softmax with logQ correction: an item that is drawn often as a negative has log q subtracted from its
//! score (Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019).
//! Items the user is known to have had are no negatives for them: their scores are masked.

use std::collections::HashMap;

use burn::tensor::{Bool, Tensor, TensorData};
use lookalike_bundle::{Data, ItemRow, Learned, Matrix, Row, Tensor as Stored, Tensors, UserRow};
use lookalike_dataset::{Csr, Dataset, Features, Pair, Shuffled, stream_seed};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::bags::Bags;
use crate::device::{Device, DeviceError};
use crate::fit::{FitError, Model};
use crate::preset::TwoTower as Knobs;
use crate::read::read;
use crate::table::Table;
use crate::tower::Tower;

/// Kept from the denominator of row-wise Adagrad.
const EPS: f32 = 1e-8;
/// Rows turned into embeddings at a time when a model is read out.
const READ_BLOCK: usize = 4096;
/// What a masked score becomes: e^MASKED is 0 in `f32`, and it stays finite.
const MASKED: f32 = -1e4;

/// One side: an embedding for every id and every feature value, and the tower above them.
struct Side {
    name: &'static str,
    rows: usize,
    features: Features,
    table: Table,
    tower: Tower,
}

impl Side {
    fn new(
        name: &'static str,
        rows: usize,
        features: &Features,
        dim: usize,
        knobs: &Knobs,
        device: &Device,
        seed: u64,
    ) -> Result<Self, DeviceError> {
        let all = knobs.features.iter().any(|name| name == "*");
        let features = features.only(|field| all || knobs.features.iter().any(|name| name == field));
        let total = rows + features.len();
        if u32::try_from(total).is_err() {
            let problem =
                format!("has {total} rows with those of its features, more than a 32-bit row number can count");
            return Err(DeviceError::Input { what: name, problem });
        }
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        // Rows start with a length of about 1/√8 each, so that a bag of a few starts near length 1.
        let bound = (3.0 / (8.0 * dim as f32)).sqrt();
        let numbers = (0..total * dim).map(|_| (rng.random::<f32>() * 2.0 - 1.0) * bound).collect();
        let start = Matrix::from_vec(total, dim, numbers).unwrap_or_else(|| Matrix::zeros(0, dim));
        let tower = Tower::new(&format!("tower.{name}"), dim, &knobs.towers, device, stream_seed(seed, 1, 0));
        Ok(Self { name, rows, features, table: Table::new(device, &start)?, tower })
    }

    /// For every row its own embedding and those of its feature values.
    fn bags(&self, rows: impl Iterator<Item = usize>) -> Result<Bags, DeviceError> {
        let (mut offsets, mut all) = (vec![0], Vec::new());
        for row in rows {
            all.push(row as u32);
            all.extend(self.features.bag(row).iter().map(|&value| self.rows as u32 + value));
            offsets.push(all.len() as u32);
        }
        Bags::new(offsets, all)
    }

    fn embeddings(&self, dim: usize) -> Result<Matrix, DeviceError> {
        let mut matrix = Matrix::zeros(self.rows, dim);
        for (block, target) in matrix.data_mut().chunks_mut(READ_BLOCK * dim).enumerate() {
            let first = block * READ_BLOCK;
            let bags = self.bags(first..first + target.len() / dim)?;
            target.copy_from_slice(&read(self.tower.forward(self.table.gather(&bags)?))?);
        }
        Ok(matrix)
    }

    fn state(&self) -> Result<Tensors, DeviceError> {
        let mut state = self.tower.state()?;
        state.insert(format!("{}.table", self.name), self.table.read()?.into());
        state.insert(format!("{}.accumulator", self.name), Stored::f32s(self.table.read_accumulator()?));
        Ok(state)
    }

    fn restore(&mut self, state: &mut Tensors, device: &Device) -> Result<(), String> {
        let (table, accumulator) = (format!("{}.table", self.name), format!("{}.accumulator", self.name));
        let rows = state.remove(&table).and_then(Stored::into_matrix);
        let rows = rows.filter(|rows| (rows.rows(), rows.cols()) == (self.table.rows(), self.table.dim()));
        let Some(Data::F32(sums)) = state.remove(&accumulator).map(|stored| stored.data) else {
            return Err(accumulator);
        };
        let restored = rows.and_then(|rows| Table::with_accumulator(device, &rows, &sums).ok());
        self.table = restored.ok_or(table)?;
        self.tower.restore(state, device)
    }
}

/// A two-tower model in training.
pub(crate) struct TwoTowerModel<'a> {
    device: &'a Device,
    knobs: Knobs,
    dim: usize,
    seed: u64,
    train: &'a Csr<UserRow, ItemRow>,
    log_q: Vec<f32>,
    shuffled: Shuffled<UserRow, ItemRow>,
    users: Side,
    items: Side,
}

impl<'a> TwoTowerModel<'a> {
    pub(crate) fn new(
        data: &Dataset,
        train: &'a Csr<UserRow, ItemRow>,
        dim: usize,
        knobs: &Knobs,
        device: &'a Device,
        seed: u64,
    ) -> Result<Self, FitError> {
        let mut drawn = vec![0u32; train.n_cols()];
        for &item in train.all_cols() {
            drawn[item as usize] += 1;
        }
        let share = |&n: &u32| (f64::from(n.max(1)) / train.len() as f64).ln() as f32;
        let log_q = if knobs.logq { drawn.iter().map(share).collect() } else { vec![0.0; train.n_cols()] };
        let side = |name, rows, features, stream| {
            Side::new(name, rows, features, dim, knobs, device, stream_seed(seed, stream, 0))
        };
        Ok(Self {
            users: side("user", train.n_rows(), &data.user_features, 10)?,
            items: side("item", train.n_cols(), &data.item_features, 11)?,
            device,
            knobs: knobs.clone(),
            dim,
            seed,
            train,
            log_q,
            shuffled: Shuffled::new(train),
        })
    }

    /// One step over a batch of pairs; returns its mean loss as a tensor, so that the device need not be waited for.
    fn step(&mut self, batch: &[Pair<UserRow, ItemRow>]) -> Result<Tensor<1>, DeviceError> {
        let user_bags = self.users.bags(batch.iter().map(|pair| pair.row.index()))?;
        let item_bags = self.items.bags(batch.iter().map(|pair| pair.col.index()))?;
        let users = self.users.table.gather(&user_bags)?.autodiff().require_grad(); // [batch, dim]
        let items = self.items.table.gather(&item_bags)?.autodiff().require_grad(); // [batch, dim]
        let (user_tower, item_tower) = (self.users.tower.record(), self.items.tower.record());
        let u = user_tower.forward(users.clone()); // [batch, dim]
        let v = item_tower.forward(items.clone()); // [batch, dim]

        let size = batch.len();
        let log_q: Vec<f32> = batch.iter().map(|pair| self.log_q[pair.col.index()]).collect();
        let log_q = Tensor::<2>::from_data(TensorData::new(log_q, [1, size]), self.device.burn()).autodiff();
        let mask = TensorData::new(known_pairs(self.train, batch), [size, size]);
        let mask = Tensor::<2, Bool>::from_data(mask, self.device.burn());
        let tau = self.knobs.tau;
        let own = (u.clone() * v.clone()).sum_dim(1) / tau - log_q.clone().transpose(); // [batch, 1]
        let scores = (u.matmul(v.transpose()) / tau - log_q).mask_fill(mask, MASKED); // [batch, batch]
        // log Σ exp, with the row's largest score taken out so that no exponential overflows.
        let top = scores.clone().detach().max_dim(1); // [batch, 1]
        let log_sum = (scores - top.clone()).exp().sum_dim(1).log() + top; // [batch, 1]
        let loss = (log_sum - own).sum(); // [1]

        let mut gradients = loss.backward();
        let lr = self.knobs.lr;
        for (side, bags, leaf) in [(&mut self.users, &user_bags, &users), (&mut self.items, &item_bags, &items)] {
            if let Some(gradient) = leaf.grad_remove(&mut gradients) {
                side.table.update(&bags.segments(), gradient, lr, EPS)?;
            }
        }
        self.users.tower.step(&user_tower, &mut gradients, self.knobs.tower_lr);
        self.items.tower.step(&item_tower, &mut gradients, self.knobs.tower_lr);
        Ok(loss.inner() / size as f32)
    }
}

/// Which entries `[example, other example]` of a batch are no negatives: the user had the other example's item.
/// The diagonal, an example's own item, stays. Costs what the users of the batch have in their histories.
fn known_pairs(train: &Csr<UserRow, ItemRow>, batch: &[Pair<UserRow, ItemRow>]) -> Vec<bool> {
    let size = batch.len();
    let mut places: HashMap<u32, Vec<usize>> = HashMap::with_capacity(size);
    for (place, pair) in batch.iter().enumerate() {
        places.entry(pair.col.get()).or_default().push(place);
    }
    let mut mask = vec![false; size * size];
    for (row, pair) in batch.iter().enumerate() {
        let mask = &mut mask[row * size..][..size];
        for item in train.cols(pair.row) {
            for &place in places.get(item).into_iter().flatten() {
                mask[place] = place != row;
            }
        }
    }
    mask
}

impl Model for TwoTowerModel<'_> {
    fn epoch(
        &mut self,
        epoch: u32,
        tick: &mut dyn FnMut(u64, u64) -> Result<(), FitError>,
    ) -> Result<Option<f64>, FitError> {
        let size = self.knobs.batch;
        let mut shuffled = std::mem::take(&mut self.shuffled);
        let total = shuffled.batches(size) as u64;
        let mut losses = Vec::new();
        for (done, batch) in shuffled.epoch(size, stream_seed(self.seed, 12, u64::from(epoch))).enumerate() {
            losses.push(self.step(batch)?);
            tick(done as u64 + 1, total)?;
        }
        self.shuffled = shuffled;
        let losses = read(Tensor::cat(losses, 0)).map_err(FitError::from)?;
        let mean = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len().max(1) as f64;
        if !mean.is_finite() {
            let what = format!("the mean loss is {mean}");
            return Err(FitError::Diverged { epoch, what, hint: "lower `lr` and `tower_lr`, or raise `tau`" });
        }
        Ok(Some(mean))
    }

    fn learned(&mut self) -> Result<Learned, FitError> {
        Ok(Learned::Embeddings { users: self.users.embeddings(self.dim)?, items: self.items.embeddings(self.dim)? })
    }

    fn state(&mut self) -> Result<Tensors, FitError> {
        let mut state = self.users.state()?;
        state.extend(self.items.state()?);
        Ok(state)
    }

    fn restore(&mut self, mut state: Tensors) -> Result<(), String> {
        self.users.restore(&mut state, self.device)?;
        self.items.restore(&mut state, self.device)
    }

    fn weights(&mut self) -> Result<Tensors, FitError> {
        let mut weights = self.users.tower.weights()?;
        weights.extend(self.items.tower.weights()?);
        Ok(weights)
    }
}
