//! What to answer: the nearest items of a vector, of an item, of a user; exactly, or through an index.
//!
//! All lists have one order ([`select`]): score descending, ties by a fixed shuffle. [`Search`] has three
//! implementations: [`Exact`] looks at every item, [`Aided`] has a device tell which items need no look, and [`Index`]
//! walks a graph and states what it misses ([`Audit`]).

mod beam;
mod block;
mod build;
mod chain;
mod error;
mod exact;
mod few;
mod file;
mod fold;
mod friends;
mod graph;
mod index;
mod lists;
mod maxima;
mod metric;
mod product;
mod rank;
mod recommend;
mod scores;
mod seeds;
mod segments;
mod similar;
#[cfg(test)]
mod testing;
mod topk;
mod vectors;

pub use chain::{Chain, Link};
pub use error::RetrieveError;
pub use exact::{Among, Exact, Search};
pub use few::{Blend, FEW, Prior};
pub use file::INDEX;
pub use fold::Folding;
pub use friends::{FRIENDS, Friends};
pub use index::{Audit, Index, IndexSettings, Within};
pub use maxima::{Aided, BlockMaxima, block_starts};
pub use metric::{Metric, Space};
pub use rank::{
    AGAIN, Again, CANDIDATES, Choices, Had, Linear, NEW, RANKER, Ranker, Reason, Signal, Signals, Weights, Why,
};
pub use recommend::{Recommender, blend_repeats};
pub use scores::{map_scores, new_items};
pub use segments::{ItemsHad, SEGMENTS, Segments};
pub use similar::{lookalike_scores, lookalikes, similar, similar_by_weight, similar_to};
pub use topk::{Hit, Ties, mask, select, select_among};
