//! What each user already did in training: sparse rows of items with weights.

use crate::error::HistoryError;
use crate::rows::{ItemRow, Row, UserRow};

/// Per user the rows of the items acted on, ascending, each once, with a weight from 0 up (what a weight counts is
/// stated where it was made).
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    offsets: Vec<usize>,
    items: Vec<u32>,
    weights: Vec<f32>,
}

impl History {
    /// Takes entries ascending by (user, item), each pair once. Checks order, range and weights.
    pub fn new(
        users: usize,
        items: usize,
        entries: impl IntoIterator<Item = (UserRow, ItemRow, f32)>,
    ) -> Result<Self, HistoryError> {
        let mut made = Self { offsets: vec![0], items: Vec::new(), weights: Vec::new() };
        let mut before = None;
        for (entry, (user, item, weight)) in entries.into_iter().enumerate() {
            if user.index() >= users || item.index() >= items {
                return Err(HistoryError::Range { entry, user: user.get(), item: item.get(), users, items });
            }
            if before.replace((user, item)).is_some_and(|before| before >= (user, item)) {
                return Err(HistoryError::Order { entry });
            }
            if !(weight.is_finite() && weight >= 0.0) {
                return Err(HistoryError::Weight { entry, weight });
            }
            made.offsets.resize(user.index() + 1, made.items.len());
            made.items.push(item.get());
            made.weights.push(weight);
        }
        made.offsets.resize(users + 1, made.items.len());
        Ok(made)
    }

    /// Number of users, those without entries included.
    pub fn users(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of users up to the last one with entries: users without a history stand behind all others.
    pub fn users_in_use(&self) -> usize {
        self.offsets.partition_point(|&offset| offset < self.items.len())
    }

    /// Number of entries of all users.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nobody did anything.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many entries stand before those of a user.
    pub fn start(&self, user: UserRow) -> usize {
        self.offsets[user.index()]
    }

    /// The rows of a user's items, ascending.
    pub fn items(&self, user: UserRow) -> &[u32] {
        &self.items[self.offsets[user.index()]..self.offsets[user.index() + 1]]
    }

    /// The weights that go with [`History::items`].
    pub fn weights(&self, user: UserRow) -> &[f32] {
        &self.weights[self.offsets[user.index()]..self.offsets[user.index() + 1]]
    }

    /// All entries, ascending by (user, item).
    pub fn entries(&self) -> impl Iterator<Item = (UserRow, ItemRow, f32)> + '_ {
        (0..self.users()).flat_map(move |user| {
            let user = UserRow::new(user as u32);
            let pairs = self.items(user).iter().zip(self.weights(user));
            pairs.map(move |(&item, &weight)| (user, ItemRow::new(item), weight))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn history(entries: &[(u32, u32, f32)]) -> Result<History, HistoryError> {
        History::new(4, 3, entries.iter().map(|&(user, item, w)| (UserRow::new(user), ItemRow::new(item), w)))
    }

    #[test]
    fn rows_of_users_with_and_without_entries() {
        let made = history(&[(1, 0, 2.0), (1, 2, 1.0), (3, 1, 0.0)]).unwrap();
        assert_eq!(made.items(UserRow::new(0)), [] as [u32; 0]);
        assert_eq!((made.items(UserRow::new(1)), made.weights(UserRow::new(1))), (&[0, 2][..], &[2.0, 1.0][..]));
        assert_eq!((made.items(UserRow::new(2)).len(), made.items(UserRow::new(3))), (0, &[1][..]));
        assert_eq!(History::new(4, 3, made.entries()).unwrap(), made);
        assert_eq!((made.users(), made.len(), made.users_in_use()), (4, 3, 4));
        assert_eq!(history(&[(1, 0, 2.0)]).unwrap().users_in_use(), 2);
    }

    #[test]
    fn nobody_at_all() {
        let made = History::new(0, 0, []).unwrap();
        assert!(made.is_empty() && made.users() == 0);
    }

    #[test]
    fn beyond_the_tables() {
        assert!(matches!(history(&[(4, 0, 1.0)]), Err(HistoryError::Range { entry: 0, .. })));
        assert!(matches!(history(&[(0, 0, 1.0), (0, 3, 1.0)]), Err(HistoryError::Range { entry: 1, .. })));
    }

    #[test]
    fn out_of_order_or_twice() {
        assert_eq!(history(&[(1, 0, 1.0), (0, 1, 1.0)]), Err(HistoryError::Order { entry: 1 }));
        assert_eq!(history(&[(1, 1, 1.0), (1, 1, 1.0)]), Err(HistoryError::Order { entry: 1 }));
    }

    #[test]
    fn weights_that_mean_nothing() {
        assert!(history(&[(0, 0, f32::NAN)]).is_err() && history(&[(0, 0, f32::INFINITY)]).is_err());
        assert!(history(&[(0, 0, -1.0)]).is_err());
    }
}
