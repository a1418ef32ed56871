//! Every GPU kernel against a plain Rust twin, on odd sizes and random numbers.
//!
//! The adapter is named by the environment variable `LOOKALIKE_TEST_ADAPTER` (such as `llvmpipe`). Without it
//! these tests pass without looking; with it, a missing adapter fails them.
#![allow(clippy::unwrap_used)]

use burn::Tensor;
use burn::tensor::TensorData;
use lookalike_bundle::Matrix;
use lookalike_train::device::{Device, DeviceChoice, DeviceError, open};
use lookalike_train::gpu::{BlockMaxima, GpuIals, Rows};
use lookalike_train::{Bags, Table};

/// The largest difference allowed between f32 sums taken in different orders, over numbers near one.
const TOLERANCE: f32 = 2e-5;
/// The same for solutions of a linear system, against a twin in f64.
const SOLVE_TOLERANCE: f32 = 2e-4;

fn adapter() -> Option<Device> {
    let name = std::env::var("LOOKALIKE_TEST_ADAPTER").ok()?;
    let device = open(&DeviceChoice::Named(name)).unwrap();
    assert!(device.is_gpu() && device.why() == "asked for by name" && device.limits().unwrap().shared >= 16 << 10);
    Some(device)
}

/// A SplitMix64 generator: seeded, small, and good enough for test data.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// A number from -0.5 to 0.5.
    fn number(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 24) as f32 - 0.5
    }

    fn matrix(&mut self, rows: usize, cols: usize) -> Matrix {
        Matrix::from_vec(rows, cols, (0..rows * cols).map(|_| self.number()).collect()).unwrap()
    }

    /// Bags of 0 to `longest` rows; every second entry is row 0, so that one segment is long. Where `longest` is even, rows
    /// have weights.
    fn bags(&mut self, rows: usize, batch: usize, longest: usize) -> Bags {
        let (mut offsets, mut all) = (vec![0], Vec::new());
        for _ in 0..batch {
            let entries = self.below(longest + 1);
            all.extend((0..entries).map(|_| if self.below(2) == 0 { 0 } else { self.below(rows) as u32 }));
            offsets.push(all.len() as u32);
        }
        let weights = (0..all.len()).map(|_| self.number() + 1.0).collect();
        let bags = Bags::new(offsets, all).unwrap();
        if longest.is_multiple_of(2) { bags.weighted(weights).unwrap() } else { bags }
    }
}

fn tensor(matrix: &Matrix, device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(matrix.data().to_vec(), [matrix.rows(), matrix.cols()]), device.burn())
}

/// Gathers and updates a table three times; returns the batches, the table and its accumulator.
fn train(device: &Device, rows: usize, dim: usize, batch: usize, longest: usize) -> [Vec<f32>; 3] {
    let mut random = Random(rows as u64 * 31 + dim as u64);
    let start = random.matrix(rows, dim);
    let accumulator: Vec<f32> = (0..rows).map(|_| random.number().abs()).collect();
    let mut table = Table::with_accumulator(device, &start, &accumulator).unwrap();
    let mut batches = Vec::new();
    for _ in 0..3 {
        let bags = random.bags(rows, batch, longest);
        let grad = random.matrix(batch, dim);
        let gathered = table.gather(&bags).unwrap();
        assert_eq!(gathered.dims(), [batch, dim]);
        batches.extend_from_slice(gathered.into_data().as_slice::<f32>().unwrap());
        batches.extend(table.by_weight(&bags, tensor(&grad, device)).unwrap());
        table.update(&bags.segments(), tensor(&grad, device), 0.1, 1e-6).unwrap();
    }
    [batches, table.read().unwrap().into_vec(), table.read_accumulator().unwrap()]
}

#[track_caller]
fn assert_close(got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len());
    for (at, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance * w.abs().max(1.0), "number {at}: {g} where {w} is due");
    }
}

fn matches_the_host(device: &Device, rows: usize, dim: usize, batch: usize, longest: usize) {
    let host = train(&open(&DeviceChoice::Cpu).unwrap(), rows, dim, batch, longest);
    let gpu = train(device, rows, dim, batch, longest);
    for (gpu, host) in gpu.iter().zip(&host) {
        assert_close(gpu, host, TOLERANCE);
    }
}

#[test]
fn a_table_matches_its_twin_on_odd_sizes() {
    let Some(device) = adapter() else { return };
    for (rows, dim, batch, longest) in
        [(1, 1, 1, 1), (17, 3, 5, 4), (101, 33, 257, 6), (997, 65, 131, 1), (50, 130, 33, 3), (1009, 64, 2048, 6)]
    {
        matches_the_host(&device, rows, dim, batch, longest);
    }
}

#[test]
fn a_table_without_rows_numbers_or_examples_works() {
    let Some(device) = adapter() else { return };
    for (rows, dim, batch, longest) in [(0, 4, 3, 0), (5, 4, 0, 2), (5, 4, 3, 0)] {
        matches_the_host(&device, rows, dim, batch, longest);
    }
}

#[test]
fn two_runs_leave_the_same_bytes() {
    let Some(device) = adapter() else { return };
    let bits = |run: [Vec<f32>; 3]| run.concat().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(train(&device, 101, 33, 2000, 6)), bits(train(&device, 101, 33, 2000, 6)));
}

#[test]
fn a_split_table_matches_its_twin() {
    let Some(device) = adapter() else { return };
    // 4 KiB hold 31 rows of 33 numbers, so that 101 rows make four shards; the batch fits as well.
    let device = device.with_binding_limit(4096);
    let Table::Gpu(table) = Table::new(&device, &Matrix::zeros(101, 33)).unwrap() else { panic!("no GPU table") };
    assert_eq!(table.shards(), 4);
    matches_the_host(&device, 101, 33, 11, 2);
}

#[test]
fn a_gradient_of_burn_goes_into_the_table() {
    let Some(device) = adapter() else { return };
    let run = |device: &Device| {
        let mut table = Table::new(device, &Random(3).matrix(7, 5)).unwrap();
        let bags = Bags::new(vec![0, 2, 3], vec![1, 6, 1]).unwrap();
        let batch = table.gather(&bags).unwrap().autodiff().require_grad();
        let mut gradients = batch.clone().powf_scalar(2.0).sum().backward();
        table.update(&bags.segments(), batch.grad_remove(&mut gradients).unwrap(), 0.1, 1e-6).unwrap();
        table.read().unwrap().into_vec()
    };
    assert_close(&run(&device), &run(&open(&DeviceChoice::Cpu).unwrap()), TOLERANCE);
}

#[test]
fn a_transposed_gradient_is_read_in_its_own_order() {
    let Some(device) = adapter() else { return };
    let run = |device: &Device| {
        let mut table = Table::new(device, &Random(4).matrix(7, 5)).unwrap();
        let grad = tensor(&Random(5).matrix(5, 3), device).transpose();
        table.update(&Bags::single(vec![2, 0, 2]).unwrap().segments(), grad, 0.1, 1e-6).unwrap();
        table.read().unwrap().into_vec()
    };
    assert_close(&run(&device), &run(&open(&DeviceChoice::Cpu).unwrap()), TOLERANCE);
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, DeviceError>, reason: &str) {
    let message = result.unwrap_err().to_string();
    assert!(message.contains(reason), "{message}");
}

#[test]
fn sizes_that_contradict_each_other_are_refused() {
    let Some(device) = adapter() else { return };
    let mut table = Table::new(&device, &Matrix::zeros(4, 3)).unwrap();
    let bags = Bags::single(vec![1, 3]).unwrap();
    refused(Table::with_accumulator(&device, &Matrix::zeros(4, 3), &[0.0]), "1 numbers for a table of 4 rows");
    refused(table.gather(&Bags::single(vec![4]).unwrap()), "name row 4 of a table of 4 rows");
    refused(table.update(&bags.segments(), tensor(&Matrix::zeros(3, 3), &device), 0.1, 1.0), "[3, 3] where [2, 3]");
    let elsewhere = tensor(&Matrix::zeros(2, 3), &open(&DeviceChoice::Cpu).unwrap());
    refused(table.update(&bags.segments(), elsewhere, 0.1, 1.0), "another device");
}

#[test]
fn a_row_larger_than_a_buffer_is_refused_with_its_bytes() {
    let Some(device) = adapter() else { return };
    refused(Table::new(&device.with_binding_limit(64), &Matrix::zeros(2, 17)), "takes 68 bytes, more than the 64");
}

/// Interactions of random weights; row 2 is empty and row 3 has `longest` entries.
struct Interactions {
    offsets: Vec<u64>,
    cols: Vec<u32>,
    weights: Vec<f32>,
    lambda: Vec<f32>,
}

impl Interactions {
    fn random(random: &mut Random, rows: usize, others: usize, longest: usize) -> Self {
        let mut new = Self { offsets: vec![0], cols: vec![], weights: vec![], lambda: vec![] };
        for row in 0..rows {
            let entries = [random.below(9), 0, longest][usize::from(row == 2) + 2 * usize::from(row == 3)];
            let entries = if others == 0 { 0 } else { entries };
            for _ in 0..entries {
                new.cols.push(random.below(others) as u32);
                new.weights.push(1.0 + random.number());
            }
            new.offsets.push(new.cols.len() as u64);
            new.lambda.push(0.05 * (entries as f32 + 0.1 * others as f32));
        }
        new
    }

    fn rows(&self) -> Rows<'_> {
        Rows { offsets: &self.offsets, cols: &self.cols, weights: &self.weights, lambda: &self.lambda }
    }

    /// The plain twin: solves every row against `other` in f64 by Gaussian elimination, `block` numbers at a time.
    fn solve(&self, own: &Matrix, other: &Matrix, alpha0: f32, block: usize) -> Matrix {
        let dim = other.cols();
        let gram = |i: usize, j: usize| (0..other.rows()).map(|r| wide(other, r, i) * wide(other, r, j)).sum::<f64>();
        let gram: Vec<f64> = (0..dim * dim).map(|p| f64::from(alpha0) * gram(p / dim, p % dim)).collect();
        let mut out = own.clone();
        for (row, &lambda) in self.lambda.iter().enumerate() {
            let (lambda, mut x) = (f64::from(lambda), (0..dim).map(|j| wide(own, row, j)).collect::<Vec<_>>());
            let entries = self.offsets[row] as usize..self.offsets[row + 1] as usize;
            for first in (0..dim).step_by(block) {
                let size = block.min(dim - first);
                let (mut a, mut b) = (vec![0.0; size * size], vec![0.0; size]);
                for i in 0..size {
                    let gram = &gram[(first + i) * dim..][..dim];
                    a[i * size..][..size].copy_from_slice(&gram[first..first + size]);
                    a[i * size + i] += lambda;
                    b[i] = -lambda * x[first + i] - gram.iter().zip(&x).map(|(g, x)| g * x).sum::<f64>();
                }
                for entry in entries.clone() {
                    let (col, w) = (self.cols[entry] as usize, f64::from(self.weights[entry]));
                    let score: f64 = x.iter().enumerate().map(|(j, x)| x * wide(other, col, j)).sum();
                    for i in 0..size {
                        let weighed = w * wide(other, col, first + i);
                        b[i] += weighed * (1.0 - score);
                        (0..size).for_each(|j| a[i * size + j] += weighed * wide(other, col, first + j));
                    }
                }
                x[first..].iter_mut().zip(eliminate(a, b)).for_each(|(x, change)| *x += change);
            }
            for (out, x) in out.row_mut(row).iter_mut().zip(x) {
                *out = if entries.is_empty() { 0.0 } else { x as f32 };
            }
        }
        out
    }
}

fn wide(matrix: &Matrix, row: usize, col: usize) -> f64 {
    f64::from(matrix.row(row)[col])
}

/// Solves `a x = b` for a positive definite `a`.
fn eliminate(mut a: Vec<f64>, mut b: Vec<f64>) -> Vec<f64> {
    let dim = b.len();
    for c in 0..dim {
        for i in c + 1..dim {
            let factor = a[i * dim + c] / a[c * dim + c];
            (c..dim).for_each(|j| a[i * dim + j] -= factor * a[c * dim + j]);
            b[i] -= factor * b[c];
        }
    }
    for c in (0..dim).rev() {
        let known: f64 = (c + 1..dim).map(|j| a[c * dim + j] * b[j]).sum();
        b[c] = (b[c] - known) / a[c * dim + c];
    }
    b
}

/// One sweep on the device and the same sweep by the twin.
fn sweep(device: &Device, sizes: (usize, usize), dim: usize, block: usize, longest: usize) -> [(Matrix, Matrix); 2] {
    let (users, items) = sizes;
    let mut random = Random(users as u64 + 7 * dim as u64);
    let by_user = Interactions::random(&mut random, users, items, longest);
    let by_item = Interactions::random(&mut random, items, users, longest);
    let init = (random.matrix(users, dim), random.matrix(items, dim));
    let alpha0 = 0.1;
    let mut ials =
        GpuIals::new(device, by_user.rows(), by_item.rows(), alpha0, Some(block), (&init.0, &init.1)).unwrap();
    ials.user_step().unwrap();
    ials.item_step().unwrap();
    let user_factors = by_user.solve(&init.0, &init.1, alpha0, block);
    let item_factors = by_item.solve(&init.1, &user_factors, alpha0, block);
    [ials.read().unwrap(), (user_factors, item_factors)]
}

#[track_caller]
fn sweep_matches(device: &Device, sizes: (usize, usize), dim: usize, block: usize, longest: usize) {
    let [got, want] = sweep(device, sizes, dim, block, longest);
    assert_close(got.0.data(), want.0.data(), SOLVE_TOLERANCE);
    assert_close(got.1.data(), want.1.data(), SOLVE_TOLERANCE);
}

#[test]
fn a_sweep_of_ials_matches_its_twin_on_odd_sizes() {
    let Some(device) = adapter() else { return };
    for (users, items, dim, longest) in
        [(1, 3, 1, 0), (7, 50, 5, 60), (33, 201, 33, 17), (101, 499, 64, 3001), (5, 4, 17, 1), (6, 300, 74, 40)]
    {
        sweep_matches(&device, (users, items), dim, dim, longest);
    }
}

#[test]
fn a_sweep_of_ials_in_blocks_matches_its_twin() {
    let Some(device) = adapter() else { return };
    for (users, items, dim, block, longest) in
        [(7, 50, 5, 1, 60), (33, 201, 33, 16, 17), (21, 99, 64, 63, 300), (9, 40, 130, 64, 40), (5, 30, 200, 33, 18)]
    {
        sweep_matches(&device, (users, items), dim, block, longest);
    }
}

#[test]
fn dimensions_beyond_shared_memory_are_solved_in_blocks() {
    let Some(device) = adapter() else { return };
    for dim in [128, 1024] {
        let (mut random, size) = (Random(dim as u64), 6);
        let rows = Interactions::random(&mut random, size, size, 9);
        let init = random.matrix(size, dim);
        let mut ials = GpuIals::new(&device, rows.rows(), rows.rows(), 0.1, None, (&init, &init)).unwrap();
        ials.user_step().unwrap();
        let got = ials.read().unwrap().0;
        let largest = GpuIals::largest_block(&device, dim).unwrap();
        let block = if largest < dim { largest.min(64) } else { dim };
        assert_close(got.data(), rows.solve(&init, &init, 0.1, block).data(), SOLVE_TOLERANCE);
    }
}

#[test]
fn ials_without_users_or_items_works() {
    let Some(device) = adapter() else { return };
    for block in [3, 2] {
        sweep_matches(&device, (0, 5), 3, block, 0);
        sweep_matches(&device, (5, 0), 3, block, 0);
    }
}

#[test]
fn ials_cut_into_many_launches_matches_its_twin() {
    let Some(device) = adapter() else { return };
    let device = device.with_binding_limit(16 << 10);
    sweep_matches(&device, (57, 201), 9, 9, 500);
    sweep_matches(&device, (57, 201), 9, 4, 500);
}

#[test]
fn two_sweeps_leave_the_same_bytes() {
    let Some(device) = adapter() else { return };
    let bits = |block| {
        let [(users, items), _] = sweep(&device, (41, 701), 33, block, 90);
        users.data().iter().chain(items.data()).map(|x| x.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(bits(33), bits(33));
    assert_eq!(bits(16), bits(16));
}

#[test]
fn contradicting_interactions_are_refused() {
    let Some(device) = adapter() else { return };
    let init = (Matrix::zeros(1, 2), Matrix::zeros(2, 2));
    let items = Rows { offsets: &[0, 0, 0], cols: &[], weights: &[], lambda: &[1.0, 1.0] };
    let new = |users: Rows<'_>| GpuIals::new(&device, users, items, 0.1, None, (&init.0, &init.1));
    let one = Rows { offsets: &[0, 1], cols: &[1], weights: &[1.0], lambda: &[1.0] };
    refused(new(Rows { offsets: &[0], ..one }), "1 offsets and 1 lambdas for 1 rows");
    refused(new(Rows { offsets: &[0, 2], ..one }), "do not rise from 0 to the 1 entries");
    refused(new(Rows { weights: &[], ..one }), "0 weights for 1 entries");
    refused(new(Rows { cols: &[2], ..one }), "name row 2 of a side of 2 rows");
    refused(new(Rows { weights: &[f32::NAN], ..one }), "not finite");
}

#[test]
fn a_block_beyond_shared_memory_names_the_largest() {
    let Some(device) = adapter() else { return };
    let largest = GpuIals::largest_block(&device, 500).unwrap();
    let empty = Rows { offsets: &[0], cols: &[], weights: &[], lambda: &[] };
    let init = Matrix::zeros(0, 500);
    let new = |block| GpuIals::new(&device, empty, empty, 0.1, Some(block), (&init, &init));
    refused(new(largest + 1), &format!("can solve for 1 to {largest} numbers together"));
    refused(new(0), "`block` is 0");
    new(largest).unwrap();
}

#[test]
fn factors_that_are_not_finite_are_reported() {
    let Some(device) = adapter() else { return };
    let (init, rows) = (Matrix::zeros(1, 1), Rows { offsets: &[0, 1], cols: &[0], weights: &[1.0], lambda: &[0.0] });
    let mut ials = GpuIals::new(&device, rows, rows, 0.0, None, (&init, &init)).unwrap();
    ials.user_step().unwrap();
    refused(ials.read(), "`user factors` holds numbers that are not finite");
}

/// Block maxima on the device and by plain loops: `left` gives every user the items left out, one in so many.
#[track_caller]
fn maxima_match(device: &Device, (users, items, dim): (usize, usize, usize), starts: &[u32], left: usize) {
    let mut random = Random((users * 31 + items * 7 + dim) as u64);
    let (queries, table) = (random.matrix(users, dim), random.matrix(items, dim));
    let left_out: Vec<Vec<u32>> =
        (0..users).map(|user| (0..items as u32).skip(user % 5).step_by(left).collect()).collect();
    let left_out: Vec<&[u32]> = left_out.iter().map(Vec::as_slice).collect();
    let got = BlockMaxima::new(device, &table, starts).unwrap().maxima(&queries, &left_out).unwrap();
    assert_eq!((got.rows(), got.cols()), (users, starts.len() - 1));
    for (user, left_out) in left_out.iter().enumerate() {
        for (block, ends) in starts.windows(2).enumerate() {
            let product =
                |row: u32| (0..dim).map(|j| wide(&queries, user, j) * wide(&table, row as usize, j)).sum::<f64>();
            let counts = |row: &u32| left_out.binary_search(row).is_err();
            let want = (ends[0]..ends[1]).filter(counts).map(product).fold(f64::NEG_INFINITY, f64::max) as f32;
            let got = got.row(user)[block];
            assert!(
                got == want || (got - want).abs() <= TOLERANCE,
                "user {user}, block {block}: {got} where {want} is due"
            );
        }
    }
}

#[test]
fn block_maxima_match_their_twin_on_odd_sizes() {
    let Some(device) = adapter() else { return };
    maxima_match(&device, (1, 1, 1), &[0, 1], 2);
    maxima_match(&device, (7, 50, 5), &[0, 3, 4, 49, 50], 1);
    maxima_match(&device, (33, 201, 33), &[0, 64, 128, 201], 3);
    maxima_match(&device, (1030, 301, 17), &[0, 100, 101, 301], 400);
    maxima_match(&device, (65, 1000, 128), &[0, 64, 700, 1000], 2);
}

#[test]
fn block_maxima_in_many_pieces_match_their_twin() {
    let Some(device) = adapter() else { return };
    // 16 KiB hold 4096 numbers: scores of 40 users for one block at a time.
    let device = device.with_binding_limit(16 << 10);
    let starts: Vec<u32> = (0..=10).map(|block| block * 100).collect();
    maxima_match(&device, (90, 1000, 33), &starts, 999);
    let error = BlockMaxima::new(&device, &Matrix::zeros(100, 50), &[0, 100]).unwrap_err();
    assert!(error.to_string().contains("`items` takes 20000 bytes"), "{error}");
}

#[test]
fn blocks_that_do_not_fit_the_items_are_refused() {
    let Some(device) = adapter() else { return };
    let new = |rows, dim, starts: &[u32]| BlockMaxima::new(&device, &Matrix::zeros(rows, dim), starts).map(drop);
    for (rows, starts) in [(3, &[0, 2][..]), (3, &[1, 3]), (3, &[0, 2, 2, 3]), (3, &[]), (0, &[0, 0])] {
        refused(new(rows, 2, starts), "do not rise from the first item to the last");
    }
    refused(new(3, 0, &[0, 3]), "have no numbers");
    let cpu = open(&DeviceChoice::Cpu).unwrap();
    refused(BlockMaxima::new(&cpu, &Matrix::zeros(3, 2), &[0, 3]).map(drop), "a GPU is due");
    let made = BlockMaxima::new(&device, &Matrix::zeros(3, 2), &[0, 3]).unwrap();
    refused(made.maxima(&Matrix::zeros(2, 2), &[&[]]).map(drop), "are 2 x 2 for 1 lists");
}
