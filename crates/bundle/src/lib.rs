//! What was learned: id maps, embedding tables, history and manifest, and the folder they live in.
//!
//! # The folder, format version 2
//!
//! | file | content |
//! |---|---|
//! | `model.safetensors` | `user.embedding [users, dim]`, `item.embedding [items, dim]`; or `item.weights.*`, see [`ItemWeights::tensors`]; further tensors such as `tower.*` |
//! | `users.parquet` | `row u32`, `id utf8`; row numbers are 0, 1, 2, … |
//! | `items.parquet` | the same, and `title utf8?`, `category list<utf8>?` (widest level first), `brand utf8?` |
//! | `history.parquet` | `user_row u32`, `item_row u32`, `weight f32`: what each user did in training, ascending |
//! | `manifest.json` | format version, origin, settings, counts, metrics, and the size and BLAKE3 hash of every other file |
//! | further files | such as an index; listed in the manifest too |
//!
//! The manifest and every tensor file also carry a seal: a hash of themselves, taken with its own digits as zeros.
//! The folder is always replaced whole, see [`Bundle::write`]. Version 1 had no item weights.

mod bundle;
mod disk;
mod error;
mod history;
mod learned;
mod manifest;
mod matrix;
mod moments;
mod rows;
mod seal;
mod tables;
mod tensors;
mod weights;

pub use bundle::{Bundle, Extra};
pub use error::{BundleError, HistoryError, WeightsError};
pub use history::History;
pub use learned::Learned;
pub use manifest::{FORMAT, Few, Manifest, Repeat};
pub use matrix::Matrix;
pub use moments::{Moments, Pairs};
pub use rows::{ItemRow, Row, UserRow, Vocab, VocabError};
pub use tables::ItemInfo;
pub use tensors::{Data, Meta, Tensor, Tensors, decode_tensors, encode_tensors, read_tensors, write_tensors};
pub use weights::{Input, ItemWeights};
