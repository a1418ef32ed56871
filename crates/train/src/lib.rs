//! How it is learned: devices, kernels, factorization and towers, and the baselines they must beat. The only room that
//! knows burn, cubecl or a device. It neither reads a store nor judges a ranking: the caller hands it a data set and a
//! [`Watch`].

mod als;
mod bags;
mod baseline;
mod bpr;
mod dense;
pub mod device;
mod ease;
mod eigen;
mod exp;
mod fit;
mod gemm;
pub mod gpu;
mod host_table;
mod ials;
mod lanes;
mod memory;
mod one_step;
mod pages;
mod plan;
mod preset;
mod read;
mod softmax;
mod solve;
mod symmetric;
mod table;
mod tune;
mod two_tower;

pub use bags::{Bags, Segments};
pub use baseline::{Friends, ItemKnn, PersonalFrequency, Popularity, Random, Scorer};
pub use fit::{Entry, FitError, Fitted, Identity, Phase, Verdict, Watch, fit};
pub use host_table::HostTable;
pub use plan::Plan;
pub use preset::{
    Base, Bpr, Confidence, Ease, Factorization, Ials, Knn, Knobs, Loss, MOST_TRIALS, Optimizer, PairDraw, PoolDraw,
    Precision, Preset, PresetError, SoftmaxMf, TwoTower,
};
pub use table::Table;
pub use tune::{Trial, TuneError, Tuned, WatchTrials, glance, tune};
pub use two_tower::read_of_users;
