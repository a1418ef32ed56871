//! A bundle on disk: what is written is read, the same bytes twice, every corruption an error, every kill survived.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lookalike_bundle::{
    Bundle, BundleError, Extra, FORMAT, History, Input, ItemInfo, ItemRow, ItemWeights, Learned, Manifest, Matrix,
    Repeat, Row, Tensor, UserRow, Vocab,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Three users, four items, two numbers each; the golden fixture holds exactly this.
fn tiny() -> Bundle {
    let info = |title: Option<&str>, category: &[&str], brand: Option<&str>| ItemInfo {
        title: title.map(str::to_owned),
        category: category.iter().map(|level| (*level).to_owned()).collect(),
        brand: brand.map(str::to_owned),
    };
    let texts = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
    let entries = [(0, 1, 2.0), (0, 3, 1.0), (2, 0, 5.0)];
    Bundle {
        manifest: Manifest {
            product: "0.1.0".into(),
            project: "tiny".into(),
            model: "ials".into(),
            preset: json!({"kind": "ials", "dim": 2, "reg": 0.003}),
            seed: 42,
            device: "cpu".into(),
            data: "d0".into(),
            split: "by time".into(),
            learned_before: None,
            protocol: "full ranking".into(),
            epochs: 3,
            best_epoch: 2,
            repeat: Some(Repeat { weight: 0.5, made_of: "model and counts".into() }),
            few: None,
            ranker: None,
            metrics: json!({"all": {"recall@10": 0.25}}),
            index: None,
        },
        users: Vocab::new(texts(&["ann", "böb", "c c"])).unwrap(),
        items: Vocab::new(texts(&["i0", "i1", "i2", "i3"])).unwrap(),
        item_info: vec![
            info(Some("milk"), &["food", "dairy"], Some("farm")),
            info(None, &[], None),
            info(Some("soap"), &["home"], None),
            info(Some("tea"), &["food"], Some("leaf")),
        ],
        learned: Learned::Embeddings {
            users: Matrix::from_vec(3, 2, vec![1.0, 0.0, 0.0, 1.0, -1.0, 0.5]).unwrap(),
            items: Matrix::from_vec(4, 2, vec![1.0, 2.0, 3.0, 4.0, -5.0, 6.0, 0.0, 0.0]).unwrap(),
        },
        tensors: BTreeMap::from([("tower.bias".to_owned(), Tensor::f32s(vec![0.5, -0.5]))]),
        history: History::new(3, 4, entries.map(|(u, i, w)| (UserRow::new(u), ItemRow::new(i), w))).unwrap(),
        extra: BTreeMap::from([("index.safetensors".to_owned(), Extra::Bytes(vec![1, 2, 3]))]),
    }
}

/// The same of a model without embeddings.
fn by_weights() -> Bundle {
    let rows = [vec![(1, 0.5), (3, -0.25)], vec![], vec![(0, 2.0)], vec![(0, 1.0), (1, 0.125), (2, 4.0)]];
    Bundle { learned: Learned::ItemWeights(ItemWeights::from_rows(Input::Log, &rows).unwrap()), ..tiny() }
}

/// Embeddings of zeros.
fn zeros(users: [usize; 2], items: [usize; 2]) -> Learned {
    let [users, items] = [users, items].map(|[rows, cols]| Matrix::zeros(rows, cols));
    Learned::Embeddings { users, items }
}

fn written(bundle: &Bundle) -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("bundle");
    bundle.write(&dir).unwrap();
    (home, dir)
}

fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())).collect()
}

/// Bundles have no equality of their own; their files do.
fn assert_same(left: &Bundle, right: &Bundle) {
    assert_eq!(contents(&written(left).1), contents(&written(right).1));
}

fn names(home: &TempDir) -> Vec<String> {
    fs::read_dir(home).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The error of reading a bundle after `spoil` changed a copy of it on disk; it must name `file`.
fn spoilt(file: &str, spoil: impl FnOnce(&Path)) -> BundleError {
    let (_home, dir) = written(&tiny());
    spoil(&dir.join(file));
    let error = Bundle::read(&dir).unwrap_err();
    assert!(error.to_string().contains(file), "`{error}` does not name `{file}`");
    error
}

/// The error of reading a bundle whose manifest, its seal made good again, or one of whose files was replaced and is
/// listed as it is now: what a faulty writer could leave.
fn forged(file: &str, bytes: impl FnOnce() -> Vec<u8>, change: impl FnOnce(&mut Value)) -> BundleError {
    let (_home, dir) = written(&tiny());
    let bytes = bytes();
    if !bytes.is_empty() {
        fs::write(dir.join(file), &bytes).unwrap();
    }
    reseal(&dir, |manifest| {
        if !bytes.is_empty() {
            let hash = blake3::hash(&bytes).to_hex().to_string();
            manifest["files"][file] = json!({"bytes": bytes.len(), "blake3": hash});
        }
        change(manifest);
    });
    Bundle::read(&dir).unwrap_err()
}

fn reseal(dir: &Path, change: impl FnOnce(&mut Value)) {
    let path = dir.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut manifest);
    let blank = format!("blake3={}", "0".repeat(64));
    manifest["seal"] = json!(blank);
    let text = serde_json::to_string(&manifest).unwrap();
    let text = text.replacen(&blank, &format!("blake3={}", blake3::hash(text.as_bytes()).to_hex()), 1);
    fs::write(path, text).unwrap();
}

/// The bytes of `file` in a bundle that differs from the tiny one, but is valid by itself.
fn file_of(file: &str, change: impl FnOnce(&mut Bundle)) -> Vec<u8> {
    let mut bundle = tiny();
    change(&mut bundle);
    fs::read(written(&bundle).1.join(file)).unwrap()
}

fn write_error(change: impl FnOnce(&mut Bundle)) -> BundleError {
    let (mut bundle, home) = (tiny(), tempfile::tempdir().unwrap());
    change(&mut bundle);
    let error = bundle.write(&home.path().join("bundle")).unwrap_err();
    assert!(names(&home).is_empty());
    error
}

#[test]
fn what_is_written_is_read_and_written_again_as_the_same_bytes() {
    let (_home, dir) = written(&tiny());
    let read = Bundle::read(&dir).unwrap();
    assert_same(&read, &tiny());
    assert_eq!(
        (&read.manifest, &read.item_info, &read.history),
        (&tiny().manifest, &tiny().item_info, &tiny().history)
    );
    assert_eq!((read.users.ids(), read.items.ids()), (tiny().users.ids(), tiny().items.ids()));
    assert_eq!(read.learned, tiny().learned);
    assert_eq!(read.tensors, tiny().tensors);
    let index = BTreeMap::from([("index.safetensors".to_owned(), Extra::File(dir.join("index.safetensors")))]);
    assert_eq!((read.extra, fs::read(dir.join("index.safetensors")).unwrap()), (index, vec![1, 2, 3]));
}

/// A new format version gets a fixture of its own by `WRITE_GOLDEN=1 cargo test --release`; old ones stay as they are.
#[test]
fn golden_bundles_of_every_version_are_still_read() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    if std::env::var_os("WRITE_GOLDEN").is_some() && !golden.join(format!("v{FORMAT}")).exists() {
        by_weights().write(&golden.join(format!("v{FORMAT}"))).unwrap();
    }
    for version in 1..=FORMAT {
        let expected = if version == 1 { tiny() } else { by_weights() };
        assert_same(&Bundle::read(&golden.join(format!("v{version}"))).unwrap(), &expected);
    }
}

#[test]
fn a_bundle_of_nobody_and_nothing() {
    let mut bundle = tiny();
    (bundle.users, bundle.items) = (Vocab::new(Vec::new()).unwrap(), Vocab::new(Vec::new()).unwrap());
    bundle.learned = zeros([0, 2], [0, 2]);
    (bundle.item_info, bundle.history) = (Vec::new(), History::new(0, 0, []).unwrap());
    assert_same(&Bundle::read(&written(&bundle).1).unwrap(), &bundle);
}

#[test]
fn a_new_bundle_replaces_the_old_one_and_leaves_nothing_behind() {
    let (home, dir) = written(&tiny());
    let mut other = Bundle::read(&dir).unwrap();
    other.extra = BTreeMap::from([("other.index".to_owned(), Extra::Bytes(vec![9; 100]))]);
    other.write(&dir).unwrap();
    assert_same(&Bundle::read(&dir).unwrap(), &other);
    assert_eq!((names(&home), dir.join("index.safetensors").exists()), (vec!["bundle".to_owned()], false));
}

#[test]
fn a_kill_between_the_two_renames_loses_nothing() {
    let (home, dir) = written(&tiny());
    fs::rename(&dir, home.path().join(".bundle.last")).unwrap();
    fs::create_dir(home.path().join(".bundle.next")).unwrap();
    assert_same(&Bundle::read(&dir).unwrap(), &tiny());
    tiny().write(&dir).unwrap();
    assert_eq!(names(&home), ["bundle"]);
}

#[test]
fn a_kill_while_writing_leaves_the_old_bundle() {
    let (home, dir) = written(&tiny());
    fs::create_dir(home.path().join(".bundle.next")).unwrap();
    fs::write(home.path().join(".bundle.next/model.safetensors"), "half").unwrap();
    assert_same(&Bundle::read(&dir).unwrap(), &tiny());
    tiny().write(&dir).unwrap();
    assert_eq!(names(&home), ["bundle"]);
}

#[test]
fn a_failed_write_is_an_error_that_names_the_place_and_keeps_the_old_bundle() {
    let (home, dir) = written(&tiny());
    let mut bundle = tiny();
    bundle.extra.insert("x".repeat(300), Extra::Bytes(Vec::new())); // longer than any file system takes
    let error = bundle.write(&dir).unwrap_err();
    assert!(error.to_string().contains(".bundle.next"), "{error}");
    assert_same(&Bundle::read(&dir).unwrap(), &tiny());
    assert_eq!(names(&home), ["bundle"]);
}

#[test]
fn a_folder_of_others_is_not_replaced() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("thesis.txt"), "years of work").unwrap();
    let error = tiny().write(home.path()).unwrap_err();
    assert!(matches!(error, BundleError::NotOurs { .. }) && error.hint().is_some());
    assert!(home.path().join("thesis.txt").exists());
}

#[test]
fn every_flipped_byte_of_every_file_is_noticed() {
    let (_home, dir) = written(&tiny());
    for (name, bytes) in contents(&dir) {
        for at in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(dir.join(&name), flipped).unwrap();
            let error = Bundle::read(&dir).unwrap_err();
            assert!(error.to_string().contains(&name), "{name}, byte {at}: {error}");
        }
        fs::write(dir.join(&name), bytes).unwrap();
    }
    assert_same(&Bundle::read(&dir).unwrap(), &tiny());
}

#[test]
fn every_truncated_file_is_noticed() {
    for file in ["model.safetensors", "users.parquet", "items.parquet", "history.parquet", "index.safetensors"] {
        let error = spoilt(file, |path| fs::write(path, &fs::read(path).unwrap()[1..]).unwrap());
        assert!(matches!(error, BundleError::Size { .. }) && error.hint().is_some());
    }
    spoilt("manifest.json", |path| fs::write(path, &fs::read(path).unwrap()[..40]).unwrap());
}

#[test]
fn a_missing_file_is_named() {
    for file in ["model.safetensors", "users.parquet", "history.parquet", "index.safetensors"] {
        assert!(matches!(spoilt(file, |path| fs::remove_file(path).unwrap()), BundleError::Io { .. }));
    }
    assert!(matches!(spoilt("manifest.json", |path| fs::remove_file(path).unwrap()), BundleError::NotABundle { .. }));
}

#[test]
fn a_newer_version_asks_for_an_update() {
    let error = forged("", Vec::new, |manifest| manifest["format"] = json!(FORMAT + 1));
    assert!(error.to_string().contains("manifest.json") && error.hint().unwrap().contains("update"));
}

#[test]
fn a_manifest_with_a_key_missing() {
    let error = forged("", Vec::new, |manifest| drop(manifest.as_object_mut().unwrap().remove("seed")));
    assert!(matches!(error, BundleError::Json { .. }));
    let error = forged("", Vec::new, |m| drop(m["files"].as_object_mut().unwrap().remove("users.parquet")));
    assert!(matches!(error, BundleError::Unlisted { name, .. } if name == "users.parquet"));
}

#[test]
fn a_manifest_that_lists_a_file_elsewhere() {
    let mark = json!({"bytes": 1, "blake3": ""});
    let error = forged("", Vec::new, |manifest| manifest["files"]["../secret"] = mark);
    assert!(matches!(error, BundleError::Name { name } if name == "../secret"));
}

#[test]
fn tables_of_another_size_than_the_manifest_says() {
    for (key, file) in [("users", "users.parquet"), ("items", "items.parquet"), ("history", "history.parquet")] {
        let error = forged("", Vec::new, |manifest| manifest["counts"][key] = json!(9));
        assert!(matches!(&error, BundleError::Count { path, .. } if path.ends_with(file)), "{error}");
    }
    assert!(matches!(forged("", Vec::new, |m| m["counts"]["dim"] = json!(3)), BundleError::Shape { .. }));
}

#[test]
fn embeddings_that_do_not_fit_the_ids() {
    let model = || file_of("model.safetensors", |bundle| narrow(bundle, 1));
    assert!(matches!(forged("model.safetensors", model, |_| ()), BundleError::Shape { .. }));
}

fn narrow(bundle: &mut Bundle, dim: usize) {
    bundle.learned = zeros([3, dim], [4, dim]);
}

#[test]
fn a_model_without_an_item_table() {
    let model = || {
        let tensors = BTreeMap::from([("user.embedding".to_owned(), Tensor::from(Matrix::zeros(3, 2)))]);
        lookalike_bundle::encode_tensors(&tensors, &BTreeMap::new(), Path::new("x")).unwrap()
    };
    let error = forged("model.safetensors", model, |_| ());
    assert!(matches!(error, BundleError::Missing { name, .. } if name == "item.embedding"));
}

#[test]
fn item_weights_that_do_not_fit_together() {
    let model = || {
        let Learned::ItemWeights(weights) = by_weights().learned else { unreachable!() };
        let mut tensors = weights.tensors();
        tensors.insert("item.weights.cols".into(), Tensor::u32s(vec![1, 3, 0, 0, 1, 9]));
        lookalike_bundle::encode_tensors(&tensors, &BTreeMap::new(), Path::new("x")).unwrap()
    };
    let error = forged("model.safetensors", model, |_| ());
    assert!(matches!(&error, BundleError::Weights { path, .. } if path.ends_with("model.safetensors")), "{error}");
}

#[test]
fn item_weights_are_read_as_they_were_written() {
    let (_home, dir) = written(&by_weights());
    assert_eq!(Bundle::read(&dir).unwrap().learned, by_weights().learned);
}

#[test]
fn numbers_that_are_not_finite() {
    let model = || {
        let spoilt = Matrix::from_vec(3, 2, vec![0.0, 0.0, f32::NAN, 0.0, 0.0, 0.0]).unwrap();
        let tables = [("user.embedding", spoilt), ("item.embedding", Matrix::zeros(4, 2))];
        let tensors = tables.map(|(name, table)| (name.to_owned(), Tensor::from(table))).into();
        lookalike_bundle::encode_tensors(&tensors, &BTreeMap::new(), Path::new("x")).unwrap()
    };
    assert!(matches!(forged("model.safetensors", model, |_| ()), BundleError::NotFinite { position: 2, .. }));
}

#[test]
fn a_table_with_other_columns() {
    let history = || fs::read(written(&tiny()).1.join("history.parquet")).unwrap();
    assert!(matches!(forged("users.parquet", history, |_| ()), BundleError::Column { column: "row", .. }));
    let users = || fs::read(written(&tiny()).1.join("users.parquet")).unwrap();
    assert!(matches!(forged("items.parquet", users, |_| ()), BundleError::Column { column: "title", .. }));
}

#[test]
fn a_table_that_is_no_parquet() {
    assert!(matches!(forged("items.parquet", || b"PAR1 no more".to_vec(), |_| ()), BundleError::Parquet { .. }));
}

#[test]
fn rows_out_of_order_and_ids_twice() {
    let users = |rows: &[u32], ids: &[&str]| table(rows, ids);
    let error = forged("users.parquet", || users(&[0, 2, 1], &["a", "b", "c"]), |_| ());
    assert!(matches!(error, BundleError::RowOrder { found: 2, expected: 1, .. }));
    let error = forged("users.parquet", || users(&[0, 1, 2], &["a", "b", "a"]), |_| ());
    assert!(matches!(error, BundleError::Vocab { .. }) && error.to_string().contains("users.parquet"));
}

/// A table of rows and ids as no bundle would write it.
fn table(rows: &[u32], ids: &[&str]) -> Vec<u8> {
    use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt32Array};
    use std::sync::Arc;
    let rows: ArrayRef = Arc::new(UInt32Array::from_iter_values(rows.iter().copied()));
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(ids));
    let batch = RecordBatch::try_from_iter_with_nullable([("row", rows, false), ("id", ids, false)]).unwrap();
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn a_history_beyond_the_tables() {
    let history = || {
        file_of("history.parquet", |bundle| {
            bundle.users = Vocab::new(["a", "b", "c", "d"].map(str::to_owned).into()).unwrap();
            bundle.learned = zeros([4, 2], [4, 2]);
            bundle.history = History::new(4, 4, [(UserRow::new(3), ItemRow::new(0), 1.0)]).unwrap();
        })
    };
    let error = forged("history.parquet", history, |_| ());
    assert!(matches!(error, BundleError::History { .. }) && error.to_string().contains("history.parquet"));
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let infinite = |bundle: &mut Bundle| {
        let mut items = Matrix::zeros(4, 2);
        items.data_mut()[3] = f32::INFINITY;
        bundle.learned = Learned::Embeddings { users: Matrix::zeros(3, 2), items };
    };
    assert!(matches!(write_error(infinite), BundleError::NotFinite { position: 3, .. }));
    assert!(matches!(write_error(|b| b.learned = zeros([3, 5], [4, 2])), BundleError::Shape { .. }));
    let few = ItemWeights::from_rows(Input::One, &[vec![], vec![]]).unwrap();
    assert!(matches!(write_error(|b| b.learned = Learned::ItemWeights(few)), BundleError::Shape { .. }));
    assert!(matches!(write_error(|b| drop(b.item_info.pop())), BundleError::Count { .. }));
    assert!(matches!(write_error(|b| b.history = History::new(2, 4, []).unwrap()), BundleError::Count { .. }));
    for name in ["", "../up", "a/b", ".hidden", "manifest.json", "model.safetensors"] {
        assert!(matches!(
            write_error(|b| drop(b.extra.insert(name.into(), Extra::Bytes(vec![1])))),
            BundleError::Name { .. }
        ));
    }
}
