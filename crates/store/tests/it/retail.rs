//! A raw log as an online retailer keeps it: cancelled invoices, lines without customer, codes in two spellings, fees that
//! are no products, prices of nothing, adjustments. All of it is handled in `lookalike.toml` alone, and every line of it
//! is counted. The log is made here, by seed; what must come out is found by plain loops over it.

use std::collections::{BTreeMap, BTreeSet};

use lookalike_store::Table;

use crate::kit::Folder;

const TOML: &str = r#"
[project]
name = "retail"
timezone = "Europe/London"

[sources.lines]
path = "retail.csv"
table = "events"
kind = "purchase"
at = { column = "InvoiceDate", format = "%m/%d/%Y %H:%M" }
map = { user = "CustomerID", item = "StockCode", quantity = "Quantity", session = "InvoiceNo", channel = "Country" }
[sources.lines.set]
item = "upper(StockCode)"
value = "try_cast(Quantity as double) * try_cast(UnitPrice as double)"
[sources.lines.missing]
user = "drop"
[sources.lines.returns]
when = "InvoiceNo LIKE 'C%'"
[sources.lines.contract]
quarantine = [
    "InvoiceNo LIKE 'A%'",
    "item IN ('POST', 'BANK CHARGES', 'M')",
    "try_cast(UnitPrice as double) <= 0",
    "quantity <= 0 AND kind <> 'return'",
]

[sources.goods]
path = "retail.csv"
table = "items"
map = { title = "Description" }
[sources.goods.set]
item = "upper(StockCode)"
[sources.goods.missing]
title = "drop"
[sources.goods.contract]
quarantine = ["InvoiceNo LIKE 'A%'", "item IN ('POST', 'BANK CHARGES', 'M')"]

[interactions]
kinds = { purchase = 1.0 }
split = "leave-last"
"#;

/// A SplitMix64 generator (Steele et al. 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % n
    }
}

#[derive(Clone)]
struct Line {
    invoice: String,
    code: String,
    description: &'static str,
    quantity: i64,
    /// In pence.
    price: i64,
    customer: String,
}

fn log(seed: u64, lines: usize) -> Vec<Line> {
    let mut random = Random(seed);
    let mut made: Vec<Line> = Vec::new();
    for number in 0..lines {
        let mut line = Line {
            invoice: format!("{}", 536_365 + number / 4),
            code: format!("{}{}", 85_000 + random.below(40), ["A", "B", "a", ""][random.below(4) as usize]),
            description: ["RED MUG", "red mug, large", "MUG \"RED\"", "", "damaged?"][random.below(5) as usize],
            quantity: 1 + random.below(12) as i64,
            price: 50 + random.below(900) as i64,
            customer: format!("{}", 12_346 + random.below(60)),
        };
        match random.below(100) {
            0..25 => line.customer = String::new(),
            25..29 => line.code = ["POST", "BANK CHARGES", "M", "m"][random.below(4) as usize].to_owned(),
            29..32 => line.price = -(random.below(2) as i64) * 100,
            32..34 => line.quantity = -line.quantity,
            34 => (line.invoice, line.customer) = (format!("A{}", 536_365 + number), "12346".to_owned()),
            35..43 => {
                line.invoice = format!("C{}", line.invoice);
                line.quantity = -line.quantity;
                if let Some(earlier) = made.get(random.below(number as u64 + 1) as usize) {
                    (line.customer, line.code) = (earlier.customer.clone(), earlier.code.to_lowercase());
                    if random.below(2) == 0 {
                        line.quantity = -earlier.quantity.abs();
                    }
                }
            }
            _ => {}
        }
        made.push(line);
    }
    made
}

fn csv(lines: &[Line]) -> String {
    let mut text = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n".to_owned();
    for (number, line) in lines.iter().enumerate() {
        let Line { invoice, code, description, quantity, price, customer } = line;
        let (day, minute, description) = (1 + number / 1440 % 28, number % 1440, description.replace('"', "\"\""));
        let at = format!("12/{day:02}/2010 {:02}:{:02}", minute / 60, minute % 60);
        let price = format!("{}{}.{:02}", if *price < 0 { "-" } else { "" }, price.abs() / 100, price.abs() % 100);
        text += &format!("{invoice},{code},\"{description}\",{quantity},{at},{price},{customer},United Kingdom\n");
    }
    text
}

/// What must become of the lines, by plain loops.
#[derive(Default, Debug, PartialEq)]
struct Outcome {
    reasons: BTreeMap<String, u64>,
    /// User, item, kind, quantity.
    events: BTreeSet<(usize, String, String, &'static str, i64)>,
    /// matched, partly, unmatched, withdrawn, reduced
    returns: [u64; 5],
}

fn outcome(lines: &[Line]) -> Outcome {
    let mut out = Outcome::default();
    // Row, user, item, kind, quantity, quantity as bought, what was repaired.
    type Open = (usize, String, String, &'static str, i64, i64, Option<&'static str>);
    let mut kept: Vec<Open> = Vec::new();
    let count = |reasons: &mut BTreeMap<String, u64>, rule: &str| *reasons.entry(rule.to_owned()).or_default() += 1;
    for (number, line) in lines.iter().enumerate() {
        let (code, returned) = (line.code.to_uppercase(), line.invoice.starts_with('C'));
        let refused = match () {
            () if line.customer.is_empty() => Some("`CustomerID` is empty"),
            () if line.invoice.starts_with('A') => Some("`InvoiceNo LIKE 'A%'`"),
            () if ["POST", "BANK CHARGES", "M"].contains(&code.as_str()) => {
                Some("`item IN ('POST', 'BANK CHARGES', 'M')`")
            }
            () if line.price <= 0 => Some("`try_cast(UnitPrice as double) <= 0`"),
            () if line.quantity <= 0 && !returned => Some("`quantity <= 0 AND kind <> 'return'`"),
            () => None,
        };
        if let Some(reason) = refused {
            count(&mut out.reasons, reason);
            continue;
        }
        let fixed = match () {
            () if code != line.code => Some("`item` set by `upper(StockCode)`"),
            () if returned => Some("`InvoiceNo LIKE 'C%'` makes it a return"),
            () => None,
        };
        if returned {
            let mut wanted = line.quantity.abs();
            let mut fits: Vec<usize> = (0..kept.len())
                .filter(|&at| {
                    kept[at].1 == line.customer && kept[at].2 == code && kept[at].3 == "purchase" && kept[at].4 > 0
                })
                .collect();
            if let Some(exact) = fits.iter().rev().find(|&&at| kept[at].4 == wanted) {
                (kept[*exact].4, wanted) = (0, 0);
            }
            while let Some(at) = fits.pop().filter(|_| wanted > 0) {
                let taken = wanted.min(kept[at].4);
                kept[at].4 -= taken;
                wanted -= taken;
            }
            let how = if wanted == 0 {
                0
            } else if wanted < line.quantity.abs() {
                1
            } else {
                2
            };
            out.returns[how] += 1;
        }
        let kind = if returned { "return" } else { "purchase" };
        kept.push((number, line.customer.clone(), code, kind, line.quantity, line.quantity, fixed));
    }
    for (number, user, item, kind, left, bought, fixed) in kept {
        match (kind, left) {
            ("purchase", 0) => {
                count(&mut out.reasons, "taken back by a return");
                out.returns[3] += 1;
                continue;
            }
            ("purchase", left) if left < bought => {
                out.returns[4] += 1;
                count(&mut out.reasons, fixed.unwrap_or("taken back in part by a return"));
            }
            _ => fixed.into_iter().for_each(|rule| count(&mut out.reasons, rule)),
        }
        out.events.insert((number, user, item, kind, left));
    }
    out
}

#[test]
fn a_raw_retail_log_is_described_in_the_project_file_alone() {
    for (seed, size) in [(1, 4_000), (2, 40), (3, 20_000)] {
        let lines = log(seed, size);
        let folder = Folder::new(TOML).write("retail.csv", csv(&lines));
        let report = folder.ingest().unwrap();
        let (counts, expected) = (&report.sources["lines"], outcome(&lines));
        assert_eq!(counts.reasons, expected.reasons, "seed {seed}");
        assert_eq!((counts.lines, counts.kept + counts.fixed + counts.quarantined), (size as u64, size as u64));
        assert_eq!(counts.reasons.values().sum::<u64>(), counts.fixed + counts.quarantined);
        let returns = counts.returns.unwrap();
        let found = [returns.matched, returns.partly, returns.unmatched, returns.withdrawn, returns.reduced];
        assert_eq!(found, expected.returns, "seed {seed}");
        let mut rows: Vec<_> = folder.rows(Table::Events, &["user", "item", "kind", "quantity"]);
        let mut wanted: Vec<_> = (expected.events.iter())
            .map(|(_, user, item, kind, left)| format!("{user}|{item}|{kind}|{left}.0"))
            .collect();
        rows.sort();
        wanted.sort();
        assert!(rows == wanted, "seed {seed}");

        let codes: BTreeSet<String> = (lines.iter())
            .filter(|line| !line.invoice.starts_with('A') && !line.description.is_empty())
            .map(|line| line.code.to_uppercase())
            .filter(|code| !["POST", "BANK CHARGES", "M"].contains(&code.as_str()))
            .collect();
        assert_eq!(folder.rows(Table::Items, &["item"]), codes.into_iter().collect::<Vec<_>>());
        let goods = &report.sources["goods"];
        assert_eq!(goods.lines, goods.kept + goods.fixed + goods.quarantined);
    }
}
