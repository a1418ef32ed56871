//! What a GPU learns, beside what the CPU learns.
//!
//! The adapter is named by the environment variable `LOOKALIKE_TEST_ADAPTER` (such as `llvmpipe`). Without it the GPU
//! is not looked for; with it, a missing adapter fails the tests.

use super::*;

fn adapter() -> Option<Device> {
    let name = std::env::var("LOOKALIKE_TEST_ADAPTER").ok()?;
    Some(open(&DeviceChoice::Named(name)).unwrap())
}

/// The largest difference between two models' scores, divided by the largest score.
fn difference(a: &Fitted, b: &Fitted) -> f32 {
    let (mut most, mut largest) = (0.0f32, 0.0f32);
    let history = planted(1).full;
    for user in history.rows() {
        let scores = |fitted: &Fitted| scores(&fitted.learned, &history, user);
        for (x, y) in scores(a).into_iter().zip(scores(b)) {
            most = most.max((x - y).abs());
            largest = largest.max(y.abs());
        }
    }
    most / largest
}

/// A run of exactly three epochs: with early stopping a last-bit difference could choose another epoch.
fn three_epochs(device: &Device, mut preset: Preset) -> Fitted {
    (preset.epochs, preset.patience) = (3, 3);
    let bench = Bench::on(device.clone(), preset.clone());
    let mut watch = Improving(0.0);
    let identity = Identity { seed: 5, data: "planted" };
    fit(&bench.data, &preset, device, identity, &bench.checkpoint(), false, &mut watch).unwrap()
}

fn gpu_and_cpu(device: &Device, preset: Preset) -> f32 {
    difference(&three_epochs(device, preset.clone()), &three_epochs(&open(&DeviceChoice::Cpu).unwrap(), preset))
}

/// Takes every epoch for better than the one before.
struct Improving(f64);

impl Watch for Improving {
    fn judge(&mut self, _: &Learned) -> Verdict {
        self.0 += 1.0;
        Verdict { figure: self.0, note: serde_json::Value::Null, kept: Default::default() }
    }

    fn progress(&mut self, _: Phase, _: u32, _: u32, _: u64, _: u64) {}

    fn epoch(&mut self, _: &[Entry]) {}

    fn stop(&self) -> bool {
        false
    }
}

/// The largest difference allowed between scores of the two devices, as a share of the largest score. What differs is
/// the order in which `f32` sums are rounded (2⁻²⁴ ≈ 6·10⁻⁸ each); exact solves multiply that by the condition of their
/// systems, and the first steps of Adagrad and Adam by dividing through roots of small sums. Software Vulkan stays
/// below 10⁻⁶; the rest is for devices that round in yet another order.
const TOLERANCE: f32 = 1e-4;

#[test]
fn a_gpu_learns_what_the_cpu_learns_by_ials() {
    let Some(device) = adapter() else { return };
    let difference = gpu_and_cpu(&device, ials());
    assert!(difference < TOLERANCE, "{difference}");
}

#[test]
fn a_gpu_learns_what_the_cpu_learns_by_two_tower() {
    let Some(device) = adapter() else { return };
    let difference = gpu_and_cpu(&device, two_tower());
    assert!(difference < TOLERANCE, "{difference}");
    // All items are hard here: which are would hang on how the factorization was rounded.
    let mut preset = two_tower_beside_ials();
    let Knobs::TwoTower(knobs) = &mut preset.knobs else { panic!("not a two-tower") };
    knobs.hard = ITEMS;
    let difference = gpu_and_cpu(&device, preset);
    assert!(difference < 10.0 * TOLERANCE, "{difference}");
}

/// A number of 16 bits is rounded by up to 2⁻¹¹ ≈ 5·10⁻⁴.
#[test]
fn a_gpu_learns_much_the_same_in_half_precision() {
    let Some(device) = adapter() else { return };
    for preset in [two_tower(), two_tower_beside_ials()] {
        let in_precision = |precision: Precision| {
            let mut preset = preset.clone();
            let Knobs::TwoTower(knobs) = &mut preset.knobs else { panic!("not a two-tower") };
            (knobs.precision, knobs.hard) = (precision, ITEMS);
            three_epochs(&device, preset)
        };
        let difference = difference(&in_precision(Precision::Mixed), &in_precision(Precision::Single));
        assert!(difference < 0.05, "{difference}");
        assert_eq!(difference > 0.0, device.has_half(), "{difference}");
    }
}

#[test]
fn a_gpu_learns_what_the_cpu_learns_by_bpr() {
    let Some(device) = adapter() else { return };
    let difference = gpu_and_cpu(&device, bpr(PairDraw::Uniform));
    assert!(difference < TOLERANCE, "{difference}");
}

#[test]
fn a_gpu_learns_what_the_cpu_learns_by_softmax_mf() {
    let Some(device) = adapter() else { return };
    for (loss, optimizer) in
        [(Loss::Sl, Optimizer::Adam), (Loss::Bsl, Optimizer::Adagrad), (Loss::Ccl, Optimizer::Adagrad)]
    {
        let difference = gpu_and_cpu(&device, softmax(loss, optimizer));
        assert!(difference < TOLERANCE, "{loss:?}, {optimizer:?}: {difference}");
    }
}

#[test]
fn two_runs_on_a_gpu_leave_the_same_bits() {
    let Some(device) = adapter() else { return };
    for preset in by_epochs().map(brief) {
        let run = || Bench::on(device.clone(), preset.clone()).whole();
        assert_same(&run(), &run());
    }
}

#[test]
fn a_run_on_a_gpu_resumes_after_every_epoch() {
    let Some(device) = adapter() else { return };
    for preset in by_epochs().map(brief) {
        resumes_everywhere(&device, &preset);
    }
}
