//! One verb, one file.

pub mod check;
pub mod evaluate;
pub mod forget;
pub mod index;
pub mod index_search;
pub mod ingest;
pub mod portrait;
pub mod profile;
pub mod recommend;
pub mod recommend_all;
pub mod segment;
pub mod show;
pub mod similar;
pub mod train;
pub mod tune;
