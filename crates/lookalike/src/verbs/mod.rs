//! One verb, one file.

pub mod evaluate;
pub mod index;
pub mod index_search;
pub mod ingest;
pub mod recommend;
pub mod recommend_all;
pub mod show;
pub mod similar;
pub mod train;
pub mod tune;
