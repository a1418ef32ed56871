//! What events say beside a history: when its entries happened, what items cost, and what was bought together.

/// What is known as of the end of a history, beside the history itself. Days are counted back from that end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// How many days count as of late.
    pub window: f32,
    /// Of every entry of the history, in its order: days since the user met the item last.
    pub last: Vec<f32>,
    /// Days since the user met the item first.
    pub first: Vec<f32>,
    /// On how many different days the user met the item.
    pub days: Vec<u32>,
    /// The same within the last three windows.
    pub lately: Vec<u32>,
    /// Of every item what a piece of it costs, the geometric mean over its events; 0 where none says it. Empty where no
    /// event says what anything costs.
    pub prices: Vec<f32>,
    /// What was bought together.
    pub pairs: Pairs,
}

/// For every item some others that stand in the same baskets more often than by chance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pairs {
    /// Where the partners of each item begin, and the last ones end; empty where no baskets are known.
    pub offsets: Vec<u64>,
    /// Rows of items, ascending for each item.
    pub partners: Vec<u32>,
    /// How many times as often as by chance the two stand in one basket; above 1.
    pub lifts: Vec<f32>,
}

impl Pairs {
    /// The partners of an item with their lifts.
    pub fn of(&self, item: usize) -> impl Iterator<Item = (u32, f32)> {
        let range = match self.offsets.get(item..item + 2) {
            Some(ends) => ends[0] as usize..ends[1] as usize,
            None => 0..0,
        };
        self.partners[range.clone()].iter().copied().zip(self.lifts[range].iter().copied())
    }

    /// What about them cannot be right for so many items, if anything cannot.
    pub fn problem(&self, items: usize) -> Option<&'static str> {
        if self.offsets.is_empty() && self.partners.is_empty() && self.lifts.is_empty() {
            return None;
        }
        let ends = (self.offsets.first(), self.offsets.last());
        let whole = self.offsets.len() == items + 1 && ends == (Some(&0), Some(&(self.partners.len() as u64)));
        if !whole || !self.offsets.is_sorted() || self.lifts.len() != self.partners.len() {
            return Some("offsets of pairs do not fit them");
        }
        let mut lists = self.offsets.windows(2).map(|ends| &self.partners[ends[0] as usize..ends[1] as usize]);
        if !lists.all(|list| list.is_sorted_by(|a, b| a < b) && list.iter().all(|&row| (row as usize) < items)) {
            return Some("pairs are out of order or no items");
        }
        (!self.lifts.iter().all(|lift| lift.is_finite() && *lift > 1.0)).then_some("lifts are none")
    }
}

impl Moments {
    /// What about them cannot be right for so many entries and items, if anything cannot.
    pub fn problem(&self, entries: usize, items: usize) -> Option<&'static str> {
        let lengths = [self.last.len(), self.first.len(), self.days.len(), self.lately.len()];
        if lengths != [entries; 4] {
            return Some("times are not those of the history");
        }
        let in_order = |(last, first): (&f32, &f32)| first.is_finite() && 0.0 <= *last && last <= first;
        let in_days = self.window.is_finite() && self.window > 0.0;
        if !in_days || !self.last.iter().zip(&self.first).all(in_order) {
            return Some("times are none");
        }
        if !self.lately.iter().zip(&self.days).all(|(lately, days)| lately <= days && *days > 0) {
            return Some("counts of days contradict each other");
        }
        let priced = self.prices.is_empty() || self.prices.len() == items;
        if !priced || !self.prices.iter().all(|price| price.is_finite() && *price >= 0.0) {
            return Some("prices are none");
        }
        self.pairs.problem(items)
    }
}
