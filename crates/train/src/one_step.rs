//! Models that are solved in one step and speak in weights from item to item: an epoch is all there is.

use lookalike_bundle::{Input, ItemWeights, Learned, Tensors};

use crate::fit::{FitError, Model};

/// Told of progress as (done, total); its error ends the work.
pub(crate) type Tick<'t> = dyn FnMut(u64, u64) -> Result<(), FitError> + 't;

type Solve<'a> = dyn Fn(&mut Tick<'_>) -> Result<ItemWeights, FitError> + 'a;

/// Such a model, before or after its one step.
pub(crate) struct OneStep<'a> {
    solve: Box<Solve<'a>>,
    items: usize,
    weights: Option<ItemWeights>,
}

impl<'a> OneStep<'a> {
    /// A model over so many items, whose step is `solve`.
    pub(crate) fn new(items: usize, solve: impl Fn(&mut Tick<'_>) -> Result<ItemWeights, FitError> + 'a) -> Self {
        Self { solve: Box::new(solve), items, weights: None }
    }

    /// What was solved; before that, that nothing speaks for anything.
    fn current(&self) -> ItemWeights {
        let nothing = || ItemWeights::nothing(Input::One, self.items);
        self.weights.clone().unwrap_or_else(nothing)
    }
}

impl Model for OneStep<'_> {
    fn epoch(&mut self, _: u32, tick: &mut Tick<'_>) -> Result<Option<f64>, FitError> {
        self.weights = Some((self.solve)(tick)?);
        Ok(None)
    }

    fn learned(&mut self) -> Result<Learned, FitError> {
        Ok(Learned::ItemWeights(self.current()))
    }

    fn state(&mut self) -> Result<Tensors, FitError> {
        Ok(self.current().tensors())
    }

    fn restore(&mut self, mut state: Tensors) -> Result<(), String> {
        let weights = ItemWeights::take(&mut state).ok().flatten().filter(|weights| weights.items() == self.items);
        self.weights = Some(weights.ok_or("item.weights")?);
        Ok(())
    }

    fn weights(&mut self) -> Result<Tensors, FitError> {
        Ok(Tensors::new())
    }
}
