//! What scores come from: embeddings of users and items, or weights from item to item.

use std::path::Path;

use crate::error::BundleError;
use crate::matrix::Matrix;
use crate::tensors::{Lent, Tensor, Tensors};
use crate::weights::ItemWeights;

const USER_TABLE: &str = "user.embedding";
const ITEM_TABLE: &str = "item.embedding";

/// What a model learned.
#[derive(Clone, Debug, PartialEq)]
pub enum Learned {
    /// The score of an item for a user is the inner product of their rows.
    Embeddings {
        /// `users x dim`.
        users: Matrix,
        /// `items x dim`.
        items: Matrix,
    },
    /// The score of an item is a sum over the user's history.
    ItemWeights(ItemWeights),
}

impl Learned {
    /// Numbers per embedding, 0 where there are none.
    pub fn dim(&self) -> usize {
        self.items().map_or(0, Matrix::cols)
    }

    /// The embeddings of users, if there are any.
    pub fn users(&self) -> Option<&Matrix> {
        match self {
            Self::Embeddings { users, .. } => Some(users),
            Self::ItemWeights(_) => None,
        }
    }

    /// The embeddings of items, if there are any.
    pub fn items(&self) -> Option<&Matrix> {
        match self {
            Self::Embeddings { items, .. } => Some(items),
            Self::ItemWeights(_) => None,
        }
    }

    /// Whether every number is finite.
    pub fn is_finite(&self) -> bool {
        let finite = |matrix: &Matrix| matrix.data().iter().all(|number| number.is_finite());
        match self {
            Self::Embeddings { users, items } => finite(users) && finite(items),
            Self::ItemWeights(_) => true, // they cannot be made of others
        }
    }

    /// The tensors as the model's file keeps them.
    pub(crate) fn lend(&self) -> Vec<(&'static str, Lent<'_>)> {
        match self {
            Self::Embeddings { users, items } => [(USER_TABLE, users), (ITEM_TABLE, items)]
                .map(|(name, table)| (name, Lent::floats(vec![table.rows(), table.cols()], table.data())))
                .into(),
            Self::ItemWeights(weights) => weights.lend(),
        }
    }

    /// Takes such tensors out of those of the file `path`.
    pub(crate) fn take(tensors: &mut Tensors, path: &Path) -> Result<Self, BundleError> {
        let weights = ItemWeights::take(tensors);
        if let Some(weights) = weights.map_err(|source| BundleError::Weights { path: path.to_owned(), source })? {
            return Ok(Self::ItemWeights(weights));
        }
        let mut table = |name: &str| {
            tensors.remove(name).and_then(Tensor::into_matrix).ok_or_else(|| BundleError::Missing {
                path: path.to_owned(),
                name: name.into(),
                kind: "two-dimensional f32",
            })
        };
        Ok(Self::Embeddings { users: table(USER_TABLE)?, items: table(ITEM_TABLE)? })
    }

    /// That it fits so many users and items, and holds finite numbers alone.
    pub(crate) fn check(&self, users: usize, items: usize, path: &Path) -> Result<(), BundleError> {
        let path = || path.to_owned();
        match self {
            Self::Embeddings { users: user_table, items: item_table } => {
                let dim = item_table.cols();
                for (name, table, rows) in [(USER_TABLE, user_table, users), (ITEM_TABLE, item_table, items)] {
                    let (found, expected) = ([table.rows(), table.cols()], [rows, dim]);
                    if found != expected {
                        let (found, expected) = (found.into(), expected.into());
                        return Err(BundleError::Shape { path: path(), name: name.into(), found, expected });
                    }
                    if let Some(position) = table.data().iter().position(|number| !number.is_finite()) {
                        return Err(BundleError::NotFinite { path: path(), name: name.into(), position });
                    }
                }
                Ok(())
            }
            Self::ItemWeights(weights) if weights.items() == items => Ok(()),
            Self::ItemWeights(weights) => {
                let (found, expected) = (vec![weights.items() + 1], vec![items + 1]);
                Err(BundleError::Shape { path: path(), name: "item.weights.offsets".into(), found, expected })
            }
        }
    }
}
