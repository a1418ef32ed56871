//! The two-tower model: what is known of a user and of an item each passes a tower; the inner product of what comes out,
//! divided by a temperature, is the score. Trained by softmax over items of the batch and further ones drawn evenly
//! (mixed negatives: Yang et al., "Mixed Negative Sampling for Learning Two-tower Neural Networks in Recommendations",
//! WWW 2020).
//!
//! Sampled softmax with logQ correction: an item that is drawn often as a negative has log q subtracted from its
//! score (Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019). The
//! example's own item was not drawn, it is always there, so nothing is subtracted from its score (Khrylchenko et al.,
//! "Correcting the LogQ Correction: Revisiting Sampled Softmax for Large-Scale Retrieval", RecSys 2025).
//! Items the user is known to have had are no negatives for them: their scores are masked.

//! Beside a base ([`base`]) the towers learn what a factorization does not see: examples are users as of a day, with what
//! they went on to, and the base says which items are compared.

mod ahead;
mod attention;
mod base;
mod engine;
mod gpu;
mod host;
mod inputs;
mod layers;
mod step;
mod taste;
#[cfg(test)]
mod tests;
mod trend;

use lookalike_bundle::{ItemRow, Learned, Matrix, Row, Tensor, Tensors, UserRow};
use lookalike_dataset::{Dataset, Features, FeaturesBuilder, Pair, Shuffled, stream_seed};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::device::{Device, DeviceError};
use crate::fit::{FitError, Model, Phase};
use crate::preset::{Base as BaseKnobs, TwoTower as Knobs};
use ahead::Ahead;
use attention::Attention;
use base::{Base, Scale};
use engine::{Engine, SideState};
use inputs::{History, Inputs};
use layers::Layers;
use step::{Step, Steps};
use taste::taste;
use trend::trend;

/// A two-tower model in training.
pub(crate) struct TwoTowerModel<'a> {
    data: &'a Dataset,
    device: &'a Device,
    knobs: Knobs,
    seed: u64,
    epochs: u32,
    /// Which of the parts of the data set are looked at: what was known before each stretch that is learned from, and last
    /// what is known where vectors are read out.
    times: Vec<usize>,
    source: Source<'a>,
    /// What enters the towers at each of these times.
    inputs: Vec<[Inputs<'a>; 2]>,
    engine: Engine,
    attention: Option<Attention>,
}

/// What steps are drawn from.
enum Source<'a> {
    /// Pairs of a user and an item of their history.
    Pairs { shuffled: Shuffled<UserRow, ItemRow>, steps: Steps<'a> },
    /// Users as of several days, and what they went on to until the next.
    Ahead {
        stretches: Vec<Ahead<'a>>,
        /// Which stretch each step of the epoch is of, and its number there.
        order: Vec<(usize, usize)>,
        knobs: Box<BaseKnobs>,
        /// One for each of the times, once they are learned.
        bases: Vec<Base>,
        scale: Scale,
    },
}

/// Names of the sides.
const SIDES: [&str; 2] = ["user", "item"];

impl<'a> TwoTowerModel<'a> {
    pub(crate) fn new(
        data: &'a Dataset,
        phase: Phase,
        (dim, epochs): (usize, u32),
        knobs: &Knobs,
        device: &'a Device,
        seed: u64,
    ) -> Result<Self, FitError> {
        let parts = data.parts();
        let last = match phase {
            Phase::Choose => parts.len() - 2,
            Phase::Final => parts.len() - 1,
        };
        let times: Vec<usize> = match &knobs.base {
            None => vec![last],
            // Before the oldest stretches there may have been nothing yet.
            Some(base) => {
                (last.saturating_sub(base.stretches)..=last).filter(|&time| !parts[time].is_empty()).collect()
            }
        };
        if knobs.base.is_some() && times.len() < 2 {
            return Err(FitError::NoPast);
        }
        let source = match &knobs.base {
            None => Source::Pairs { shuffled: Shuffled::new(parts[last]), steps: Steps::new(parts[last]) },
            Some(base) => Source::Ahead {
                stretches: times.windows(2).map(|pair| Ahead::new(parts[pair[0]], parts[pair[1]])).collect(),
                order: Vec::new(),
                knobs: Box::new(base.clone()),
                bases: Vec::new(),
                scale: Scale::new(),
            },
        };
        let beside_base = knobs.base.is_some();
        let inputs = inputs(data, knobs, &times)?;
        let side = |nth: usize| {
            let seed = stream_seed(seed, 10 + nth as u64, 0);
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            // Rows start with a length of about 1/√8 each, so that a bag of a few starts near length 1. Beside a base, what
            // is known of items starts at zero: untrained towers add nothing to it.
            let bound = (3.0 / (8.0 * dim as f32)).sqrt();
            let mut rows = Matrix::zeros(inputs[0][nth].table_rows(), dim);
            if !(beside_base && nth == 1) {
                rows.data_mut().fill_with(|| (rng.random::<f32>() * 2.0 - 1.0) * bound);
            }
            let (name, unit) = (format!("tower.{}", SIDES[nth]), !beside_base && (nth == 0 || knobs.cosine));
            let layers = Layers::new(&name, dim, &knobs.towers, unit, stream_seed(seed, 1, 0));
            SideState { accumulator: vec![0.0; rows.rows()], rows, layers }
        };
        let engine = Engine::open(device, [side(0), side(1)])?;
        let attention = inputs[0][0].attention().filter(|_| knobs.attention);
        Ok(Self { data, device, knobs: knobs.clone(), seed, epochs, times, source, inputs, engine, attention })
    }

    /// What step sizes are multiplied by after `done` of `total` steps of an epoch: up over the first half of the first
    /// epoch, then down evenly to a tenth at the end of the last.
    fn rate(&self, epoch: u32, done: usize, total: usize) -> f32 {
        let at = f64::from(epoch - 1) + done as f64 / total.max(1) as f64;
        let up = (at * 2.0 + 1.0 / total.max(1) as f64).min(1.0);
        (up * (1.0 - 0.9 * at / f64::from(self.epochs.max(1)))) as f32
    }
}

impl TwoTowerModel<'_> {
    /// Learns the bases; the towers add nothing to them yet.
    fn fit_bases(&mut self, tick: &mut dyn FnMut(u64, u64) -> Result<(), FitError>) -> Result<(), FitError> {
        let Source::Ahead { knobs, bases, .. } = &mut self.source else { return Ok(()) };
        let parts = self.data.parts();
        let total = self.times.len() as u64 * u64::from(knobs.epochs);
        for (nth, &time) in (0..).zip(&self.times) {
            let before = nth * u64::from(knobs.epochs);
            let mut told = |epoch: u32| tick((before + u64::from(epoch)).max(1), total);
            bases.push(Base::fit(parts[time], knobs, self.device, self.seed, &mut told)?);
        }
        Ok(())
    }
}

impl Model for TwoTowerModel<'_> {
    fn first(&self) -> u32 {
        match self.source {
            Source::Pairs { .. } => 1,
            Source::Ahead { .. } => 0,
        }
    }

    fn epoch(
        &mut self,
        epoch: u32,
        tick: &mut dyn FnMut(u64, u64) -> Result<(), FitError>,
    ) -> Result<Option<f64>, FitError> {
        if epoch == 0 {
            return self.fit_bases(tick).map(|()| None);
        }
        let order = stream_seed(self.seed, 12, u64::from(epoch));
        let mut shuffled = match &mut self.source {
            Source::Pairs { shuffled, .. } => std::mem::take(shuffled),
            Source::Ahead { .. } => Shuffled::default(),
        };
        let size = self.knobs.batch;
        let total = match &mut self.source {
            Source::Pairs { .. } => shuffled.batches(size),
            Source::Ahead { stretches, order: steps, .. } => {
                *steps = ahead::shuffled(stretches, size, order);
                steps.len()
            }
        };
        let mut batches = shuffled.epoch(size, order);
        let (mut loss, mut examples) = (0.0, 0.0);
        let mut next = None;
        for number in 0..total {
            let rate = self.rate(epoch, number, total);
            let Self { device, knobs, seed, source, inputs, engine, attention, .. } = self;
            let mut scale = source.scale();
            let mut draw = |number: usize| {
                let seed = stream_seed(stream_seed(*seed, 13, u64::from(epoch)), 0, number as u64);
                source.step(number, batches.next(), inputs, knobs, seed)
            };
            let step = match next.take() {
                Some(step) => Some(step),
                None => draw(number)?,
            };
            let Some(mut step) = step else { break };
            let drawn = match step.examples() {
                0 => draw(number + 1),
                _ => {
                    // A step is drawn while the one before it is learned from, so attention comes after.
                    attention.iter().for_each(|attention| attention.weigh(&mut step.users));
                    let (told, drawn) = engine.step(device, &mut scale, &step, knobs, rate, || draw(number + 1))?;
                    let learn = |attention: &mut Attention| {
                        attention.learn(&step.users, &told.by_weight, knobs.lr * rate);
                    };
                    attention.iter_mut().for_each(learn);
                    loss += told.loss;
                    drawn
                }
            };
            next = drawn?;
            source.set_scale(scale);
            examples += f64::from(step.weight());
            tick(number as u64 + 1, total as u64)?;
        }
        drop(batches);
        if let Source::Pairs { shuffled: place, .. } = &mut self.source {
            *place = shuffled;
        }
        let mean = loss / examples.max(f64::MIN_POSITIVE);
        if !mean.is_finite() {
            let what = format!("the mean loss is {mean}");
            return Err(FitError::Diverged { epoch, what, hint: "lower `lr` and `tower_lr`, or raise `tau`" });
        }
        Ok(Some(mean))
    }

    fn learned(&mut self) -> Result<Learned, FitError> {
        let towers = self.engine.embeddings(self.inputs[self.inputs.len() - 1].each_ref(), self.attention.as_ref())?;
        let [users, items] = match &self.source {
            Source::Ahead { bases, scale, .. } => match bases.last() {
                Some(latest) => latest.followed_by(towers, scale),
                None => towers,
            },
            Source::Pairs { .. } => towers,
        };
        Ok(Learned::Embeddings { users, items })
    }

    fn state(&mut self) -> Result<Tensors, FitError> {
        let sides = self.engine.sides()?;
        let mut state: Tensors = SIDES.iter().zip(&sides).flat_map(|(name, side)| side.tensors(name)).collect();
        self.attention.iter().for_each(|attention| state.extend(attention.state()));
        if let Source::Ahead { bases, scale, .. } = &self.source {
            state.extend(scale.state());
            bases.iter().enumerate().for_each(|(nth, base)| state.extend(base.state(nth)));
        }
        Ok(state)
    }

    fn restore(&mut self, mut state: Tensors) -> Result<(), String> {
        let failed = |error: DeviceError| error.to_string();
        let mut sides = self.engine.sides().map_err(failed)?;
        for (name, side) in SIDES.iter().zip(&mut sides) {
            side.restore(name, &mut state)?;
        }
        self.engine = Engine::open(self.device, sides).map_err(failed)?;
        self.attention.iter_mut().try_for_each(|attention| attention.restore(&mut state))?;
        if let Source::Ahead { bases, scale, .. } = &mut self.source {
            scale.restore(&mut state)?;
            let shape = [self.data.users.len(), self.data.items.len()];
            let restored = (0..self.times.len()).map(|nth| Base::restored(nth, shape, &mut state));
            *bases = restored.collect::<Result<_, _>>()?;
        }
        Ok(())
    }

    /// All that the vectors come from, so that others can pass it through the towers: `scripts/towers.py` does, and says how.
    fn weights(&mut self) -> Result<Tensors, FitError> {
        let sides = self.engine.sides()?;
        let mut tensors = self.attention.as_ref().map(Attention::weights).unwrap_or_default();
        for (nth, side) in sides.into_iter().enumerate() {
            let (name, inputs) = (format!("tower.{}", SIDES[nth]), &self.inputs[self.inputs.len() - 1][nth]);
            let attention = self.attention.as_ref().filter(|_| nth == 0);
            let bags = inputs.whole(0..inputs.rows(), attention)?;
            tensors.extend(side.layers.weights());
            tensors.insert(format!("{name}.table"), side.rows.into());
            tensors.insert(format!("{name}.bags.offsets"), Tensor::u32s(bags.offsets().to_vec()));
            tensors.insert(format!("{name}.bags.rows"), Tensor::u32s(bags.rows().to_vec()));
            tensors.insert(format!("{name}.bags.weights"), Tensor::f32s(bags.weights().to_vec()));
        }
        Ok(tensors)
    }
}

impl Source<'_> {
    /// The step of this number, of these pairs where there are pairs.
    fn step(
        &mut self,
        number: usize,
        pairs: Option<&[Pair<UserRow, ItemRow>]>,
        inputs: &[[Inputs<'_>; 2]],
        knobs: &Knobs,
        seed: u64,
    ) -> Result<Option<Step>, DeviceError> {
        match self {
            Self::Pairs { steps, .. } => {
                pairs.map(|batch| steps.step(batch, inputs[0].each_ref(), knobs, seed)).transpose()
            }
            Self::Ahead { stretches, order, bases, .. } => {
                let Some(&(stretch, number)) = order.get(number) else { return Ok(None) };
                let sides = inputs[stretch].each_ref();
                stretches[stretch].step(number, &bases[stretch], sides, knobs, seed)
            }
        }
    }

    fn scale(&self) -> Scale {
        match self {
            Self::Pairs { .. } => Scale::new(),
            Self::Ahead { scale, .. } => scale.clone(),
        }
    }

    fn set_scale(&mut self, new: Scale) {
        if let Self::Ahead { scale, .. } = self {
            *scale = new;
        }
    }
}

/// What is read of users, their ids and histories aside, at one of the times of [`Dataset::parts`].
pub fn read_of_users(data: &Dataset, knobs: &Knobs, time: usize) -> Features {
    let mut users = chosen(&data.user_features, knobs).beside(&data.portraits[time]);
    if knobs.taste {
        users = users.beside(&taste(data.parts()[time], &data.item_features));
    }
    match knobs.friends {
        true => users.beside(&data.friends[time]),
        false => users,
    }
}

/// The attributes that the preset names.
fn chosen(features: &Features, knobs: &Knobs) -> Features {
    let all = knobs.features.iter().any(|name| name == "*");
    features.only(|field| all || knobs.features.iter().any(|name| name == field))
}

/// What enters the towers at some of the times of [`Dataset::parts`].
fn inputs<'a>(data: &'a Dataset, knobs: &Knobs, times: &[usize]) -> Result<Vec<[Inputs<'a>; 2]>, FitError> {
    let parts = data.parts();
    let of_items = chosen(&data.item_features, knobs);
    let past = |&time: &usize| (parts[time], &*data.ages[time]);
    let trends = knobs.trend.then(|| trend(&times.iter().map(past).collect::<Vec<_>>()));
    let at = |(nth, &time): (usize, &usize)| -> Result<[Inputs<'a>; 2], FitError> {
        let mut users = read_of_users(data, knobs, time);
        if knobs.base.is_some() {
            users = users.beside(&everyone(data.users.len()));
        }
        let items = match &trends {
            Some(trends) => of_items.beside(&trends[nth]),
            None => of_items.clone(),
        };
        let met_users = parts[time].rows().map(|user| !parts[time].cols(user).is_empty()).collect();
        let mut met_items = vec![false; data.items.len()];
        parts[time].all_cols().iter().for_each(|&item| met_items[item as usize] = true);
        let ids = |side: usize, met: Vec<bool>| if knobs.id_dropout[side] < 1.0 { met } else { vec![false; met.len()] };
        let half_life = if knobs.half_life > 0.0 { knobs.half_life } else { f32::INFINITY };
        let history = History { had: parts[time], ages: &data.ages[time], half_life, most: knobs.history };
        let history = (knobs.history > 0).then_some(history);
        Ok([
            Inputs::new(SIDES[0], ids(0, met_users), users, history)?,
            Inputs::new(SIDES[1], ids(1, met_items), items, None)?,
        ])
    };
    times.iter().enumerate().map(at).collect()
}

/// A value that every user has: what it means for an item is that item's bias.
fn everyone(users: usize) -> Features {
    let mut builder = FeaturesBuilder::default();
    (0..users as u32).for_each(|row| builder.push(UserRow::new(row), "everyone", ""));
    builder.finish(users, 1)
}
