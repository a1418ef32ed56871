//! Writes small indexes for a fuzzer to begin with: `seeds FOLDER`.

use std::error::Error;
use std::path::PathBuf;

use lookalike_bundle::Matrix;
use lookalike_retrieve::{Index, IndexSettings, Metric};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("usage: seeds FOLDER")?);
    for (name, metric) in [("ip", Metric::Ip), ("cosine", Metric::Cosine), ("l2", Metric::L2)] {
        for items in [1, 40] {
            let numbers = (0..3 * items).map(|at| (at as f32 * 0.7).sin()).collect();
            let table = Matrix::from_vec(items, 3, numbers).ok_or("a table of another size")?;
            let settings = IndexSettings { metric, m: 4, ef_construction: 8, ..IndexSettings::default() };
            Index::build(&table, &table, settings)?.write(&folder.join(format!("{name}-{items}")))?;
        }
    }
    Ok(())
}
