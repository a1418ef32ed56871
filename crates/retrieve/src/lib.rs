//! What to answer: the nearest items of a vector, of an item, of a user; exactly, or through an index.
//!
//! All lists have one order ([`select`]): score descending, ties by a fixed shuffle. [`Search`] has two
//! implementations: [`Exact`] looks at every item, [`Hnsw`] walks a graph and states what it misses ([`Audit`]).

mod beam;
mod build;
mod error;
mod exact;
mod fold;
mod graph;
mod head;
mod hnsw;
mod product;
mod recommend;
mod scores;
mod similar;
#[cfg(test)]
mod testing;
mod topk;

pub use error::RetrieveError;
pub use exact::{Exact, Search};
pub use fold::Folding;
pub use hnsw::{Audit, Hnsw, INDEX, IndexSettings};
pub use recommend::{Recommender, blend_repeats};
pub use scores::{map_scores, new_items};
pub use similar::{similar, similar_by_weight, similar_to};
pub use topk::{Hit, Ties, mask, select, select_among};
