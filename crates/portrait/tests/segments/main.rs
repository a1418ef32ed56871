//! Segments beside figures of the bundled project, published examples, slow twins and laws that must hold.
#![allow(clippy::unwrap_used)]

mod cluster;
mod golden;
mod insight;
mod journey;
mod lifecycle;
mod rfm;
mod tree;
