//! What the trainer sees: interactions as sparse rows, a split that cannot leak, feature bags and
//! samplers. Plain vectors; knows no tensors and no models.

mod build;
mod cold;
mod csr;
mod error;
mod features;
mod field;
mod friends;
mod moments;
mod onto;
mod pairs;
mod read;
mod sample;

pub use build::{Builder, Dataset, Described, HeldOut, Part};
pub use csr::{Csr, Pair};
pub use error::Error;
pub use features::{Features, FeaturesBuilder};
pub use field::{Field, TITLE, Tenths, titles};
pub use moments::moments;
pub use onto::Changed;
pub use read::{ages, fingerprint, load, load_in_stretches};
pub use sample::{Shuffled, stream_seed};
